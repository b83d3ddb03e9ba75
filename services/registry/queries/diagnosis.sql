-- What PostgreSQL says of itself to anybody who may connect.

-- name: diagnosis
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       pg_is_in_recovery() AS is_standby,
       current_setting('transaction_read_only')::boolean AS is_read_only,
       (SELECT sum(numbackends)::integer FROM pg_stat_database) AS connections,
       current_setting('max_connections')::integer AS max_connections,
       (SELECT max(version_num) FROM registry.alembic_version) AS revision,
       clock_timestamp() AS now;

-- name: missing_views
-- Of the views $1 that ingest publishes, those that are missing, or that this role may not read.
SELECT view FROM unnest($1::text[]) AS view
WHERE NOT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'captures' AND relname = view AND has_table_privilege(pg_class.oid, 'SELECT')
);

-- The roles of the services and their schemas, for the database in which this is run, as a superuser. It may be
-- repeated; what was granted too much is taken back. Passwords are set by whoever runs this.
--
-- Each service owns its schema and makes in it what it needs. In the database it may do nothing else. What ingest
-- publishes for others is ingest's code where it is read: the registry reads it by a login of its own that may do nothing
-- else, so that a view can't do what the registry may. Whoever monitors (pullsync_monitoring) sees PostgreSQL's
-- statistics, and no row of any table.

DO $$
DECLARE
    service record;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    FOR service IN
        SELECT * FROM (VALUES
            ('pullsync_registry', 'registry', 80), ('pullsync_ingest', 'captures', 80),
            ('pullsync_captures_reader', NULL, 30), ('pullsync_monitoring', NULL, 5)
        ) AS t (role, schema, connections)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service.role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service.role);
        END IF;
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), service.role);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service.role);
        -- One service that runs wild leaves room for the others: the server takes 200 connections or more (max_connections).
        EXECUTE format('ALTER ROLE %I LOGIN CONNECTION LIMIT %s', service.role, service.connections);
        IF service.schema IS NOT NULL THEN
            EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service.schema, service.role);
        END IF;
    END LOOP;
    -- What ingest stores goes through a temporary table.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO pullsync_ingest', current_database());
    -- Ingest's migrations grant its views to pullsync_captures_reader, and nobody else has the role.
    IF pg_has_role('pullsync_registry', 'pullsync_captures_reader', 'MEMBER') THEN
        REVOKE pullsync_captures_reader FROM pullsync_registry;
    END IF;
    -- Large objects belong to no schema: nobody needs them, and they would fill the disk.
    REVOKE EXECUTE ON FUNCTION pg_catalog.lo_creat(integer), pg_catalog.lo_create(oid),
        pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;
    -- Statistics of everybody, settings, and how large everything is.
    GRANT pg_monitor TO pullsync_monitoring;
END
$$;

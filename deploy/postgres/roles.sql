-- The roles of the services and their schemas, for the database in which this is run, as a superuser. It may be
-- repeated; what was granted too much is taken back. Passwords are set by whoever runs this.
--
-- Each service owns its schema and makes in it what it needs. In the database it may do nothing else. Whoever monitors
-- (pullsync_monitoring) sees PostgreSQL's own statistics, and no row of any table.

DO $$
DECLARE
    service record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_captures_reader') THEN
        CREATE ROLE pullsync_captures_reader NOLOGIN;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    FOR service IN
        SELECT * FROM (VALUES ('pullsync_registry', 'registry'), ('pullsync_ingest', 'captures')) AS t (role, schema)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service.role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service.role);
        END IF;
        EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), service.role);
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service.role);
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', service.schema, service.role);
    END LOOP;
    -- What ingest stores goes through a temporary table.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO pullsync_ingest', current_database());
    -- What ingest publishes for others to read: its migration grants the views to this role.
    GRANT pullsync_captures_reader TO pullsync_registry;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_monitoring') THEN
        CREATE ROLE pullsync_monitoring LOGIN CONNECTION LIMIT 5;
    END IF;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM pullsync_monitoring', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO pullsync_monitoring', current_database());
    GRANT pg_monitor TO pullsync_monitoring;
END
$$;

-- The roles of the services, for the database in which this is run, as a superuser. It may be repeated.
-- Each service makes and owns its own schema; passwords are set by whoever runs this.

DO $$
DECLARE
    service text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_captures_reader') THEN
        CREATE ROLE pullsync_captures_reader NOLOGIN;
    END IF;
    FOREACH service IN ARRAY ARRAY['pullsync_registry', 'pullsync_ingest'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', service);
        END IF;
        EXECUTE format('GRANT CONNECT, CREATE ON DATABASE %I TO %I', current_database(), service);
    END LOOP;
    -- What ingest publishes for others to read: its migration grants the views to this role.
    GRANT pullsync_captures_reader TO pullsync_registry;
END
$$;

"""Intervals of a client's own, pauses, inactivity, nudges; cancelled and complete runs; statistics kept up to date."""

from alembic import op

revision = "0002"
down_revision = "0001"

CLIENTS = """
ALTER TABLE registry.clients
    -- Null for the scheduler's.
    ADD COLUMN sync_interval_s integer CHECK (sync_interval_s >= 5),
    ADD COLUMN paused boolean NOT NULL DEFAULT false,
    -- Since when it is taken for gone, and only probed.
    ADD COLUMN inactive_since timestamptz,
    -- When the last nudge made it due; in the future while that pull is booked.
    ADD COLUMN nudged_at timestamptz,
    -- The complete run for which the lease reads everything; null for a lease that reads what is pending.
    ADD COLUMN pull_run uuid
"""

# What is paused is not due. The others serve the lists of clients that an operator should look at, and the cleanup.
CLIENT_INDEXES = (
    "DROP INDEX registry.clients_due",
    "CREATE INDEX clients_due ON registry.clients (next_pull_at) WHERE NOT paused",
    """CREATE INDEX clients_failing ON registry.clients (user_id)
       WHERE failures > 0 AND inactive_since IS NULL AND NOT paused""",
    "CREATE INDEX clients_inactive ON registry.clients (user_id) WHERE inactive_since IS NOT NULL AND NOT paused",
    "CREATE INDEX clients_paused ON registry.clients (user_id) WHERE paused",
    "CREATE INDEX clients_in_flight ON registry.clients (next_pull_at) WHERE pull_id IS NOT NULL",
    "CREATE INDEX clients_compared ON registry.clients (pull_run) WHERE pull_run IS NOT NULL",
)

SYNC_RUNS = """
ALTER TABLE registry.sync_runs
    ADD COLUMN delete_unknown boolean NOT NULL DEFAULT false,
    ADD COLUMN cancelled      integer NOT NULL DEFAULT 0,
    ADD COLUMN failed_by_reason jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN missing        bigint NOT NULL DEFAULT 0,
    ADD COLUMN unknown        bigint NOT NULL DEFAULT 0,
    ADD COLUMN deleted        bigint NOT NULL DEFAULT 0
"""

SYNC_RUN_CLIENTS = """
ALTER TABLE registry.sync_run_clients
    -- Of a complete run: everything up to this capture id is compared.
    ADD COLUMN compared_until   text COLLATE "C",
    ADD COLUMN missing          bigint NOT NULL DEFAULT 0,
    ADD COLUMN unknown          bigint NOT NULL DEFAULT 0,
    ADD COLUMN deleted          bigint NOT NULL DEFAULT 0,
    ADD COLUMN missing_examples text[] NOT NULL DEFAULT '{}',
    ADD COLUMN unknown_examples text[] NOT NULL DEFAULT '{}'
"""

RUN_INDEXES = (
    "CREATE INDEX sync_runs_latest ON registry.sync_runs (created_at DESC, run_id DESC)",
    """CREATE UNIQUE INDEX sync_runs_one_complete ON registry.sync_runs (kind)
       WHERE kind = 'sync-complete-state' AND finished_at IS NULL""",
    "CREATE INDEX sync_run_clients_waiting ON registry.sync_run_clients (run_id, user_id) WHERE settled_at IS NULL",
    """CREATE INDEX sync_run_clients_failed ON registry.sync_run_clients (run_id, user_id)
       WHERE reason <> 'cancelled'""",
    """CREATE INDEX sync_run_clients_differing ON registry.sync_run_clients (run_id, user_id)
       WHERE missing > 0 OR unknown > 0""",
)

# The clients are counted as they change, since counting them takes time that grows with them. Each connection counts
# in a row of its own, so nobody waits for another; the totals are the sums, and the cleanup folds what connections left
# behind that have ended.
CLIENT_COUNTS = """
CREATE TABLE registry.client_counts (
    backend    integer PRIMARY KEY,
    registered bigint NOT NULL,
    failing    bigint NOT NULL,
    inactive   bigint NOT NULL,
    paused     bigint NOT NULL,
    in_flight  bigint NOT NULL,
    pending    bigint NOT NULL,
    stored     bigint NOT NULL
) WITH (fillfactor = 50)
"""

COUNTED = """
INSERT INTO registry.client_counts AS c (backend, registered, failing, inactive, paused, in_flight, pending, stored)
SELECT pg_backend_pid(), * FROM (
    SELECT sum(sign) AS registered,
           coalesce(sum(sign) FILTER (WHERE failures > 0 AND inactive_since IS NULL AND NOT paused), 0) AS failing,
           coalesce(sum(sign) FILTER (WHERE inactive_since IS NOT NULL AND NOT paused), 0) AS inactive,
           coalesce(sum(sign) FILTER (WHERE paused), 0) AS paused,
           coalesce(sum(sign) FILTER (WHERE pull_id IS NOT NULL), 0) AS in_flight,
           sum(sign * pending) AS pending,
           sum(sign * stored) AS stored
    FROM ({changed}) AS changed
) AS t
WHERE registered <> 0 OR failing <> 0 OR inactive <> 0 OR paused <> 0 OR in_flight <> 0 OR pending <> 0 OR stored <> 0
ON CONFLICT (backend) DO UPDATE SET
    registered = c.registered + excluded.registered,
    failing = c.failing + excluded.failing,
    inactive = c.inactive + excluded.inactive,
    paused = c.paused + excluded.paused,
    in_flight = c.in_flight + excluded.in_flight,
    pending = c.pending + excluded.pending,
    stored = c.stored + excluded.stored
"""

_NEW = "SELECT 1 AS sign, failures, inactive_since, paused, pull_id, pending, stored FROM new_rows"
_OLD = "SELECT -1, failures, inactive_since, paused, pull_id, pending, stored FROM old_rows"
CHANGES = {
    "insert": ("REFERENCING NEW TABLE AS new_rows", _NEW),
    "update": ("REFERENCING NEW TABLE AS new_rows OLD TABLE AS old_rows", f"{_NEW} UNION ALL {_OLD}"),
    "delete": ("REFERENCING OLD TABLE AS old_rows", _OLD.replace("SELECT -1", "SELECT -1 AS sign")),
}

# Pulls by the minute in which they ended, by reason (empty when they went well) and by duration; again a row for each
# connection. See duration_bucket for the durations.
PULL_MINUTES = """
CREATE TABLE registry.pull_minutes (
    minute  timestamptz NOT NULL,
    backend integer NOT NULL,
    reason  text NOT NULL,
    bucket  smallint NOT NULL,
    pulls   bigint NOT NULL,
    stored  bigint NOT NULL,
    PRIMARY KEY (minute, backend, reason, bucket)
) WITH (fillfactor = 50)
"""

# Four buckets for each doubling from 1 ms to eleven days, so a duration is known within 19 %.
DURATION_BUCKET = """
CREATE FUNCTION registry.duration_bucket(duration_s double precision) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ceil(4 * ln(least(greatest(duration_s, 0.001), 1e6) * 1000) / ln(2))::smallint
$$
"""

BUCKET_DURATION = """
CREATE FUNCTION registry.bucket_duration_s(bucket smallint) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT 0.001 * 2 ^ (bucket / 4.0::double precision) $$
"""

# The first 20 ids of the pages of a complete run; of any other pull there is no difference, and nothing is added.
FIRST_EXAMPLES = """
CREATE FUNCTION registry.first_examples(so_far text[], more jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (so_far || ARRAY(SELECT jsonb_array_elements_text(coalesce(more, '[]'))))[1:20]
$$
"""

# Numbers by name, of both together.
COUNTS_ADDED = """
CREATE FUNCTION registry.counts_added(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(name, n), '{}') FROM (
        SELECT name, sum(n::bigint) AS n
        FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) AS counts (name, n)
        GROUP BY name
    ) AS t
$$
"""

# As before, but a failing client is never pulled more often than a healthy one: the cap is at least two intervals.
BACKOFF = """
CREATE OR REPLACE FUNCTION registry.backoff(failures integer, interval_s integer, cap_s integer) RETURNS interval
LANGUAGE sql VOLATILE STRICT AS $$
    SELECT make_interval(secs => (0.5 + random() / 2)
        * least(greatest(cap_s, 2 * interval_s), interval_s * 2.0 ^ least(failures - 1, 20)))
$$
"""


def upgrade() -> None:
    """Change the tables, and count the clients that there are."""
    op.execute(CLIENTS)
    op.execute(SYNC_RUNS)
    op.execute(SYNC_RUN_CLIENTS)
    for statement in (*CLIENT_INDEXES, *RUN_INDEXES):
        op.execute(statement)
    op.execute(CLIENT_COUNTS)
    all_clients = _NEW.replace("new_rows", "registry.clients")
    op.execute(COUNTED.format(changed=all_clients))
    for event, (tables, changed) in CHANGES.items():
        op.execute(
            f"CREATE FUNCTION registry.count_clients_on_{event}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {COUNTED.format(changed=changed)}; RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER counted_on_{event} AFTER {event.upper()} ON registry.clients {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION registry.count_clients_on_{event}()"
        )
    op.execute(PULL_MINUTES)
    op.execute(DURATION_BUCKET)
    op.execute(BUCKET_DURATION)
    op.execute(FIRST_EXAMPLES)
    op.execute(COUNTS_ADDED)
    op.execute(BACKOFF)

"""Clients, the schedule, and sync runs."""

from alembic import op

revision = "0001"
down_revision = None

CLIENTS = """
CREATE TABLE registry.clients (
    user_id         text COLLATE "C" PRIMARY KEY,
    client_url      text NOT NULL,
    client_type     text NOT NULL,
    capabilities    text[] NOT NULL,
    registered_at   timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),

    -- The schedule: when the client is due, or, while a pull holds its lease, when that lease ends.
    next_pull_at    timestamptz NOT NULL DEFAULT now(),
    pull_id         uuid,
    pull_since      timestamptz,
    claimed_at      timestamptz,
    leases_lost     integer NOT NULL DEFAULT 0,

    -- Someone wants a pull that begins after this moment; null when nobody does.
    demanded_at     timestamptz,
    demanded_since  timestamptz,

    -- What became of the pulls so far.
    last_pull_at    timestamptz,
    last_success_at timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    last_reason     text,
    last_error      text,
    last_duration_s double precision,
    pending         bigint NOT NULL DEFAULT 0,
    stored          bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70)
"""

SCHEDULER = """
CREATE TABLE registry.scheduler (
    only_row        boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    running         boolean NOT NULL DEFAULT true,
    sync_interval_s integer NOT NULL CHECK (sync_interval_s >= 5),
    last_cleanup    timestamptz
)
"""

SYNC_RUNS = """
CREATE TABLE registry.sync_runs (
    run_id      uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind        text NOT NULL,
    since       timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    requested   integer NOT NULL DEFAULT 0,
    settled     integer NOT NULL DEFAULT 0,
    failed      integer NOT NULL DEFAULT 0,
    stored      bigint NOT NULL DEFAULT 0
)
"""

SYNC_RUN_CLIENTS = """
CREATE TABLE registry.sync_run_clients (
    run_id     uuid NOT NULL REFERENCES registry.sync_runs ON DELETE CASCADE,
    user_id    text COLLATE "C" NOT NULL,
    client_url text NOT NULL,
    settled_at timestamptz,
    stored     bigint NOT NULL DEFAULT 0,
    reason     text,
    error      text,
    PRIMARY KEY (run_id, user_id)
)
"""

# A slot is pinned to absolute time: neither a restart nor a late pull moves it. In milliseconds since 1970.
NEXT_SLOT = """
CREATE FUNCTION registry.next_slot(user_id text, interval_s integer, after timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp((((after_ms - slot_ms) / interval_ms + 1) * interval_ms + slot_ms) / 1000.0)
    FROM (SELECT floor(extract(epoch FROM after) * 1000)::bigint, interval_s * 1000::bigint)
             AS t (after_ms, interval_ms),
         LATERAL (SELECT (hashtextextended(user_id, 0) & 9223372036854775807) % interval_ms) AS s (slot_ms)
$$
"""

# Exponential from the interval up to a cap; half of it is jitter, so that clients that failed together part.
BACKOFF = """
CREATE FUNCTION registry.backoff(failures integer, interval_s integer, cap_s integer) RETURNS interval
LANGUAGE sql VOLATILE STRICT AS $$
    SELECT make_interval(secs => least(cap_s, interval_s * 2.0 ^ least(failures - 1, 20)) * (0.5 + random() / 2))
$$
"""

# Of two lower bounds the one that lets more through; null is no bound.
EARLIER = """
CREATE FUNCTION registry.earlier(a timestamptz, b timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a IS NULL OR b IS NULL THEN NULL ELSE least(a, b) END
$$
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(CLIENTS)
    op.execute("CREATE INDEX clients_due ON registry.clients (next_pull_at)")
    op.execute("CREATE INDEX clients_leased ON registry.clients (pull_id) WHERE pull_id IS NOT NULL")
    op.execute("CREATE INDEX clients_demanded ON registry.clients (demanded_at) WHERE demanded_at IS NOT NULL")
    op.execute(SCHEDULER)
    op.execute(SYNC_RUNS)
    op.execute(SYNC_RUN_CLIENTS)
    op.execute("CREATE INDEX sync_run_clients_open ON registry.sync_run_clients (user_id) WHERE settled_at IS NULL")
    op.execute(NEXT_SLOT)
    op.execute(BACKOFF)
    op.execute(EARLIER)

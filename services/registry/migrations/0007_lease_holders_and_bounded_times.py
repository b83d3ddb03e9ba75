"""Who holds a lease, so that those of a dead holder end soon; and what the cleanup knows of the database's clock."""

from alembic import op

revision = "0007"
down_revision = "0006"

# A process that claims: a puller, or a registry that asks pullers. It is alive while its beat grows.
LEASE_HOLDERS = """
CREATE TABLE registry.lease_holders (
    holder_id   uuid PRIMARY KEY,
    beat        bigint NOT NULL DEFAULT 0,
    -- The number of the latest claim that began. An older one that comes late gets nothing.
    claim       bigint NOT NULL DEFAULT 0,
    -- The holder has the answers of all claims up to this one. Of their pulls those in `in_hand` are still its own;
    -- the others are with RabbitMQ, or settled.
    answered    bigint NOT NULL DEFAULT 0,
    in_hand     uuid[] NOT NULL DEFAULT '{}'
) WITH (fillfactor = 50)
"""

# Both null for a lease that a puller of the version before holds.
CLIENTS = "ALTER TABLE registry.clients ADD COLUMN holder_id uuid, ADD COLUMN claim bigint"

# True when the claim may go on. A volatile function, so that a statement asks once, in a subquery of its own.
BEGIN_CLAIM = """
CREATE FUNCTION registry.begin_claim(holder uuid, number bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF holder IS NULL THEN
        RETURN true;
    END IF;
    INSERT INTO registry.lease_holders AS h (holder_id, claim, answered) VALUES (holder, number, number - 1)
    ON CONFLICT (holder_id) DO UPDATE SET claim = excluded.claim, beat = h.beat + 1 WHERE h.claim < excluded.claim;
    RETURN FOUND;
END $$
"""

# When a registry last looked at the clock; and whether the clock jumped since the last cleanup.
SCHEDULER = """
ALTER TABLE registry.scheduler
    ADD COLUMN clock_seen_at timestamptz,
    ADD COLUMN clock_jumped boolean NOT NULL DEFAULT false
"""

# Python can't read PostgreSQL's ends of time with a zone. Versions before wrote them for times of the year 1.
WITHOUT_ENDS_OF_TIME = (
    "UPDATE registry.sync_runs SET since = NULL WHERE NOT isfinite(since)",
    "UPDATE registry.clients SET demanded_since = NULL WHERE NOT isfinite(demanded_since)",
    "UPDATE registry.clients SET pull_since = NULL WHERE NOT isfinite(pull_since)",
    "UPDATE registry.pulls SET since = NULL WHERE NOT isfinite(since)",
)


def upgrade() -> None:
    """Leases of before have no holder: they end by themselves."""
    op.execute(LEASE_HOLDERS)
    op.execute(CLIENTS)
    op.execute(BEGIN_CLAIM)
    op.execute(SCHEDULER)
    for statement in WITHOUT_ENDS_OF_TIME:
        op.execute(statement)

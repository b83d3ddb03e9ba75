"""A history of pulls, whose ids ascend with time; and when a pull last left nothing pending at a client."""

from alembic import op

revision = "0006"
down_revision = "0005"

# UUIDs of version 7 (RFC 9562), which PostgreSQL makes itself only from version 18 on: how those of this moment begin
# (the milliseconds since 1970, and the version), once for each statement, in front of what a random UUID has behind
# that. So a client's pulls are in order by their ids.
PULL_IDS_NOW = """
CREATE FUNCTION registry.pull_ids_now() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT overlay(
        lpad(to_hex(floor(extract(epoch FROM now()) * 1000)::bigint), 12, '0') PLACING '-' FROM 9 FOR 0
    ) || '-7'
$$
"""

NEW_PULL_ID = """
CREATE FUNCTION registry.new_pull_id(begins text) RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT overlay(gen_random_uuid()::text PLACING begins FROM 1 FOR 15)::uuid
$$
"""

PULLS = """
CREATE TABLE registry.pulls (
    user_id         text COLLATE "C" NOT NULL,
    pull_id         uuid NOT NULL,
    settled_at      timestamptz NOT NULL DEFAULT now(),
    -- These three are of the lease, and null when that had ended before.
    began_at        timestamptz,
    since           timestamptz,
    run_id          uuid,
    -- Null while nothing is known but that the client was told later.
    outcome         text,
    reason          text,
    error           text,
    stored          bigint NOT NULL DEFAULT 0,
    duplicates      bigint NOT NULL DEFAULT 0,
    quarantined     bigint NOT NULL DEFAULT 0,
    pending         bigint NOT NULL DEFAULT 0,
    duration_s      double precision NOT NULL DEFAULT 0,
    acknowledged_at timestamptz,
    PRIMARY KEY (user_id, pull_id)
)
"""

# For the removal of what is old.
BY_AGE = "CREATE INDEX pulls_by_age ON registry.pulls (settled_at)"

# When the last pull began after which the client held nothing pending: all that was stored before, it was told by then.
CLIENTS = "ALTER TABLE registry.clients ADD COLUMN emptied_at timestamptz"


def upgrade() -> None:
    """Pulls that were settled before are in no history."""
    op.execute(PULL_IDS_NOW)
    op.execute(NEW_PULL_ID)
    op.execute(PULLS)
    op.execute(BY_AGE)
    op.execute(CLIENTS)

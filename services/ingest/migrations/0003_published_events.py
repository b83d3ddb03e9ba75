"""Stored captures, and those in quarantine, can be looked up by user and id: the registry tells where one is."""

from alembic import op

revision = "0003"
down_revision = "0002"

# Without the metadata: they are a client's own, and nobody needs them to find a capture.
PUBLISHED_EVENTS = """
CREATE VIEW captures.published_events AS
SELECT e.user_id, e.capture_id, e.pokemon_id, coalesce(s.name, e.pokemon_name) AS pokemon_name, e.action, e.removed,
       e.captured_at, e.received_at, e.stored_at, e.pull_id
FROM captures.events AS e LEFT JOIN captures.species AS s USING (pokemon_id)
"""

# Only ids that a capture can have are looked for; longer ones, which are in quarantine for that, need not fit an index.
QUARANTINE_BY_CAPTURE = """
CREATE INDEX quarantine_by_capture ON captures.quarantine (user_id, capture_id, quarantine_id)
WHERE char_length(capture_id) <= 255
"""

GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_captures_reader') THEN
        GRANT SELECT ON captures.published_events TO pullsync_captures_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    """Publish what is stored already, too."""
    op.execute(PUBLISHED_EVENTS)
    op.execute(QUARANTINE_BY_CAPTURE)
    op.execute(GRANTS)

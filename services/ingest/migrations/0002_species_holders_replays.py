"""Known species, how many Pokémon each user holds, replays of the quarantine, and the views of them.

An ingest of the version before does not keep `captures.holders`: stop all of them before the first new one starts.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

PARTITIONS = 8
"""As in 0001: by user."""

# Numbers and names as ingest ships them (species.csv); filled at each start.
SPECIES = "CREATE TABLE captures.species (pokemon_id integer PRIMARY KEY, name text NOT NULL)"

# A user has a row from his first holding on, and keeps it with 0 when he lets the last one go.
HOLDERS = """
CREATE TABLE captures.holders (
    user_id    text COLLATE "C" PRIMARY KEY,
    holdings   integer NOT NULL,
    updated_at timestamptz NOT NULL
) PARTITION BY HASH (user_id)
"""

# Writers that are still at work end first, and others wait: no holding changes between the count and the commit.
LOCK = "LOCK TABLE captures.holdings IN SHARE MODE"

FILL_HOLDERS = """
INSERT INTO captures.holders (user_id, holdings, updated_at)
SELECT user_id, count(*), now() FROM captures.holdings WHERE held GROUP BY user_id
"""

# Negated, so that both columns ascend and one comparison of rows finds the place where a page begins.
MOST_FIRST = "CREATE INDEX holders_most_first ON captures.holders ((-holdings), user_id) WHERE holdings > 0"

REPLAYS = """
ALTER TABLE captures.quarantine
    ADD COLUMN replays integer NOT NULL DEFAULT 0,
    ADD COLUMN last_replay_at timestamptz,
    ADD COLUMN last_problem text
"""

QUARANTINE_BY_USER = "CREATE INDEX quarantine_by_user ON captures.quarantine (user_id, quarantine_id)"

# The raw item may have been cut: two long ones that begin alike are told apart by their ids.
FINGERPRINTS = """
UPDATE captures.quarantine SET fingerprint = sha256(convert_to(raw || E'\\n' || coalesce(capture_id, ''), 'UTF8'))
"""

PUBLISHED_RANKING = """
CREATE OR REPLACE VIEW captures.published_ranking AS
SELECT r.pokemon_id, coalesce(s.name, r.pokemon_name) AS pokemon_name, r.holders, r.updated_at
FROM captures.ranking AS r LEFT JOIN captures.species AS s USING (pokemon_id)
WHERE r.holders > 0
"""

PUBLISHED_HOLDERS = """
CREATE VIEW captures.published_holders AS
SELECT user_id, holdings, updated_at FROM captures.holders WHERE holdings > 0
"""

# With what was held and is no longer: a user who let everything go is not an unknown one.
PUBLISHED_HOLDINGS = """
CREATE VIEW captures.published_holdings AS
SELECT h.user_id, h.pokemon_id, coalesce(s.name, r.pokemon_name, '') AS pokemon_name, h.held,
       h.effective_at AS held_since
FROM captures.holdings AS h
LEFT JOIN captures.species AS s USING (pokemon_id)
LEFT JOIN captures.ranking AS r USING (pokemon_id)
"""

PUBLISHED_QUARANTINE = """
CREATE VIEW captures.published_quarantine AS
SELECT quarantine_id, user_id, capture_id, problem, raw, pull_id, quarantined_at, replays, last_replay_at, last_problem
FROM captures.quarantine
"""

GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_captures_reader') THEN
        GRANT SELECT ON captures.published_holders, captures.published_holdings, captures.published_quarantine
        TO pullsync_captures_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    """Create, and count what is held already."""
    op.execute(SPECIES)
    op.execute(HOLDERS)
    for number in range(PARTITIONS):
        op.execute(
            f"CREATE TABLE captures.holders_{number} PARTITION OF captures.holders "
            f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
        )
    op.execute(LOCK)
    op.execute(FILL_HOLDERS)
    op.execute(MOST_FIRST)
    op.execute(REPLAYS)
    op.execute(QUARANTINE_BY_USER)
    op.execute(FINGERPRINTS)
    op.execute(PUBLISHED_RANKING)
    op.execute(PUBLISHED_HOLDERS)
    op.execute(PUBLISHED_HOLDINGS)
    op.execute(PUBLISHED_QUARANTINE)
    op.execute(GRANTS)

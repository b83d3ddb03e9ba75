"""Events, holdings, the ranking, the quarantine, and the views that the registry may read."""

from alembic import op

revision = "0001"
down_revision = None

PARTITIONS = 8
"""By user, so that the tables can be spread over machines on the same column; it costs nothing on one."""

FILLFACTORS = {"events": 100, "holdings": 85}
"""Events never change. A holding moves within its page as long as there is room, and then its index is left alone."""

EVENTS = """
CREATE TABLE captures.events (
    user_id      text COLLATE "C" NOT NULL,
    capture_id   text COLLATE "C" NOT NULL,
    pokemon_id   integer NOT NULL,
    pokemon_name text NOT NULL,
    action       text NOT NULL,
    removed      boolean NOT NULL,
    captured_at  timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,
    stored_at    timestamptz NOT NULL DEFAULT now(),
    pull_id      uuid NOT NULL,
    metadata     jsonb,
    PRIMARY KEY (user_id, capture_id)
) PARTITION BY HASH (user_id)
"""

# The last capture wins, by its time; a time in the future counts as the time of receipt. Among equals the claimed time
# and then the id decide, so that the same captures end in the same rows in whatever order they come.
HOLDINGS = """
CREATE TABLE captures.holdings (
    user_id      text COLLATE "C" NOT NULL,
    pokemon_id   integer NOT NULL,
    held         boolean NOT NULL,
    held_before  boolean NOT NULL,
    effective_at timestamptz NOT NULL,
    captured_at  timestamptz NOT NULL,
    capture_id   text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, pokemon_id)
) PARTITION BY HASH (user_id)
"""

RANKING = """
CREATE TABLE captures.ranking (
    pokemon_id   integer PRIMARY KEY,
    pokemon_name text NOT NULL,
    holders      bigint NOT NULL,
    updated_at   timestamptz NOT NULL
) WITH (fillfactor = 50)
"""

QUARANTINE = """
CREATE TABLE captures.quarantine (
    quarantine_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id        text COLLATE "C" NOT NULL,
    fingerprint    bytea NOT NULL,
    capture_id     text,
    problem        text NOT NULL,
    raw            text NOT NULL,
    pull_id        uuid NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (user_id, fingerprint)
)
"""

TOTALS = """
CREATE TABLE captures.totals (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    events      bigint NOT NULL DEFAULT 0,
    holdings    bigint NOT NULL DEFAULT 0,
    quarantined bigint NOT NULL DEFAULT 0,
    updated_at  timestamptz
) WITH (fillfactor = 50)
"""

PUBLISHED_RANKING = """
CREATE VIEW captures.published_ranking AS
SELECT pokemon_id, pokemon_name, holders, updated_at FROM captures.ranking WHERE holders > 0
"""

PUBLISHED_TOTALS = """
CREATE VIEW captures.published_totals AS
SELECT events, holdings, quarantined, updated_at, (SELECT count(*) FROM captures.published_ranking) AS ranked
FROM captures.totals
"""

# The role is made with the database (deploy/postgres/roles.sql); where one role owns everything there is none.
GRANTS = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'pullsync_captures_reader') THEN
        GRANT USAGE ON SCHEMA captures TO pullsync_captures_reader;
        GRANT SELECT ON captures.published_ranking, captures.published_totals TO pullsync_captures_reader;
    END IF;
END $$
"""


def upgrade() -> None:
    """Create everything."""
    op.execute(EVENTS)
    op.execute(HOLDINGS)
    for table, fillfactor in FILLFACTORS.items():
        for number in range(PARTITIONS):
            op.execute(
                f"CREATE TABLE captures.{table}_{number} PARTITION OF captures.{table} "
                f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number}) WITH (fillfactor = {fillfactor})"
            )
    op.execute(RANKING)
    op.execute(QUARANTINE)
    op.execute(TOTALS)
    op.execute("INSERT INTO captures.totals DEFAULT VALUES")
    op.execute(PUBLISHED_RANKING)
    op.execute(PUBLISHED_TOTALS)
    op.execute(GRANTS)

-- name: first_schema
-- To version 1. Times are text in one form (2026-01-31T12:00:00.000Z), which sorts as the moments do.
-- `wire` adds the capture as JSON, as clients and registries write it; `facts` are single values about the whole.
BEGIN IMMEDIATE;
CREATE TABLE captures (
    seq INTEGER PRIMARY KEY,
    capture_id TEXT NOT NULL UNIQUE,
    pokemon_id INTEGER NOT NULL,
    pokemon_name TEXT NOT NULL,
    action TEXT NOT NULL,
    removed INTEGER NOT NULL,
    timestamp TEXT NOT NULL,
    user_id TEXT NOT NULL,
    metadata TEXT NOT NULL,
    acknowledged_at TEXT
) STRICT;
CREATE INDEX captures_pending ON captures (timestamp, seq) WHERE acknowledged_at IS NULL;
CREATE INDEX captures_twins ON captures (pokemon_id, action, removed, timestamp) WHERE acknowledged_at IS NULL;
CREATE INDEX captures_acknowledged ON captures (acknowledged_at) WHERE acknowledged_at IS NOT NULL;
CREATE VIEW wire AS
SELECT *, json_object(
    'capture_id', capture_id,
    'pokemon_id', pokemon_id,
    'pokemon_name', pokemon_name,
    'action', action,
    'timestamp', timestamp,
    'user_id', user_id,
    'synced', json(iif(acknowledged_at IS NULL, 'false', 'true')),
    'metadata', json(metadata)
) AS document
FROM captures;
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
COMMIT;

-- name: add_pulled_at
-- To version 2: the first time that a capture was in an answer to whoever pulls.
BEGIN IMMEDIATE;
ALTER TABLE captures ADD COLUMN pulled_at TEXT;
PRAGMA user_version = 2;
COMMIT;

-- name: add_steady_times
-- To version 3: what does not depend on the clock. `latest_times` has the latest time that a capture of each Pokémon ever
-- had; `kept_since` tells when an acknowledged one was first seen as such, in seconds that the client had run by then.
BEGIN IMMEDIATE;
CREATE TABLE latest_times (pokemon_id INTEGER PRIMARY KEY, timestamp TEXT NOT NULL) STRICT;
INSERT INTO latest_times SELECT pokemon_id, max(timestamp) FROM captures GROUP BY pokemon_id;
CREATE TRIGGER captures_latest_times AFTER INSERT ON captures BEGIN
    INSERT INTO latest_times VALUES (NEW.pokemon_id, NEW.timestamp)
    ON CONFLICT (pokemon_id) DO UPDATE SET timestamp = max(timestamp, excluded.timestamp);
END;
ALTER TABLE captures ADD COLUMN kept_since INTEGER;
CREATE INDEX captures_kept ON captures (kept_since) WHERE acknowledged_at IS NOT NULL;
PRAGMA user_version = 3;
COMMIT;

-- name: tables
SELECT name FROM sqlite_schema WHERE type IN ('table', 'view');

-- name: quick_check
-- One row, `ok`; or the first thing that is damaged.
PRAGMA quick_check(1);

-- name: read_something
-- Of each table that captures need.
SELECT (SELECT document FROM wire LIMIT 1), (SELECT value FROM facts LIMIT 1), (SELECT timestamp FROM latest_times LIMIT 1);

-- name: insert_capture
-- Changes no row when the id is taken.
INSERT INTO captures (
    capture_id, pokemon_id, pokemon_name, action, removed, timestamp, user_id, metadata, acknowledged_at
)
VALUES (
    :capture_id, :pokemon_id, :pokemon_name, :action, :removed, :timestamp, :user_id, :metadata, :acknowledged_at
)
ON CONFLICT (capture_id) DO NOTHING;

-- name: latest_time
SELECT timestamp FROM latest_times WHERE pokemon_id = :pokemon_id;

-- name: captures_with_ids
-- Those of a JSON list of ids, with what makes each the capture that it is.
SELECT capture_id, pokemon_id, pokemon_name, action, removed, timestamp, metadata
FROM captures
WHERE capture_id IN (SELECT value FROM json_each(:capture_ids));

-- name: foreign_owners
SELECT user_id, count(*) FROM captures WHERE user_id <> :user_id GROUP BY user_id ORDER BY user_id;

-- name: take_over
-- What is stored for another user is not stored for this one.
UPDATE captures
SET user_id = :user_id, acknowledged_at = NULL, pulled_at = NULL, kept_since = NULL
WHERE user_id <> :user_id;

-- name: capture
SELECT document FROM wire WHERE capture_id = :capture_id;

-- name: capture_again
-- The capture with this id, and whether it is of the same kind.
SELECT document, pokemon_id = :pokemon_id AND action = :action AND removed = :removed
FROM wire
WHERE capture_id = :capture_id;

-- name: pending_capture
SELECT document FROM wire WHERE capture_id = :capture_id AND acknowledged_at IS NULL;

-- name: pending_twin
-- The first pending capture of the same kind between two moments. A moment after now is there for a clock that was
-- set back.
SELECT document
FROM wire
WHERE acknowledged_at IS NULL
    AND pokemon_id = :pokemon_id AND action = :action AND removed = :removed
    AND timestamp > :after AND timestamp < :before
ORDER BY timestamp, seq
LIMIT 1;

-- name: pending
-- Oldest first, each with its id while it is not on record as pulled. An empty :since is before every moment; a :limit
-- of -1 is none.
SELECT document, iif(pulled_at IS NULL, capture_id, NULL)
FROM wire
WHERE acknowledged_at IS NULL AND timestamp > :since
ORDER BY timestamp, seq
LIMIT :limit;

-- name: count_pending
SELECT count(*) FROM captures WHERE acknowledged_at IS NULL AND timestamp > :since;

-- name: everything
SELECT document FROM wire ORDER BY timestamp, seq;

-- name: everything_by_id
-- In the order of the ids' UTF-8 bytes, strictly after :after. It comes as bytes, since not all text has UTF-8. A :limit
-- of -1 is none.
SELECT document
FROM wire
WHERE capture_id > CAST(:after AS TEXT)
ORDER BY capture_id
LIMIT :limit;

-- name: count_everything
SELECT count(*) FROM captures;

-- name: acknowledge
UPDATE captures SET acknowledged_at = :now WHERE capture_id = :capture_id AND acknowledged_at IS NULL;

-- name: note_pulled
UPDATE captures SET pulled_at = :pulled_at WHERE capture_id = :capture_id AND pulled_at IS NULL;

-- name: states
-- How far the captures of a JSON list of ids have come, with their ids, in any order.
SELECT capture_id, json_object(
    'capture_id', capture_id,
    'state', CASE WHEN acknowledged_at IS NOT NULL THEN 'stored' WHEN pulled_at IS NOT NULL THEN 'pulled' ELSE 'pending' END,
    'pulled_at', pulled_at,
    'stored_at', acknowledged_at
)
FROM captures
WHERE capture_id IN (SELECT value FROM json_each(:capture_ids));

-- name: count_retention
-- From now on those that were acknowledged since the last time.
UPDATE captures SET kept_since = :ran_s WHERE acknowledged_at IS NOT NULL AND kept_since IS NULL;

-- name: purge
-- Never a pending one.
DELETE FROM captures WHERE acknowledged_at IS NOT NULL AND kept_since < :before_s;

-- name: fact
SELECT value FROM facts WHERE name = :name;

-- name: set_fact
INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- What could not be read or stored.

-- name: quarantine
-- Keeps what could not be read, once however often it comes. Answers a row for each that is new.
INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
SELECT user_id, sha256(convert_to(raw || E'\n' || coalesce(capture_id, ''), 'UTF8')), capture_id, problem, raw, pull_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[]) AS t (user_id, capture_id, problem, raw, pull_id)
ORDER BY user_id COLLATE "C", 2
ON CONFLICT (user_id, fingerprint) DO NOTHING
RETURNING quarantine_id;

-- name: quarantined
-- The items with these numbers that are still there.
SELECT quarantine_id, user_id, problem, raw, pull_id, quarantined_at
FROM captures.quarantine WHERE quarantine_id = ANY ($1::bigint[]) ORDER BY quarantine_id;

-- name: settle_replayed
-- After another try: an item without a problem goes, one with a problem stays with it. Answers how many went.
WITH replayed AS (
    SELECT quarantine_id, t.problem
    FROM captures.quarantine JOIN unnest($1::bigint[], $2::text[]) AS t (quarantine_id, problem) USING (quarantine_id)
    ORDER BY user_id, fingerprint FOR UPDATE OF quarantine
),
kept AS (
    UPDATE captures.quarantine AS q SET replays = q.replays + 1, last_replay_at = now(), last_problem = replayed.problem
    FROM replayed WHERE q.quarantine_id = replayed.quarantine_id AND replayed.problem IS NOT NULL
),
gone AS (
    DELETE FROM captures.quarantine AS q USING replayed
    WHERE q.quarantine_id = replayed.quarantine_id AND replayed.problem IS NULL
    RETURNING 1
)
SELECT count(*) FROM gone;

-- What ingest publishes for the registry, which reads it by a login of its own. Every page begins at its place in an
-- index, however many users there are.

-- name: ranking
SELECT pokemon_id, pokemon_name, holders, updated_at FROM captures.published_ranking
ORDER BY holders DESC, pokemon_id LIMIT $1;

-- name: top_holders
-- Users who hold most, after the place of $1 (negated holdings) and $2 (user id).
SELECT user_id, holdings, updated_at FROM captures.published_holders
WHERE (-holdings, user_id) > ($1::integer, $2::text)
ORDER BY -holdings, user_id LIMIT $3;

-- name: user_holdings
-- What one user holds, by number.
SELECT pokemon_id, pokemon_name, held_since FROM captures.published_holdings
WHERE user_id = $1 AND pokemon_id > $2 AND held
ORDER BY pokemon_id LIMIT $3;

-- name: has_stored
-- Whether something of that user was ever stored.
SELECT EXISTS (SELECT FROM captures.published_holdings WHERE user_id = $1);

-- name: stored_capture
SELECT pokemon_id, pokemon_name, action, removed, captured_at, received_at, stored_at, pull_id
FROM captures.published_events WHERE user_id = $1 AND capture_id = $2;

-- name: quarantined_capture
-- The latest with that id; as long as an id of a capture may be, by which there is an index.
SELECT quarantine_id, problem, pull_id, quarantined_at FROM captures.published_quarantine
WHERE user_id = $1 AND capture_id = $2 AND char_length(capture_id) <= 255
ORDER BY quarantine_id DESC LIMIT 1;

-- name: capture_totals
SELECT events, holdings, ranked, quarantined, updated_at FROM captures.published_totals;

-- name: quarantine_page
-- What is in quarantine after $1; only the beginning of what came.
SELECT quarantine_id, user_id, capture_id, problem, pull_id, quarantined_at, left(raw, $3) AS raw
FROM captures.published_quarantine WHERE quarantine_id > $1
ORDER BY quarantine_id LIMIT $2;

-- name: quarantine_page_of_user
-- The same of one user. A statement of its own: a plan that must serve both reads the whole quarantine.
SELECT quarantine_id, user_id, capture_id, problem, pull_id, quarantined_at, left(raw, $3) AS raw
FROM captures.published_quarantine WHERE quarantine_id > $1 AND user_id = $4
ORDER BY quarantine_id LIMIT $2;

-- name: quarantined_item
SELECT quarantine_id, user_id, capture_id, problem, pull_id, quarantined_at, raw, replays, last_replay_at, last_problem
FROM captures.published_quarantine WHERE quarantine_id = $1;

-- name: quarantine_ids
-- The numbers after $1, up to and with $2.
SELECT quarantine_id FROM captures.published_quarantine
WHERE quarantine_id > $1 AND quarantine_id <= $2 ORDER BY quarantine_id LIMIT $3;

-- name: last_quarantine_id
SELECT coalesce(max(quarantine_id), 0) FROM captures.published_quarantine;

-- name: known_quarantine_ids
SELECT quarantine_id FROM captures.published_quarantine WHERE quarantine_id = ANY ($1::bigint[]);

-- Comparing a page of everything that one client has with what is stored of its user, and deleting what it does not
-- have. The locks of a deletion are taken in the order that store.sql names, each kind by a statement of its own.

-- name: find_missing
-- What this very pull stored of its page, so that a repeated message finds the same; the first $5 ids as examples.
SELECT count(*) AS captures, coalesce((array_agg(capture_id ORDER BY capture_id))[1:$5], '{}') AS examples
FROM captures.events
WHERE user_id = $1 AND capture_id > $2 AND ($3::text IS NULL OR capture_id <= $3) AND pull_id = $4;

-- name: find_unknown
-- What is stored in the page's range, since before it was asked for, and is not in the page; the first $6 as examples.
SELECT count(*) AS captures, coalesce((array_agg(capture_id ORDER BY capture_id))[1:$6], '{}') AS examples
FROM captures.events AS e
WHERE user_id = $1 AND capture_id > $2 AND ($3::text IS NULL OR capture_id <= $3) AND stored_at <= $4
  AND NOT EXISTS (SELECT FROM unnest($5::text[]) AS page (capture_id) WHERE page.capture_id = e.capture_id);

-- name: delete_unknown
-- Deletes the same, once all of them are locked: who waits for one here finds the others as they were. Answers them in
-- the order of their ids.
WITH unknown AS MATERIALIZED (
    SELECT capture_id
    FROM captures.events AS e
    WHERE user_id = $1 AND capture_id > $2 AND ($3::text IS NULL OR capture_id <= $3) AND stored_at <= $4
      AND NOT EXISTS (SELECT FROM unnest($5::text[]) AS page (capture_id) WHERE page.capture_id = e.capture_id)
    ORDER BY capture_id FOR UPDATE
),
deleted AS (
    DELETE FROM captures.events AS e
    WHERE e.user_id = $1 AND e.capture_id = ANY (ARRAY (SELECT capture_id FROM unknown))
    RETURNING e.capture_id, e.pokemon_id
)
SELECT capture_id, pokemon_id FROM deleted ORDER BY capture_id;

-- name: lock_holdings
-- A statement before the one that reads the events again: one that waited here for a writer sees what that wrote.
SELECT FROM captures.holdings WHERE user_id = $1 AND pokemon_id = ANY ($2::integer[]) ORDER BY pokemon_id FOR UPDATE;

-- name: recompute_holdings
-- Each holding as the last of its remaining events says, as in `move_holdings`; without an event there is no holding.
-- Answers by how much each one that changed did.
WITH latest AS (
    SELECT DISTINCT ON (pokemon_id)
        pokemon_id, pokemon_name, removed, least(captured_at, received_at) AS effective_at, captured_at, capture_id
    FROM captures.events
    WHERE user_id = $1 AND pokemon_id = ANY ($2::integer[])
    ORDER BY pokemon_id, effective_at DESC, captured_at DESC, capture_id DESC
),
changed AS (
    UPDATE captures.holdings AS h SET
        held = NOT latest.removed,
        held_before = h.held,
        effective_at = latest.effective_at,
        captured_at = latest.captured_at,
        capture_id = latest.capture_id
    FROM latest WHERE h.user_id = $1 AND h.pokemon_id = latest.pokemon_id
    RETURNING h.pokemon_id, latest.pokemon_name, h.held::integer - h.held_before::integer AS difference
),
ended AS (
    DELETE FROM captures.holdings AS h
    WHERE user_id = $1 AND pokemon_id = ANY ($2::integer[])
      AND NOT EXISTS (SELECT FROM latest WHERE latest.pokemon_id = h.pokemon_id)
    RETURNING pokemon_id, '' AS pokemon_name, - held::integer AS difference
)
SELECT pokemon_id, pokemon_name, difference FROM changed WHERE difference <> 0
UNION ALL
SELECT pokemon_id, pokemon_name, difference FROM ended WHERE difference <> 0
ORDER BY pokemon_id;

-- name: move_holder
-- A removal that is deleted may give a user his first holding.
INSERT INTO captures.holders AS c (user_id, holdings, updated_at) VALUES ($1, $2, now())
ON CONFLICT (user_id) DO UPDATE SET holdings = c.holdings + excluded.holdings, updated_at = now();

-- name: move_ranking
-- The same for a Pokémon that nobody held.
INSERT INTO captures.ranking AS r (pokemon_id, pokemon_name, holders, updated_at)
SELECT pokemon_id, pokemon_name, difference, now()
FROM unnest($1::integer[], $2::text[], $3::integer[]) AS t (pokemon_id, pokemon_name, difference)
ORDER BY pokemon_id
ON CONFLICT (pokemon_id) DO UPDATE SET holders = r.holders + excluded.holders, updated_at = now();

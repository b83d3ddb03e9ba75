-- Storing captures. In all queries of this folder locks are taken in one order (events, holdings, holders, ranking,
-- quarantine, totals; each by its key, the quarantine by user and fingerprint), so that two writers cannot deadlock.

-- name: make_incoming
-- What a transaction is about to store; this connection's own, and empty after each transaction. (To COPY into it costs
-- ingest half of what arrays as parameters do.)
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    user_id text COLLATE "C", capture_id text COLLATE "C", pokemon_id integer, pokemon_name text, action text,
    removed boolean, captured_at timestamptz, received_at timestamptz, pull_id uuid, metadata text
) ON COMMIT DELETE ROWS;

-- name: store_captures
-- Stores what is incoming and new, moves the holdings, and holders and ranking by the difference; all or nothing. Of those
-- with the same id the first by its receipt is taken. Answers how many were new, by pull, and in each row by how much the
-- holdings grew in all.
WITH stored AS (
    INSERT INTO captures.events (
        user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, pull_id, metadata
    )
    SELECT DISTINCT ON (user_id, capture_id)
           user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, pull_id,
           metadata::jsonb
    FROM pg_temp.incoming ORDER BY user_id, capture_id, received_at
    ON CONFLICT (user_id, capture_id) DO NOTHING
    RETURNING user_id, capture_id, pokemon_id, pokemon_name, removed, captured_at, pull_id,
              least(captured_at, received_at) AS effective_at
),
latest AS (
    SELECT DISTINCT ON (user_id, pokemon_id) *
    FROM stored
    ORDER BY user_id, pokemon_id, effective_at DESC, captured_at DESC, capture_id DESC
),
changed AS (
    INSERT INTO captures.holdings AS h (user_id, pokemon_id, held, held_before, effective_at, captured_at, capture_id)
    SELECT user_id, pokemon_id, NOT removed, false, effective_at, captured_at, capture_id
    FROM latest ORDER BY user_id, pokemon_id
    ON CONFLICT (user_id, pokemon_id) DO UPDATE SET
        held = excluded.held,
        held_before = h.held,
        effective_at = excluded.effective_at,
        captured_at = excluded.captured_at,
        capture_id = excluded.capture_id
    WHERE (excluded.effective_at, excluded.captured_at, excluded.capture_id)
        > (h.effective_at, h.captured_at, h.capture_id)
    RETURNING user_id, pokemon_id, held::integer - held_before::integer AS difference
),
counted AS (
    INSERT INTO captures.holders AS c (user_id, holdings, updated_at)
    SELECT user_id, sum(difference), now() FROM changed GROUP BY user_id HAVING sum(difference) <> 0 ORDER BY user_id
    ON CONFLICT (user_id) DO UPDATE SET holdings = c.holdings + excluded.holdings, updated_at = now()
    RETURNING user_id
),
differences AS (
    SELECT pokemon_id, sum(difference) AS difference FROM changed GROUP BY pokemon_id HAVING sum(difference) <> 0
),
ranked AS (
    INSERT INTO captures.ranking AS r (pokemon_id, pokemon_name, holders, updated_at)
    SELECT pokemon_id, n.pokemon_name, d.difference, now()
    FROM differences AS d
    JOIN (SELECT pokemon_id, min(pokemon_name) AS pokemon_name FROM stored GROUP BY pokemon_id) AS n USING (pokemon_id)
    -- Always true: postgres is free in the order of parts that do not read each other, and the holders come first.
    WHERE (SELECT count(*) FROM counted) >= 0
    ORDER BY pokemon_id
    ON CONFLICT (pokemon_id) DO UPDATE SET holders = r.holders + excluded.holders, updated_at = now()
)
SELECT pull_id, count(*) AS stored, (SELECT coalesce(sum(difference), 0) FROM differences)::bigint AS holdings
FROM stored GROUP BY pull_id;

-- name: count
-- The last statement of a transaction, since all transactions meet in this row.
UPDATE captures.totals SET
    events = events + $1, holdings = holdings + $2, quarantined = quarantined + $3, updated_at = now();

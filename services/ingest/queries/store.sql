-- Storing captures. In all queries of this folder locks are taken in one order (events, holdings, holders, ranking,
-- quarantine, totals; each by its key, the quarantine by user and fingerprint), so that two writers cannot deadlock.

-- name: make_incoming
-- What a transaction is about to store; this connection's own, and empty after each transaction. (To COPY into it costs
-- ingest half of what arrays as parameters do.)
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    user_id text COLLATE "C", capture_id text COLLATE "C", pokemon_id integer, pokemon_name text, action text,
    removed boolean, captured_at timestamptz, metadata text, pull integer, place integer, moves integer
) ON COMMIT DELETE ROWS;

-- name: find_known
-- Which of these captures ($1, $2) are stored already, and stay so until the end of the transaction: one that is being
-- deleted is waited for, and is then new. (LATERAL and LIMIT: each by its key, whatever the tables' statistics say.)
SELECT asked.user_id, asked.capture_id
FROM unnest($1::text[], $2::text[]) AS asked (user_id, capture_id)
CROSS JOIN LATERAL (
    SELECT FROM captures.events AS e
    WHERE e.user_id = asked.user_id AND e.capture_id = asked.capture_id LIMIT 1 FOR KEY SHARE
) AS known;

-- name: store_incoming
-- Stores what is incoming, of pulls with these ids ($1) and times of receipt ($2), in the order of the locks (by numbers:
-- to sort by texts takes several times as long). It fails when something of it is stored already, since to look for each
-- costs a half more.
INSERT INTO captures.events (
    user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, received_at, pull_id, metadata
)
SELECT user_id, capture_id, pokemon_id, pokemon_name, action, removed, captured_at, ($2::timestamptz[])[pull],
       ($1::uuid[])[pull], metadata::jsonb
FROM pg_temp.incoming ORDER BY place;

-- name: move_holdings
-- Moves the holdings of what is incoming, and holders and ranking by the difference. The times of receipt are $1. Answers
-- by how much the holdings grew in all.
WITH changed AS (
    INSERT INTO captures.holdings AS h (user_id, pokemon_id, held, held_before, effective_at, captured_at, capture_id)
    SELECT user_id, pokemon_id, NOT removed, false, least(captured_at, ($1::timestamptz[])[pull]), captured_at, capture_id
    FROM pg_temp.incoming WHERE moves IS NOT NULL ORDER BY moves
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
names AS (
    -- Only of what is not ranked yet: to look for the others' would be a comparison of texts for each capture.
    SELECT pokemon_id, min(pokemon_name) AS pokemon_name
    FROM pg_temp.incoming
    WHERE pokemon_id IN (
        SELECT d.pokemon_id FROM differences AS d
        WHERE NOT EXISTS (SELECT FROM captures.ranking AS r WHERE r.pokemon_id = d.pokemon_id)
    )
    GROUP BY pokemon_id
),
ranked AS (
    INSERT INTO captures.ranking AS r (pokemon_id, pokemon_name, holders, updated_at)
    SELECT pokemon_id, coalesce(n.pokemon_name, ''), d.difference, now()
    FROM differences AS d LEFT JOIN names AS n USING (pokemon_id)
    -- Always true: postgres is free in the order of parts that do not read each other, and the holders come first.
    WHERE (SELECT count(*) FROM counted) >= 0
    ORDER BY pokemon_id
    ON CONFLICT (pokemon_id) DO UPDATE SET holders = r.holders + excluded.holders, updated_at = now()
)
SELECT coalesce(sum(difference), 0)::bigint FROM differences;

-- name: count
-- The last statement of a transaction, since all transactions meet in this row.
UPDATE captures.totals SET
    events = events + $1, holdings = holdings + $2, quarantined = quarantined + $3, updated_at = now();

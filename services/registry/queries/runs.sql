-- Sync runs: a row for each client that is not settled yet.

-- name: start_run
INSERT INTO registry.sync_runs (kind, since) VALUES ($1, $2) RETURNING run_id;

-- name: add_run_clients
-- The clients are locked, in one order: one that is unregistered meanwhile waits, and then finds its part to settle.
INSERT INTO registry.sync_run_clients (run_id, user_id, client_url)
SELECT $1, user_id, client_url FROM registry.clients ORDER BY user_id FOR UPDATE;

-- name: count_run_clients
UPDATE registry.sync_runs AS r SET requested = n, finished_at = CASE WHEN n = 0 THEN now() END
FROM (SELECT count(*) AS n FROM registry.sync_run_clients WHERE run_id = $1) AS t
WHERE r.run_id = $1;

-- name: demand_run_clients
-- Their rows are locked already. The demand is of this moment and not of the transaction's begin: a pull that was
-- claimed in between may have read too early.
UPDATE registry.clients AS c SET
    demanded_since = CASE WHEN c.demanded_at IS NULL THEN $2 ELSE registry.earlier(c.demanded_since, $2) END,
    demanded_at = clock_timestamp()
FROM registry.sync_run_clients AS p WHERE p.run_id = $1 AND c.user_id = p.user_id;

-- name: run
SELECT * FROM registry.sync_runs WHERE run_id = $1;

-- name: run_failures
SELECT user_id, client_url, reason, error FROM registry.sync_run_clients
WHERE run_id = $1 AND reason IS NOT NULL AND settled_at IS NOT NULL
ORDER BY user_id LIMIT $2;

-- name: abandon_parts
-- Settles, as failed, the parts of open runs that wait for a client that is gone.
WITH parts AS (
    UPDATE registry.sync_run_clients SET settled_at = now(), reason = 'unregistered', error = 'the client was unregistered'
    WHERE user_id = ANY($1::text[]) AND settled_at IS NULL
    RETURNING run_id
),
locked AS (
    SELECT r.run_id, p.n
    FROM registry.sync_runs AS r JOIN (SELECT run_id, count(*) AS n FROM parts GROUP BY run_id) AS p USING (run_id)
    ORDER BY r.run_id FOR UPDATE OF r
)
UPDATE registry.sync_runs AS r SET
    settled = r.settled + p.n,
    failed = r.failed + p.n,
    finished_at = CASE WHEN r.settled + p.n >= r.requested THEN now() END
FROM locked AS p WHERE r.run_id = p.run_id;

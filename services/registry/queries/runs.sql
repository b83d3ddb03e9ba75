-- Sync runs: a row for each client that is not settled yet.

-- name: start_run
INSERT INTO registry.sync_runs (kind, since, delete_unknown) VALUES ($1, $2, $3) RETURNING run_id;

-- name: open_complete_run
SELECT run_id FROM registry.sync_runs WHERE kind = 'sync-complete-state' AND finished_at IS NULL;

-- name: add_run_clients
-- The clients are locked, in one order: one that is unregistered meanwhile waits, and then finds its part to settle.
INSERT INTO registry.sync_run_clients (run_id, user_id, client_url)
SELECT $1, user_id, client_url FROM registry.clients WHERE NOT paused ORDER BY user_id FOR UPDATE;

-- name: count_run_clients
UPDATE registry.sync_runs AS r SET requested = n, finished_at = CASE WHEN n = 0 THEN now() END
FROM (SELECT count(*) AS n FROM registry.sync_run_clients WHERE run_id = $1) AS t
WHERE r.run_id = $1
RETURNING requested;

-- name: demand_run_clients
-- Their rows are locked already. The demand is of this moment and not of the transaction's begin: a pull that was
-- claimed in between may have read too early. What a nudge has booked for later comes in addition: see settle.
UPDATE registry.clients AS c SET
    demanded_since = CASE WHEN c.demanded_at IS NULL THEN $2 ELSE registry.earlier(c.demanded_since, $2) END,
    demanded_at = clock_timestamp()
FROM registry.sync_run_clients AS p WHERE p.run_id = $1 AND c.user_id = p.user_id;

-- name: run
SELECT *, extract(epoch FROM coalesce(finished_at, now()) - created_at)::float8 AS elapsed_s
FROM registry.sync_runs WHERE run_id = $1;

-- name: runs
-- One page, the latest first.
SELECT *, extract(epoch FROM coalesce(finished_at, now()) - created_at)::float8 AS elapsed_s
FROM registry.sync_runs
WHERE created_at <= CASE
          WHEN $1::uuid IS NULL THEN 'infinity' ELSE (SELECT created_at FROM registry.sync_runs WHERE run_id = $1)
      END
  AND ($1::uuid IS NULL
       OR (created_at, run_id) < (SELECT created_at, run_id FROM registry.sync_runs WHERE run_id = $1))
ORDER BY created_at DESC, run_id DESC LIMIT $2;

-- name: unfinished_runs
-- Those that wait for a client: from one to the next in the index of what waits, whose entries are not counted.
WITH RECURSIVE waiting AS (
    (SELECT run_id FROM registry.sync_run_clients WHERE settled_at IS NULL ORDER BY run_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT p.run_id FROM registry.sync_run_clients AS p
        WHERE p.settled_at IS NULL AND p.run_id > w.run_id ORDER BY p.run_id LIMIT 1
    ) FROM waiting AS w WHERE w.run_id IS NOT NULL
)
SELECT count(run_id) FROM waiting;

-- name: run_clients
-- One page of a run's clients, by user id.
SELECT * FROM registry.sync_run_clients WHERE run_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3;

-- name: run_clients_waiting
SELECT * FROM registry.sync_run_clients
WHERE run_id = $1 AND user_id > $2 AND settled_at IS NULL ORDER BY user_id LIMIT $3;

-- name: run_clients_failed
SELECT * FROM registry.sync_run_clients
WHERE run_id = $1 AND user_id > $2 AND reason <> 'cancelled' ORDER BY user_id LIMIT $3;

-- name: run_clients_differing
SELECT * FROM registry.sync_run_clients
WHERE run_id = $1 AND user_id > $2 AND (missing > 0 OR unknown > 0) ORDER BY user_id LIMIT $3;

-- name: abandon_parts
-- Settles, as failed, the parts of open runs that wait for clients that won't be pulled.
WITH parts AS (
    UPDATE registry.sync_run_clients SET settled_at = now(), reason = $2, error = $3
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
    failed_by_reason = registry.counts_added(r.failed_by_reason, jsonb_build_object($2::text, p.n)),
    finished_at = CASE WHEN r.settled + p.n >= r.requested THEN now() END
FROM locked AS p WHERE r.run_id = p.run_id
RETURNING r.run_id, r.requested AS clients, r.failed, r.stored, r.finished_at IS NOT NULL AS finished;

-- name: lock_waiting_clients
-- The clients that a run waits for, in the order in which everybody locks them.
SELECT c.user_id FROM registry.clients AS c JOIN registry.sync_run_clients AS p USING (user_id)
WHERE p.run_id = $1 AND p.settled_at IS NULL ORDER BY c.user_id FOR UPDATE OF c;

-- name: cancel_parts
UPDATE registry.sync_run_clients SET settled_at = now(), reason = 'cancelled', error = 'the run was cancelled'
WHERE run_id = $1 AND settled_at IS NULL RETURNING user_id;

-- name: withdraw_demands
-- Unless another run wants the client, too, or a nudge that no pull has begun after; a complete run demanded nothing.
UPDATE registry.clients AS c SET demanded_at = NULL, demanded_since = NULL
FROM registry.sync_runs AS r
WHERE r.run_id = $1 AND r.kind <> 'sync-complete-state' AND c.user_id = ANY($2::text[])
  AND (c.nudged_at IS NULL OR coalesce(c.nudged_at <= c.claimed_at, false))
  AND NOT EXISTS (
      SELECT FROM registry.sync_run_clients AS p JOIN registry.sync_runs AS o USING (run_id)
      WHERE p.user_id = c.user_id AND p.settled_at IS NULL AND o.kind <> 'sync-complete-state'
  );

-- name: cancel_run
UPDATE registry.sync_runs SET finished_at = now(), cancelled = $2 WHERE run_id = $1 AND finished_at IS NULL
RETURNING run_id;

-- The registry's statements. Times are the database's, so that replicas need no common clock of their own.

-- name: ensure_scheduler
-- The default interval counts only until an operator sets another.
INSERT INTO registry.scheduler (sync_interval_s) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: scheduler
SELECT running, sync_interval_s, last_cleanup FROM registry.scheduler;

-- name: set_running
UPDATE registry.scheduler SET running = $1;

-- name: set_interval
-- Clients that wait for their slot move to that in the new interval; those that are due, held by a pull, or backing off
-- stay where they are.
WITH scheduler AS (
    UPDATE registry.scheduler SET sync_interval_s = $1 RETURNING sync_interval_s
),
waiting AS (
    SELECT user_id FROM registry.clients
    WHERE pull_id IS NULL AND failures = 0 AND next_pull_at > now()
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c
SET next_pull_at = registry.next_slot(c.user_id, s.sync_interval_s, now())
FROM scheduler AS s, waiting AS w
WHERE c.user_id = w.user_id;

-- name: register
-- A known client keeps its history and its lease; it is due at once, whatever went wrong before.
INSERT INTO registry.clients AS c (user_id, client_url, client_type, capabilities)
VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET
    client_url = excluded.client_url,
    client_type = excluded.client_type,
    capabilities = excluded.capabilities,
    updated_at = now(),
    failures = 0,
    next_pull_at = CASE WHEN c.pull_id IS NULL THEN now() ELSE c.next_pull_at END
RETURNING (xmax = 0) AS is_new;

-- name: unregister
-- Runs that still wait for the client are told that it is gone.
DELETE FROM registry.clients WHERE user_id = $1 RETURNING user_id;

-- name: client
SELECT * FROM registry.clients WHERE user_id = $1;

-- name: clients
-- One page, by user id.
SELECT * FROM registry.clients WHERE user_id > $1 ORDER BY user_id LIMIT $2;

-- name: client_totals
SELECT count(*) AS registered,
       coalesce(sum(pending), 0)::bigint AS pending,
       count(*) FILTER (WHERE failures > 0) AS failing,
       count(*) FILTER (WHERE pull_id IS NOT NULL) AS in_flight,
       coalesce(extract(epoch FROM now() - min(next_pull_at) FILTER (WHERE pull_id IS NULL)), 0)::float8 AS lag_s
FROM registry.clients;

-- name: claim_due
-- Hands out a lease on each client that is due, oldest slot first; concurrent claims never get the same client.
-- A lease that ended without a settlement makes the next one twice as long, up to 32 times: when what is stored can't
-- be settled for hours, the queue does not fill with copies.
WITH due AS (
    SELECT user_id FROM registry.clients
    WHERE next_pull_at <= now() AND (SELECT running FROM registry.scheduler)
    ORDER BY next_pull_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE registry.clients AS c SET
    pull_id = gen_random_uuid(),
    pull_since = NULL,
    claimed_at = now(),
    leases_lost = CASE WHEN c.pull_id IS NULL THEN 0 ELSE least(c.leases_lost + 1, 5) END,
    next_pull_at = now() + $2::interval * 2 ^ CASE WHEN c.pull_id IS NULL THEN 0 ELSE least(c.leases_lost + 1, 5) END
FROM due WHERE c.user_id = due.user_id
RETURNING c.pull_id, c.user_id, c.client_url, c.next_pull_at AS lease_expires_at;

-- name: claim_demanded
-- The same for pulls that someone demanded, bounded by how many leases may be out in all; oldest demand first.
WITH due AS (
    SELECT user_id FROM registry.clients
    WHERE demanded_at IS NOT NULL AND (pull_id IS NULL OR next_pull_at <= now())
    ORDER BY demanded_at
    LIMIT greatest(0, $1 - (SELECT count(*) FROM registry.clients WHERE pull_id IS NOT NULL AND next_pull_at > now()))
    FOR UPDATE SKIP LOCKED
)
UPDATE registry.clients AS c SET
    pull_id = gen_random_uuid(),
    pull_since = c.demanded_since,
    claimed_at = now(),
    leases_lost = CASE WHEN c.pull_id IS NULL THEN 0 ELSE least(c.leases_lost + 1, 5) END,
    next_pull_at = now() + $2::interval * 2 ^ CASE WHEN c.pull_id IS NULL THEN 0 ELSE least(c.leases_lost + 1, 5) END
FROM due WHERE c.user_id = due.user_id
RETURNING c.pull_id, c.user_id, c.client_url, c.next_pull_at AS lease_expires_at, c.pull_since;

-- name: release
-- Gives leases back whose pull was never asked for; the demand stays.
WITH held AS (
    SELECT user_id FROM registry.clients WHERE pull_id = ANY($1::uuid[]) ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET pull_id = NULL, next_pull_at = now() FROM held WHERE c.user_id = held.user_id;

-- name: settle
-- Ends leases. A pull that no longer holds its client's lease changes nothing, so a repeated outcome does no harm.
-- A run's part is settled by the first pull that began after the run and read at least as far back as the run asks,
-- whoever asked for that pull; it stays open while the client has more.
WITH outcomes AS (
    SELECT DISTINCT ON (pull_id) * FROM unnest(
        $1::uuid[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::text[], $7::float8[]
    ) AS t (pull_id, stored, pending, more_pending, reason, error, duration_s)
),
held AS (
    SELECT c.user_id, c.claimed_at, c.pull_since, c.demanded_at, o.*,
           o.more_pending AND o.reason IS NULL AS goes_on,
           c.demanded_at > c.claimed_at AS demanded_since_then
    FROM registry.clients AS c JOIN outcomes AS o USING (pull_id)
    ORDER BY c.user_id FOR UPDATE OF c
),
clients AS (
    UPDATE registry.clients AS c SET
        pull_id = NULL,
        leases_lost = 0,
        failures = CASE WHEN h.reason IS NULL THEN 0 ELSE c.failures + 1 END,
        next_pull_at = CASE
            WHEN h.reason IS NULL THEN registry.next_slot(c.user_id, s.sync_interval_s, now())
            ELSE now() + registry.backoff(c.failures + 1, s.sync_interval_s, $8)
        END,
        demanded_at = CASE
            WHEN h.demanded_since_then THEN c.demanded_at
            WHEN h.goes_on THEN now()
        END,
        demanded_since = CASE
            WHEN NOT h.goes_on THEN c.demanded_since
            WHEN h.demanded_since_then THEN registry.earlier(c.demanded_since, c.pull_since)
            ELSE c.pull_since
        END,
        last_pull_at = c.claimed_at,
        last_success_at = CASE WHEN h.reason IS NULL THEN now() ELSE c.last_success_at END,
        last_reason = h.reason,
        last_error = h.error,
        last_duration_s = h.duration_s,
        pending = h.pending,
        stored = c.stored + h.stored
    FROM held AS h, registry.scheduler AS s
    WHERE c.user_id = h.user_id
),
parts AS (
    UPDATE registry.sync_run_clients AS p SET
        settled_at = CASE WHEN h.goes_on THEN NULL ELSE now() END,
        stored = p.stored + h.stored,
        reason = h.reason,
        error = h.error
    FROM held AS h, registry.sync_runs AS r
    WHERE p.user_id = h.user_id AND p.settled_at IS NULL AND r.run_id = p.run_id
      AND r.created_at <= h.claimed_at AND (h.pull_since IS NULL OR h.pull_since <= r.since)
    RETURNING p.run_id, p.settled_at, h.stored, p.reason
),
progress AS (
    SELECT run_id, count(settled_at) AS settled, sum(stored) AS stored,
           count(settled_at) FILTER (WHERE reason IS NOT NULL) AS failed
    FROM parts GROUP BY run_id
),
locked AS (
    SELECT r.run_id, p.settled, p.stored, p.failed
    FROM registry.sync_runs AS r JOIN progress AS p USING (run_id)
    ORDER BY r.run_id FOR UPDATE OF r
),
runs AS (
    UPDATE registry.sync_runs AS r SET
        settled = r.settled + p.settled,
        failed = r.failed + p.failed,
        stored = r.stored + p.stored,
        finished_at = CASE WHEN r.settled + p.settled >= r.requested THEN now() END
    FROM locked AS p WHERE r.run_id = p.run_id
)
SELECT count(*) AS settled, coalesce(bool_or(goes_on OR demanded_since_then), false) AS demanded FROM held;

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

-- name: begin_cleanup
-- True for one of all registries, and only when the last cleanup was longer ago than the interval.
UPDATE registry.scheduler SET last_cleanup = now()
WHERE last_cleanup IS NULL OR last_cleanup <= now() - $1::interval
RETURNING true;

-- name: remove_silent
-- Clients without any success for the whole retention. They may hold captures that exist nowhere else, so it is long.
DELETE FROM registry.clients
WHERE coalesce(last_success_at, updated_at) < now() - $1::interval AND updated_at < now() - $1::interval
RETURNING user_id;

-- name: remove_old_runs
DELETE FROM registry.sync_runs WHERE finished_at < now() - $1::interval;

-- name: ranking
SELECT pokemon_id, pokemon_name, holders, updated_at FROM captures.published_ranking
ORDER BY holders DESC, pokemon_id LIMIT $1;

-- name: capture_totals
SELECT events, holdings, ranked, quarantined, updated_at FROM captures.published_totals;

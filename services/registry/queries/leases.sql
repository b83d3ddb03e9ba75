-- Leases: who may pull a client, until when, and what became of it. Whatever statistics the planner has, the clients that
-- were chosen are found by key (`= ANY (ARRAY (...))`): a join with them may read the whole table.
-- A lease that ended without a settlement makes the next one twice as long, up to 32 times: when what is stored can't be
-- settled for hours, the queue does not fill with copies. Who claims is a holder, and numbers its claims (holders.sql).

-- name: claim_due
-- Hands out a lease on each client that is due, or will be within $3, oldest slot first, and says when it is; concurrent
-- claims never get the same client. $4 is the holder, $5 the number of its claim (null: none).
WITH due AS (
    SELECT user_id, next_pull_at AS due_at FROM registry.clients
    WHERE next_pull_at <= now() + $3::interval AND NOT paused AND (SELECT running FROM registry.scheduler)
      AND (pull_id IS NULL OR next_pull_at <= now()) AND (SELECT registry.begin_claim($4, $5))
    ORDER BY next_pull_at LIMIT $1 FOR UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE registry.clients AS c SET
        pull_id = registry.new_pull_id((SELECT registry.pull_ids_now())),
        pull_since = NULL,
        pull_run = NULL,
        claimed_at = now(),
        holder_id = $4,
        claim = $5,
        leases_lost = least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5),
        next_pull_at = now() + $2::interval * 2 ^ least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5)
    WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM due))
    RETURNING c.pull_id, c.user_id, c.client_url, c.token_generation, c.next_pull_at AS lease_expires_at
)
SELECT c.*, greatest(0, extract(epoch FROM d.due_at - now()))::float8 AS due_in_s
FROM claimed AS c JOIN due AS d USING (user_id);

-- name: claim_demanded
-- The same for pulls that someone demanded, bounded by how many leases may be out in all; oldest demand first. A demand
-- may be for a moment that is still to come. (Two lost leases may be this client's doing: then it waits.)
WITH due AS (
    SELECT user_id FROM registry.clients
    WHERE demanded_at <= clock_timestamp() AND NOT paused
      AND (pull_id IS NULL AND leases_lost < 2 OR next_pull_at <= now())
      AND (SELECT registry.begin_claim($3, $4))
    ORDER BY demanded_at
    LIMIT greatest(0, $1 - (SELECT count(*) FROM (
        SELECT FROM registry.clients WHERE pull_id IS NOT NULL AND next_pull_at > now() ORDER BY next_pull_at LIMIT $1
    ) AS out))
    FOR UPDATE SKIP LOCKED
)
UPDATE registry.clients AS c SET
    pull_id = registry.new_pull_id((SELECT registry.pull_ids_now())),
    pull_since = c.demanded_since,
    pull_run = NULL,
    claimed_at = now(),
    holder_id = $3,
    claim = $4,
    leases_lost = least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5),
    next_pull_at = now() + $2::interval * 2 ^ least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5)
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM due))
RETURNING c.pull_id, c.user_id, c.client_url, c.token_generation, c.next_pull_at AS lease_expires_at, c.pull_since;

-- name: claim_complete
-- The same for the clients that a complete run still waits for, each from where its comparison stands; none while as many
-- leases are out as may be for other pulls, so that no more clients than those are passed over.
WITH run AS (
    SELECT run_id, delete_unknown FROM registry.sync_runs WHERE kind = 'sync-complete-state' AND finished_at IS NULL
),
due AS (
    SELECT c.user_id
    FROM registry.sync_run_clients AS p JOIN registry.clients AS c USING (user_id)
    WHERE p.run_id = (SELECT run_id FROM run) AND p.settled_at IS NULL
      AND NOT c.paused AND (c.pull_id IS NULL AND c.leases_lost < 2 OR c.next_pull_at <= now()) AND (SELECT registry.begin_claim($4, $5))
    ORDER BY p.user_id
    LIMIT CASE
        WHEN $3 > (SELECT count(*) FROM (
            SELECT FROM registry.clients WHERE pull_id IS NOT NULL AND next_pull_at > now()
            ORDER BY next_pull_at LIMIT $3
        ) AS out)
        THEN greatest(0, $1 - (
            SELECT count(*) FROM registry.clients WHERE pull_run IS NOT NULL AND next_pull_at > now()
        ))
        ELSE 0
    END
    FOR UPDATE OF c SKIP LOCKED
)
UPDATE registry.clients AS c SET
    pull_id = registry.new_pull_id((SELECT registry.pull_ids_now())),
    pull_since = NULL,
    pull_run = (SELECT run_id FROM run),
    claimed_at = now(),
    holder_id = $4,
    claim = $5,
    leases_lost = least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5),
    next_pull_at = now() + $2::interval * 2 ^ least(c.leases_lost + (c.pull_id IS NOT NULL)::integer, 5)
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM due))
RETURNING c.pull_id, c.user_id, c.client_url, c.token_generation, c.next_pull_at AS lease_expires_at, c.claimed_at,
          c.pull_run, (SELECT p.compared_until FROM registry.sync_run_clients AS p
           WHERE p.run_id = c.pull_run AND p.user_id = c.user_id) AS compared_until,
          (SELECT delete_unknown FROM run) AS delete_unknown;

-- name: release
-- Gives leases back whose pulls were never asked for, or whose outcome nobody was told; the client is due again, and a
-- demand stays.
WITH held AS (
    SELECT user_id FROM registry.clients WHERE pull_id = ANY($1::uuid[]) ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET pull_id = NULL, pull_run = NULL, holder_id = NULL, next_pull_at = now()
FROM held WHERE c.user_id = held.user_id;

-- name: settle
-- Ends leases. A pull that no longer holds its client's lease changes nothing, so a repeated outcome does no harm; but
-- the history keeps, once, what became of each pull that is worth it ($11 to $15), with its lease or without.
-- A run's part is settled by the first pull that began after the run and read at least as far back as the run asks,
-- whoever asked for that pull; it stays open while the client has more. A part of a complete run is settled by the pulls
-- that were made for it, and those settle nothing else.
WITH outcomes AS (
    SELECT DISTINCT ON (pull_id) * FROM unnest(
        $1::uuid[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::text[], $7::float8[], $8::jsonb[],
        $16::float8[]
    ) AS t (pull_id, stored, pending, more_pending, reason, error, duration_s, difference, retry_after_s)
),
held AS (
    SELECT c.user_id, least(c.claimed_at, now()) AS claimed_at, c.pull_since, c.pull_run, o.*,
           -- When the pull began; of a clock that was ahead then nobody knows what came later.
           CASE WHEN c.claimed_at <= now() THEN c.claimed_at ELSE '-infinity' END AS began_at,
           o.reason IS NULL AND CASE
               WHEN c.pull_run IS NULL THEN o.more_pending ELSE o.difference ->> 'until' IS NOT NULL
           END AS goes_on,
           coalesce(
               greatest(c.demanded_at, c.nudged_at)
                   > CASE WHEN c.claimed_at <= now() THEN c.claimed_at ELSE '-infinity' END,
               false
           ) AS demanded_since_then
    FROM registry.clients AS c JOIN outcomes AS o USING (pull_id)
    ORDER BY c.user_id FOR UPDATE OF c
),
clients AS (
    UPDATE registry.clients AS c SET
        pull_id = NULL,
        pull_run = NULL,
        holder_id = NULL,
        leases_lost = 0,
        failures = CASE WHEN h.reason IS NULL THEN 0 ELSE c.failures + 1 END,
        inactive_since = CASE WHEN h.reason IS NOT NULL THEN c.inactive_since END,
        next_pull_at = CASE
            WHEN h.reason IS NULL
                THEN registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now())
            WHEN c.inactive_since IS NOT NULL THEN now() + (0.75 + random() / 2)
                * make_interval(secs => greatest($10, coalesce(c.sync_interval_s, s.sync_interval_s)))
            ELSE now() + greatest(
                registry.backoff(c.failures + 1, coalesce(c.sync_interval_s, s.sync_interval_s), $9),
                -- What the client asks for, if it is no longer than a backoff may be.
                make_interval(secs => least(
                    h.retry_after_s, greatest($9, 2 * coalesce(c.sync_interval_s, s.sync_interval_s))
                ))
            )
        END,
        demanded_at = CASE
            WHEN h.pull_run IS NOT NULL THEN c.demanded_at
            WHEN h.goes_on THEN clock_timestamp()
            WHEN c.demanded_at > h.began_at THEN c.demanded_at
            WHEN h.demanded_since_then THEN c.nudged_at
        END,
        demanded_since = CASE
            WHEN h.pull_run IS NOT NULL OR NOT h.goes_on THEN c.demanded_since
            WHEN h.demanded_since_then THEN registry.earlier(c.demanded_since, c.pull_since)
            ELSE c.pull_since
        END,
        last_pull_at = h.claimed_at,
        last_success_at = CASE WHEN h.reason IS NULL THEN now() ELSE c.last_success_at END,
        last_reason = h.reason,
        last_error = h.error,
        last_duration_s = h.duration_s,
        pending = CASE WHEN h.pull_run IS NULL THEN h.pending ELSE c.pending END,
        emptied_at = CASE
            WHEN h.reason IS NULL AND h.pull_run IS NULL AND h.pull_since IS NULL AND h.pending = 0 THEN h.claimed_at
            ELSE c.emptied_at
        END,
        stored = c.stored + h.stored
    FROM held AS h, registry.scheduler AS s
    WHERE c.user_id = h.user_id
),
parts AS (
    UPDATE registry.sync_run_clients AS p SET
        settled_at = CASE WHEN h.goes_on THEN NULL ELSE now() END,
        stored = p.stored + h.stored,
        reason = h.reason,
        error = h.error,
        compared_until = h.difference ->> 'until',
        missing = p.missing + coalesce((h.difference ->> 'missing')::bigint, 0),
        unknown = p.unknown + coalesce((h.difference ->> 'unknown')::bigint, 0),
        deleted = p.deleted + coalesce((h.difference ->> 'deleted')::bigint, 0),
        missing_examples = registry.first_examples(p.missing_examples, h.difference -> 'missing_examples'),
        unknown_examples = registry.first_examples(p.unknown_examples, h.difference -> 'unknown_examples')
    FROM held AS h, registry.sync_runs AS r
    WHERE p.user_id = h.user_id AND p.settled_at IS NULL AND r.run_id = p.run_id
      AND CASE
          WHEN h.pull_run IS NOT NULL THEN r.run_id = h.pull_run
          ELSE r.kind <> 'sync-complete-state' AND r.created_at <= h.began_at
               AND (h.pull_since IS NULL OR h.pull_since <= r.since)
      END
    RETURNING p.run_id, p.settled_at, h.stored, p.reason, h.difference
),
progress AS (
    SELECT run_id, count(settled_at) AS settled, sum(stored) AS stored,
           count(settled_at) FILTER (WHERE reason IS NOT NULL) AS failed,
           coalesce(sum((difference ->> 'missing')::bigint), 0) AS missing,
           coalesce(sum((difference ->> 'unknown')::bigint), 0) AS unknown,
           coalesce(sum((difference ->> 'deleted')::bigint), 0) AS deleted
    FROM parts GROUP BY run_id
),
failures AS (
    SELECT run_id, jsonb_object_agg(reason, n) AS by_reason FROM (
        SELECT run_id, reason, count(*) AS n FROM parts WHERE settled_at IS NOT NULL AND reason IS NOT NULL
        GROUP BY run_id, reason
    ) AS t GROUP BY run_id
),
locked AS (
    SELECT r.run_id, p.settled, p.stored, p.failed, p.missing, p.unknown, p.deleted, f.by_reason
    FROM registry.sync_runs AS r JOIN progress AS p USING (run_id) LEFT JOIN failures AS f USING (run_id)
    ORDER BY r.run_id FOR UPDATE OF r
),
runs AS (
    UPDATE registry.sync_runs AS r SET
        settled = r.settled + p.settled,
        failed = r.failed + p.failed,
        failed_by_reason = registry.counts_added(r.failed_by_reason, coalesce(p.by_reason, '{}')),
        stored = r.stored + p.stored,
        missing = r.missing + p.missing,
        unknown = r.unknown + p.unknown,
        deleted = r.deleted + p.deleted,
        finished_at = CASE WHEN r.settled + p.settled >= r.requested THEN now() END
    FROM locked AS p WHERE r.run_id = p.run_id
    RETURNING r.run_id, r.requested AS clients, r.failed, r.stored, r.finished_at IS NOT NULL AS finished
),
minutes AS (
    INSERT INTO registry.pull_minutes AS m (minute, backend, reason, bucket, pulls, stored)
    SELECT date_trunc('minute', now()), pg_backend_pid(), coalesce(reason, ''),
           registry.duration_bucket(duration_s), count(*), sum(stored)
    FROM held GROUP BY 3, 4
    ON CONFLICT (minute, backend, reason, bucket) DO UPDATE SET
        pulls = m.pulls + excluded.pulls, stored = m.stored + excluded.stored
),
history AS (
    INSERT INTO registry.pulls AS p (
        user_id, pull_id, began_at, since, run_id, outcome, reason, error, stored, duplicates, quarantined, pending,
        duration_s, acknowledged_at
    )
    SELECT k.user_id, k.pull_id, h.claimed_at, h.pull_since, h.pull_run, k.outcome, o.reason, o.error, o.stored,
           k.duplicates, k.quarantined, o.pending, o.duration_s,
           CASE WHEN k.outcome = 'stored' AND o.reason IS NULL THEN now() END
    FROM unnest($11::uuid[], $12::text[], $13::text[], $14::bigint[], $15::bigint[])
             AS k (pull_id, user_id, outcome, duplicates, quarantined)
    JOIN outcomes AS o USING (pull_id) LEFT JOIN held AS h USING (pull_id)
    ORDER BY k.user_id COLLATE "C", k.pull_id
    -- What is there already came twice, or is nothing but an acknowledgement that overtook this.
    ON CONFLICT (user_id, pull_id) DO UPDATE SET
        (began_at, since, run_id, outcome, reason, error, stored, duplicates, quarantined, pending, duration_s)
        = (excluded.began_at, excluded.since, excluded.run_id, excluded.outcome, excluded.reason, excluded.error,
           excluded.stored, excluded.duplicates, excluded.quarantined, excluded.pending, excluded.duration_s)
    WHERE p.outcome IS NULL
)
SELECT count(*) AS settled, coalesce(bool_or(goes_on OR demanded_since_then), false) AS demanded,
       (SELECT coalesce(jsonb_agg(runs), '[]') FROM runs) AS runs
FROM held;

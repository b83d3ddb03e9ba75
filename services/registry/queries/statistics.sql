-- Numbers over all clients and pulls, none of which is counted when somebody asks.

-- name: client_totals
-- The most overdue client is the first in its index.
SELECT coalesce(sum(registered), 0)::bigint AS registered,
       coalesce(sum(failing), 0)::bigint AS failing,
       coalesce(sum(inactive), 0)::bigint AS inactive,
       coalesce(sum(paused), 0)::bigint AS paused,
       coalesce(sum(in_flight), 0)::bigint AS in_flight,
       coalesce(sum(pending), 0)::bigint AS pending,
       coalesce(sum(stored), 0)::bigint AS stored,
       coalesce((
           SELECT extract(epoch FROM now() - next_pull_at) FROM registry.clients
           WHERE NOT paused AND next_pull_at <= now()
           ORDER BY next_pull_at LIMIT 1
       ), 0)::float8 AS lag_s
FROM registry.client_counts;

-- name: pull_totals
-- Pulls that ended in the last minutes. A median is the upper end of the bucket in which half of the pulls are reached.
WITH recent AS (
    SELECT reason, bucket, sum(pulls) AS pulls, sum(stored) AS stored
    FROM registry.pull_minutes WHERE minute > now() - $1::interval GROUP BY reason, bucket
),
by_duration AS (
    SELECT bucket, sum(sum(pulls)) OVER (ORDER BY bucket) AS up_to, sum(sum(pulls)) OVER () AS pulls
    FROM recent GROUP BY bucket
)
SELECT coalesce(sum(pulls), 0)::bigint AS pulls,
       coalesce(sum(pulls) FILTER (WHERE reason = ''), 0)::bigint AS succeeded,
       coalesce(sum(stored), 0)::bigint AS stored,
       (SELECT registry.bucket_duration_s(min(bucket)) FROM by_duration WHERE up_to >= 0.5 * pulls) AS median_s,
       (SELECT registry.bucket_duration_s(min(bucket)) FROM by_duration WHERE up_to >= 0.99 * pulls) AS p99_s
FROM recent;

-- name: pull_failures
SELECT reason, sum(pulls)::bigint AS pulls FROM registry.pull_minutes
WHERE minute > now() - $1::interval AND reason <> ''
GROUP BY reason ORDER BY reason;

-- name: fold_client_counts
-- Adds up the rows of connections that have ended.
WITH ended AS (
    DELETE FROM registry.client_counts
    WHERE backend <> 0 AND backend NOT IN (SELECT pid FROM pg_stat_activity)
    RETURNING *
)
INSERT INTO registry.client_counts AS c
SELECT 0, sum(registered), sum(failing), sum(inactive), sum(paused), sum(in_flight), sum(pending), sum(stored)
FROM ended HAVING count(*) > 0
ON CONFLICT (backend) DO UPDATE SET
    registered = c.registered + excluded.registered,
    failing = c.failing + excluded.failing,
    inactive = c.inactive + excluded.inactive,
    paused = c.paused + excluded.paused,
    in_flight = c.in_flight + excluded.in_flight,
    pending = c.pending + excluded.pending,
    stored = c.stored + excluded.stored;

-- name: remove_old_minutes
DELETE FROM registry.pull_minutes WHERE minute < now() - $1::interval;

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
    FROM registry.pull_minutes WHERE minute > now() - $1::interval AND minute <= now() GROUP BY reason, bucket
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
WHERE minute > now() - $1::interval AND minute <= now() AND reason <> ''
GROUP BY reason ORDER BY reason;

-- name: pull_minutes_of_an_hour
-- The minute of now and the 59 before it, the oldest first, those without pulls too. Durations are as in pull_totals.
WITH recent AS (
    SELECT minute, reason, bucket, sum(pulls)::bigint AS pulls, sum(stored) AS stored
    FROM registry.pull_minutes WHERE minute >= date_trunc('minute', now()) - interval '59 minutes'
    GROUP BY minute, reason, bucket
),
by_reason AS (
    SELECT minute, reason, sum(pulls) AS pulls, sum(stored) AS stored FROM recent GROUP BY minute, reason
),
totals AS (
    SELECT minute, sum(pulls)::bigint AS pulls, sum(stored)::bigint AS stored,
           coalesce(sum(pulls) FILTER (WHERE reason <> ''), 0)::bigint AS failed,
           jsonb_object_agg(reason, pulls) FILTER (WHERE reason <> '') AS failed_by_reason
    FROM by_reason GROUP BY minute
),
by_duration AS (
    SELECT minute, bucket, sum(sum(pulls)) OVER (PARTITION BY minute ORDER BY bucket) AS up_to,
           sum(sum(pulls)) OVER (PARTITION BY minute) AS pulls
    FROM recent GROUP BY minute, bucket
),
durations AS (
    SELECT minute, registry.bucket_duration_s(min(bucket) FILTER (WHERE up_to >= 0.5 * pulls)) AS median_s,
           registry.bucket_duration_s(min(bucket) FILTER (WHERE up_to >= 0.99 * pulls)) AS p99_s
    FROM by_duration GROUP BY minute
)
SELECT m.minute, coalesce(t.pulls, 0) AS pulls, coalesce(t.failed, 0) AS failed,
       coalesce(t.failed_by_reason, '{}') AS failed_by_reason, coalesce(t.stored, 0) AS stored_captures,
       round(d.median_s::numeric, 4)::float8 AS duration_median_s, round(d.p99_s::numeric, 4)::float8 AS duration_p99_s
FROM generate_series(
    date_trunc('minute', now()) - interval '59 minutes', date_trunc('minute', now()), interval '1 minute'
) AS m (minute)
LEFT JOIN totals AS t USING (minute)
LEFT JOIN durations AS d USING (minute)
ORDER BY m.minute;

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

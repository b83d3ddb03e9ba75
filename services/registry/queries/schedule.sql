-- The timer's settings, and the cleanup.

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

-- The timer's settings, and the cleanup.

-- name: ensure_scheduler
-- The default interval counts only until an operator sets another.
INSERT INTO registry.scheduler (sync_interval_s) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: scheduler
SELECT running, sync_interval_s, last_cleanup FROM registry.scheduler;

-- name: set_running
UPDATE registry.scheduler SET running = $1;

-- name: set_interval
UPDATE registry.scheduler SET sync_interval_s = $1;

-- name: moment
SELECT clock_timestamp();

-- name: changes_begun_before
-- Whether something is still under way that may have read what was there before that moment. (No lock would do: whoever
-- waits for those that change a table stands in the way of those that have locked rows of it, and change them next.)
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid() AND xact_start <= $1
);

-- name: move_to_slots
-- Clients that wait for their slot move to that in the scheduler's interval; those that are due, held by a pull, backing
-- off, or that have an interval of their own stay where they are.
WITH waiting AS (
    SELECT user_id FROM registry.clients
    WHERE pull_id IS NULL AND failures = 0 AND sync_interval_s IS NULL AND next_pull_at > now()
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c
SET next_pull_at = registry.next_slot(c.user_id, s.sync_interval_s, now())
FROM registry.scheduler AS s, waiting AS w
WHERE c.user_id = w.user_id;

-- name: begin_cleanup
-- True for one of all registries, and only when the last cleanup was longer ago than the interval, or in the future. The
-- others wait for the end of that one's transaction, and are refused then.
UPDATE registry.scheduler SET last_cleanup = now()
WHERE last_cleanup IS NULL OR last_cleanup NOT BETWEEN now() - $1::interval AND now() + interval '1 minute'
RETURNING true;

-- name: lock_silent
-- The clients of the two steps that follow, in the order in which everybody locks them; those steps take no others.
SELECT user_id FROM registry.clients
WHERE (failures > 0 AND inactive_since IS NULL AND NOT paused AND greatest(last_success_at, updated_at) < now() - $1::interval)
   OR (inactive_since IS NOT NULL AND NOT paused AND greatest(last_success_at, updated_at) < now() - $2::interval)
ORDER BY user_id FOR UPDATE;

-- name: mark_inactive
-- Clients that fail, and had no success (and did not register) for so long. From their next failure on they are probed.
WITH silent AS (
    SELECT user_id FROM registry.clients
    WHERE user_id = ANY($2::text[]) AND failures > 0 AND inactive_since IS NULL AND NOT paused
      AND greatest(last_success_at, updated_at) < now() - $1::interval
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET inactive_since = now() FROM silent AS s WHERE c.user_id = s.user_id
RETURNING c.user_id;

-- name: remove_silent
-- Clients without any success for the whole retention that were inactive as long as it takes to become that, were tried
-- lately, and have no pull under way: nobody is removed because the timer stood still, or while he answers. They may hold
-- captures that exist nowhere else, so the retention is long.
WITH silent AS (
    SELECT user_id FROM registry.clients
    WHERE user_id = ANY($3::text[]) AND inactive_since < now() - $4::interval AND NOT paused AND pull_id IS NULL
      AND greatest(last_success_at, updated_at) < now() - $1::interval
      AND last_pull_at > now() - 3 * make_interval(secs => greatest(
          $2, coalesce(sync_interval_s, (SELECT sync_interval_s FROM registry.scheduler))
      ))
    ORDER BY user_id FOR UPDATE
)
DELETE FROM registry.clients AS c USING silent AS s WHERE c.user_id = s.user_id
RETURNING c.user_id;

-- name: remove_old_runs
DELETE FROM registry.sync_runs WHERE finished_at < now() - $1::interval;

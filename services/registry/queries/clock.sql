-- What a clock did that was wrong for a while: no stored moment is believed further ahead than its rule allows. See
-- docs/adr/0019-times-are-bounded.md.

-- name: look_at_clock
-- True when the clock jumped since the last cleanup. Registries look each minute: what is ten minutes from the last look is
-- a jump, or a time in which nobody looked, and those can't be told apart.
UPDATE registry.scheduler AS s SET
    clock_seen_at = now(),
    clock_jumped = s.clock_jumped OR coalesce(
        now() NOT BETWEEN s.clock_seen_at - interval '1 minute' AND s.clock_seen_at + interval '10 minutes', false
    )
RETURNING clock_jumped;

-- name: forget_clock_jump
UPDATE registry.scheduler SET clock_jumped = false;

-- name: correct_schedule
-- Up to $4 clients whose next pull is further ahead than the rules of leases.sql put it ($1 is the lease, $2 the backoff's
-- cap, $3 the interval of probes): they get their next slot. A lease that is too long ends, and so does one that began in
-- the future: nobody knows what was demanded before it.
WITH far AS (
    SELECT c.user_id FROM registry.clients AS c, registry.scheduler AS s,
        LATERAL (SELECT make_interval(secs => coalesce(c.sync_interval_s, s.sync_interval_s))) AS i (own)
    WHERE NOT c.paused
      AND c.next_pull_at > now() + make_interval(secs => least(60, s.sync_interval_s))
      AND (
          c.next_pull_at > now() + interval '1 second' + greatest(
              CASE WHEN c.pull_id IS NOT NULL OR c.leases_lost > 0 THEN $1::interval * 2 ^ c.leases_lost END,
              CASE
                  WHEN c.pull_id IS NOT NULL THEN NULL
                  WHEN c.failures > 0 AND c.inactive_since IS NOT NULL
                      THEN 1.25 * greatest(make_interval(secs => $3), i.own)
                  WHEN c.failures > 0 THEN greatest(make_interval(secs => $2), 2 * i.own)
                  ELSE i.own
              END
          )
          OR (c.pull_id IS NOT NULL AND c.claimed_at > now() + interval '1 second')
      )
    LIMIT $4
),
locked AS (
    SELECT user_id FROM registry.clients
    WHERE user_id = ANY (ARRAY (SELECT user_id FROM far))
      AND next_pull_at > now() + (SELECT make_interval(secs => least(60, sync_interval_s)) FROM registry.scheduler)
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET
    pull_id = NULL,
    pull_run = NULL,
    holder_id = NULL,
    next_pull_at = registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now())
FROM registry.scheduler AS s
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM locked))
RETURNING c.user_id;

-- name: correct_demands
-- A demand is for now, but for one that a nudge booked within its spacing ($1). One that is further ahead is for now.
WITH far AS (
    SELECT user_id FROM registry.clients
    WHERE demanded_at > now() + $1::interval + interval '1 second' ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET demanded_at = clock_timestamp()
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM far))
RETURNING c.user_id;

-- name: correct_runs
-- A run that began in the future would wait for pulls that begin later.
WITH wrong AS (
    SELECT run_id FROM registry.sync_runs
    WHERE finished_at IS NULL AND created_at > now() + interval '1 second' ORDER BY run_id FOR UPDATE
)
UPDATE registry.sync_runs AS r SET created_at = now() FROM wrong AS w WHERE r.run_id = w.run_id RETURNING r.run_id;

-- name: correct_silence
-- Of clients that fail, a moment in the future becomes now. A minute is borne: a later transaction may have written it.
WITH wrong AS (
    SELECT user_id FROM registry.clients
    WHERE (failures > 0 AND inactive_since IS NULL AND NOT paused OR inactive_since IS NOT NULL AND NOT paused)
      AND greatest(last_success_at, updated_at, inactive_since, last_pull_at) > now() + interval '1 minute'
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET
    last_success_at = CASE WHEN c.last_success_at > now() THEN now() ELSE c.last_success_at END,
    updated_at = CASE WHEN c.updated_at > now() THEN now() ELSE c.updated_at END,
    inactive_since = CASE WHEN c.inactive_since > now() THEN now() ELSE c.inactive_since END,
    last_pull_at = CASE WHEN c.last_pull_at > now() THEN now() ELSE c.last_pull_at END
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM wrong));

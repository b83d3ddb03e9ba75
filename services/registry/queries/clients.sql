-- Client records: registering, looking, changing, forgetting. In all queries of this folder, times are the database's, so
-- that replicas need no common clock of their own, and clients are locked in the order of their ids.

-- name: registration
-- By the clock of the moment: a statement may wait for another's lock.
SELECT token_generation AS generation, client_url, clock_timestamp() - tokens_told_at AS since_told
FROM registry.clients WHERE user_id = $1;

-- name: register
-- A known client keeps its history, its lease and its pause; else it is due at once, whatever went wrong before. No row
-- when the client is known by another generation than $5, or at another address than $6 (null: when it is known at all).
-- What it is changes only with $7; with $8 it is told its tokens.
INSERT INTO registry.clients AS c (user_id, client_url, client_type, capabilities, tokens_told_at)
SELECT $1, $2, $3, $4, CASE WHEN $8 THEN now() END
WHERE $5::bigint IS NULL OR EXISTS (SELECT FROM registry.clients WHERE user_id = $1 AND token_generation = $5)
ON CONFLICT (user_id) DO UPDATE SET
    client_url = excluded.client_url,
    client_type = CASE WHEN $7 THEN excluded.client_type ELSE c.client_type END,
    capabilities = CASE WHEN $7 THEN excluded.capabilities ELSE c.capabilities END,
    tokens_told_at = coalesce(c.tokens_told_at, excluded.tokens_told_at),
    updated_at = now(),
    failures = 0,
    inactive_since = NULL,
    next_pull_at = CASE WHEN c.pull_id IS NULL THEN now() ELSE c.next_pull_at END
WHERE c.token_generation = $5 AND c.client_url = $6
RETURNING token_generation;

-- name: unregister
DELETE FROM registry.clients WHERE user_id = $1 RETURNING user_id;

-- name: client
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s WHERE c.user_id = $1;

-- name: clients
-- One page, by user id; of those ids that are not before $3, and before $4.
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s
WHERE c.user_id > $1 AND c.user_id >= $3 AND c.user_id < $4
ORDER BY c.user_id LIMIT $2;

-- name: clients_active
-- Has no index of its own, since nearly all are active as long as all is well: the others are passed over.
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s
WHERE c.user_id > $1 AND c.user_id >= $3 AND c.user_id < $4
  AND c.failures = 0 AND c.inactive_since IS NULL AND NOT c.paused
ORDER BY c.user_id LIMIT $2;

-- name: clients_failing
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s
WHERE c.user_id > $1 AND c.user_id >= $3 AND c.user_id < $4
  AND c.failures > 0 AND c.inactive_since IS NULL AND NOT c.paused
ORDER BY c.user_id LIMIT $2;

-- name: clients_inactive
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s
WHERE c.user_id > $1 AND c.user_id >= $3 AND c.user_id < $4
  AND c.inactive_since IS NOT NULL AND NOT c.paused
ORDER BY c.user_id LIMIT $2;

-- name: clients_paused
SELECT c.*, registry.next_slot(c.user_id, coalesce(c.sync_interval_s, s.sync_interval_s), now()) AS next_slot_at
FROM registry.clients AS c, registry.scheduler AS s
WHERE c.user_id > $1 AND c.user_id >= $3 AND c.user_id < $4 AND c.paused
ORDER BY c.user_id LIMIT $2;

-- name: set_own_interval
-- Null for the scheduler's. A client that waits for its slot moves to that in the new interval.
UPDATE registry.clients AS c SET
    sync_interval_s = $2,
    next_pull_at = CASE
        WHEN c.pull_id IS NULL AND c.failures = 0 AND c.next_pull_at > now()
            THEN registry.next_slot(c.user_id, coalesce($2, s.sync_interval_s), now())
        ELSE c.next_pull_at
    END
FROM registry.scheduler AS s WHERE c.user_id = $1
RETURNING c.user_id;

-- name: pause
-- A pull under way still ends; what was demanded, or booked by a nudge, is demanded no more.
UPDATE registry.clients SET paused = true, demanded_at = NULL, demanded_since = NULL, nudged_at = NULL
WHERE user_id = $1 RETURNING user_id;

-- name: resume
-- It is due at once, if its slot came meanwhile; the time of the pause does not count as silence.
UPDATE registry.clients SET paused = false, updated_at = CASE WHEN paused THEN now() ELSE updated_at END
WHERE user_id = $1 RETURNING user_id;

-- name: nudge
-- A nudge makes the client due now, so many ($3) in a burst. Beyond that, one that comes within the spacing ($2) books a
-- single pull for its end, and while that is booked, others change nothing: it will begin later than they came. (It is the
-- generic cell rate algorithm.) What is due already is not put off by a booking: the booking becomes the demand when that
-- pull settles. What is further ahead than a burst and its spacing allow was written by a clock that was wrong.
WITH client AS (
    SELECT c.user_id, b.nudged_at, c.paused, s.running, t.asked_at,
           greatest(t.asked_at, b.spaced_until - ($3 - 1) * $2::interval) AS due_at,
           greatest(t.asked_at, b.spaced_until) + $2::interval AS spaced_until
    FROM registry.clients AS c, registry.scheduler AS s, LATERAL (SELECT clock_timestamp()) AS t (asked_at), LATERAL (
        SELECT CASE WHEN c.nudged_at <= t.asked_at + $2::interval THEN c.nudged_at END,
               CASE WHEN c.nudges_spaced_until <= t.asked_at + ($3 + 1) * $2::interval THEN c.nudges_spaced_until END
    ) AS b (nudged_at, spaced_until)
    WHERE c.user_id = $1 FOR UPDATE OF c
),
nudged AS (
    UPDATE registry.clients AS c SET
        nudged_at = n.due_at,
        nudges_spaced_until = n.spaced_until,
        demanded_at = CASE WHEN c.demanded_at <= n.asked_at THEN c.demanded_at ELSE n.due_at END,
        demanded_since = NULL
    FROM client AS n
    WHERE c.user_id = $1 AND n.running AND NOT n.paused AND coalesce(n.nudged_at <= n.asked_at, true)
    RETURNING c.nudged_at, n.spaced_until - n.asked_at AS spaced
)
SELECT c.running, c.paused, (SELECT count(*) > 0 FROM nudged) AS accepted,
       coalesce((SELECT nudged_at FROM nudged), c.nudged_at) AS due_at,
       extract(epoch FROM coalesce((SELECT nudged_at FROM nudged), c.nudged_at) - c.asked_at)::float8 AS due_in_s,
       (SELECT extract(epoch FROM spaced)::float8 FROM nudged) AS spaced_s
FROM client AS c;

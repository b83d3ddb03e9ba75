-- Client records: registering, looking, forgetting. In all queries of this folder, times are the database's, so that
-- replicas need no common clock of their own.

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

-- The history of pulls; `settle` in leases.sql writes it. Of a client they are in order by their ids.

-- name: pulls_of_client
-- One page of a client's, the latest first, before $2 (null: from the latest).
SELECT * FROM registry.pulls
WHERE user_id = $1 AND pull_id < coalesce($2::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff') AND outcome IS NOT NULL
ORDER BY pull_id DESC LIMIT $3;

-- name: pull
SELECT * FROM registry.pulls WHERE user_id = $1 AND pull_id = $2;

-- name: has_pulls
-- The first by its key; of a user who has many, any one would be looked for from one end of the table.
SELECT count(*) > 0 FROM (SELECT FROM registry.pulls WHERE user_id = $1 ORDER BY pull_id LIMIT 1) AS first;

-- name: note_acknowledged
-- Clients were told of pulls that had been settled without; or will have been, when this comes first.
INSERT INTO registry.pulls AS p (user_id, pull_id, acknowledged_at)
SELECT user_id, pull_id, now() FROM unnest($1::text[], $2::uuid[]) AS t (user_id, pull_id)
ORDER BY user_id COLLATE "C", pull_id
ON CONFLICT (user_id, pull_id) DO UPDATE SET acknowledged_at = excluded.acknowledged_at WHERE p.acknowledged_at IS NULL;

-- name: remove_old_pulls
-- So many ($2) of those that were settled longer ago than $1, without waiting for others that remove them; how many.
WITH removed AS (
    DELETE FROM registry.pulls WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM registry.pulls WHERE settled_at < now() - $1::interval
        ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ))
    RETURNING 1
)
SELECT count(*) FROM removed;

-- Holders of leases: each process that claims. While it is alive its beat grows; that is seen by whoever looks twice, so no
-- clock is asked. See docs/adr/0018-a-dead-holders-leases-end-soon.md.

-- name: fence
-- After this, no claim of the holder with a number up to $2 hands out a lease; one that is doing so is waited for. It has
-- the answers of those up to $3.
INSERT INTO registry.lease_holders AS h (holder_id, claim, answered) VALUES ($1, $2, $3)
ON CONFLICT (holder_id) DO UPDATE SET claim = greatest(h.claim, excluded.claim), beat = h.beat + 1;

-- name: take_back
-- Ends the leases of the holder's claims between the numbers $2 and $3, whose answers never reached it. The clients are
-- due again.
WITH lost AS (
    SELECT user_id FROM registry.clients
    WHERE pull_id IS NOT NULL AND holder_id = $1 AND claim > $2 AND claim < $3 ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET pull_id = NULL, pull_run = NULL, holder_id = NULL, next_pull_at = now()
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM lost))
RETURNING c.user_id;

-- name: beat
-- The holder is alive. It has the answers of its claims up to $2, and of their pulls $3 in hand. A beat that comes late
-- changes nothing else.
INSERT INTO registry.lease_holders AS h (holder_id, answered, in_hand) VALUES ($1, $2, $3)
ON CONFLICT (holder_id) DO UPDATE SET
    beat = h.beat + 1,
    answered = greatest(h.answered, excluded.answered),
    in_hand = CASE WHEN excluded.answered >= h.answered THEN excluded.in_hand ELSE h.in_hand END;

-- name: holders
SELECT holder_id, beat FROM registry.lease_holders;

-- name: end_holder
-- Ends the holder, if its beat is still $2 (null: whatever it is), and its leases whose pulls are lost with it. A client
-- that lost no lease before is due at once. Then each time it waits twice as long: it may be what kills its pullers.
WITH ended AS (
    DELETE FROM registry.lease_holders WHERE holder_id = $1 AND beat = coalesce($2, beat) RETURNING *
),
in_hand AS (
    SELECT user_id FROM registry.clients WHERE pull_id = ANY (ARRAY (SELECT unnest(in_hand) FROM ended))
    UNION
    SELECT user_id FROM registry.clients
    WHERE pull_id IS NOT NULL AND holder_id = (SELECT holder_id FROM ended) AND claim > (SELECT answered FROM ended)
),
lost AS (
    SELECT user_id FROM registry.clients
    WHERE user_id = ANY (ARRAY (SELECT user_id FROM in_hand))
      AND (
          pull_id = ANY (ARRAY (SELECT unnest(in_hand) FROM ended))
          OR holder_id = (SELECT holder_id FROM ended) AND claim > (SELECT answered FROM ended)
      ) -- once more, for somebody else may have claimed it while this waited
      AND pull_id IS NOT NULL
    ORDER BY user_id FOR UPDATE
)
UPDATE registry.clients AS c SET
    pull_id = NULL,
    pull_run = NULL,
    holder_id = NULL,
    leases_lost = least(c.leases_lost + 1, 5),
    next_pull_at = now() + CASE WHEN c.leases_lost = 0 THEN interval '0' ELSE $3::interval * 2 ^ (c.leases_lost - 1) END
WHERE c.user_id = ANY (ARRAY (SELECT user_id FROM lost))
RETURNING c.user_id;

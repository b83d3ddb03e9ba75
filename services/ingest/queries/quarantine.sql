-- What could not be read or stored.

-- name: quarantine
-- Keeps what could not be read, once however often it comes. Answers a row for each that is new.
INSERT INTO captures.quarantine (user_id, fingerprint, capture_id, problem, raw, pull_id)
SELECT user_id, sha256(convert_to(raw, 'UTF8')), capture_id, problem, raw, pull_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[]) AS t (user_id, capture_id, problem, raw, pull_id)
ORDER BY user_id COLLATE "C", 2
ON CONFLICT (user_id, fingerprint) DO NOTHING
RETURNING quarantine_id;

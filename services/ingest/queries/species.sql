-- The species that ingest ships.

-- name: lock_species
-- Ingests that start together take turns; readers go on.
LOCK TABLE captures.species IN SHARE ROW EXCLUSIVE MODE;

-- name: forget_species
-- Numbers that are no longer in the file.
DELETE FROM captures.species WHERE pokemon_id <> ALL ($1::integer[]);

-- name: keep_species
-- Writes only what differs.
INSERT INTO captures.species AS s (pokemon_id, name)
SELECT * FROM unnest($1::integer[], $2::text[])
ON CONFLICT (pokemon_id) DO UPDATE SET name = excluded.name WHERE s.name <> excluded.name;

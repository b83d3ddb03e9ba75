-- What ingest publishes for the registry.

-- name: ranking
SELECT pokemon_id, pokemon_name, holders, updated_at FROM captures.published_ranking
ORDER BY holders DESC, pokemon_id LIMIT $1;

-- name: capture_totals
SELECT events, holdings, ranked, quarantined, updated_at FROM captures.published_totals;

#!/usr/bin/env bash
# The postgres image runs this once, when its volume is new: the roles of the services, and their passwords.
#
# It may be repeated, which is also how a password is changed later:
#   docker compose up -d --wait postgres && docker compose exec postgres bash /etc/pullsync/init.sh
#
# No `set -u`: the image's entrypoint sources this file where it lost its executable bit.
set -eo pipefail

# A file of that name has the last word (docker-compose.tls.yml).
for name in REGISTRY_DATABASE_PASSWORD INGEST_DATABASE_PASSWORD MONITORING_DATABASE_PASSWORD; do
    file=${SECRETS_DIR:-/run/secrets}/$name
    if [ -e "$file" ]; then export "$name=$(cat "$file")"; fi
done
: "${REGISTRY_DATABASE_PASSWORD:?}" "${INGEST_DATABASE_PASSWORD:?}" "${MONITORING_DATABASE_PASSWORD:?}"

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
    --username="${POSTGRES_USER:-postgres}" --dbname="${POSTGRES_DB:-pullsync}" <<'SQL'
\i /etc/pullsync/roles.sql

-- This server is ours alone: its other databases are for the superuser.
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;

-- From the environment and not by an argument, which `ps` would show.
\getenv registry_password REGISTRY_DATABASE_PASSWORD
\getenv ingest_password INGEST_DATABASE_PASSWORD
\getenv monitoring_password MONITORING_DATABASE_PASSWORD
BEGIN;
ALTER ROLE pullsync_registry PASSWORD :'registry_password';
ALTER ROLE pullsync_captures_reader PASSWORD :'registry_password';
ALTER ROLE pullsync_ingest PASSWORD :'ingest_password';
ALTER ROLE pullsync_monitoring PASSWORD :'monitoring_password';
COMMIT;
SQL

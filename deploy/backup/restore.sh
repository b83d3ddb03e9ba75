#!/bin/sh
# Restores a backup of backup.sh into an empty database, with owners and grants, in one transaction.
#
#   sh deploy/backup/restore.sh FILE                                       # docker compose's
#   PGHOST=db PGUSER=postgres PGDATABASE=pullsync sh deploy/backup/restore.sh FILE   # any other, see programs.sh
#
# It needs a superuser. All of it is there afterwards, or nothing; then it may be repeated. Services that start meanwhile
# wait for it, as for a migration. What to do afterwards: docs/backup.md.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
. "$here/programs.sh"

[ $# -eq 1 ] && [ -n "$1" ] || fail "say what to restore: sh deploy/backup/restore.sh FILE"
file=$1
[ -f "$file" ] && [ -r "$file" ] || fail "$file is no file that can be read"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM

server=$(server_version)
require_version pg_restore "$server"
require_version psql "$server"
contents "$file" || fail "$file can't be read to its end, see above: it is damaged, or no backup; take another one"
describe "$file" >"$work/described"
made_by=$(sed -n 's/.*Dumped from database version: \([0-9]*\).*/\1/p' "$work/described")
[ "$server" -ge "${made_by:-0}" ] ||
    fail "$file is of PostgreSQL $made_by, the server of $server: restore it into version $made_by or newer"

tables=$(ask "SELECT count(*) FROM pg_class
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relnamespace NOT IN
        (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')")
if [ "$tables" -ne 0 ]; then
    fail "the database has $tables tables and views already, and only an empty one is restored into. Back it up, stop the" \
        "services, and make room: with docker compose, \`docker compose down\` and \`docker volume rm" \
        "pullsync_postgres-data\`, then \`docker compose up -d --wait postgres\`; after \`make up\`, \`make clean\`; elsewhere," \
        "\`createdb\` another one, and let DATABASE_URL lead there"
fi

# Read by psql: without the last line, nothing is kept.
script() {
    cat <<'SQL'
BEGIN;
SET LOCAL client_min_messages = error;
SELECT pg_advisory_xact_lock(hashtextextended('pullsync migrations ' || schema, 0))
FROM (VALUES ('captures'), ('registry')) AS t (schema);
SQL
    cat "$root/deploy/postgres/roles.sql"
    # They are empty, or this is refused; the backup has them with all that is granted on them.
    echo 'DROP SCHEMA registry, captures;'
    pg pg_restore --file=- <"$file" || return 0
    awk '!/^revision:/ { printf "DO $$ BEGIN IF (SELECT count(*) FROM %s) <> %s THEN RAISE EXCEPTION " \
        "%s; END IF; END $$;\n", $1, $2, "\047" $1 " has not the " $2 " rows of the backup\047" }' "$work/contents"
    echo 'ANALYZE;'
    echo 'COMMIT;'
    : >"$work/all"
}

# psql is told to stop at an error, and then has not come to the end.
script | pg psql --no-psqlrc --no-password --quiet --set=ON_ERROR_STOP=1 --file=- >"$work/output" && [ -e "$work/all" ] ||
    fail "it failed, see above; the database is as it was. It needs a superuser; then this can be repeated"

printf 'Restored, with every row that the backup has.\n'
cat "$work/described"
without=$(ask "SELECT string_agg(rolname, ', ' ORDER BY rolname) FROM pg_authid
    WHERE rolname IN ('pullsync_registry', 'pullsync_ingest', 'pullsync_captures_reader') AND rolpassword IS NULL")
[ -z "$without" ] || printf 'Without a password: %s. Set those of the services: deploy/postgres/init.sh shows how.\n' "$without"
printf 'Start the services, then bring back what was stored after the backup: POST /api/v1/pull-sync/sync-complete-state.\n'

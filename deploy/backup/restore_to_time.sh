#!/bin/sh
# Puts a base backup where a stopped PostgreSQL keeps its data, to be replayed up to a moment when it starts.
#
#   sh restore_to_time.sh /archive/base-20261126T1800Z '2026-11-26 18:30:00+00'
#
# To be run as the server's user, with PGDATA. The log is taken from the folder that the base backup is in; without a moment
# all of it is replayed. The data of before is not touched: it must have been moved away.
set -eu
umask 077

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

[ $# -eq 1 ] || [ $# -eq 2 ] || fail "say which base backup, and up to when: restore_to_time.sh BASE '2026-11-26 18:30:00+00'"
base=$1 moment=${2:-}
archive=$(cd "$(dirname "$base")" && pwd)
[ -f "$base/backup_manifest" ] || fail "$base is no base backup: pg_basebackup makes them"
[ ! -e "${PGDATA:?says where the data of the server is to be}" ] ||
    fail "$PGDATA is there already, and nothing is overwritten: stop the server, and move it away: mv $PGDATA $PGDATA.before"
case $moment in
*[!0-9TZ:.+\ -]*) fail "$moment is no moment: say it like '2026-11-26 18:30:00+00'" ;;
esac
pg_verifybackup --quiet "$base" || fail "$base is damaged, see above: take another one"

rm -rf "$PGDATA.unfinished"
mkdir -p "$(dirname "$PGDATA")"
cp -R "$base" "$PGDATA.unfinished"
cat >>"$PGDATA.unfinished/postgresql.auto.conf" <<EOC
restore_command = 'cp "$archive/%f" "%p"'
recovery_target_time = '$moment'
recovery_target_action = 'promote'
EOC
: >"$PGDATA.unfinished/recovery.signal"
sync
mv "$PGDATA.unfinished" "$PGDATA"
printf '%s has the base backup. Start PostgreSQL: it replays the log until %s, then takes writes again.\n' \
    "$PGDATA" "${moment:-its end}"

#!/bin/sh
# Backs up the whole database, registry and captures alike, as one snapshot, while everything runs.
#
#   sh deploy/backup/backup.sh FILE                                        # docker compose's
#   PGHOST=db PGUSER=postgres PGDATABASE=pullsync sh deploy/backup/backup.sh FILE   # any other, see programs.sh
#
# FILE is there when all of it is, and was read again; it is never overwritten, and nobody else may read it. Roles and
# passwords are not in it: docs/backup.md.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
. "$here/programs.sh"

[ $# -eq 1 ] && [ -n "$1" ] || fail "say where to: sh deploy/backup/backup.sh FILE"
case $1 in
/*) file=$1 ;;
*) file=$PWD/$1 ;;
esac
[ ! -e "$file" ] || fail "$file is there already, and nothing is overwritten: choose another name"
[ -d "$(dirname "$file")" ] || fail "there is no folder $(dirname "$file"): make it, on a disk that has room"

unfinished=
work=$(mktemp -d)
trap 'rm -rf "$work" ${unfinished:+"$unfinished"}' EXIT
trap 'exit 130' HUP INT TERM

needed=$(server_version)
require_version pg_dump "$needed"
require_version pg_restore "$needed"
unfinished=$(mktemp "$file.unfinished.XXXXXX") || fail "nothing can be written to $(dirname "$file")"

# A migration that is under way holds its tables: better none than one that waits for ever. By way of a pipe, as from a
# container: into a file pg_dump would write its table of contents a second time.
{
    pg pg_dump --format=custom --no-password --lock-wait-timeout=60s </dev/null && : >"$work/dumped"
} | cat >"$unfinished" && [ -e "$work/dumped" ] ||
    fail "pg_dump failed, see above; nothing was kept. It needs the database's superuser, and room for the file"
contents "$unfinished" || fail "what was written can't be read again, see above; nothing was kept. Is the disk full?"
described=$(describe "$unfinished") || fail "what was written has no readable head, see above; nothing was kept"
sync # it is on the disk before it has its name

# A link does not overwrite what came meanwhile; some file systems have none.
if ! ln "$unfinished" "$file" 2>/dev/null; then
    [ ! -e "$file" ] || fail "$file came meanwhile, and nothing is overwritten: choose another name"
    mv "$unfinished" "$file"
fi
printf '%s is complete, with %d bytes.\n%s\n' "$file" "$(wc -c <"$file")" "$described"

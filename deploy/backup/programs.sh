# Sourced by backup.sh and restore.sh: how PostgreSQL's programs are run, and what a backup holds.
#
# Where PGHOST says which server, they are those of this machine, and libpq's variables say the rest (PGPORT, PGUSER,
# PGPASSWORD or PGPASSFILE, PGDATABASE, PGSSLMODE, PGSSLROOTCERT). Else they run in the postgres container of docker compose.

root=$(cd "$here/../.." && pwd)

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Runs a program of PostgreSQL, with our input and output. No password is ever asked for.
pg() {
    if [ -n "${PGHOST:-}" ]; then
        "$@"
    else
        (cd "$root" && exec docker compose exec -T -e PGUSER=postgres -e PGDATABASE=pullsync postgres "$@")
    fi
}

# The answer to one statement.
ask() {
    pg psql --no-psqlrc --no-password --quiet --no-align --tuples-only --command="$1" </dev/null
}

# Takes a program and the major version that it needs: an older one can't read what a newer server writes.
require_version() {
    version=$(pg "$1" --version </dev/null) || fail "$1 can't be run: apt-get install postgresql-client-$2"
    version=$(printf '%s\n' "$version" | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
    [ "$version" -ge "$2" ] || fail "$1 is of version $version, and this needs $2 or newer:" \
        "install postgresql-client-$2, and put its programs first on the PATH"
}

server_version() {
    number=$(ask 'SHOW server_version_num') || fail "PostgreSQL does not answer, see above: with docker compose," \
        "\`docker compose up -d --wait postgres\`; else PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE say where it is"
    echo $((number / 10000))
}

# Reads all of a backup, so that a part which is missing or damaged shows; writes a line `table rows` for each table, and
# `revision:schema number` for each schema.
contents() {
    {
        pg pg_restore --data-only --file=- <"$1" && : >"$work/read"
    } | LC_ALL=C awk '
        !copying && $1 == "COPY" { table = $2; rows[table] = 0; copying = 1; next }
        copying && $0 == "\\." { copying = 0; next }
        copying { rows[table]++; if (table ~ /\.alembic_version$/) revision[table] = $0 }
        END {
            for (table in rows) print table, rows[table]
            for (table in revision) { split(table, part, "."); print "revision:" part[1], revision[table] }
        }' | LC_ALL=C sort >"$work/contents"
    [ -e "$work/read" ] || return 1
    for schema in registry captures; do
        grep -q "^revision:$schema " "$work/contents" ||
            fail "there is no schema \`$schema\` of PullSync in it: is it another database?"
    done
}

# When it was made, of what, and how many rows it has; the parts of a table are told as one.
describe() {
    pg pg_restore --list <"$1" >"$work/list" || return 1
    sed -n 's/^; *\(Archive created at\) /  \1 /p; s/^; *\(Dumped .* version:\)/  \1/p' "$work/list"
    awk '/^revision:/ { sub("revision:", ""); print "  Schema " $1 " at revision " $2; next }
        !/alembic_version/ { sub(/_[0-9]+$/, "", $1); rows[$1] += $2 }
        END { for (table in rows) printf "  %12d rows in %s\n", rows[table], table | "sort -k 4" }' "$work/contents"
}

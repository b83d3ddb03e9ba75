#!/usr/bin/env bash
# Prints RabbitMQ's definitions (definitions.json: users, their rights, queues) with the users' passwords as hashes.
#
# docker-compose.yml has RabbitMQ read them at each start; so a password that was changed counts from then on. Elsewhere:
#   bash definitions.sh > with-passwords.json && rabbitmqctl import_definitions with-passwords.json
#
# A password comes from the variable that stands in its place in definitions.json, or from the file that <variable>_FILE
# names.
set -euo pipefail
shopt -s inherit_errexit

password_of() {
    local file="$1_FILE" password="${!1:-}"
    if [[ -n ${!file:-} ]]; then
        password=$(< "${!file}") || return 1
    fi
    if [[ -z $password ]]; then
        echo "definitions.sh: a user of RabbitMQ has no password: set $1, or $1_FILE to the file that holds it" >&2
        return 1
    fi
    printf '%s' "$password"
}

bytes() {
    printf '%b' "$(sed 's/../\\x&/g' <<< "$1")"
}

# As RabbitMQ has it: base64 of a salt of four bytes and of the SHA-256 of salt and password.
hash_of() {
    local salt digest
    salt=$(od -An -N4 -tx1 /dev/urandom | tr -d ' \n')
    digest=$({ bytes "$salt"; printf '%s' "$1"; } | sha256sum)
    bytes "$salt${digest%% *}" | base64 -w0
}

definitions=$(< "$(dirname "${BASH_SOURCE[0]}")/definitions.json")
for service in REGISTRY PULLER INGEST MONITORING; do
    variable=${service}_RABBITMQ_PASSWORD
    password=$(password_of "$variable")
    hash=$(hash_of "$password")
    definitions=${definitions/"\"$variable\""/"\"$hash\""}
done
printf '%s\n' "$definitions"

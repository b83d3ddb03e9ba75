#!/bin/sh
# Prometheus' entry point in docker-compose.yml: puts the tokens that it shows where prometheus.yml looks for them, in memory
# and for itself alone, then becomes Prometheus. Without tokens the files are empty, which is right for an open registry.
#
# A file in SECRETS_DIR that has a variable's name wins over the variable (docker-compose.tls.yml).
set -eu

secrets=${SECRETS_DIR:-/run/secrets}
tokens=${TOKENS_DIR:-/tmp}

token_of() {
    if [ -e "$secrets/$1" ]; then
        cat "$secrets/$1"
    else
        printf '%s' "$2"
    fi
}

umask 077
token_of METRICS_TOKEN "${METRICS_TOKEN:-}" >"$tokens/registry-token"
token_of CLIENT_METRICS_TOKEN "${CLIENT_METRICS_TOKEN:-}" >"$tokens/client-token"
unset METRICS_TOKEN CLIENT_METRICS_TOKEN

exec prometheus "$@"

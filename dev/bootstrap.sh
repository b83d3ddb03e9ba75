#!/bin/sh
# Makes .venv with everything that development needs, and does nothing when it is there already. The operators' command
# line is .venv/bin/pullsync, a link: nothing is installed as a package.
#
# .venv/.bootstrap says what .venv holds: the hash of the requirements and, in a second line, the folder that it was made
# in; or "unfinished" while it is being made. Without that file .venv is someone else's: it is completed, not replaced.
set -eu

cd "$(dirname "$0")/.."
requirements="requirements-dev.txt"
venv=.venv
stamp=$venv/.bootstrap

fail() {
    echo "$1" >&2
    exit 1
}

digest() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum <"$1"; else cksum <"$1"; fi
}

# $PYTHON, or else the first of python3, python3.14 ... that is new enough, preferably one that needs no further package.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11
    fi
    found=
    for candidate; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        : "${found:=$candidate}"
        "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue
        found=$candidate
        break
    done
    [ -n "$found" ] || fail 'Python 3.11 or newer is missing: install it, or say where it is: PYTHON=/path/to/python3 make up'
    echo "$found"
}

# Runs what it is given, silently unless it fails.
quietly() {
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_install() {
    as_root apt-get update || :
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=120 "$1"
}

# Debian keeps a part of Python's venv in a package of its own.
require_venv() {
    ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || return 0
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    advice="Python's venv is missing: apt-get install $package"
    if ! command -v apt-get >/dev/null 2>&1 || ! as_root true >/dev/null 2>&1; then fail "$advice"; fi
    echo "Installing $package ..."
    quietly apt_install "$package" || fail "$advice"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || fail "$advice"
}

make_venv() {
    rm -rf "$venv"
    mkdir "$venv"
    echo unfinished >"$stamp"
    quietly "$python" -m venv "$venv" || fail "$python can't make a virtual environment in $(pwd)/$venv"
}

install_packages() {
    quietly "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --require-hashes --requirement "$requirements"
}

link_command() {
    [ -e "$venv/bin/pullsync" ] || ln -sf ../../cli/pullsync "$venv/bin/pullsync"
}

wanted="$(digest "$requirements")
$(pwd)"
present=$(cat "$stamp" 2>/dev/null || :)
if [ "$present" = "$wanted" ] && [ -x "$venv/bin/python" ]; then
    link_command
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' HUP INT TERM

made_in=$(echo "$present" | sed -n 2p)
usable=yes
if [ -n "$present" ] && [ "$made_in" != "$(pwd)" ]; then
    usable= # unfinished, or copied from elsewhere
elif ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    usable=
fi
if [ -z "$usable" ]; then
    python=$(find_python)
    require_venv
fi
echo "Installing Python packages into $venv (once, about a minute) ..."
if [ -z "$usable" ]; then
    make_venv
elif [ -n "$present" ]; then
    echo unfinished >"$stamp" # an interrupted update is made anew
fi
install_packages || fail "installing $requirements into $(pwd)/$venv failed: see above"
link_command
echo "$wanted" >"$stamp"

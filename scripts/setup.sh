#!/bin/sh
# Make .venv and install a requirements file into it; does nothing when that was done with these very files.
# usage: scripts/setup.sh runtime|dev     PYTHON may name another interpreter, VENV another folder.
set -eu
cd "$(dirname "$0")/.."
VENV="${VENV:-.venv}"
case "${1:-runtime}" in
    runtime) files="requirements.txt" wanted=requirements.txt ;;
    dev) files="requirements.txt requirements-dev.txt" wanted=requirements-dev.txt ;;
    *) echo "usage: scripts/setup.sh runtime|dev" >&2; exit 2 ;;
esac

fail() {
    echo "$1" >&2
    exit 1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" || fail "PYTHON=$PYTHON is not there."
        return
    fi
    for candidate in python3 python3.11 python3.12 python3.13 python3.14; do
        if command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    version="$(python3 --version 2>/dev/null || echo 'no python3')"
    fail "Sentinel needs Python 3.11 or newer, found $version. Install one, or set PYTHON to its path."
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

have_venv() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

# Debian ships venv as a package of its own, named after the interpreter's version.
install_venv() {
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    hint="Python's venv module is missing: run 'apt-get install python3-venv', or set PYTHON to a complete Python."
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || fail "$hint"
    echo "Installing $package (Python's venv module is missing)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null; } || fail "$hint"
    have_venv "$1" || fail "$hint"
}

# The stamp covers the wanted files and the environment's own interpreter: a new pin or another Python installs anew.
stamp="$VENV/.installed-$wanted"
state() {
    { cat "$@" && "$VENV/bin/python" -VV; } | cksum
}
# shellcheck disable=SC2086
if [ -x "$VENV/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(state $files)" ]; then
    exit 0
fi

if ! "$VENV/bin/python" -c 'import pip' 2>/dev/null || ! is_new_enough "$VENV/bin/python"; then
    python="$(find_python)"
    is_new_enough "$python" || fail "Sentinel needs Python 3.11 or newer; $python is $("$python" --version 2>&1)."
    have_venv "$python" || install_venv "$python"
    echo "Making $VENV with $("$python" --version 2>&1)"
    "$python" -m venv --clear "$VENV" || fail "Could not make $VENV; see above."
fi
echo "Installing $wanted (the first time takes about a minute)"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" ||
    fail "Installing $wanted failed; see above. A package index must be reachable, or PIP_FIND_LINKS name a folder of wheels."
# shellcheck disable=SC2086
state $files >"$stamp"
# The development set contains the runtime set.
[ "$wanted" = requirements.txt ] || state requirements.txt >"$VENV/.installed-requirements.txt"

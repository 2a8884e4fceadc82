#!/bin/sh
# The image's steps; they need no Docker: deploy/image/build.sh /opt/sentinel makes the same tree in a plain folder.
# usage: build.sh PREFIX [dependencies|application]     without the second word: both
#   PREFIX/venv   the runtime's packages        PREFIX/app   the product, without tests, with the admin's static files
set -eu
prefix="${1:?usage: build.sh PREFIX [dependencies|application]}"
step="${2:-all}"
source="$(cd "$(dirname "$0")/../.." && pwd)"
python="${PYTHON:-python3}"

dependencies() {
    "$python" -m venv "$prefix/venv"
    "$prefix/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$source/requirements.txt"
}

application() {
    rm -rf "$prefix/app"
    mkdir -p "$prefix/app"
    for part in manage.py sentinel gateway usage limits; do
        cp -R "$source/$part" "$prefix/app/"
    done
    cp "$source/deploy/image/entrypoint.sh" "$prefix/entrypoint.sh"
    chmod 755 "$prefix/entrypoint.sh"
    find "$prefix/app" -name __pycache__ -type d -prune -exec rm -rf {} +
    scratch="$(mktemp -d)"
    (
        cd "$prefix/app"
        # Nothing of the building machine's settings, and no key made here, may end up in the image.
        env -i PATH="$PATH" HOME="$scratch" SENTINEL_DATA_DIR="$scratch" SENTINEL_SECRET_KEY=only-for-collecting-static-files \
            "$prefix/venv/bin/python" manage.py collectstatic --no-input --verbosity 0
    )
    rm -rf "$scratch"
    "$prefix/venv/bin/python" -m compileall -q "$prefix/app"
}

mkdir -p "$prefix"
prefix="$(cd "$prefix" && pwd)"
case "$step" in
    dependencies) dependencies ;;
    application) application ;;
    all) dependencies && application ;;
    *) echo "unknown step: $step" >&2; exit 2 ;;
esac

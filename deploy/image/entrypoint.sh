#!/bin/sh
# One image, several commands: gateway, worker, beat, migrate; `manage ...` for management commands.
set -eu
here="$(cd "$(dirname "$0")" && pwd)"
cd "$here/app"
if [ "${1:-}" = manage ]; then
    shift
    exec "$here/venv/bin/python" manage.py "$@"
fi
if [ "${1:-}" = simulate ]; then
    # zion or provider, for compose.dev.yaml
    exec "$here/venv/bin/python" -m uvicorn "sentinel.sandbox.${2:?zion or provider}:app" --host 0.0.0.0 --port "${3:-8081}"
fi
# Not in the data folder: containers that share that volume have processes of the same number.
export PROMETHEUS_MULTIPROC_DIR="${PROMETHEUS_MULTIPROC_DIR:-/tmp/sentinel-metrics}"
exec "$here/venv/bin/python" -m sentinel.launch "$@"

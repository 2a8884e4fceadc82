#!/bin/sh
# Everything CI checks besides the tests. All checks run, also after one failed; the last line names the failed ones.
# usage: scripts/check.sh [fast]     `fast` is what pre-commit runs: seconds, no Django.
set -u
cd "$(dirname "$0")/.."
BIN="${VENV:-.venv}/bin"
failed=""

step() {
    name="$1"
    shift
    begin="$(date +%s)"
    if output="$("$@" 2>&1)"; then
        printf '  %-12s ok     %3d s\n' "$name" "$(($(date +%s) - begin))"
    else
        printf '  %-12s FAILED %3d s\n%s\n' "$name" "$(($(date +%s) - begin))" "$output"
        failed="$failed $name"
    fi
}

# `check --deploy` looks at what an installation would run, not at this machine's own settings.
deploy_check() {
    env ZION_API_URL=https://zion.example ZION_API_KEY=check OPENAI_API_KEY=check SENTINEL_DEBUG=false SENTINEL_HTTPS=true \
        SENTINEL_SECRET_KEY="$("$BIN/python" -c 'import secrets; print(secrets.token_urlsafe(64))')" \
        "$BIN/python" manage.py check --deploy --fail-level WARNING
}

step lint "$BIN/ruff" check .
step format "$BIN/ruff" format --check .
step spelling "$BIN/codespell"
step layers "$BIN/lint-imports" --no-cache
if [ "${1:-}" != fast ]; then
    step types "$BIN/mypy" .
    step migrations "$BIN/python" manage.py makemigrations --check --dry-run
    step deploy deploy_check
fi
if [ -n "$failed" ]; then
    echo "Failed:$failed"
    exit 1
fi
echo "All checks passed."

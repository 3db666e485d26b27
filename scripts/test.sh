#!/usr/bin/env bash
# Lints and tests: installs into .venv if need be. Arguments go to pytest, e.g. scripts/test.sh tests/depth -k warp
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
install_environment dev
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .
# A worker that dies is a failure; a new one in its place would run the same test again, or wait for work for ever.
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --max-worker-restart=0 "$@"

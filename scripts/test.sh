#!/usr/bin/env bash
# Lints and tests: installs into .venv if need be. Arguments go to pytest, e.g. scripts/test.sh tests/depth -k warp
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
install_environment dev
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .

# A worker that dies ends the run: in its place, a new one would run the same test again, or wait for work for ever.
# Native code says why it aborts on the real stderr, hence --capture=sys.
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --capture=sys --durations=25 "$@"

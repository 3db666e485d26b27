#!/usr/bin/env bash
# Lints and tests: installs into .venv if needed. Arguments are passed to pytest, e.g. scripts/test.sh tests/depth -k warp
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
install_environment dev
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .

# A worker that dies ends the run: its replacement would run the same test again, or wait for work without end.
# Native code reports why it aborts on the real stderr, hence --capture=sys.
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --capture=sys --durations=25 "$@"

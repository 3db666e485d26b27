#!/usr/bin/env bash
# Lints and tests: installs into .venv if needed.
#   scripts/test.sh                    the fast tests, some minutes
#   scripts/test.sh --all              all tests
#   scripts/test.sh tests/depth -k warp    arguments are passed to pytest; slow tests among them are run, too
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
install_environment dev
"$VENV/bin/ruff" check .
"$VENV/bin/ruff" format --check .

if [ $# = 0 ]; then
  set -- -m "not slow"
elif [ "$1" = --all ]; then
  shift
fi
# A worker that dies ends the run: its replacement would run the same test again, or wait for work without end.
# Native code reports why it aborts on the real stderr, hence --capture=sys.
exec "$VENV/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 --capture=sys \
  --durations=25 "$@"

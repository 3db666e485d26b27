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
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
run_tests() {
  "$VENV/bin/python" -m pytest -n 2 --dist loadfile --max-worker-restart=0 --capture=sys "$@" 2>&1 | tee "$log"
}
run_tests "$@" && exit
# XLA has been seen to abort, once in many runs, while it loaded a program from the compilation cache. Failures of tests
# are final; only after the death of a worker, which leaves tests undone, all of them run again.
grep -q "crashed while running" "$log" || exit 1
echo "A worker died (see above); the tests run a second time." >&2
run_tests "$@"

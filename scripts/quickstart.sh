#!/usr/bin/env bash
# The whole method on the embedded Streets dataset: installs into .venv if needed, then runs every stage on the CPU or
# the accelerator that JAX finds. Ends with a table and the path of the report. Arguments are passed to the run, e.g.
#   scripts/quickstart.sh --workdir=runs/other
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
install_environment
exec "$VENV/bin/python" -m sdeseg_jax.main --config=configs/streets.py --workdir=runs/quickstart \
  --config.data.data_dir=runs/data "$@"

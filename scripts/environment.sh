# Sourced by the other scripts: installs into a virtual environment in .venv, which it makes if it does not exist.
#   install_environment [extra], by default all
# PYTHON chooses the interpreter (3.11 to 3.13), VENV the folder.

install_environment() {
  local extra="${1:-all}" python="${PYTHON:-}" candidate
  export VENV="${VENV:-.venv}"
  if [ -z "$python" ]; then
    for candidate in python3.12 python3.11 python3; do
      if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python="$candidate"
        break
      fi
    done
  fi
  if [ -z "$python" ]; then
    echo "No Python 3.11 to 3.13 found. Install one, or give its path: PYTHON=/path/to/python3.12 $0" >&2
    return 1
  fi
  if [ ! -x "$VENV/bin/python" ]; then
    echo "Making a virtual environment in $VENV with $("$python" --version)" >&2
    "$python" -m venv "$VENV" || return 1
  fi
  # Installs again only after the files that list the packages have changed.
  local stamp="$VENV/.installed-$extra" state
  state="$(cat requirements.txt pyproject.toml | cksum)"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    echo "Installing (some minutes, about 2 GB)" >&2
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extra]" || return 1
    echo "$state" >"$stamp"
  fi
}

# JAX on CPUs allocates its memory again at every step. Large pages save a tenth of the time per step of segmentation
# and depth on two cores. GNU C libraries know the setting, others ignore it.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

# Sourced by the other scripts: makes a virtual environment in .venv if there is none, and installs into it.
#   install_environment [extra]
# PYTHON picks the interpreter (3.11 to 3.13); VENV the folder.

install_environment() {
  local extra="${1:-}" python="${PYTHON:-}" candidate
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
    echo "No Python 3.11 to 3.13 found; install one, or name it: PYTHON=/path/to/python3.12 $0" >&2
    return 1
  fi
  if [ ! -x "$VENV/bin/python" ]; then
    echo "Making a virtual environment in $VENV with $("$python" --version)" >&2
    "$python" -m venv "$VENV" || return 1
  fi
  # Installing again is skipped while the files that say what to install are the same.
  local stamp="$VENV/.installed-${extra:-run}" state
  state="$(cat requirements.txt pyproject.toml | cksum)"
  if [ "$(cat "$stamp" 2>/dev/null)" != "$state" ]; then
    echo "Installing (some minutes, about 2 GB)" >&2
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}" || return 1
    echo "$state" >"$stamp"
  fi
}

# CPU programs of JAX ask for their memory anew at every step; in large pages it comes faster: a tenth of the time per
# step of segmentation and depth on two cores. GNU C libraries know the setting, others ignore it.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

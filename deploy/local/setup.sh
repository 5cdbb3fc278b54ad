#!/bin/sh
# Make the virtual environment .venv and install what requirements/dev.lock pins. Needs Python and a network.
set -eu
cd "$(dirname "$0")/../.."

fail() {
  echo "$1" >&2
  exit 1
}

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
    if is_new_enough "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  fail "Python 3.11 or newer was not found${PYTHON:+ at $PYTHON}: install it, or name it with PYTHON=/path/to/python3."
}

make_venv() {
  python=$(find_python)
  "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
    fail "$python lacks the modules venv and ensurepip: install them (on Debian and Ubuntu, the package python3-venv)."
  echo "Making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
}

# Outside .venv's own packages, for uv removes all there that the lock does not name.
install_uv() {
  cmp -s requirements/uv.lock .venv/uv/uv.lock && return
  rm -rf .venv/uv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: --target .venv/uv -r requirements/uv.lock || return 1
  cp requirements/uv.lock .venv/uv/uv.lock
}

install_locked() {
  if install_uv; then
    .venv/uv/bin/uv pip sync --system-certs --python .venv/bin/python --require-hashes requirements/dev.lock && return
    echo "uv could not install the packages, so pip tries"
  fi
  .venv/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements/dev.lock
}

is_new_enough .venv/bin/python || make_venv
echo "Installing the locked packages"
install_locked || fail "The packages could not be installed: is there a network that reaches the package registry?"
touch .venv/.installed

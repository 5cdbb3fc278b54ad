#!/bin/sh
# Make .bench-venv: what requirements/bench.lock pins; in its folder suite, what images hold (runtime.lock); and wrk.
# Needs no root, and what is there already is kept.
set -eu
cd "$(dirname "$0")/.."
place=.bench-venv

# wrk comes from Debian; a package can be unpacked anywhere by anybody.
unpack_wrk() {
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
  set -- -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o Debug::NoLocking=1
  apt-get "$@" -qq update
  (cd "$folder" && apt-get "$@" -qq download wrk libluajit-5.1-2)
  for package in "$folder"/*.deb; do
    dpkg-deb --extract "$package" "$place/wrk"
  done
}

find_wrk() {
  command -v wrk >/dev/null || [ -x $place/wrk/usr/bin/wrk ] || unpack_wrk || {
    echo "wrk was not found, and could not be fetched from Debian's packages: install it." >&2
    exit 1
  }
}

# What serves is an optimised interpreter, in images and on servers; one that was built at home often is none.
interpreter() {
  for python in /usr/bin/python3 .venv/bin/python; do
    "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
  done
  echo "$python"
}

install() {
  [ -x "$1/bin/python" ] || "$(interpreter)" -m venv --without-pip "$1"
  .venv/uv/bin/uv pip sync --quiet --system-certs --python "$1/bin/python" --require-hashes "$2"
}

if cat requirements/bench.lock requirements/runtime.lock | cmp -s - $place/locks; then
  touch $place/locks
  exit
fi
echo "Installing what the benchmarks need" >&2
install $place requirements/bench.lock
install $place/suite requirements/runtime.lock
find_wrk
cat requirements/bench.lock requirements/runtime.lock >$place/locks

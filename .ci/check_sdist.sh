#!/usr/bin/env bash
# usage: .ci/check_sdist.sh [--no-build] PYTHON SDIST
#
# Builds a wheel from the source distribution, in a directory that has nothing else, installs it in an environment of its own and runs it.
# PYTHON is the interpreter of an environment with pip and maturin. --no-build only looks whether all is there for cargo, without a
# network.
set -euo pipefail
build=yes
[ "$1" != --no-build ] || { build=; shift; }
python=$(realpath -s "$1") sdist=$(realpath "$2")
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-sdist.XXXXXX")
trap 'rm -rf "$work"' EXIT
tar -C "$work" -xf "$sdist"
name=$(basename "$sdist" .tar.gz)
for file in LICENSE-MIT LICENSE-APACHE README.md PKG-INFO pyproject.toml Cargo.lock python/treering/__init__.py bindings/python/src/lib.rs; do
  [ -s "$work/$name/$file" ] || { echo "sdist: $file is missing" >&2; exit 1; }
done
if [ -z "$build" ]; then
  (cd "$work/$name" && cargo metadata --locked --offline --format-version 1 >/dev/null)
  echo "sdist: $name has all that cargo needs"
  exit
fi
MATURIN_PEP517_ARGS=--locked PATH="$(dirname "$python"):$PATH" "$python" -m pip wheel -q --no-deps --no-build-isolation -w "$work/wheels" "$sdist"
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check --no-index "$work"/wheels/*.whl
mkdir "$work/tree"
echo content >"$work/tree/file"
cd /
"$work/venv/bin/python" -W error - "$work" <<'PROGRAM'
import sys
import treering

store = treering.Store(sys.argv[1] + "/store")
print("sdist: a wheel that was built from it makes images:", store.commit(sys.argv[1] + "/tree", "app:v1").short_id)
PROGRAM

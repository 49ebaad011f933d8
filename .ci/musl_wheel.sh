#!/usr/bin/env bash
# usage: WHEEL=PROGRAM PATCHELF=PROGRAM .ci/musl_wheel.sh WHEEL...
#
# Gives the libraries in wheels for musl the name of libc that PEP 656 has and auditwheel expects, libc.musl-ARCH.so.1; zig links with `libc.so`.
# To musl's linker both are itself.
set -euo pipefail
[ $# -gt 0 ] || { echo 'wheels: there are none for musl' >&2; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for wheel; do
  arch=$(sed -E 's/.*_(x86_64|aarch64)\.whl$/\1/' <<<"$wheel")
  rm -rf "${scratch:?}"/*
  "$WHEEL" unpack -d "$scratch" "$wheel" >/dev/null
  find "$scratch" -name '*.so' -exec "$PATCHELF" --replace-needed libc.so "libc.musl-$arch.so.1" {} +
  "$WHEEL" pack -d "$(dirname "$wheel")" "$scratch"/* >/dev/null
done

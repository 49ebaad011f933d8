#!/usr/bin/env bash
# usage: tests/wheels.sh
#
# That .ci/check_wheel.sh refuses a wheel that needs more of the system than its name says, with a stand-in for auditwheel.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-wheels.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/auditwheel" <<'PROGRAM'
#!/bin/sh
printf '\n%s is consistent with the\nfollowing platform tag: "%s".\n\n' "$2" "$SAID"
echo 'The wheel references external versioned symbols: libc.so.6 with versions {GLIBC_2.17}. manylinux_2_5_x86_64 would do.'
PROGRAM
chmod 755 "$work/auditwheel"
gnu=treering-0.1.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
musl=treering-0.1.0-cp310-abi3-musllinux_1_2_aarch64.whl
check() {
  SAID=$1 AUDITWHEEL=$work/auditwheel bash .ci/check_wheel.sh "$2" >"$work/log" 2>&1
}
for pair in "manylinux_2_17_x86_64 $gnu" "manylinux_2_5_x86_64 $gnu" "musllinux_1_1_aarch64 $musl" "musllinux_1_2_aarch64 $musl"; do
  read -r said wheel <<<"$pair"
  check "$said" "$wheel" || { cat "$work/log"; exit 1; }
done
for pair in "manylinux_2_28_x86_64 $gnu" "linux_x86_64 $gnu" "musllinux_1_2_x86_64 $gnu" "manylinux_2_17_aarch64 $gnu" "manylinux_2_17_aarch64 $musl"; do
  read -r said wheel <<<"$pair"
  if check "$said" "$wheel"; then
    echo "wheels: $wheel passes, which is $said" >&2
    exit 1
  fi
done
if bash .ci/check_wheel.sh 2>/dev/null; then
  echo 'wheels: none at all pass' >&2
  exit 1
fi
echo 'wheels: what is not what its name says is refused'

#!/usr/bin/env bash
# usage: tests/go_static.sh PROGRAM INIT
#
# Tries examples/go/run_command, linked statically, with nothing but INIT, the helper program, beside it: it runs a command in a tree.
set -euo pipefail
program=$(realpath "$1") init=$(realpath "$2")
if readelf -d "$program" | grep -q NEEDED; then
  echo "go_static: $program needs a shared library" >&2
  exit 1
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-go.XXXXXX")
trap 'rm -rf "$work"' EXIT
install -m 755 "$program" "$work/program"
install -m 755 "$init" "$work/treering-init"
mkdir -p "$work/tree/bin"
cp "$(command -v busybox)" "$work/tree/bin/busybox"
ln -s busybox "$work/tree/bin/sh"
script='busybox touch /f; busybox chown 7:8 /f; busybox stat -c %u:%g /f; exit 5'
code=0
out=$(env -i "$work/program" "$work/store" "$work/tree" /bin/sh -c "$script") || code=$?
[ "$code $out" = '5 7:8' ] || { echo "go_static: $code $out" >&2; exit 1; }
out=$(env -i "$work/program" "$work/store" "$work/tree" /bin/sh -c 'busybox echo done')
case "$out" in
  "done"$'\n'sha256:*) ;;
  *) echo "go_static: $out" >&2; exit 1 ;;
esac
echo "go_static: a static program runs commands"

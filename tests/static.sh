#!/usr/bin/env bash
# usage: tests/static.sh DIRECTORY ARCH...
#
# Tries DIRECTORY/treering-ARCH where there is nothing else: in a root directory that holds the program and its input alone.
# For another architecture than this machine's the program is run by qemu-user. What each makes must be the same image.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"
dir=$(realpath "$1")
shift
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-static.XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir "$work/tree"
cp -r "$(dirname "$0")/data" "$work/tree/data"
printf '#!/bin/sh\n' >"$work/tree/run"
chmod 755 "$work/tree/run"
ln -s run "$work/tree/link"
find "$work/tree" -exec touch -h -d @1000000000 {} +

# Root enters the directory by chroot; anybody else in a user namespace, where there is one. An emulator that does not have the
# newest system calls sends the program to /proc instead.
inside() {
  local root=$1 as=(--mount --propagation private)
  shift
  [ "$(id -u)" = 0 ] || as+=(--user --map-root-user)
  unshare "${as[@]}" bash -c '
    root=$1; shift
    [ ! -d "$root/proc" ] || mount --rbind /proc "$root/proc"
    exec env -i TREERING_ROOT=/store "$(command -v chroot)" "$root" "$@"
  ' inside "$root" "$@"
}

ids=()
for arch; do
  program=$dir/treering-$arch
  if readelf -d "$program" | grep -q NEEDED; then
    echo "static: $program needs a shared library" >&2
    exit 1
  fi
  root=$work/$arch
  mkdir -p "$root/tmp"
  cp -a "$work/tree" "$root/tree"
  cp "$program" "$root/treering"
  run=(/treering)
  if [ "$arch" != "$(uname -m)" ]; then
    emulator=$(command -v "qemu-$arch-static") || {
      echo "SKIP-PART static: qemu-$arch-static is not on PATH"
      [ -z "${CI:-}" ] || exit 1
      continue
    }
    cp "$emulator" "$root/emulator"
    mkdir "$root/proc"
    run=(/emulator /treering)
  fi
  ids+=("$(inside "$root" "${run[@]}" -q commit --reproducible --platform linux/amd64 tree app:v1 -c 'CMD ["/run"]')")
  inside "$root" "${run[@]}" -q unpack app:v1 work
  diff -r --no-dereference "$root/tree" "$root/work"
  test -z "$(inside "$root" "${run[@]}" diff work)"
  inside "$root" "${run[@]}" -q save -o app.tar app:v1
  inside "$root" "${run[@]}" -q --root other load -i app.tar
  inside "$root" "${run[@]}" -q --root other fsck --level bytes
  echo "static: $arch works without anything around it"
done
[ "$(printf '%s\n' "${ids[@]}" | sort -u | wc -l)" = 1 ] || { echo "static: images differ: ${ids[*]}" >&2; exit 1; }

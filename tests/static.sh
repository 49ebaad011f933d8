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
    for place in proc dev; do [ ! -d "$root/$place" ] || mount --rbind "/$place" "$root/$place"; done
    exec env -i TREERING_ROOT=/store "$(command -v chroot)" "$root" "$@"
  ' inside "$root" "$@"
}

# What there is to run: a shell in one file.
mkdir -p "$work/box/bin"
cp "$(command -v busybox)" "$work/box/bin/busybox"
ln -s busybox "$work/box/bin/sh"
script='busybox touch /made && busybox chown 7:8 /made && busybox stat -c %u:%g /made'

# Runs a command in a tree where this program is all there is but for /proc and /dev, by the first way that works and by the last one.
commands() {
  local root=$1 rung
  mkdir -p "$root/proc" "$root/dev"
  cp -a "$work/box" "$root/box"
  inside "$root" /treering -q commit box box:v1 >/dev/null
  for rung in '' --rung=paths; do
    test "$(inside "$root" /treering -q run ${rung:+"$rung"} box /bin/sh -c "$script")" = 7:8
    test "$(inside "$root" /treering diff box)" = 'A /made'
    inside "$root" /treering -q checkout --discard box:v1 box >/dev/null
  done
  echo 'static: it runs commands'
}

# The same as the only thing in the image of an engine, with the engine's own filter: as root, and as a user.
in_container() {
  local root=$1 socket=unix://$work/docker.sock docker=docker pid
  [ "$(id -u)" = 0 ] || { echo 'SKIP-PART static: an engine of our own needs root; as root this runs'; return; }
  [ ! -x /usr/bin/docker ] || docker=/usr/bin/docker
  command -v dockerd >/dev/null || {
    echo 'SKIP-PART static: dockerd is not on PATH'
    [ -z "${CI:-}" ]
    return
  }
  dockerd --iptables=false --ip6tables=false --bridge=none -H "$socket" --data-root "$work/docker" --exec-root "$work/docker-exec" \
    --pidfile "$work/docker.pid" >"$work/dockerd.log" 2>&1 &
  pid=$!
  # shellcheck disable=SC2064 # the process of now
  trap "kill $pid; wait $pid || true; rm -rf '$work'" EXIT
  for _ in $(seq 300); do
    "$docker" -H "$socket" info >/dev/null 2>&1 && break
    sleep 0.1
  done
  mkdir -p "$work/scratch/tmp"
  chmod 1777 "$work/scratch/tmp"
  cp "$root/treering" "$work/scratch/treering"
  cp -a "$work/box" "$work/scratch/box"
  tar -C "$work/scratch" -c . | "$docker" -H "$socket" import - scratch >/dev/null
  for user in 0 1000; do
    out=$("$docker" -H "$socket" run --rm --network none --user "$user" -e TREERING_ROOT=/tmp/store scratch /box/bin/busybox sh -ec "
      cd /tmp; /box/bin/busybox cp -dR /box work; /treering -q commit work box:v1 >/dev/null
      /treering -q run work /bin/sh -c '$script'; /treering diff work")
    [ "$out" = $'7:8\nA /made' ] || { echo "static: as $user in a container: $out" >&2; exit 1; }
    echo "static: it runs commands as $user in a container that has nothing else"
  done
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
  # What an emulator runs has no filters and no tracing.
  if [ "$arch" = "$(uname -m)" ]; then
    commands "$root"
    in_container "$root"
  fi
done
[ "$(printf '%s\n' "${ids[@]}" | sort -u | wc -l)" = 1 ] || { echo "static: images differ: ${ids[*]}" >&2; exit 1; }

#!/usr/bin/env bash
# usage: tests/on_ext4.sh COMMAND [ARGUMENT...]
#
# Runs a command with TMPDIR on a filesystem of its own: an ext4 with a journal, as most machines have, in a file without a name. The
# mount is in a namespace of the command; nothing of it is left. Without root, or loop devices, the command is run as it is.
#
# Some machines of CI have an ext4 without a journal. There a new file does not get the number of one that was deleted less than a minute
# ago, and each of those is looked at for every file that is made (find_inode_bit and recently_deleted in the kernel's fs/ext4/ialloc.c).
# With trees that come and go, that is half of the time tests take; and what recycled numbers do is not tested.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

image='' mount=''
clean() {
  [ -z "$image" ] || rm -f "$image"
  [ -z "$mount" ] || rmdir "$mount"
}
as_it_is() {
  echo "on_ext4: $1: tests work in ${TMPDIR:-/tmp}" >&2
  shift
  clean
  exec "$@"
}
[ "$(id -u)" = 0 ] || as_it_is 'this needs root' "$@"
room() { df --output=avail -k "$1" 2>/dev/null | tail -n 1; }
here=${TMPDIR:-/tmp} most=20971520
# In memory where there is plenty: to wait for a disk tests nothing.
available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
if [ "${available:-0}" -ge 16777216 ] && [ "$(room /dev/shm || echo 0)" -ge 16777216 ]; then
  here=/dev/shm most=10485760
fi
# Sparse: it takes what the tests write, for as long as they need it.
image=$(mktemp "$here/treering-ext4.XXXXXX")
free=$(room "$here")
size=$((free * 3 / 4 < most ? free * 3 / 4 : most))
# Users enter it below a directory that they may enter.
mount=$(mktemp -d /tmp/treering-tests.XXXXXX)
trap clean EXIT
truncate -s "${size}K" "$image"
mkfs.ext4 -q -F -O has_journal "$image" || as_it_is 'no filesystem can be made' "$@"
if ! unshare --mount --propagation private mount -o loop,ro "$image" "$mount" 2>/dev/null; then
  as_it_is 'no file can be mounted' "$@"
fi
unshare --mount --propagation private bash -c '
  set -euo pipefail
  image=$1 mount=$2; shift 2
  mount -o loop,discard "$image" "$mount"
  rm "$image"
  chmod 1777 "$mount"
  code=0
  TMPDIR=$mount "$@" || code=$?
  # A process that was left behind (the one of podman that waits for nothing) holds the mount: what is in it goes in any case.
  find "$mount" -xdev -mindepth 1 -delete 2>/dev/null || true
  exit "$code"
' on_ext4 "$image" "$mount" "$@"

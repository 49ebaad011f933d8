#!/usr/bin/env bash
# usage: AUDITWHEEL=PROGRAM .ci/check_wheel.sh WHEEL...
#
# Fails unless each wheel needs of the system no more than its name says: manylinux or musllinux of that version or an earlier one.
# `auditwheel show` by itself prints what it finds and succeeds.
set -euo pipefail
auditwheel=${AUDITWHEEL:-auditwheel}
[ $# -gt 0 ] || { echo 'wheels: there are none' >&2; exit 1; }
for wheel; do
  said=$("$auditwheel" show "$wheel" | tr -s '\n ' ' ')
  # `… is consistent with the following platform tag: "manylinux_2_17_x86_64".`, on as many lines as it takes.
  found=$(sed -n -E 's/.*platform tag: "((many|musl)linux_[0-9]+_[0-9]+_[a-z0-9_]+)".*/\1/p' <<<"$said")
  named=$(basename "$wheel" .whl | grep -oE '(many|musl)linux_[0-9]+_[0-9]+_[a-z0-9_]+' | head -n 1 || true)
  # The same libc and architecture, and no later version.
  as_number() { sed -E 's/^([a-z]+)_([0-9]+)_([0-9]+)_(.*)$/\1-\4 \2 \3/' <<<"$1"; }
  read -r kind major minor <<<"$(as_number "$found")"
  read -r named_kind named_major named_minor <<<"$(as_number "$named")"
  if [ -z "$found" ] || [ -z "$named" ] || [ "$kind" != "$named_kind" ] ||
    [ $((major * 1000 + minor)) -gt $((named_major * 1000 + named_minor)) ]; then
    echo "wheels: $wheel is not what its name says: $said" >&2
    exit 1
  fi
  echo "wheels: $(basename "$wheel") needs $found"
done

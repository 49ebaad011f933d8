#!/usr/bin/env bash
# usage: tests/unprivileged.sh COMMAND [ARGUMENT...]
#
# Runs a command as a user with no privileges at all: no root, no capabilities, no groups, no subordinate ids, a home
# and temporary directory of their own that is gone afterwards. `make test-unprivileged` gives this script to cargo as
# the runner of the test binaries. Nothing on the machine is changed: the user is a number, not an account.
set -euo pipefail

uid=65534
# Without root there is nothing to drop; the caller is unprivileged already.
[ "$(id -u)" = 0 ] || exec "$@"

name=$(id -nu "$uid" 2>/dev/null || echo "$uid")
if grep -qE "^($uid|$name):" /etc/subuid /etc/subgid 2>/dev/null; then
  echo "unprivileged: user $uid has subordinate ids here, so this would not test their absence" >&2
  exit 1
fi

# A checkout below a directory that only root may enter (/root, usually) is shown at its own path, in a mount namespace
# of this process alone, by covering that directory with an empty one everybody may enter.
drop=(setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all)
if ! "${drop[@]}" test -x "$1"; then
  if [ -n "${TREERING_UNCOVERED:-}" ]; then
    echo "unprivileged: user $uid cannot reach $1, so the tests cannot be run as that user" >&2
    exit 1
  fi
  top=$(git rev-parse --show-toplevel)
  TREERING_UNCOVERED=1 exec unshare --mount --propagation private bash -c '
    set -euo pipefail
    top=$1 first=/$(cut -d/ -f2 <<<"$1"); shift
    kept=$(mktemp -d)
    mount --bind "$top" "$kept"
    mount -t tmpfs -o mode=755 treering "$first"
    mkdir -p "$top"
    mount --move "$kept" "$top"
    rmdir "$kept"
    cd "$top"
    exec bash "$top/tests/unprivileged.sh" "$@"
  ' cover "$top" "$@"
fi

home=$(mktemp -d "${TMPDIR:-/tmp}/treering-unprivileged.XXXXXX")
trap 'rm -rf --one-file-system "$home"' EXIT
chown "$uid:$uid" "$home"
env -u XDG_RUNTIME_DIR -u XDG_DATA_HOME -u XDG_CONFIG_HOME -u XDG_CACHE_HOME -u SUDO_UID -u SUDO_USER \
  HOME="$home" TMPDIR="$home" USER="$name" LOGNAME="$name" "${drop[@]}" "$@"

#!/usr/bin/env bash
# usage: tests/demo.sh PATH/TO/treering
#
# The main job, on a real tree and without network or privileges: commit a tree, unpack it, run a command in it, show what changed,
# commit that as a second layer, go back, build a Dockerfile twice, look at it and save it. The tree is a few thousand files of this machine's
# own system. Everything happens in a temporary directory, its image store included, and is gone afterwards.
set -euo pipefail
bin=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-demo.XXXXXX")
# A tree may hold directories without write permission, which rm alone cannot empty.
trap 'chmod -R u+rwX "$work" 2>/dev/null; rm -rf "$work"' EXIT
export TREERING_ROOT=$work/store
cd "$work"
treering() { "$bin" "$@"; }

bold='' dim='' green='' off=''
if [ -t 1 ]; then
  bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' off=$'\e[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }

# Shows a command the way one would type it, runs it, and says how long it took.
show() {
  local began now
  printf '%s$ %s%s\n' "$green" "$1" "$off"
  began=${EPOCHREALTIME/[.,]/}
  eval "$1"
  now=${EPOCHREALTIME/[.,]/}
  printf '%s  %d.%03d s%s\n' "$dim" $(((now - began) / 1000000)) $(((now - began) / 1000 % 1000)) "$off"
}

# What most systems have of this; unreadable files are left out, since the demo needs no root.
gather() {
  local part libraries programs=(/usr/bin/{env,sh,cat,chmod,chown,cp,id,ls,mv,rm,sed,stat,tar,head,tail,sort})
  mkdir tree
  # What sh is a link to, and the libraries that these programs need to run.
  programs+=("$(readlink -f /usr/bin/sh)")
  mapfile -t libraries < <(ldd "${programs[@]}" 2>/dev/null | sed -nE 's/^[^/]*(\/[^ :]+) \(.*/\1/p' | sort -u)
  for part in /etc/ssl /etc/alternatives /usr/share/zoneinfo /usr/share/terminfo /usr/lib/python3.[0-9]* \
    /usr/lib/os-release "${programs[@]}"; do
    [ ! -e "$part" ] || printf '%s\0' "$part"
  done | xargs -0 -I{} find {} \( -type d ! \( -readable -executable \) -o ! -type l ! -readable \) -prune -o -print0 |
    head -z -n 5000 | tar --null --no-recursion -T - -c 2>/dev/null | tar -x -C tree
  # A library is often a link to the file with its whole version.
  cp --parents -L "${libraries[@]}" tree
  [ -e tree/bin ] || ln -s usr/bin tree/bin
  # The files edited below are the demo's own: a link among the system's would lead the edit out of the tree.
  mkdir tree/app
  printf '#!/bin/sh\necho hello\n' >tree/app/hello.sh
  seq 10000 >tree/app/numbers.txt
}

say "A real tree: files of this machine's own system"
gather
show "find tree | wc -l; du -sh tree"

say 'Commit it as an image'
show "treering commit tree app:v1 -a 'Demo <demo@example.org>' -m 'The first ring' -c 'CMD [\"/app/hello.sh\"]'"
show 'treering images'

say 'Unpack the image, and run commands in it: as root to themselves'
show 'treering unpack app:v1 work'
show "treering run -q work -- sh -c 'chmod 755 /app/hello.sh; rm /app/numbers.txt; id -u'"
show "treering run -q work -- sh -c '/app/hello.sh >/app/motd; chown 1000:1000 /app/motd; stat -c %u:%g /app/motd'"

say 'What changed?'
show 'treering diff work'

say 'Commit the change: only what changed becomes the second layer'
show "treering commit work app:v2 -a 'Demo <demo@example.org>' -m 'The second ring'"
show 'treering history app:v2'
show 'treering df'

say 'Go back to the first image, in place: only what differs is touched'
show 'treering checkout app:v1 work'
show 'treering diff work'
show 'treering checkout - work'
show 'treering cat app:v1:/app/hello.sh'

say 'Build a two-stage Dockerfile, twice: the second time every step is in the cache'
cat >Dockerfile <<'END'
FROM app:v2 AS files
RUN sort -r /app/motd >/app/sorted
FROM scratch
COPY --from=files /app /srv
COPY --chown=1000 settings /etc/app/
USER 1000
CMD ["/srv/hello.sh"]
END
mkdir settings
echo debug=1 >settings/app.conf
show 'cat Dockerfile'
show 'treering build --progress tty -t site:v1 .'
show 'treering build --progress tty -t site:v1 .'
show 'treering history site:v1'
show 'treering save -o site.tar site:v1'

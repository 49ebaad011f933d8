#!/usr/bin/env bash
# usage: tests/install.sh PROGRAM
#
# What `make install` does with the command PROGRAM: it comes with a manual, completions and the licences of all that is linked into
# it, everybody may read them, and `make uninstall` leaves nothing.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/treering-install.XXXXXX")
trap 'rm -rf "$work"' EXIT
die() {
  echo "install: $*" >&2
  exit 1
}

# Of somebody with a careful umask.
(umask 077 && make --no-print-directory -s install-command COMMAND="$program" PREFIX=/usr DESTDIR="$work/root")
root=$work/root/usr
"$root/bin/treering" version >/dev/null
verbs=$("$root/bin/treering" --help | sed -n -E '/^Examples/q; s/^  ([a-z]+)  .*/\1/p')
[ "$(wc -w <<<"$verbs")" -gt 30 ] || die "the help lists few verbs: $verbs"
for verb in $verbs; do
  [ "$verb" = help ] || [ -s "$root/share/man/man1/treering-$verb.1" ] || die "no manual page of $verb"
done
bash -n "$root/share/bash-completion/completions/treering"
grep -q '^#compdef treering' "$root/share/zsh/site-functions/_treering" || die 'no completion for zsh'
grep -q '^complete -c treering' "$root/share/fish/vendor_completions.d/treering.fish" || die 'no completion for fish'
closed=$(find "$root" ! -type l ! -perm -444)
[ -z "$closed" ] || die "not everybody may read: $closed"

# As cargo itself lists what is linked.
licences=$root/share/doc/treering/THIRD-PARTY.txt
linked=$(cargo tree --locked --offline -e normal,no-proc-macro --prefix none -f '{p}' | sed -n -E 's/^([^ ]+) v([^ ]+)( \(\*\))?$/\1 \2/p' | sort -u)
[ "$(wc -l <<<"$linked")" -gt 50 ] || die "cargo lists few crates: $linked"
while read -r crate; do
  [ "$(grep -cF "$crate" "$licences")" -ge 2 ] || die "the licence of $crate is missing"
done <<<"$linked"
# C libraries in crates have licences of their own; so has what Rust brings.
for holder in 'Meta Platforms' 'Eric Biggers' 'BoringSSL' 'The Rust Project Developers'; do
  grep -q "$holder" "$licences" || die "no word of $holder"
done
for licence in LICENSE-MIT LICENSE-APACHE; do cmp "$licence" "$root/share/doc/treering/$licence"; done

touch "$root/share/man/man1/other.1"
make --no-print-directory -s uninstall PREFIX=/usr DESTDIR="$work/root"
left=$(find "$work/root" ! -type d -printf '%P ')
[ "$left" = 'usr/share/man/man1/other.1 ' ] || die "uninstalled, there is still: $left"
[ ! -e "$root/share/doc/treering" ] || die 'the directory of the licences stays'
echo 'install: the command comes with its manual, completions and licences, and goes with them'

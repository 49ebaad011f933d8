#!/usr/bin/env bash
# usage: tests/c/documents.sh TOP SCRATCH
#
# The C in README.md, docs/capi.md and the header's first comment compiles and does what it says, by the lines that
# docs/capi.md gives for it.
set -euo pipefail
top=$1 scratch=$2
cd "$scratch"
mkdir -p rootfs
echo hello >rootfs/hello
export TREERING_ROOT=$scratch/store

block() { sed -n '/^```c$/,/^```$/p' "$top/$1" | grep -v '^```'; }
header() { sed -n '/The smallest program:/,/^ \*\//p' "$(pkg-config --variable=includedir treering)/treering.h" | sed -n 's/^ \*     //p'; }
# They are the inside of a function.
program() { printf '#include <stdio.h>\n#include <treering.h>\nint main(void) {\n%s\nreturn 0;\n}\n' "$(cat)"; }

mapfile -t lines < <(sed -n 's/^    \(cc .*program\.c .*\)$/\1/p' "$top/docs/capi.md" | sed 's/ *#.*//')
[ "${#lines[@]}" = 3 ] || { echo "docs/capi.md has ${#lines[@]} lines to build a program, not 3" >&2; exit 1; }
for source in README.md docs/capi.md header; do
  if [ $source = header ]; then text=$(header); else text=$(block $source); fi
  [ "$(wc -l <<<"$text")" -gt 4 ] || { echo "$source has no program" >&2; exit 1; }
  program >program.c <<<"$text"
  for number in 0 1 2; do
    rm -rf a.out store
    eval "${lines[$number]} -Wall -Wextra -Werror"
    needs=$(readelf -d a.out | grep -c 'NEEDED.*libtreering' || true)
    [ "$needs" = $((number == 0)) ] || { echo "$source: ${lines[$number]}: not linked as said" >&2; exit 1; }
    ./a.out >out 2>errors || { cat errors >&2; exit 1; }
    if [ -s errors ]; then cat errors >&2; exit 1; fi
  done
  [ $source != header ] || grep -Eq '^sha256:[0-9a-f]{64}$' out
done

#!/usr/bin/env bash
# usage: tests/c/beside.sh SCRATCH
#
# The static library beside a zstd and a libdeflate of the program's own: whatever the order on the command line, it links, each
# side has its own, and layers have the bytes that they have with the shared library.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
mkdir -p tree
seq 20000 >tree/numbers
touch -h -d @1000000000 tree/numbers tree
read -ra cc <<<"${CC:-cc} -std=c11 -Wall -Wextra -Werror"
read -ra cflags < <(pkg-config --cflags treering)
read -ra shared < <(pkg-config --libs treering)
read -ra static < <(pkg-config --libs treering-static)
"${cc[@]}" "${cflags[@]}" -c "$here/beside/main.c" -o main.o
"${cc[@]}" -c "$here/beside/other.c" -o other.o
rm -f libother.a
ar rcs libother.a other.o
"${cc[@]}" -o shared main.o libother.a "${shared[@]}"
"${cc[@]}" -o before main.o libother.a "${static[@]}"
"${cc[@]}" -o behind main.o "${static[@]}" libother.a
"${cc[@]}" -o objects main.o other.o "${static[@]}"
for one in shared before behind objects; do
  rm -rf store
  TREERING_ROOT=$PWD/store "./$one" tree >"$one.out"
  diff shared.out "$one.out"
done

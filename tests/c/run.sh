#!/usr/bin/env bash
# usage: tests/c/run.sh WORKDIR
#
# Builds every tests/c/*.c three ways and runs each: against the shared library as a user would, under AddressSanitizer
# and UndefinedBehaviorSanitizer, and statically under valgrind. pkg-config must find treering (`make check-c` sees to
# it). A program says what is wrong on stderr and exits with something other than 0.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
mkdir -p "$work"

cc=${CC:-cc}
strict=(-std=c99 -pedantic -Wall -Wextra -Werror -g)
read -ra cflags < <(pkg-config --cflags treering)
read -ra shared < <(pkg-config --libs treering)
# Both libraries stand in one directory and the linker prefers the shared one, so the archive is named by its file.
read -ra private < <(pkg-config --static --libs-only-l treering | sed 's/-ltreering//')
archive=$(pkg-config --variable=libdir treering)/libtreering.a
sanitize=(-fsanitize=address,undefined -fno-sanitize-recover=all)

passed=0 failed=0
run() { # name, command...
  local name=$1
  shift
  if "$@" >"$work/log" 2>&1; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED %s\n' "$name"
    sed 's/^/    /' "$work/log"
  fi
}

for source in "$here"/*.c; do
  name=$(basename "$source" .c)
  "$cc" "${strict[@]}" "${cflags[@]}" -o "$work/$name" "$source" "${shared[@]}"
  run "$name" "$work/$name"

  "$cc" "${strict[@]}" "${sanitize[@]}" "${cflags[@]}" -o "$work/$name-asan" "$source" "${shared[@]}"
  # A build that silently lost its sanitizer would pass everything.
  grep -q __asan_init < <(nm "$work/$name-asan") || { echo "$name-asan has no AddressSanitizer in it" >&2; exit 1; }
  run "$name (asan)" "$work/$name-asan"

  "$cc" "${strict[@]}" "${cflags[@]}" -o "$work/$name-static" "$source" "$archive" "${private[@]}"
  if command -v valgrind >/dev/null; then
    run "$name (valgrind)" valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect --error-exitcode=9 \
      "$work/$name-static"
  else
    echo 'SKIP-TOOL valgrind: not on PATH'
  fi
done
echo "check-c: $passed passed, $failed failed"
[ "$failed" = 0 ]

#!/usr/bin/env bash
# usage: tests/c/run.sh WORKDIR
#
# Builds every C and C++ test and every example three ways and runs each: against the shared library as a user would,
# under AddressSanitizer and UndefinedBehaviorSanitizer, and statically under valgrind. pkg-config must find treering
# (`make check-c` builds it). A program says what is wrong on stderr and exits with something other than 0.
#
# TREERING_C_ONLY=name runs one program; TREERING_C_FAST=1 leaves out valgrind.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$1
mkdir -p "$work"
work=$(cd "$work" && pwd)
# Where tests make their trees and stores.
room=$(mktemp -d "${TMPDIR:-/tmp}/treering-c.XXXXXX")
trap 'rm -rf "$room"' EXIT

warnings=(-pedantic -Wall -Wextra -Wshadow -Werror -g -D_GNU_SOURCE)
read -ra cc <<<"${CC:-cc} -std=c11"
read -ra cxx <<<"${CXX:-c++} -std=c++17"
read -ra cflags < <(pkg-config --cflags treering)
read -ra shared < <(pkg-config --libs treering)
read -ra static < <(pkg-config --libs treering-static)
sanitize=("-fsanitize=address,undefined" -fno-sanitize-recover=all)
export TREERING_PARITY=$top/tests/data/parity.json

# A program that has the library inside finds nothing beside it.
init=$(pkg-config --variable=prefix treering)/libexec/treering/treering-init
# One line for each test; several run at once.
rm -f "$work"/log-* && : >"$work/passed" && : >"$work/failed"
export RUST_BACKTRACE=0
# In CI nothing may be left out, as in tests/support/src/tools.rs.
missing() {
  echo "SKIP-TOOL $1: not on PATH"
  [ -z "${CI:-}" ] || { echo "$1 is needed in CI" >&2; exit 1; }
}
run() { # name, command...
  local name=$1 started=$SECONDS log
  shift
  log=$(mktemp "$work/log-XXXXXX")
  if "$@" >"$log" 2>&1; then
    echo "$name" >>"$work/passed"
    grep -E "^(soak|overhead|parity): " "$log" | sed "s/^/    $name: /" || true
  else
    echo "$name" >>"$work/failed"
    { printf 'FAILED %s (%s s)\n' "$name" $((SECONDS - started)) && sed 's/^/    /' "$log"; }
  fi
  rm -f "$log"
}

# The header alone, in the languages it says it is for.
for std in c99 c11 c17; do "${CC:-cc}" -std=$std -pedantic -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only -x c - <<<'#include <treering.h>'; done
for std in c++11 c++17 c++20; do "${CXX:-c++}" -std=$std -pedantic -Wall -Wextra -Werror "${cflags[@]}" -fsyntax-only -x c++ - <<<'#include <treering.h>'; done

# A sanitizer that is not on would pass everything: misuse must be caught.
"${cc[@]}" -g "${sanitize[@]}" -o "$work/misuse" "$here/misuse-asan.c"
if "$work/misuse" >"$work/log" 2>&1 || ! grep -q heap-use-after-free "$work/log"; then
  echo 'AddressSanitizer does not catch a use after free' >&2
  exit 1
fi

# Builds one program in three ways, and runs each.
program() { # source
  local source=$1 name compile rounds scratch command
  name=$(basename "${source%.*}")
  case $source in *.cc) compile=("${cxx[@]}") ;; *) compile=("${cc[@]}") ;; esac
  compile+=("${warnings[@]}" "${cflags[@]}")
  rounds=300
  scratch=$(mktemp -d "$room/scratch-XXXXXX")
  case $source in
    */examples/*) command=(bash "$here/examples.sh" "$name" "$scratch") ;;
    *) command=(env) ;;
  esac

  "${compile[@]}" -o "$work/$name" "$source" "${shared[@]}" -pthread
  run "$name" "${command[@]}" "$work/$name"

  "${compile[@]}" "${sanitize[@]}" -o "$work/$name-asan" "$source" "${shared[@]}" -pthread
  grep -q __asan_init < <(nm "$work/$name-asan") || { echo "$name-asan has no AddressSanitizer in it" >&2; exit 1; }
  run "$name (asan)" env TREERING_SOAK_ROUNDS=$rounds "${command[@]}" "$work/$name-asan"

  "${compile[@]}" -o "$work/$name-static" "$source" "${static[@]}" -pthread
  # To run a command takes calls that valgrind does not have (openat2 before 3.20, seccomp's listener).
  if [ -n "${TREERING_C_FAST:-}" ] || [ "$name" = run ]; then
    run "$name (static)" env TREERING_INIT="$init" TREERING_SOAK_ROUNDS=$rounds "${command[@]}" "$work/$name-static"
  elif command -v valgrind >/dev/null; then
    run "$name (valgrind)" env TREERING_INIT="$init" TREERING_SOAK_ROUNDS=30 "${command[@]}" valgrind -q --leak-check=full \
      --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 --suppressions="$here/valgrind.supp" --fair-sched=try "$work/$name-static"
  else
    missing valgrind
  fi
  rm -rf "$scratch"
}

# Compilers have the processors; tests wait for disks and for each other's threads.
for source in "$here"/*.c "$here"/*.cc "$top"/examples/c/*.c; do
  name=$(basename "${source%.*}")
  [ "$name" != misuse-asan ] || continue
  [ -z "${TREERING_C_ONLY:-}" ] || [ "$name" = "$TREERING_C_ONLY" ] || continue
  while [ "$(jobs -rp | wc -l)" -ge $((2 * $(nproc))) ]; do wait -n; done
  program "$source" &
done
while [ -n "$(jobs -p)" ]; do wait -n; done
scratch=$(mktemp -d "$room/scratch-XXXXXX")
run documents bash "$here/documents.sh" "$top" "$scratch"
rm -rf "$scratch"
scratch=$(mktemp -d "$room/scratch-XXXXXX")
run 'beside another zstd' bash "$here/beside.sh" "$scratch"
rm -rf "$scratch"
# Examples are built by the very lines they print, too.
for source in "$top"/examples/c/*.c; do
  name=$(basename "$source" .c)
  scratch=$(mktemp -d "$room/scratch-XXXXXX")
  cp "$source" "$scratch/"
  line=$(sed -n 's/^ \* \{5\}\(cc .*\)$/\1/p' "$source")
  [ "$(wc -l <<<"$line")" = 1 ] && [ -n "$line" ] || { echo "$source has no line to build it" >&2; exit 1; }
  (cd "$scratch" && eval "${line/#cc/${CC:-cc} -Wall -Wextra -Werror}") || exit 1
  run "$name (its own line)" bash "$here/examples.sh" "$name" "$scratch" "$scratch/$name"
  rm -rf "$scratch"
done
for library in libtreering.so libtreering.a; do
  bash "$here/symbols.sh" "$(pkg-config --variable=libdir treering)/$library" "$top/include/treering.h" || echo "$library" >>"$work/failed"
done

# What programs that use the library ask of the system: no call that changes the process, none that starts another, and no socket,
# whatever the symbols say.
calls='umask,chdir,fchdir,chroot,setns,unshare,execve,execveat,setuid,setgid,setresuid,setresgid,setgroups,prctl,fork,vfork,clone,clone3'
calls+=',socket,socketpair,connect,bind,listen'
traced() { # name, program, arguments
  local name=$1 unwanted
  shift
  strace -f -e "trace=$calls" -o "$work/traced/log" "$@" >/dev/null
  grep -q 'clone3\?(.*CLONE_THREAD' "$work/traced/log" || { echo "$name: strace shows no threads" >&2; exit 1; }
  # The one execve is the program's own start. A thread of the library gives itself a name, which is its own alone.
  unwanted=$(grep -E "^[0-9]+ +(${calls//,/|})\(" "$work/traced/log" | grep -vE 'prctl\(PR_SET_NAME, "treering-|clone3?\(.*CLONE_THREAD' | tail -n +2)
  if [ -n "$unwanted" ]; then
    printf '%s: the library did more than its functions say:\n%s\n' "$name" "$unwanted" >&2
    echo "$name (traced)" >>"$work/failed"
  else
    echo "$name (traced)" >>"$work/passed"
  fi
}
if ! command -v strace >/dev/null; then
  missing strace
elif [ -x "$work/make_image" ] && [ -x "$work/quiet" ]; then
  rm -rf "$work/traced" && mkdir -p "$work/traced/rootfs/d" && echo 1 >"$work/traced/rootfs/d/f"
  TREERING_ROOT=$work/traced/store traced make_image "$work/make_image" "$work/traced/rootfs" t:1
  traced quiet "$work/quiet" "$work/traced/quiet"
fi
echo "check-c: $(wc -l <"$work/passed") passed, $(wc -l <"$work/failed") failed"
[ ! -s "$work/failed" ]

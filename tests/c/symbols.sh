#!/usr/bin/env bash
# usage: tests/c/symbols.sh LIBRARY HEADER|python
#        tests/c/symbols.sh PROGRAM plain
#
# What a library, shared or static, exports is what the header declares, with the hooks of treering_test.h (or, of Python's module, the
# one function Python looks for), and it imports nothing that changes the whole process. A program that is built on the crate without
# features imports nothing that starts a process or opens a socket.
set -euo pipefail
library=$1 header=$2
hooks=$(dirname "$0")/treering_test.h

# By these a process is started, in its place or beside it.
starting='fork vfork _Fork clone execve execv execvp execvpe execl execlp execle fexecve system popen'
if [ "$header" = plain ]; then
  imported=$(nm -D --undefined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort -u)
  # A program that was linked in another way would have nothing to find.
  grep -qx pthread_create <<<"$imported" || { echo "symbols: $library does not import pthread_create: is it linked statically?" >&2; exit 1; }
  if grep -xE "${starting// /|}|posix_spawnp?|socket|socketpair|connect|bind|listen|accept4?|getaddrinfo" <<<"$imported"; then
    echo "symbols: $library imports these, though it is built without the features 'sandbox' and 'registry'" >&2
    exit 1
  fi
  echo "symbols: a program without features: $(wc -l <<<"$imported") imported, none of them for processes or sockets"
  exit
fi

case $library in
  *.a) exported=$(nm -g --defined-only "$library" | awk 'NF == 3 { print $3 }' | sort -u) ;;
  *) exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' | sort -u) ;;
esac
if [ "$header" = python ]; then
  declared=PyInit__treering
else
  declared=$(grep -ohE '\btreering_[a-z0-9_]+\(' "$header" "$hooks" | grep -v '^treering_.*_fn(' | tr -d '(' | sort -u)
fi
# Functions are also named in comments, which only ever name functions that are there.
if ! diff <(echo "$exported") <(echo "$declared"); then
  echo "symbols: the library (<) does not export what the header (>) declares" >&2
  exit 1
fi

# What would change the process for everyone in it, or leave it. The functions that run commands start processes in one way, by
# posix_spawn, and those for registries and containers open sockets. Which functions these are is not seen in symbols:
# tests/c/run.sh traces a program that calls others.
forbidden="$starting"' umask chdir fchdir chroot setenv putenv unsetenv clearenv signal sigaction sigprocmask pthread_sigmask raise
alarm setitimer unshare setns setuid
seteuid setgid setegid setresuid setresgid setgroups setrlimit prctl atexit __cxa_atexit on_exit dlopen setlocale
exit _exit quick_exit daemon nice setpriority'
# Imported by Rust's standard library, each with why it does no harm:
#   __cxa_thread_atexit_impl  destructors of thread-local variables, run when their thread ends
#   abort                     running out of memory, and panics while panicking
allowed=''
# Python's module holds the command as well; its parser of arguments ends the process after `--help`; only
# `python -m treering` runs it.
[ "$header" != python ] || allowed='exit'
case $library in
  *.a) imported=$(nm -u "$library" | awk 'NF == 2 { print $2 }' | sort -u) ;;
  *) imported=$(nm -D --undefined-only "$library" | awk '{ print $NF }' | sed 's/@.*//' | sort -u) ;;
esac
bad=0
for name in $forbidden; do
  case " $allowed " in *" $name "*) continue ;; esac
  if grep -qx "$name" <<<"$imported"; then
    echo "symbols: the library imports $name" >&2
    bad=1
  fi
done
[ $bad = 0 ]
echo "symbols: $(wc -l <<<"$exported") exported, as declared; $(wc -l <<<"$imported") imported, none forbidden"

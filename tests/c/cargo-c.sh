#!/usr/bin/env bash
# usage: tests/c/cargo-c.sh WORKDIR
#
# What `cargo cinstall` installs for a distribution is what `make install` installs for a user: the same files, modes and links,
# the same header and treering.pc to the byte, the same name for the loader, the same functions. And it works: the examples are
# built against each through pkg-config, dynamically and statically, and run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
work=$1
: "${CARGO:=cargo}"
if ! command -v cargo-cinstall >/dev/null; then
  echo 'cargo-c is not on PATH; get it with: cargo install --locked cargo-c' >&2
  exit 1
fi
rm -rf "$work" && mkdir -p "$work"
work=$(cd "$work" && pwd)
cd "$top"

"$CARGO" cinstall --release --locked --no-default-features --prefix=/usr --libdir=lib --destdir="$work/cinstall"
make --no-print-directory lib install-lib CARGO="$CARGO" PREFIX=/usr DESTDIR="$work/make"

# The facts of a tree of installed files, licences aside (a distribution has places of its own for them); the libraries' bytes are
# those of two builds.
tell() {
  cd "$1"
  find . ! -name treering-static.pc ! -path './usr/share*' -printf '%y %m %p %l\n' | sort -k 3
  sha256sum usr/include/treering.h
  cat usr/lib/pkgconfig/treering.pc
  readelf -d usr/lib/libtreering.so | grep -E 'SONAME|NEEDED' | sed 's/.*(/(/' | sort
  nm -D --defined-only usr/lib/libtreering.so | awk '{ print $3 }' | sort
}
diff <(tell "$work/make") <(tell "$work/cinstall") || { echo 'cargo cinstall (>) does not install what make (<) does' >&2; exit 1; }

for one in make cinstall; do
  lib=$work/$one/usr/lib
  bash "$here/symbols.sh" "$lib/libtreering.so" include/treering.h
  ask() { PKG_CONFIG_LIBDIR=$lib/pkgconfig pkg-config --define-variable=prefix="$work/$one/usr" "$@" treering; }
  for source in examples/c/*.c; do
    name=$(basename "$source" .c)
    # shellcheck disable=SC2046 # these are words
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -o "$work/$name-$one" "$source" $(ask --cflags --libs)
    # shellcheck disable=SC2046
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -o "$work/$name-$one-static" "$source" $(ask --cflags) \
      "$(ask --variable=libdir)/libtreering.a" $(ask --static --libs-only-l | sed 's/-ltreering//')
    readelf -d "$work/$name-$one" | grep -q 'libtreering\.so\.0\.'
    if readelf -d "$work/$name-$one-static" | grep treering; then exit 1; fi
    LD_LIBRARY_PATH=$lib bash "$here/examples.sh" "$name" "$work" "$work/$name-$one"
    bash "$here/examples.sh" "$name" "$work" "$work/$name-$one-static"
  done
done
echo "cargo-c: installs what make does, and $(find examples/c -name '*.c' | wc -l) examples work with each, dynamic and static"

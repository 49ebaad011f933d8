#!/usr/bin/env bash
# usage: tests/corpus.sh NAME
#
# Makes a named tree once, keeps it in ${TREERING_CORPORA:-/var/tmp/treering-corpora}, and prints its path.
#
#   debian-min    a minimal Debian or Ubuntu root filesystem, about 190 MB     } by mmdebstrap, as root; the same tree
#   debian-apt    one with apt and a repository of packages in /repo, to install from without a network
#   debian-python one with Python, pip and setuptools, without documents and translations
#   debian-node   the same with Node.js and npm
#   debian-java   the same with a JDK without desktop, and Maven
#   debian-big    one with compilers, Python, Java and all locales, 1.2 GB     } stands beside it as NAME.tar
#   small-100k    100,000 small files in 1,000 directories, the same bytes and times everywhere
#   sparse-10g    one file of 10 GB that holds three short runs of data
#   random-4g     four files of 1 GB that no compressor can shrink, the same bytes everywhere
#
# Exit status 77: the tree cannot be made here; the reason is on stderr.
set -euo pipefail

cache=${TREERING_CORPORA:-/var/tmp/treering-corpora}
name=${1:-}
tree=$cache/$name

cannot() {
  echo "corpus $name: $1" >&2
  exit 77
}

# The archives this machine already uses, as sources.list lines. Only the distribution's own: what a third party
# offers would make the tree another one.
archives() {
  apt-get indextargets --format '$(CREATED_BY)|$(ORIGIN)|deb $(REPO_URI) $(RELEASE) $(COMPONENT)' |
    sed -n -E 's/^Packages\|(Debian|Ubuntu)\|//p' | sort -u
}

bring=()

debian() { # variant, packages, last hook
  [ "$(id -u)" = 0 ] || cannot 'only root can give its files their owners and make its devices'
  command -v mmdebstrap >/dev/null || cannot 'mmdebstrap is not installed (tests/setup.sh installs it)'
  local lines suite conf
  lines=$(archives) || cannot 'apt-get indextargets failed'
  [ -n "$lines" ] || cannot 'apt has no package lists; run apt-get update'
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  # A machine behind a proxy, or with a frozen archive, says so in its own apt configuration.
  conf=$tree.apt.conf
  apt-config dump | grep -E '^Acquire::(Check-|Retries|https?::)' >"$conf" || true
  # The machine's own mirror and proxy have no place in a corpus, so both are taken out again.
  mmdebstrap --quiet --variant="$1" --include="$2" --aptopt="$conf" "${bring[@]}" \
    --customize-hook='rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap; : >"$1"/etc/apt/sources.list' ${3:+"--customize-hook=$3"} \
    --format=directory "$suite" "$tree.part" - <<<"$lines" >&2
  rm -f "$conf"
  tar --numeric-owner --xattrs --xattrs-include='*' --acls --sort=name -C "$tree.part" -cf "$tree.tar" .
}

# Packages that are not installed, in a repository of their own within the tree.
debian_apt() {
  local packages='openssh-client dbus systemd man-db iputils-ping sudo acl libcap2-bin attr nginx-light curl'
  bring=(--customize-hook='
    set -e
    mkdir "$1/repo"
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq -y --no-install-recommends --download-only install '"$packages"'
    mv "$1"/var/cache/apt/archives/*.deb "$1/repo"
    cd "$1/repo"
    for deb in *.deb; do
      dpkg-deb -f "$deb"
      printf "Filename: ./%s\nSize: %s\nSHA256: %s\n\n" "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d" " -f1)"
    done >Packages')
  debian minbase apt 'echo "deb [trusted=yes] file:/repo ./" >"$1"/etc/apt/sources.list'
}

# What a language needs to build a project without a network.
debian_language() { # packages
  local documents
  # What is in the directories, not they themselves: some packages link into them.
  for documents in doc man locale info; do
    bring+=(--dpkgopt="path-exclude=/usr/share/$documents/*/*")
  done
  debian minbase "$1"
}

small_100k() {
  python3 - "$tree.part" <<'PY'
import os, random, sys
root, seed, when = sys.argv[1], random.Random(100_000), 1_700_000_000
for number in range(1000):
    directory = f"{root}/{number // 100}/{number % 100:02}"
    os.makedirs(directory)
    for file in range(100):
        path = f"{directory}/{file:02}.txt"
        with open(path, "wb") as out:
            # Half text, half noise, so that it compresses about as well as real files do.
            size = int(seed.expovariate(1 / 700)) % 8192
            out.write(b"ring after ring\n" * (size // 32) + seed.randbytes(size // 2))
        os.utime(path, (when + file, when + file))
    os.utime(directory, (when, when))
# Last, because a directory's time moves whenever something is made in it.
for number in range(10):
    os.utime(f"{root}/{number}", (when, when))
os.utime(root, (when, when))
PY
}

sparse_10g() {
  mkdir "$tree.part"
  truncate -s 10G "$tree.part/sparse"
  for at in 0 5000 10239; do
    printf 'data at %s MiB\n' "$at" | dd of="$tree.part/sparse" bs=1M seek="$at" conv=notrunc status=none
  done
}

random_4g() {
  python3 - "$tree.part" <<'PY'
import os, random, sys
os.mkdir(sys.argv[1])
for number in range(4):
    seed = random.Random(number)
    with open(f"{sys.argv[1]}/random-{number}", "wb") as out:
        for _ in range(1024):
            out.write(seed.randbytes(1 << 20))
PY
}

case $name in
  debian-min | debian-apt | debian-python | debian-node | debian-java | debian-big | small-100k | sparse-10g | random-4g) ;;
  *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac
mkdir -p "$cache"
# Two callers at once: the second waits and finds the tree made.
exec 9>"$cache/.$name.lock"
flock 9
# One that was made before its packages were more.
if [ "$name" = debian-apt ] && [ -d "$tree" ] && ! compgen -G "$tree/repo/nginx-light_*" >/dev/null; then
  rm -rf --one-file-system "$tree"
fi
if [ ! -d "$tree" ]; then
  rm -rf --one-file-system "$tree.part"
  case $name in
    debian-min) debian minbase iputils-ping,ca-certificates,libcap2-bin,attr,acl ;;
    debian-apt) debian_apt ;;
    debian-python) debian_language python3-pip,python3-setuptools,python3-wheel,python3-venv ;;
    debian-node) debian_language npm ;;
    # Maven's plugins by name: those that the making of a jar goes through, and those for its tests.
    debian-java) debian_language default-jdk-headless,maven,libmaven-resources-plugin-java,libmaven-compiler-plugin-java,libsurefire-java,libmaven-jar-plugin-java,junit4 ;;
    debian-big) debian apt iputils-ping,ca-certificates,python3,python3-pip,python3-venv,gcc,g++,nodejs,git,default-jre-headless,locales-all,systemd,perl,vim,man-db,openssh-client ;;
    small-100k) small_100k ;;
    sparse-10g) sparse_10g ;;
    random-4g) random_4g ;;
  esac
  mv "$tree.part" "$tree"
fi
echo "$tree"

#!/usr/bin/env bash
# usage: tests/setup.sh
#
# Sets up what the tests need: a Python environment in target/venv and the tools our results are compared with.
# As root, with apt at hand, missing tools are installed; otherwise they are only looked for. What cannot be had is
# printed as `SKIP-TOOL name: reason`, and the tests that need it say so themselves. With CI set, nothing may be
# missing: then the script fails. Safe to run again; takes a moment when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin"

# command:package, by the package names of Debian and Ubuntu.
tools=(
  umoci:umoci skopeo:skopeo buildah:buildah podman:podman dockerd:docker.io docker:docker.io mmdebstrap:mmdebstrap
  bsdtar:libarchive-tools rsync:rsync pigz:pigz zstd:zstd xz:xz-utils bzip2:bzip2 fakeroot:fakeroot
  setfattr:attr setfacl:acl setcap:libcap2-bin mkfs.ext4:e2fsprogs busybox:busybox-static
  docker-registry:docker-registry openssl:openssl chromium:chromium pasta:passt proot:proot newuidmap:uidmap
  rpm:rpm rpmbuild:rpm strace:strace valgrind:valgrind qemu-aarch64-static:qemu-user-static jq:jq cc:gcc pkg-config:pkgconf python3:python3
)
# Built by Go where that is at hand, at the version that the tests were made with.
built=(crane:github.com/google/go-containerregistry/cmd/crane@v0.22.1)
# Too old, or not there at all, in a distribution's archive: found or not, never installed from here.
found_only=(cargo go)

missing=0
skip() {
  printf 'SKIP-TOOL %s: %s\n' "$1" "$2"
  missing=$((missing + 1))
}
have() { command -v "$1" >/dev/null 2>&1; }

packages=()
for pair in "${tools[@]}"; do
  have "${pair%%:*}" || packages+=("${pair##*:}")
done
# The venv module can be imported without ensurepip, which is what Debian packs apart.
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)

reason='not on PATH'
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    reason='not on PATH, and only root can install it'
  elif ! have apt-get; then
    reason='not on PATH, and there is no apt-get to install it with'
  else
    reason='not on PATH, and apt-get could not install it'
    install() {
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@" >>target/setup.log 2>&1
    }
    mkdir -p target
    apt-get update -qq >target/setup.log 2>&1 || echo "apt-get update failed; see target/setup.log" >&2
    # All at once is fast; one by one when the archive lacks one of them.
    install "${packages[@]}" || for package in "${packages[@]}"; do install "$package" || true; done
  fi
fi

for pair in "${tools[@]}"; do
  have "${pair%%:*}" || skip "${pair%%:*}" "$reason"
done
for pair in "${built[@]}"; do
  have "${pair%%:*}" && continue
  if have go && [ "$(id -u)" = 0 ]; then
    mkdir -p target
    GOBIN=/usr/local/bin go install "${pair#*:}" >>target/setup.log 2>&1 || true
  fi
  have "${pair%%:*}" || skip "${pair%%:*}" 'not on PATH, and go as root could not build it; see target/setup.log'
done
for tool in "${found_only[@]}"; do
  have "$tool" || skip "$tool" 'not on PATH'
done

# The environment is rebuilt when the pins or the interpreter change.
stamp=target/venv/.stamp
want=$(sha256sum tests/requirements.txt; python3 --version)
if [ "$(cat "$stamp" 2>/dev/null)" != "$want" ]; then
  rm -rf target/venv
  mkdir -p target
  if python3 -m venv target/venv >>target/setup.log 2>&1 &&
    target/venv/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt >>target/setup.log 2>&1; then
    printf '%s\n' "$want" >"$stamp"
  else
    skip venv 'python3 -m venv or pip failed; see target/setup.log'
  fi
fi

if [ "$missing" -gt 0 ] && [ -n "${CI:-}" ]; then
  echo "setup: $missing tools are missing, and CI is set" >&2
  exit 1
fi

"""The tools treering is compared with: found, or installed where that is possible."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Built here when Go is there, because distributions carry old ones.
BUILT = REPOSITORY / "target" / "peers"
GO = {
    "umoci": ("github.com/opencontainers/umoci", "v0.6.0", "cmd/umoci"),
    "crane": ("github.com/google/go-containerregistry", "v0.22.1", "cmd/crane"),
}
NAMES = ["bash", "find", "tar", "zstd", "pigz", "sha256sum", "openssl", "umoci", "buildah", "skopeo", "crane", "git",
         "gzip", "podman", "docker", "dockerd", "docker-registry", "proot"]


class Peers:
    """Where each tool is and which version it has."""

    def __init__(self) -> None:
        # One search path for us and for every shell pipeline; Debian keeps mkfs and mount helpers in sbin.
        self.path = f"{BUILT}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        os.environ["PATH"] = self.path
        self.versions = {name: version(name) for name in NAMES if shutil.which(name)}

    def missing(self, names: tuple[str, ...]) -> list[str]:
        """Those of `names` that are not here."""
        return [name for name in names if name not in self.versions]

    def label(self, name: str) -> str:
        """A tool's name with its version, for a table."""
        return f"{name} {self.versions[name]}" if name in self.versions else name


def version(name: str) -> str:
    """The first thing in a tool's version text that looks like a version."""
    flag = "version" if name in ("crane", "openssl") else "--version"
    text = subprocess.run([name, flag], capture_output=True, text=True)
    for word in (text.stdout + text.stderr).replace(",", " ").split():
        word = word.lstrip("v")
        if word[:1].isdigit() and "." in word:
            return word.split("+")[0]
    return "?"


def install() -> None:
    """Installs what is missing: through tests/setup.sh, and newer umoci and crane where Go is there."""
    subprocess.run(["bash", "tests/setup.sh"], cwd=REPOSITORY, check=False, stdout=sys.stderr)
    if not shutil.which("go"):
        print("peers: no Go here, so no newer umoci and no crane", file=sys.stderr)
        return
    for name, (module, number, package) in GO.items():
        if not (BUILT / name).exists():
            build(name, module, number, package)


def build(name: str, module: str, number: str, package: str) -> None:
    """Builds one Go command at a pinned version. By way of a module of its own: `go install PATH@VERSION` also asks
    for the list of all versions, which not every proxy gives out."""
    home = BUILT / "build" / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "go.mod").write_text(f"module peers\n\ngo 1.21\n\nrequire {module} {number}\n")
    done = subprocess.run(
        ["go", "build", "-mod=mod", "-o", str(BUILT / name), f"{module}/{package}"],
        cwd=home, capture_output=True, text=True,
    )
    if done.returncode != 0:
        print(f"peers: {name} {number} could not be built: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)

"""A filesystem of its own for every run.

Creating files where many were just deleted costs ext4 many times what it costs on a new filesystem, so runs that share
a directory measure each other's leftovers. Each run gets a new ext4 image (or a tmpfs) in memory instead; without root
it gets a new directory on a tmpfs, which has no such memory of the past.
"""

import itertools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import Failed

# Room for a tree, its image and a copy. The image is sparse: only what is written takes memory.
SIZE = 10 << 30

numbers = itertools.count()


def kinds() -> list[str]:
    """What can be had here, best first."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        return ["directory"]
    image = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin") and Path("/dev/loop-control").exists()
    return ["ext4", "tmpfs", "directory"] if image else ["tmpfs", "directory"]


def scratch() -> Path:
    """A place in memory if there is room, else the directory for temporary files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > SIZE:
        return memory
    return Path(tempfile.gettempdir())


def call(*argv: str | Path) -> None:
    """Runs a command that is not measured."""
    done = subprocess.run([str(part) for part in argv], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"{argv[0]}: {done.stderr.strip()}")


class Fresh:
    """`with Fresh(kind, place) as path`: an empty filesystem at `path`, gone afterwards."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind = kind
        # Lower case without underscores: buildah takes the path of a layout for a repository's name.
        self.home = place / f"treering-bench-{os.getpid()}-{next(numbers)}"
        self.path = self.home / "fs"

    def __enter__(self) -> Path:
        self.path.mkdir(parents=True)
        try:
            if self.kind == "ext4":
                image = self.home / "image"
                image.touch()
                os.truncate(image, SIZE)
                lazy = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
                call("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, image)
                # Without noinit_itable a kernel thread would zero tables in the background, on our time.
                call("mount", "-o", "loop,noinit_itable", image, self.path)
                (self.path / "lost+found").rmdir()
            elif self.kind == "tmpfs":
                call("mount", "-t", "tmpfs", "-o", f"mode=755,size={SIZE}", "treering-bench", self.path)
        except BaseException:
            self.__exit__()
            raise
        return self.path

    def __exit__(self, *_: object) -> None:
        # What a tool mounted inside and left there goes first, innermost before outermost.
        table = Path("/proc/self/mountinfo").read_text().splitlines()
        below = [line.split(" ")[4] for line in table if f"{line.split(' ')[4]}/".startswith(f"{self.path}/")]
        for point in sorted(below, key=len, reverse=True):
            call("umount", point)
        # Trees hold directories without write permission.
        subprocess.run(["chmod", "-R", "u+rwX", str(self.home)], capture_output=True)
        shutil.rmtree(self.home)


def settle(path: Path) -> None:
    """Writes out what preparing left behind, so that the run does not pay for it."""
    call("sync", "-f", path)

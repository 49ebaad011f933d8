"""What is compared: the words the tables are written in.

A row is one job, done by treering and by its peers. Each of them is a side: how it gets ready (not measured), what it
runs (measured), and how to check that it really did the job. The rows themselves are in scan.py, commit.py and apply.py.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from corpora import Corpus, entries
from measure import Command, Failed

# A layer made from the corpus by us carries what the peers' layers carry: the owners as they are.
KEEP = ["--owner", "keep"]
BASE = "base:v1"


@dataclass
class Context:
    """One run of one side: its filesystem, the corpus, and the programs."""

    fs: Path
    corpus: Corpus
    treering: Path
    cpus: int
    env: dict[str, str] = field(init=False)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # All that a tool writes goes to the run's own filesystem, temporary files included.
        places = {"TREERING_ROOT": "store", "TMPDIR": "tmp", "HOME": "home", "XDG_RUNTIME_DIR": "run"}
        self.env = {**os.environ, "LC_ALL": "C"}
        for name, place in places.items():
            self.env[name] = str(self.fs / place)
            if name != "TREERING_ROOT":
                (self.fs / place).mkdir(mode=0o700, exist_ok=True)
        self.env |= {"fs": str(self.fs), "tree": str(self.corpus.tree), "cpus": str(self.cpus)}

    def ours(self, *arguments: str | Path) -> list[str]:
        """A treering command line."""
        return [str(self.treering), *map(str, arguments)]

    def do(self, command: Command) -> None:
        """Runs something that is not measured. Pipelines find $fs, $tree and $cpus in their environment."""
        argv = command if isinstance(command, list) else ["bash", "-c", "set -euo pipefail\n" + command]
        done = subprocess.run(argv, env=self.env, cwd=self.fs, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"getting ready: {argv[-1]}: {' | '.join(done.stderr.strip().splitlines()[-3:])}")

    def serve(self, argv: list[str], ready: str) -> None:
        """Starts a server that runs until `close`, and waits until the shell command `ready` succeeds."""
        with open(self.fs / "server.log", "ab") as log:
            server = subprocess.Popen(argv, env=self.env, cwd=self.fs, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.servers.append(server)
        end = time.monotonic() + 60
        while subprocess.run(["bash", "-c", ready], env=self.env, cwd=self.fs, capture_output=True).returncode != 0:
            if server.poll() is not None or time.monotonic() > end:
                last = (self.fs / "server.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise Failed(f"{argv[0]} does not start: {' | '.join(last)}")
            time.sleep(0.1)

    def close(self) -> None:
        """Ends the servers."""
        for server in self.servers:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def edit(self, tree: Path) -> None:
        """Changes one file of a tree: the edit that the small commits are about."""
        # Past the tick of the filesystem's clock, so that no tool need doubt the times of the other files.
        time.sleep(0.1)
        with open(tree / self.corpus.victim, "ab") as file:
            file.write(b"one line more\n")


def nothing(_: Context) -> None:
    """For a side that needs no preparation, or one with an exit status that is proof enough."""


@dataclass
class Side:
    """One tool doing one job. `goal` is how many times longer than treering it shall take; none means it is shown for
    the record only. `size` gives the bytes of what came out."""

    name: str
    command: Callable[[Context], Command]
    prepare: Callable[[Context], None] = nothing
    check: Callable[[Context], None] = nothing
    size: Callable[[Context], int] | None = None
    goal: float | None = None
    tools: tuple[str, ...] = ()
    root: bool = False
    # Another build of treering, for all that this side does.
    treering: Path | None = None


@dataclass
class Row:
    """One job, ours and the peers'. With `no_larger_than` our output must be no larger than that peer's to count;
    `at_most` is a limit in seconds for us alone, `peak_mb` one for our memory where it is not the general one."""

    title: str
    ours: Side
    peers: list[Side]
    corpus: str | None = None
    no_larger_than: str | None = None
    at_most: float | None = None
    peak_mb: float | None = None


def against(row: Row, before: Path) -> Row:
    """The same job by another build of treering, in place of the peers. Ours may take 3% longer at most."""
    side = replace(row.ours, name="the build before", goal=0.97, treering=before)
    return replace(row, peers=[side], no_larger_than=None)


# --- what several rows share


def umoci(_: Context) -> str:
    """umoci needs an option when it is not root."""
    return "" if os.geteuid() == 0 else "--rootless"


def extracted(ctx: Context) -> None:
    """The corpus as a tree on the run's own filesystem, by GNU tar."""
    tree = ctx.fs / "tree"
    tree.mkdir()
    ctx.do(["tar", "--xattrs", "--xattrs-include=*", "-xf", str(ctx.corpus.tar), "-C", str(tree)])
    time.sleep(0.1)


def own_image(ctx: Context) -> None:
    """An image of the corpus by ourselves, in our store."""
    options = ["--base", "scratch", "--compression", "zstd", "--level", "3", *KEEP]
    ctx.do(ctx.ours("commit", *options, ctx.corpus.tree, BASE))


def foreign_image(ctx: Context) -> None:
    """The gzip image that umoci made, in our store as foreign:v1."""
    ctx.do(ctx.ours("load", "-i", ctx.corpus.archive))


def foreign_layout(ctx: Context) -> None:
    """The gzip image that umoci made, as an OCI layout of the run's own."""
    shutil.copytree(ctx.corpus.layout, ctx.fs / "oci")


def bundle(ctx: Context) -> None:
    """The same image unpacked by umoci."""
    foreign_layout(ctx)
    ctx.do(f'umoci unpack {umoci(ctx)} --image "$fs/oci:base" "$fs/bundle"')


def largest_blob(where: str) -> Callable[[Context], int]:
    """The size of a one-layer image's layer: the largest blob of the layout at `where`."""

    def size(ctx: Context) -> int:
        return max(path.stat().st_size for path in (ctx.fs / where / "blobs" / "sha256").iterdir())

    return size


def file_size(name: str) -> Callable[[Context], int]:
    """The size of one file on the run's filesystem."""
    return lambda ctx: (ctx.fs / name).stat().st_size


def complete(where: str) -> Callable[[Context], None]:
    """The tree at `where` must have as many entries as the corpus: a fast half does not count."""

    def check(ctx: Context) -> None:
        have = entries(ctx.fs / where)
        if have != ctx.corpus.entries:
            raise Failed(f"{where} has {have} entries, the corpus {ctx.corpus.entries}")

    return check

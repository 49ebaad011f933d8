#!/usr/bin/env python3
"""Sweeps that go on for as long as they are given: chains of commits, hostile tars, kills, and system calls that fail.

usage: tests/torture.py TREERING [--seconds N] [--seed N] [SWEEP...]

`make torture` runs all of them. Each prints its seed: the same seed does the same again, but for what depends on time. The first
thing that is wrong ends it, with the directory left as it is.
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time

NAMES = ["a", "b", "c", "d", "a/x", "a/y", "a/d", "a/d/e", "b/x", "b/a", "b/a/x", "c/d", "c/d/e"]


class World:
    """A store and a place for trees."""

    def __init__(self, program: str, where: pathlib.Path) -> None:
        self.program, self.where = program, where
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(where), "TREERING_ROOT": str(where / "store")}

    def start(self, *words: object, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*before, self.program, *map(str, words)], cwd=self.where, env=self.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *words: object, before: tuple[str, ...] = ()) -> tuple[int, str]:
        process = self.start(*words, before=before)
        out, err = process.communicate(timeout=120)
        text = (out + err).decode(errors="replace")
        if "defect in treering" in text or "panicked" in text:
            raise AssertionError(f"{words}: {text}")
        return process.returncode, text

    def ok(self, *words: object) -> str:
        code, text = self.run(*words)
        if code != 0:
            raise AssertionError(f"{words}: {code}: {text}")
        return text

    def digest(self, name: str) -> str | None:
        code, text = self.run("inspect", "--format", "{{.Id}}", name)
        return text.strip() if code == 0 else None


def edit(tree: pathlib.Path, rng: random.Random) -> None:
    """Makes one random edit; what the filesystem refuses stays as it is."""
    path, to = tree / rng.choice(NAMES), tree / rng.choice(NAMES)
    try:
        match rng.randrange(9):
            case 0 | 1:
                path.write_bytes(rng.randbytes(rng.choice([0, 3, 3, 5000])))
            case 2:
                path.mkdir(parents=True, exist_ok=True)
            case 3:
                path.unlink()
            case 4:
                shutil.rmtree(path)
            case 5:
                path.rename(to)
            case 6:
                path.chmod(0o700 + rng.randrange(0o100))
            case 7:
                path.symlink_to("x" * rng.randrange(1, 9))
            case 8:
                os.link(path, to)
    except OSError:
        pass


def listing(tree: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Describes all that a layer has to keep of a tree, but for owners."""
    out: dict[str, tuple[object, ...]] = {}
    first: dict[int, str] = {}
    for path in sorted([tree, *tree.rglob("*")]):
        found, name = path.lstat(), str(path.relative_to(tree))
        content: object = None
        if stat.S_ISREG(found.st_mode):
            content = (path.read_bytes(), first.setdefault(found.st_ino, name))
        elif stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        out[name] = (oct(found.st_mode), int(found.st_mtime), content)
    return out


def chains(world: World, rng: random.Random, until: float) -> int:
    """A tree that is edited and committed again and again is in the image as it is on disk."""
    rounds = 0
    while time.monotonic() < until:
        tree = world.where / f"tree{rounds}"
        tree.mkdir()
        for _ in range(rng.randrange(1, 6)):
            for _ in range(rng.randrange(1, 8)):
                edit(tree, rng)
            world.ok("-q", "commit", tree, f"chain:{rounds}")
            code, text = world.run("diff", "--exit-code", tree)
            assert (code, text) == (0, ""), f"a commit leaves a difference: {text}"
        out = world.where / f"out{rounds}"
        world.ok("-q", "unpack", f"chain:{rounds}", out)
        assert listing(out) == listing(tree), f"{out} is not {tree}"
        world.ok("-q", "commit", "--base", "scratch", tree, f"fresh:{rounds}")
        flat = [world.where / name for name in ("chain.tar", "fresh.tar")]
        world.ok("-q", "export", f"chain:{rounds}", "-o", flat[0])
        world.ok("-q", "export", f"fresh:{rounds}", "-o", flat[1])
        assert flat[0].read_bytes() == flat[1].read_bytes(), f"chain and fresh commit of {tree} differ"
        shutil.rmtree(out)
        rounds += 1
    world.ok("fsck")
    return rounds


def hostile_tar(rng: random.Random) -> bytes:
    """A tar of entries that follow, replace and delete each other, some with names that lead outside."""
    names = [*NAMES, "../out", "/abs", "a/../../out", ".wh.a", "a/.wh..wh..opq", "a/.wh.x", ".", "", "a/" + "n" * 300]
    links = [*NAMES, "..", "/", "../canary", "/etc/passwd", "../../canary/file"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as tar:
        for _ in range(rng.randrange(1, 20)):
            info = tarfile.TarInfo(rng.choice(names))
            info.type = rng.choice([tarfile.REGTYPE] * 3 + [tarfile.DIRTYPE] * 3 + [tarfile.SYMTYPE] * 3
                                   + [tarfile.LNKTYPE] * 3 + [tarfile.FIFOTYPE, tarfile.CHRTYPE])
            info.mode, info.mtime = rng.choice([0o644, 0o4755, 0, 0o7777]), rng.randrange(1 << 31)
            data = b""
            if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = rng.choice(links)
            elif info.type == tarfile.REGTYPE:
                data = rng.randbytes(rng.randrange(2000))
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    bytes_ = bytearray(out.getvalue())
    if rng.random() < 0.3:
        for _ in range(rng.randrange(1, 4)):
            bytes_[rng.randrange(len(bytes_))] = rng.randrange(256)
    return bytes(bytes_[: rng.randrange(len(bytes_))] if rng.random() < 0.1 else bytes_)


def tars(world: World, rng: random.Random, until: float) -> int:
    """Nothing outside of a tree is touched, whatever the layer says."""
    canary = world.where / "canary"
    canary.mkdir()
    (canary / "file").write_text("as it was\n")
    before, rounds = (listing(canary), sorted(os.listdir(world.where))), 0
    while time.monotonic() < until:
        layer, tree = world.where / "layer", world.where / "tree"
        for _ in range(rng.randrange(1, 4)):
            layer.write_bytes(hostile_tar(rng))
            code, text = world.run("layer", "apply", layer, tree)
            assert code in (0, 1), f"{code}: {text}"
        for path in [tree, *tree.rglob("*")] if tree.exists() else []:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(tree, ignore_errors=True)
        layer.unlink()
        now = (listing(canary), sorted(name for name in os.listdir(world.where) if name != "store"))
        assert now == before, f"outside: {now}"
        rounds += 1
    return rounds


def settled(world: World, tree: pathlib.Path, old: str | None, what: str) -> None:
    """After whatever went wrong the store is whole, the name stands for the old image or the new one, and the next commit works."""
    assert world.digest("app:1") is not None or old is None, f"{what}: the name is gone"
    code, text = world.run("fsck")
    assert code == 0 or "left by a dead writer" in text, f"{what}: {text}"
    world.ok("-q", "commit", tree, "app:1")
    code, text = world.run("diff", "--exit-code", tree)
    assert (code, text) == (0, ""), f"{what}: {text}"


def kills(world: World, rng: random.Random, until: float) -> int:
    """A commit that is killed leaves the old image or the new one, with others at work beside it."""
    tree, beside = world.where / "tree", world.where / "beside"
    for one in (tree, beside):
        one.mkdir()
        (one / "large").write_bytes(rng.randbytes(3_000_000))
    world.ok("-q", "commit", tree, "app:1")
    rounds = 0
    while time.monotonic() < until:
        old = world.digest("app:1")
        for _ in range(3):
            edit(tree, rng)
            edit(beside, rng)
        (tree / "large").write_bytes(rng.randbytes(3_000_000))
        process, other = world.start("-q", "commit", tree, "app:1"), world.start("-q", "commit", beside, "other:1")
        time.sleep(rng.random() * rng.choice([0.01, 0.05, 0.2]))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        _, text = other.communicate(timeout=120)
        assert other.returncode == 0, f"the commit beside failed: {text!r}"
        settled(world, tree, old, f"kill {rounds}")
        if rounds % 10 == 9:
            world.ok("-q", "prune", "-f")
        rounds += 1
    return rounds


CALLS = ["openat", "openat2", "read", "write", "pwrite64", "fsync", "fdatasync", "renameat2", "linkat", "mkdirat",
         "getdents64", "statx", "flock", "unlinkat", "ftruncate", "fchmod"]
ERRORS = ["EIO", "ENOSPC", "EINTR", "EACCES", "EMFILE"]


def errors(world: World, rng: random.Random, until: float) -> int:
    """A system call that fails makes the commit fail or not matter; the store is whole either way."""
    if shutil.which("strace") is None:
        print("SKIP errors: there is no strace")
        return 0
    tree = world.where / "tree"
    tree.mkdir()
    (tree / "file").write_text("one\n")
    world.ok("-q", "commit", tree, "app:1")
    rounds = 0
    while time.monotonic() < until:
        edit(tree, rng)
        (tree / "file").write_bytes(rng.randbytes(100))
        call, error, when = rng.choice(CALLS), rng.choice(ERRORS), rng.randrange(1, 40)
        what = f"{call} {when} fails with {error}"
        old = world.digest("app:1")
        inject = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                  f"inject={call}:error={error}:when={when}")
        world.run("-q", "commit", tree, "app:1", before=inject)
        settled(world, tree, old, what)
        rounds += 1
    return rounds


SWEEPS = {"chains": chains, "tars": tars, "kills": kills, "errors": errors}


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweeps over the command.")
    parser.add_argument("treering", help="the command to torture")
    parser.add_argument("sweeps", nargs="*", choices=[[], *SWEEPS], help="all of them by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each sweep")
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    for name in given.sweeps or SWEEPS:
        seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 32)
        where = pathlib.Path(tempfile.mkdtemp(prefix="treering-torture-"))
        print(f"{name}: seed {seed}, in {where}", flush=True)
        world = World(os.path.abspath(given.treering), where)
        try:
            rounds = SWEEPS[name](world, random.Random(seed), time.monotonic() + given.seconds)
        except BaseException:
            print(f"{name}: FAILED with --seed {seed}; {where} is left as it is", file=sys.stderr)
            raise
        assert rounds > 0 or name == "errors", f"{name}: not one round in {given.seconds} seconds"
        print(f"{name}: {rounds} rounds")
        shutil.rmtree(where, ignore_errors=True)


if __name__ == "__main__":
    main()

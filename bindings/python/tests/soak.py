"""Opening, committing, failing and cancelling, over and over: flat memory and flat file descriptors.

usage: python soak.py CYCLES
"""

from __future__ import annotations

import gc
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable

import treering


class Boom(Exception):
    pass


class Broken:
    """A file that cannot be read."""

    def read(self, size: int) -> bytes:
        raise Boom


def failure(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except treering.Error as error:
        return error
    raise AssertionError("no error")


def cycle(number: int, root: pathlib.Path) -> None:
    tree = root / "tree"
    with treering.Store(root / "store") as store:
        if number % 100 == 0:
            # Not every time: a scan waits for the clock when a file is as young as that.
            (tree / "file").write_text(str(number))
        store.commit(tree, "app:v1", base="scratch", created=0)
        assert isinstance(failure(lambda: store.image("absent")), treering.NotFoundError)
        cancelled = failure(lambda: store.commit(tree, "app:v2", progress=lambda _: True))
        assert isinstance(cancelled, treering.CancelledError)
        broken = failure(lambda: store.import_(Broken()))
        assert isinstance(broken, treering.CallbackError) and isinstance(broken.__cause__, Boom)
        assert [change.letter for change in treering.diff(store.image("app:v1"), tree)] == []
        if number % 100 == 99:
            store.prune()


def used() -> tuple[int, int]:
    """Descriptors, and bytes of memory."""
    gc.collect()
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return len(os.listdir("/proc/self/fd")), int(pages) * os.sysconf("SC_PAGESIZE")


def repeat(cycles: int, root: pathlib.Path) -> None:
    for number in range(cycles):
        cycle(number, root)
        if number % 500 == 0:
            # Exceptions and their frames are rings. Without its lock an interpreter lets megabytes of those gather.
            gc.collect()


def main() -> None:
    cycles = int(sys.argv[1])
    # In memory where that can be: it is not the disk that is tried here.
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=place) as scratch:
        root = pathlib.Path(scratch)
        (root / "tree").mkdir()
        repeat(cycles // 10, root)
        before = used()
        repeat(cycles, root)
        after = used()
    print(f"soak: {cycles} cycles, descriptors and bytes {before} became {after}")
    # A leak of 400 bytes in each of 10,000 cycles would be more.
    assert after[0] == before[0] and after[1] < before[1] + (4 << 20)


if __name__ == "__main__":
    main()

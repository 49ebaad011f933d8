"""What Python adds to the library, in time: calls, iteration, progress functions.

usage: python bench.py [ENTRIES]
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

import treering


def best(run: Callable[[], object], times: int = 5) -> float:
    """The fastest of some runs, in seconds."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def fill(tree: pathlib.Path, entries: int) -> None:
    for number in range(entries):
        directory = tree / f"d{number // 100:04}"
        directory.mkdir(exist_ok=True)
        (directory / f"file{number % 100}").write_bytes(b"%d\n" % number)


def each(items: Iterable[treering.Change]) -> None:
    for change in items:
        change.kind
        change.path


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as scratch:
        root = pathlib.Path(scratch)
        tree = root / "tree"
        tree.mkdir()
        fill(tree, entries)
        (root / "empty").mkdir()

        scan = best(lambda: treering.scan(tree))
        print(f"scan of {entries} files: {scan * 1e3:.1f} ms")

        diff = treering.diff(tree)
        count = len(diff)
        for name, run in {
            "iterate": lambda: sum(1 for _ in diff),
            "iterate, kind and path": lambda: each(diff),
        }.items():
            print(f"{name}: {best(run) / count * 1e6:.2f} µs per change")
        snapshot = diff.new
        seconds = best(lambda: sum(len(entry.path) for entry in snapshot))
        print(f"iterate entries, path: {seconds / len(snapshot) * 1e6:.2f} µs per entry")

        # An operation that does next to nothing: what is left is the thread, the wait and the conversion.
        nothing = treering.scan(root / "empty")
        call = best(lambda: treering.diff(nothing), 200)
        print(f"a call that does next to nothing: {call * 1e6:.0f} µs")

        with treering.Store(root / "store") as store:
            number = iter(range(1000))
            plain = best(lambda: store.commit(tree, f"a:{next(number)}", base="scratch", created=0))
            followed = best(
                lambda: store.commit(tree, f"a:{next(number)}", base="scratch", created=0, progress=lambda _: None)
            )
        print(f"commit: {plain * 1e3:.1f} ms, with a progress function {followed * 1e3:.1f} ms")


if __name__ == "__main__":
    main()

"""What a commit costs through each surface: the same tree, by turns, in this machine's memory.

usage: python3 benches/surfaces NAME=COMMAND... [--rounds N] [--tree DIR]

Each COMMAND is a program that takes STORE TREE TIMES and prints a time for each commit; `make bench-surfaces` builds them. The
command itself is timed from start to end, its own start included. The first name is what the others are compared with.
"""

import argparse
import os
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TIMES = 4


def fill(tree: Path) -> None:
    """200 directories of 50 files, 64 MB: neither empty nor incompressible."""
    source = random.Random(1)
    for number in range(200):
        directory = tree / f"dir{number:03}"
        directory.mkdir(parents=True)
        for file in range(50):
            half = source.randbytes(source.randrange(200, 6000))
            (directory / f"file{file:02}").write_bytes(half.hex().encode())


def seconds(name: str, command: list[str], store: Path, tree: Path) -> list[float]:
    if name == "command":
        out = []
        for _ in range(TIMES):
            began = time.perf_counter()
            arguments = ["commit", "--root", str(store), "--base", "scratch", "--quiet", str(tree), "a:b"]
            subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)
            out.append(time.perf_counter() - began)
        return out
    run = subprocess.run([*command, str(store), str(tree), str(TIMES)], check=True, capture_output=True, text=True)
    return [float(line) for line in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surfaces", nargs="+", metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--tree", type=Path)
    arguments = parser.parse_args()
    commands = {name: shlex.split(command) for name, _, command in (one.partition("=") for one in arguments.surfaces)}
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory(prefix="treering-bench-", dir=place) as scratch:
        tree = arguments.tree or Path(scratch, "tree")
        if not arguments.tree:
            fill(tree)
        order = list(commands)
        for number in range(arguments.rounds):
            # By turns, and each time in another order: the machine is not equally fast all the time.
            random.Random(number).shuffle(order)
            for name in order:
                store = Path(scratch, "store")
                # The first one of a process fills caches.
                taken[name] += seconds(name, commands[name], store, tree)[1:]
                shutil.rmtree(store)
    first = next(iter(commands))
    base = statistics.median(taken[first]), min(taken[first])
    print(f"{'':10} {'median':>10} {'best':>10}   against {first}: median, best")
    for name, all_of_them in taken.items():
        median, best = statistics.median(all_of_them), min(all_of_them)
        print(
            f"{name:10} {median * 1e3:7.1f} ms {best * 1e3:7.1f} ms"
            f"   {100 * (median / base[0] - 1):+6.1f} % {100 * (best / base[1] - 1):+6.1f} %"
        )


if __name__ == "__main__":
    sys.exit(main())

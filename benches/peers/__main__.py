"""Compares treering with its peers, side by side on this machine: `make bench-peers`, or `python3 benches/peers`.

Every side of every row runs at least five times, in alternating order, each time on a filesystem made for that run,
with the corpus in memory. Printed are the medians of wall and CPU time, the largest peak memory of any process, the
size of what came out, and how many times longer than treering a peer took, with the goal beside it.

As root the filesystems are ext4 images in memory, in a mount namespace of this program alone, and the corpus is a real
Debian tree. Without root they are directories on a tmpfs, the corpus is synthetic, and rows that need mounts are left
out. Programs that are not here are left out as well, and said to be.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

import apply
import checkout
import commit
import fresh
import index
import read
import report
import scan
from corpora import Corpus
from measure import Failed
from operations import against
from peers import REPOSITORY, Peers, install
from runner import Result, Runner, startup

import build
import registry
import sandbox

PRIVATE = "TREERING_BENCH_PRIVATE"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benches/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    release = REPOSITORY / "target" / "release" / "treering"
    parser.add_argument("--treering", type=Path, default=release, help="the program to measure")
    parser.add_argument("--runs", type=int, default=5, help="how often each side runs (5)")
    parser.add_argument("--only", default="", metavar="REGEX", help="only the rows whose title matches")
    parser.add_argument(
        "--before", type=Path, metavar="PROGRAM", help="compare with this build of treering instead of with the peers"
    )
    parser.add_argument("--corpus", help="a tree of tests/corpus.sh (debian-big as root, else small-100k)")
    parser.add_argument("--fs", choices=["ext4", "tmpfs", "directory"], help="what each run gets (first that works)")
    parser.add_argument("--scratch", type=Path, help="where those filesystems are kept (memory, if there is room)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--no-install", action="store_true", help="use only the tools that are here")
    return parser.parse_args()


def alone(kinds: list[str]) -> None:
    """Starts this program again in a mount namespace of its own, so that no mount outlives it, however it ends."""
    if kinds[0] != "directory" and PRIVATE not in os.environ:
        os.environ[PRIVATE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def main() -> int:
    options = arguments()
    kinds = fresh.kinds()
    alone(kinds)
    treering = options.treering.resolve()
    if not treering.exists():
        print(f"{treering} is not there; build it with cargo build --release", file=sys.stderr)
        return 2
    kind = options.fs or kinds[0]
    if kind not in kinds:
        print(f"a fresh {kind} for each run cannot be had here", file=sys.stderr)
        return 2
    peers = Peers()
    if not options.no_install:
        install()
        peers = Peers()
    runner = Runner(treering, peers, kind, options.scratch or fresh.scratch(), options.runs)
    standard = options.corpus or ("debian-big" if os.geteuid() == 0 else "small-100k")

    results: list[Result] = []
    rooms = (scan, commit, apply, checkout, read, index, registry, build, sandbox)
    for row in (row for room in rooms for row in room.rows()):
        if options.before:
            row = against(row, options.before.resolve())
        if re.search(options.only, row.title):
            try:
                results.append(runner.measure(row, Corpus(row.corpus or standard)))
            except Failed as error:
                print(f"{row.title}: {error}", file=sys.stderr)
                return 1
    start = startup(treering, options.runs)
    bounds = report.limits(results, start, treering)
    where = report.machine(kind, peers)
    print(f"\n{where['cpus']} CPUs ({where['cpu']}), Linux {where['kernel']}, {kind}, {options.runs} runs each")
    print(f"peak memory cannot show less than {where['peak_floor_bytes'] / report.MB:.0f} MB, this program's own")
    print(", ".join(peers.label(name) for name in peers.versions), end="\n\n")
    print(report.table(results, bounds))
    if options.json:
        options.json.write_text(json.dumps(report.document(results, bounds, where, options.runs), indent=1) + "\n")
    ran = [start, *(result.ours for result in results)]
    return 1 if any(outcome.failed for outcome in ran) else 0


if __name__ == "__main__":
    sys.exit(main())

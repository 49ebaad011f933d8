"""Runs the rows: every side in turn, each time on a filesystem of its own."""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from corpora import Corpus
from fresh import Fresh, settle
from measure import Failed, Sample, run
from operations import Context, Row, Side
from peers import Peers


@dataclass
class Outcome:
    """All runs of one side, or why there are none."""

    side: Side
    samples: list[Sample] = field(default_factory=list)
    absent: str | None = None
    failed: str | None = None

    def middle(self, what: str) -> float | None:
        """The median of one field of the samples."""
        values = [value for sample in self.samples if (value := getattr(sample, what)) is not None]
        return median(values) if values and not self.failed else None


@dataclass
class Result:
    """One row: ours first, then the peers in their order."""

    row: Row
    corpus: str
    ours: Outcome
    peers: list[Outcome]


class Runner:
    def __init__(self, treering: Path, peers: Peers, kind: str, place: Path, runs: int) -> None:
        self.treering, self.peers, self.kind, self.place, self.runs = treering, peers, kind, place, runs
        self.cpus = len(os.sched_getaffinity(0))

    def measure(self, row: Row, corpus: Corpus) -> Result:
        """Runs every side of a row as often as asked, in alternating order: a machine that slows down or speeds up
        over the minutes then does so for all of them."""
        outcomes = [Outcome(side, absent=self.absent(side)) for side in [row.ours, *row.peers]]
        here = [outcome for outcome in outcomes if not outcome.absent]
        corpus.warm()
        for number in range(self.runs):
            print(f"{row.title}: run {number + 1} of {self.runs}", file=sys.stderr)
            turn = number % len(here) if here else 0
            for outcome in here[turn:] + here[:turn]:
                # One that failed would fail again, and its preparation may be long.
                if not outcome.failed:
                    self.once(outcome, corpus)
        return Result(row, corpus.name, outcomes[0], outcomes[1:])

    def once(self, outcome: Outcome, corpus: Corpus) -> None:
        side = outcome.side
        try:
            with Fresh(self.kind, self.place) as path:
                ctx = Context(path, corpus, side.treering or self.treering, self.cpus)
                try:
                    side.prepare(ctx)
                    settle(path)
                    sample = run(side.command(ctx), ctx.env, path)
                    side.check(ctx)
                    if side.size:
                        sample.size = side.size(ctx)
                    outcome.samples.append(sample)
                finally:
                    ctx.close()
        except (Failed, OSError) as error:
            outcome.failed = str(error)
            print(f"  {side.name}: {error}", file=sys.stderr)

    def absent(self, side: Side) -> str | None:
        """Why a side cannot take part here."""
        if missing := self.peers.missing(side.tools):
            return f"{', '.join(missing)} not here"
        if side.root and (os.geteuid() != 0 or self.kind == "directory"):
            return "needs root and mounts"
        return None


def startup(treering: Path, runs: int) -> Outcome:
    """`treering --version`, often enough that the median means something at a millisecond."""
    outcome = Outcome(Side("treering --version", lambda ctx: []))
    try:
        for _ in range(max(20, runs)):
            outcome.samples.append(run([str(treering), "--version"], dict(os.environ), Path("/")))
    except Failed as error:
        outcome.failed = str(error)
    return outcome

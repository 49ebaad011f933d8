"""Turns results into a table for people and a document for programs."""

import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measure import floor
from peers import Peers
from runner import Outcome, Result

MB = 1_000_000
# Limits that hold for every row, or for the program itself.
PEAK_MB, STARTUP_MS, BINARY_MB = 96, 5, 10
COLUMNS = ["", "wall s", "CPU s", "peak MB", "size MB", "ratio", "goal", ""]


def ratio(ours: Outcome, peer: Outcome) -> float | None:
    """How many times longer than ours a peer took."""
    mine, other = ours.middle("wall"), peer.middle("wall")
    return other / mine if mine and other else None


def verdict(result: Result, peer: Outcome) -> str:
    """Whether a goal was reached. A row that promises an output no larger than a peer's fails by size, too."""
    found = ratio(result.ours, peer)
    if peer.side.goal is None:
        return ""
    if found is None:
        return "not measured"
    if limit := result.row.no_larger_than:
        size = result.ours.middle("size")
        bound = next((other.middle("size") for other in result.peers if other.side.name == limit), None)
        if bound is None:
            return "not measured"
        if size is None or size > bound:
            return "not reached: larger"
    return "reached" if found >= peer.side.goal else "not reached"


def peak(result: Result) -> int:
    """The most memory any of our runs of a row took."""
    return max((sample.peak for sample in result.ours.samples), default=0)


def limits(results: list[Result], start: Outcome, treering: Path) -> list[dict[str, Any]]:
    """The goals that are plain limits: memory of each row, start-up, size of the program."""
    wanted: list[tuple[str, float | None, float]] = [
        (f"peak MB: {result.row.title}", peak(result) / MB or None, result.row.peak_mb or PEAK_MB) for result in results
    ]
    for result in results:
        if result.row.at_most:
            took = result.ours.middle("wall")
            wanted.append((f"ms: {result.row.title}", took * 1000 if took else None, result.row.at_most * 1000))
    wall = start.middle("wall")
    wanted.append(("start-up of treering --version, ms", wall * 1000 if wall else None, STARTUP_MS))
    wanted.append(("size of the program, MB", treering.stat().st_size / MB, BINARY_MB))
    return [
        {
            "title": title, "value": value, "limit": limit,
            "verdict": "not measured" if value is None else "reached" if value <= limit else "not reached",
        }
        for title, value, limit in wanted
    ]


def cells(outcome: Outcome) -> list[str]:
    """A side's name and medians. Peak memory is the largest seen, not the median: it is a bound."""
    if reason := outcome.absent or outcome.failed:
        return [f"  {outcome.side.name}: {reason}"] + [""] * 4
    wall, cpu, size = (outcome.middle(what) for what in ("wall", "cpu", "size"))
    most = max(sample.peak for sample in outcome.samples)
    return [
        f"  {outcome.side.name}", f"{wall:.3f}", f"{cpu:.2f}", f"{most / MB:.0f}", f"{size / MB:.1f}" if size else "",
    ]


def table(results: list[Result], bounds: list[dict[str, Any]]) -> str:
    """The whole comparison as text."""
    lines = [COLUMNS]
    for result in results:
        lines.append([f"{result.row.title} ({result.corpus})"] + [""] * 7)
        lines.append(cells(result.ours) + [""] * 3)
        for peer in result.peers:
            found = ratio(result.ours, peer)
            goal = f"{peer.side.goal:g}x" if peer.side.goal else ""
            lines.append(cells(peer) + [f"{found:.2f}x" if found else "", goal, verdict(result, peer)])
    widths = [max(len(line[at]) for line in lines if len(line[at]) < 60) for at in range(len(COLUMNS))]
    # Names and verdicts start at the left, figures end at the right.
    text = [
        "  ".join(f"{cell:{'<' if at in (0, 7) else '>'}{widths[at]}}" for at, cell in enumerate(line))
        for line in lines
    ]
    text += ["", "limits"]
    width = max(len(bound["title"]) for bound in bounds)
    for bound in bounds:
        value = "" if bound["value"] is None else f"{bound['value']:.1f}"
        text.append(f"  {bound['title'].ljust(width)}  {value:>8}  <= {bound['limit']:<4g}  {bound['verdict']}")
    return "\n".join(line.rstrip() for line in text)


def machine(kind: str, peers: Peers) -> dict[str, Any]:
    """What the figures were taken on."""
    info = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    model = next((value.strip() for key, _, value in info if key.strip() == "model name"), "unknown")
    return {
        "cpu": model, "cpus": len(os.sched_getaffinity(0)), "kernel": platform.release(), "arch": platform.machine(),
        "root": os.geteuid() == 0, "filesystem": kind, "peak_floor_bytes": floor(), "tools": peers.versions,
    }


def document(results: list[Result], bounds: list[dict[str, Any]], where: dict[str, Any], runs: int) -> dict[str, Any]:
    """The whole comparison as data, every sample included."""

    def side(outcome: Outcome) -> dict[str, Any]:
        return {
            "name": outcome.side.name, "absent": outcome.absent, "failed": outcome.failed,
            "median": {what: outcome.middle(what) for what in ("wall", "cpu", "peak", "size")},
            "samples": [asdict(sample) for sample in outcome.samples],
        }

    return {
        "machine": where,
        "runs": runs,
        "rows": [
            {
                "title": result.row.title, "corpus": result.corpus, "ours": side(result.ours),
                "peers": [
                    side(peer)
                    | {"ratio": ratio(result.ours, peer), "goal": peer.side.goal, "verdict": verdict(result, peer)}
                    for peer in result.peers
                ],
            }
            for result in results
        ],
        "limits": bounds,
    }

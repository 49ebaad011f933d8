"""Runs one command and says what it took: wall time, CPU time and peak memory, children included."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

# A list is run as it is; a string is a shell pipeline, every part of which must succeed.
Command = list[str] | str


class Failed(Exception):
    """A command that ended badly, with the end of what it wrote to stderr."""


@dataclass
class Sample:
    """One run. `peak` is the largest single process of the run, in bytes: what wait4 reports. It counts what the
    process held before it became the command, so nothing can show less than this program itself (see `floor`)."""

    wall: float
    cpu: float
    peak: int
    size: int | None = None


def run(command: Command, env: dict[str, str], cwd: Path) -> Sample:
    """Runs a command with nothing on stdin and no reader of its stdout."""
    argv = command if isinstance(command, list) else ["bash", "-c", "set -euo pipefail\n" + command]
    with tempfile.TemporaryFile() as log:
        began = time.perf_counter()
        try:
            process = subprocess.Popen(
                argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log
            )
        except OSError as error:
            raise Failed(f"{argv[0]}: {error.strerror}") from error
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        # Popen did not see its child go, and would otherwise wait for it again.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            said = " | ".join(lines[-3:]) if lines else "said nothing"
            raise Failed(f"{argv[0] if isinstance(command, list) else command} ended with {process.returncode}: {said}")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def floor() -> int:
    """The least peak memory that `run` can report, in bytes."""
    return run(["true"], dict(os.environ), Path("/")).peak

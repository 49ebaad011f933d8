"""The ``treering`` command: ``python -m treering``, or the script that comes with the package."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

from ._treering import _main

#: The most of a helper's answer that is read, in bytes.
_ANSWER = 1 << 20


def _start(program: str, action: str, given: bytes) -> tuple[bool, bytes]:
    """Run a credential helper, found on PATH. Its standard error is ours."""
    with subprocess.Popen([program, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as helper:
        assert helper.stdin is not None and helper.stdout is not None
        try:
            helper.stdin.write(given)
            helper.stdin.close()
        except BrokenPipeError:
            # One that needs no input may have ended without reading it.
            pass
        output = helper.stdout.read(_ANSWER)
    return helper.returncode == 0, output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; by default with the arguments of this process. Returns its exit code."""
    # The command runs without Python, so Python's handler would have no effect: Ctrl-C ends it at once, as it
    # ends any other command. Nothing half made is ever visible in the store.
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # A program that calls this for a command of its own has programs started by nobody but itself.
        return _main(sys.argv[1:], _start)
    return _main(arguments)


if __name__ == "__main__":
    sys.exit(main())

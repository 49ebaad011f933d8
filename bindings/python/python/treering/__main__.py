"""The ``treering`` command: ``python -m treering``, or the script that comes with the package."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from ._treering import _main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; by default with the arguments of this process. Returns its exit code."""
    # The command runs without Python, so nobody would act on Python's handler: Ctrl-C ends it at once, as it
    # ends any other command. Nothing half made is ever visible in the store.
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        arguments = sys.argv[1:]
    return _main(arguments)


if __name__ == "__main__":
    sys.exit(main())

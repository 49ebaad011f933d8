"""Events of operations, for ``logging``."""

from __future__ import annotations

import logging

from ._types import Event

#: The package's logger. It has no handler, as is usual for a library.
logger = logging.getLogger("treering")
logger.addHandler(logging.NullHandler())

_LEVELS = {"warning": logging.WARNING, "failed": logging.ERROR}


def _wants(level: int) -> bool:
    return logger.isEnabledFor(level)


def _receive(operation: str, event: Event) -> None:
    """Log an event: warnings and failures as such, output not at all, everything else for debugging."""
    level = _LEVELS.get(event.kind, logging.DEBUG)
    if event.kind == "output" or not logger.isEnabledFor(level):
        return
    where = f" ({event.location.file}:{event.location.line})" if event.location else ""
    logger.log(level, "%s: %s%s", operation, event.text or event.digest or event.kind, where, extra={"event": event})

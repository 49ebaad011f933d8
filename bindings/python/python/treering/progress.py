"""Progress functions that are ready to use.

The adapters are context managers that give a function for ``progress=``, and ``Cancel`` is one that stops:

    with treering.progress.tqdm_adapter() as progress:
        store.commit("rootfs", "app:v1", progress=progress)

``tqdm`` and ``rich`` are imported only when asked for; ``pip install treering[tqdm]`` brings the one,
``pip install treering[rich]`` the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._types import Progress, ProgressFunction

__all__ = ["Cancel", "Progress", "ProgressFunction", "rich_adapter", "tqdm_adapter"]


class Cancel:
    """A way to stop an operation from anywhere: the ``progress`` of one or several operations, cancelled from another thread.

    ``progress`` is a function to call as well. An operation that is cancelled raises ``CancelledError``, within half a second; what
    comes after with the same value is cancelled before it does anything.

        cancel = treering.progress.Cancel()
        threading.Timer(60, cancel.cancel).start()
        store.commit("rootfs", "app:v1", progress=cancel)
    """

    def __init__(self, progress: ProgressFunction | None = None) -> None:
        self._progress = progress
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask every operation that has this to stop. Any thread."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._event.is_set()

    def __call__(self, progress: Progress) -> bool:
        """Report progress; true asks to stop."""
        stop = self._progress is not None and bool(self._progress(progress))
        return stop or self._event.is_set()


@contextmanager
def tqdm_adapter(**options: Any) -> Iterator[Callable[[Progress], None]]:
    """A tqdm bar of the bytes read. ``options`` go to ``tqdm``."""
    from tqdm.auto import tqdm

    defaults: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(**(defaults | options)) as bar:

        def update(progress: Progress) -> None:
            if bar.disable:
                return
            if "desc" not in options:
                bar.set_description(progress.operation, refresh=False)
            # Behind what was read while a stream of unknown length is.
            known = 0 < progress.bytes_total >= progress.bytes_read
            bar.total = progress.bytes_total if known else None
            bar.set_postfix_str(f"{progress.entries} entries", refresh=False)
            bar.n = progress.bytes_read
            bar.refresh()

        yield update


@contextmanager
def rich_adapter(bars: Any = None) -> Iterator[Callable[[Progress], None]]:
    """A rich bar of the bytes read; in ``bars``, a ``rich.progress.Progress`` that is already shown, when given."""
    from rich import progress as rich_progress

    own = bars is None
    if own:
        bars = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.DownloadColumn(),
            rich_progress.TransferSpeedColumn(),
        )
        bars.start()
    task = bars.add_task("", total=None)

    def update(progress: Progress) -> None:
        total = progress.bytes_total if 0 < progress.bytes_total >= progress.bytes_read else None
        bars.update(task, description=progress.operation, completed=progress.bytes_read, total=total)

    try:
        yield update
    finally:
        if own:
            bars.stop()

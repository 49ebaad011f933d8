"""Progress functions that are ready to use.

Each is a context manager that gives a function for ``progress=``:

    with treering.progress.tqdm_adapter() as progress:
        store.commit("rootfs", "app:v1", progress=progress)

``tqdm`` and ``rich`` are imported only when asked for; ``pip install treering[tqdm]`` brings the one,
``pip install treering[rich]`` the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ._types import Progress, ProgressFunction

__all__ = ["Progress", "ProgressFunction", "rich_adapter", "tqdm_adapter"]


@contextmanager
def tqdm_adapter(**options: Any) -> Iterator[Callable[[Progress], None]]:
    """A tqdm bar of the bytes read. ``options`` go to ``tqdm``."""
    from tqdm.auto import tqdm

    defaults: dict[str, Any] = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    with tqdm(**(defaults | options)) as bar:

        def update(progress: Progress) -> None:
            if bar.disable:
                return
            if bar.desc == "" and "desc" not in options:
                bar.set_description(progress.operation, refresh=False)
            bar.total = progress.bytes_total or None
            bar.set_postfix(entries=progress.entries, refresh=False)
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
        total = progress.bytes_total or None
        bars.update(task, description=progress.operation, completed=progress.bytes_read, total=total)

    try:
        yield update
    finally:
        if own:
            bars.stop()

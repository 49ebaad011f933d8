"""A directory that was unpacked from an image."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from types import TracebackType
from typing import TYPE_CHECKING

from ._types import CheckedOut, CommitOptions, DiffOptions, ImageLike, Path, Unpacked

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._treering import Diff, Image, Store


class Tree:
    """A directory that was unpacked from an image. ``Store.unpack`` and ``Store.clone`` make one.

    ``os.fspath(tree)`` is its path, so it can be given wherever a path can. In a ``with`` statement a temporary tree is
    removed at the end; any other one stays.
    """

    def __init__(self, store: Store, path: str, image: Image, report: Unpacked, temporary: bool = False) -> None:
        #: The store the image is in.
        self.store = store
        #: Where the tree is.
        self.path = pathlib.Path(path)
        #: The image it was unpacked from or last committed to.
        self.image = image
        #: The report of the unpacking or cloning that made it.
        self.unpacked = report
        self._temporary = temporary

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"<treering.Tree {str(self.path)!r} of {self.image.name or self.image.short_id}>"

    def diff(self, base: ImageLike | None = None, **options: Unpack[DiffOptions]) -> Diff:
        """What changed since the tree was unpacked or committed, or since another image."""
        return self.store.diff(self.path, base=base, **options)

    def commit(
        self, name: str | None = None, *, base: ImageLike | None = None, **options: Unpack[CommitOptions]
    ) -> Image:
        """Add what changed as a layer; see ``Store.commit``."""
        self.image = self.store.commit(self.path, name, base=base, **options)
        return self.image

    def checkout(self, image: ImageLike, *, discard: bool = False, dry_run: bool = False) -> CheckedOut:
        """Make the directory what an image says, in place; ``"-"`` is the one before. See ``Store.checkout``."""
        report = self.store.checkout(image, self.path, discard=discard, dry_run=dry_run)
        if not dry_run:
            self.image = report.image
        return report

    def clone(self, dir: Path, *, temporary: bool = False) -> Tree:
        """Copy the tree to a new directory, with all that the store knows of it; see ``Store.clone``."""
        return self.store.clone(self.path, dir, temporary=temporary)

    def remove(self) -> None:
        """Remove the directory and all in it. It is fine when it is gone already."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._temporary:
            self.remove()

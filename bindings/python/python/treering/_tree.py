"""A directory that was unpacked from an image."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._types import CheckedOut, CommitOptions, DiffOptions, ImageLike, Path, TreeRunOptions, Unpacked, Words

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
        self.store: Store = store
        #: The path of the tree.
        self.path: pathlib.Path = pathlib.Path(path)
        #: The image it was unpacked from or last committed to.
        self.image: Image = image
        #: The report of the unpacking or cloning that made it.
        self.unpacked: Unpacked = report
        self._temporary = temporary

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"<treering.Tree {str(self.path)!r} of {self.image.name or self.image.short_id}>"

    def diff(self, base: ImageLike | None = None, **options: Unpack[DiffOptions]) -> Diff:
        """The changes since the tree was unpacked or committed, or since another image."""
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
        """Copy the tree to a new directory, with its record in the store; see ``Store.clone``."""
        return self.store.clone(self.path, dir, temporary=temporary)

    def run(self, args: Words | None = None, **options: Unpack[TreeRunOptions]) -> subprocess.CompletedProcess[Any]:
        """Run a command in the tree, and wait for its end: ``subprocess.run`` for a tree.

        Takes what ``Container.run`` takes. Of the host the command has its network, unless ``network`` is ``"none"``, and what
        ``volumes`` names (``HOST:PATH[:ro]``); without ``args`` it is the image's. Owners and all else that it leaves are in
        ``diff`` and ``commit`` afterwards, whatever the disk takes.
        """
        return self.store.run(self.path, args, **options)

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


def _image(store: str, digest: str) -> Image:
    """An image that was pickled."""
    from ._treering import Store

    return Store(store).image(digest)

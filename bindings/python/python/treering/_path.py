"""Paths inside an image that is not unpacked."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from ._errors import InvalidArgumentError, NotFoundError
from ._layers import Raw

if TYPE_CHECKING:
    from ._treering import _ImageFiles


class PathStat(NamedTuple):
    """The result of ``ImagePath.stat``: the fields of ``os.stat`` that an image has."""

    #: The type and the permissions, as in ``os.stat``.
    st_mode: int
    #: A number that the names of one file share.
    st_ino: int
    #: Owner.
    st_uid: int
    #: Group.
    st_gid: int
    #: Bytes of content.
    st_size: int
    #: When the content was last changed, in nanoseconds since 1970.
    st_mtime_ns: int

    @property
    def st_mtime(self) -> float:
        """The same in seconds."""
        return self.st_mtime_ns / 1e9


class ImagePath:
    """A path inside an image: what ``pathlib.Path`` has for reading. ``Image.path`` makes one.

    Symbolic links are followed inside the image: absolute targets begin at its root, and ``..`` does not leave it. What is
    read is verified before it is handed out. It has all that ``importlib.resources.abc.Traversable`` asks for.
    """

    def __init__(self, files: _ImageFiles, path: PurePosixPath) -> None:
        self._files = files
        self._path = PurePosixPath("/") / path

    def _bytes(self) -> bytes:
        return os.fsencode(str(self._path))

    def __truediv__(self, other: str | PurePosixPath) -> ImagePath:
        return ImagePath(self._files, self._path / other)

    def joinpath(self, *others: str | PurePosixPath) -> ImagePath:
        """The path with others behind it."""
        return ImagePath(self._files, self._path.joinpath(*others))

    @property
    def name(self) -> str:
        """The last component; empty for the root."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name, with its dot."""
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """The components, the root first."""
        return self._path.parts

    @property
    def parent(self) -> ImagePath:
        """The directory the path is in, by its text."""
        return ImagePath(self._files, self._path.parent)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"<treering.ImagePath {str(self._path)!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePath) and self._files is other._files and self._path == other._path

    def __hash__(self) -> int:
        return hash((id(self._files), self._path))

    def stat(self, *, follow_symlinks: bool = True) -> PathStat:
        """The metadata of the file in the image."""
        number, mode, uid, gid, size, mtime = self._files.stat(self._bytes(), follow_symlinks)
        return PathStat(mode, number, uid, gid, size, mtime)

    def lstat(self) -> PathStat:
        """The same of a symbolic link itself."""
        return self.stat(follow_symlinks=False)

    def _mode(self, follow: bool = True) -> int:
        try:
            return self.stat(follow_symlinks=follow).st_mode
        except (NotFoundError, InvalidArgumentError):
            return 0

    def exists(self) -> bool:
        """Whether the path leads to something."""
        return self._mode() != 0

    def is_file(self) -> bool:
        """Whether it leads to a file."""
        return stat.S_ISREG(self._mode())

    def is_dir(self) -> bool:
        """Whether it leads to a directory."""
        return stat.S_ISDIR(self._mode())

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self._mode(False))

    def readlink(self) -> PurePosixPath:
        """The target of a symbolic link."""
        return PurePosixPath(os.fsdecode(self._files.link(self._bytes())))

    def resolve(self) -> ImagePath:
        """The path without symbolic links; it must exist."""
        return ImagePath(self._files, PurePosixPath(os.fsdecode(self._files.path(self._bytes()))))

    def iterdir(self) -> Iterator[ImagePath]:
        """The entries of the directory, sorted by bytes."""
        for name in self._files.names(self._bytes()):
            yield self / os.fsdecode(name)

    def walk(self) -> Iterator[tuple[ImagePath, list[str], list[str]]]:
        """The directory and those below it, each with the names of its directories and of all else, as ``Path.walk``."""
        todo = [self]
        while todo:
            here = todo.pop()
            directories: list[str] = []
            others: list[str] = []
            for child in here.iterdir():
                (directories if stat.S_ISDIR(child._mode(False)) else others).append(child.name)
            yield here, directories, others
            todo.extend(here / name for name in reversed(directories))

    @overload
    def open(
        self,
        mode: Literal["r", "rt"] = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper: ...
    @overload
    def open(self, mode: Literal["rb"]) -> io.BufferedReader: ...
    def open(
        self,
        mode: str = "r",
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> io.TextIOWrapper | io.BufferedReader:
        """Open the file for reading. The encoding is UTF-8 where none is given."""
        if mode not in ("r", "rt", "rb"):
            raise ValueError(f"an image can only be read: mode {mode!r}")
        raw: Any = Raw(self._files.open(self._bytes()))
        binary: io.BufferedReader = io.BufferedReader(raw, 1 << 18)
        if mode == "rb":
            return binary
        return io.TextIOWrapper(binary, encoding or "utf-8", errors, newline)

    def read_bytes(self) -> bytes:
        """The content of the file."""
        with self.open("rb") as file:
            return file.read()

    def read_text(self, encoding: str | None = None, errors: str | None = None) -> str:
        """The content of the file as text; UTF-8 where no encoding is given."""
        with self.open("r", encoding=encoding, errors=errors) as file:
            return file.read()

"""Layers of images as streams, and their entries with their content."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._treering import Image, _FileReader, _LayerFiles
    from ._types import Layer, LayerEntry


class Raw(io.RawIOBase):
    """A stream of an image's content, with the interface of the ``io`` module."""

    def __init__(self, reader: _FileReader) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = self._reader.read(len(view))
        view[: len(data)] = data
        return len(data)


class LayerFile(io.RawIOBase):
    """An entry of a layer: a file object for its content, which is empty for all but files.

    It can be read until the next entry is asked for.
    """

    #: The entry in the tar.
    entry: LayerEntry

    def __init__(self, entry: LayerEntry, reader: _LayerFiles) -> None:
        self.entry = entry
        self._reader: _LayerFiles | None = reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._reader is None:
            raise ValueError("the next entry of the layer was asked for, which ends this one")
        view = memoryview(buffer).cast("B")
        data = self._reader.read(len(view))
        view[: len(data)] = data
        return len(data)

    def __repr__(self) -> str:
        return f"<treering.LayerFile {self.entry.path!r}>"


def _source(layer: Layer) -> tuple[Image, int]:
    """The image that a layer is one of, and its number there."""
    source: tuple[Image, int] | None = layer.__dict__.get("_source")
    if source is None:
        raise ValueError("only a layer that an image gave can be opened")
    return source


def stream(layer: Layer, *, tar: bool) -> io.BufferedReader:
    """The blob of a layer, or its tar."""
    image, number = _source(layer)
    return io.BufferedReader(Raw(image._open_layer(number, tar)), 1 << 20)


def files(layer: Layer, max_bytes: int | None, max_entries: int | None) -> Iterator[LayerFile]:
    """The entries of a layer."""
    image, number = _source(layer)
    return _iterate(image._layer_files(number, max_bytes, max_entries))


def _iterate(reader: _LayerFiles) -> Iterator[LayerFile]:
    while (entry := reader.next()) is not None:
        file = LayerFile(entry, reader)
        yield file
        file._reader = None

"""Plain results, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, Union

if TYPE_CHECKING:
    from ._treering import Image, Ledger, Snapshot

#: A path of the file system. What comes back is always ``str``, as ``os.fsdecode`` makes it.
Path = Union[str, bytes, "PathLike[str]", "PathLike[bytes]"]
#: The name, digest, id or id prefix of an image, or the image itself.
ImageLike = Union[str, "Image"]
#: Whose files are: ``"root"``, ``"keep"``, ``"UID:GID"``, ``"map:IMAGE:DISK:COUNT,..."``, or (uid, gid).
Owner = Union[str, "tuple[int, int]"]
#: Another tool's record of owners: "none", "rootlesscontainers", "override-stat" or "fakeroot:FILE".
OwnerFrom = Path
#: A moment: seconds since 1970, or a datetime.
Time = Union[float, datetime]
Compression = Literal["none", "gzip", "zstd"]
Compare = Literal["auto", "metadata", "content"]


class Readable(Protocol):
    """A file object to read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Writable(Protocol):
    """A file object to write to."""

    def write(self, data: bytes, /) -> object:
        """How many bytes were written, or None for all."""


@dataclass(frozen=True)
class Location:
    """A place in a text, such as a line of a Dockerfile."""

    #: The name of the file, as it was given.
    file: str
    #: The line, counted from 1.
    line: int
    #: The column, counted from 1 in bytes; 0 for the whole line.
    column: int
    #: The text of the line, without its end.
    text: str


@dataclass(frozen=True)
class Event:
    """Something that happened during an operation. What its kind does not have is empty or 0."""

    #: ``"started"``: a step began, with ``text``, ``stage``, ``place``, ``places`` and ``location``. ``"cached"``: its result came
    #: out of the cache. ``"output"``: its command wrote ``output`` to ``stream``. ``"output-dropped"``: ``size`` bytes of output
    #: were dropped. ``"finished"``: it ended well after ``seconds``, with a layer of ``size`` bytes. ``"transfer"``: a blob is on
    #: its way from or to a registry, with ``digest``, ``size`` so far and ``total``. ``"warning"``: nothing failed, and ``text`` is
    #: worth a look, with ``rule`` and ``location``. ``"failed"``: the step failed, with ``text``. Pass over other kinds.
    kind: str
    #: The number of the step, unique in its operation.
    step: int = 0
    #: The name or number of a build's stage.
    stage: str = ""
    #: The place of the step in its stage, counted from 1.
    place: int = 0
    #: The number of steps in the stage.
    places: int = 0
    #: What the step does, what is wrong, or why it failed, in one line.
    text: str = ""
    #: The name of the check that warns.
    rule: str = ""
    #: ``"stdout"`` or ``"stderr"``.
    stream: str = ""
    #: The output as it came, not cut at lines.
    output: bytes = b""
    #: Bytes: see the kinds.
    size: int = 0
    #: Bytes in all; 0 while unknown.
    total: int = 0
    #: How long the step took.
    seconds: float = 0.0
    #: The digest of the blob.
    digest: str = ""
    #: The place in a Dockerfile.
    location: Location | None = None


#: Called with what happens, in order, on the thread that called the operation. What it raises comes as a ``CallbackError`` from
#: the operation, which is cancelled.
EventFunction = Callable[[Event], object]


@dataclass(frozen=True)
class Progress:
    """How far an operation is."""

    #: What is being done.
    operation: str
    #: Entries handled.
    entries: int
    #: Bytes of content read.
    bytes_read: int
    #: Bytes written to the result.
    bytes_written: int
    #: Bytes of content that will be read in all; 0 while unknown.
    bytes_total: int
    #: Whether this is the last call, after everything went well.
    done: bool = False


#: Called at the start, a few times a second, and at the end, on the thread that called the operation. A true answer cancels it.
#: The last call (``done``) is for notice only: its answer is not looked at. What it raises comes as a ``CallbackError`` from the
#: operation, but what the operation made is there.
ProgressFunction = Callable[[Progress], object]


@dataclass(frozen=True)
class Stat:
    """Changes in numbers."""

    added: int
    changed: int
    #: A deleted directory counts once.
    deleted: int
    #: Bytes in the added and changed files.
    bytes: int


@dataclass(frozen=True)
class Skipped:
    """Something in a directory that cannot be in a layer."""

    path: str
    reason: str


@dataclass(frozen=True)
class Loss:
    """An attribute that was kept neither on disk nor in the ledger."""

    path: str
    attribute: str
    reason: str


@dataclass(frozen=True)
class Layer:
    """One layer of an image."""

    #: The digest of the blob.
    digest: str
    #: The size of the blob in bytes.
    size: int
    #: The digest of the tar inside.
    diff_id: str
    media_type: str


@dataclass(frozen=True)
class LayerEntry:
    """One entry of a layer, as it stands in the tar."""

    #: Empty for the root. A whiteout is a file ``.wh.NAME``.
    path: str
    kind: Literal[
        "file", "directory", "symlink", "hardlink", "character device", "block device", "fifo"
    ]
    #: Permission bits with setuid, setgid and sticky.
    mode: int
    uid: int
    gid: int
    #: The length of a file in bytes, else 0.
    size: int
    mtime_ns: int
    #: The target of a symbolic link, or the path of the entry a hard link joins.
    link: str | None
    #: Major and minor number.
    device: tuple[int, int] | None
    xattrs: Mapping[str, bytes]


@dataclass(frozen=True)
class WrittenLayer:
    """A layer that was written or read to its end."""

    #: The digest of the blob.
    digest: str
    #: The size of the blob in bytes.
    size: int
    #: The digest of the tar inside.
    diff_id: str
    #: The size of the tar in bytes.
    diff_size: int
    #: How many entries the tar has, where ``layer_create`` counted them.
    entries: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Committed:
    """What a commit has to tell besides the image."""

    stat: Stat
    #: The new layer; None when nothing changed and only the configuration is new.
    layer: WrittenLayer | None
    #: What is in the directory and cannot be in a layer.
    skipped: Sequence[Skipped]
    #: How many entries got another owner than they have on disk.
    owners_replaced: int


@dataclass(frozen=True)
class Unpacked:
    """What unpacking an image has to tell besides the tree."""

    #: How many entries the tree has, its root not counted.
    entries: int
    #: How many of them have something in the ledger.
    in_ledger: int
    losses: Sequence[Loss]


@dataclass(frozen=True)
class CheckedOut:
    """The report of a checkout."""

    #: The image that the directory now is.
    image: Image
    #: How many entries were made, or got another content.
    written: int
    #: How many entries stayed and got other metadata, or names.
    updated: int
    #: How many entries were removed.
    removed: int
    #: How many entries were left as they were, the root counted.
    kept: int
    #: How many of them have something in the ledger.
    in_ledger: int
    losses: Sequence[Loss]
    #: What is, or would be, different: ``"added"``, ``"changed"`` or ``"deleted"``, and the path.
    changes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Applied:
    """What applying a layer gave."""

    layer: WrittenLayer
    #: Everything in the directory now.
    snapshot: Snapshot = field(repr=False)
    #: What the disk did not take. ``scan`` and the next ``layer_apply`` want it.
    ledger: Ledger
    losses: Sequence[Loss]


@dataclass(frozen=True)
class HistoryRow:
    """One row of ``docker history``."""

    #: The image id for the newest row; None for the others.
    id: str | None
    #: When (RFC 3339).
    created: str | None
    created_by: str
    #: The size of the layer's blob in bytes; 0 for a row without a layer.
    size: int
    #: The size of the layer's tar, where the store knows it.
    diff_size: int | None
    diff_id: str | None
    comment: str


@dataclass(frozen=True)
class Ref:
    """An entry of a store's index."""

    #: The name, always with a tag; None for an image without a name.
    name: str | None
    #: The digest of the manifest or index.
    digest: str
    media_type: str


@dataclass(frozen=True)
class Loaded:
    """An image that came out of an archive, once for each of its names."""

    #: The name it has in the store; None when it was loaded without one.
    name: str | None
    #: The digest of its manifest, or of its index when it is for several platforms.
    digest: str
    #: The image id.
    id: str


@dataclass(frozen=True)
class Pulled:
    """An image that came from a registry."""

    #: The name it has in the store; None when it was pulled by its digest alone.
    name: str | None
    #: The digest the registry has it under: of the index when it is for several platforms, else of the manifest.
    digest: str
    #: The digest of the manifest of the platform that was chosen.
    manifest: str
    #: The image id.
    id: str
    #: Whether the name stood for this very image before, and nothing was missing.
    up_to_date: bool
    layers_fetched: int
    bytes_fetched: int


@dataclass(frozen=True)
class Pushed:
    """An image that went to a registry."""

    #: The name it has there.
    name: str
    #: The digest the registry has it under now.
    digest: str
    #: How many blobs were sent.
    sent: int
    bytes_sent: int
    #: How many blobs were taken from another repository of the registry.
    mounted: int
    #: How many blobs were there already.
    present: int
    #: The platform that was pushed alone, because the store does not hold the others of the image.
    only_platform: str | None


@dataclass(frozen=True)
class ImageUsage:
    """What one image takes on disk, all platforms together."""

    names: Sequence[str]
    #: The digest of the manifest or index.
    digest: str
    size: int
    #: Of these bytes, those other images need too.
    shared: int
    #: Of these bytes, those that go when only this image is removed.
    unique: int
    layers: int


@dataclass(frozen=True)
class Usage:
    """What a store takes on disk, in bytes."""

    images: Sequence[ImageUsage]
    #: How many blobs there are.
    blobs: int
    blob_bytes: int
    #: What a prune would free.
    reclaimable: int
    #: How many trees are known.
    trees: int
    #: The size of layer lists and relations.
    layer_bytes: int
    #: The size of files being written, or left by dead writers.
    tmp_bytes: int


@dataclass(frozen=True)
class PruneReport:
    """What a prune removed, or would remove."""

    #: Images without a name.
    nameless: Sequence[str]
    blobs: Sequence[str]
    #: DiffIDs whose relations went, and ChainIDs whose entry list went.
    layers: Sequence[str]
    #: How many files dead writers had left.
    litter: int
    #: The bytes all of it took.
    bytes: int
    #: Names that were taken away.
    untagged: Sequence[str]
    #: Where the trees were that were forgotten.
    forgotten: Sequence[str]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a store."""

    #: Such as ``"missing"`` or ``"wrong-digest"``.
    kind: str
    #: The file, digest or image it is about.
    subject: str
    message: str


@dataclass(frozen=True)
class FsckReport:
    """What checking a store found. True when all is well."""

    problems: Sequence[Problem]
    #: How many blobs were looked at.
    blobs: int
    #: How many bytes were hashed.
    bytes: int

    def __bool__(self) -> bool:
        return not self.problems


class DiffOptions(TypedDict, total=False):
    """The options of ``Tree.diff``, see ``Store.diff``."""

    owner: Owner | None
    owner_from: OwnerFrom | None
    compare: Compare
    exact_times: bool
    platform: str | None
    one_file_system: bool
    threads: int
    progress: ProgressFunction | None


class CommitOptions(TypedDict, total=False):
    """The options of ``Tree.commit``, see ``Store.commit``."""

    author: str | None
    message: str | None
    changes: Sequence[str] | None
    owner: Owner | None
    owner_from: OwnerFrom | None
    compression: Compression
    level: int | None
    compare: Compare
    squash: bool
    created: Time | None
    platform: str | None
    annotations: Mapping[str, str] | None
    reproducible: bool
    clamp_mtime: Time | None
    nanoseconds: bool
    one_file_system: bool
    threads: int
    progress: ProgressFunction | None

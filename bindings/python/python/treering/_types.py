"""Plain results, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import BufferedReader
from os import PathLike
from subprocess import CompletedProcess
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, Union

from . import _layers

if TYPE_CHECKING:
    from ._layers import LayerFile
    from ._treering import Image, Ledger, Snapshot

#: A path of the file system, or the descriptor of an open directory, as ``os.listdir`` takes it. What comes back is always
#: ``str``, as ``os.fsdecode`` makes it.
Path = Union[str, bytes, int, "PathLike[str]", "PathLike[bytes]"]
#: The name, digest, id or id prefix of an image, or the image itself.
ImageLike = Union[str, "Image"]
#: The owner of files: ``"root"``, ``"keep"``, ``"UID:GID"``, ``"map:IMAGE:DISK:COUNT,..."``, or (uid, gid).
Owner = Union[str, "tuple[int, int]"]
#: Another tool's record of owners: "none", "rootlesscontainers", "override-stat" or "fakeroot:FILE".
OwnerFrom = Path
#: A moment: seconds since 1970, a datetime with a time zone, or RFC 3339 text as ``Image.created`` is.
Time = Union[float, datetime, str]
#: A command: a program and its arguments, or a program alone.
Words = Union[str, "Sequence[str | PathLike[str]]"]
#: Variables, added to those that are there; None takes one away.
Environment = Mapping[str, "str | None"]
Labels = Mapping[str, str]
#: The size of a terminal: columns and lines, as ``os.get_terminal_size`` returns them, or a function that does.
Size = Union["tuple[int, int]", Callable[[], "tuple[int, int]"]]
#: Runs git in a directory, with arguments and an environment, and waits for it.
GitFunction = Callable[[str, "list[str]", "dict[str, str]"], "CompletedProcess[bytes]"]
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
    """An event of an operation. What its kind does not have is empty or 0."""

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
    #: The step's name, the warning, or why it failed, in one line.
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
    """The progress of an operation."""

    #: The operation.
    operation: str
    #: The number of things handled: entries of trees and tars, files of archives, blobs.
    entries: int
    #: Bytes of input that were read, as they are where they are read: blobs and archives compressed, a
    #: layer that is made with the size of its tar.
    bytes_read: int
    #: Bytes written to the result: of blobs, archives or files.
    bytes_written: int
    #: Bytes of input that will have been read at the end, as far as is known; 0 while nothing is. The last
    #: call has as many read.
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
    """An entry of a directory that cannot be in a layer."""

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
    """A layer of an image. Iterating gives its entries with their content, see :meth:`files`."""

    #: The digest of the blob.
    digest: str
    #: The size of the blob in bytes.
    size: int
    #: The digest of the tar inside.
    diff_id: str
    media_type: str

    def open(self) -> BufferedReader:
        """Open the blob as it is stored. Reading to its end is an error unless it has the size and the digest it should."""
        return _layers.stream(self, tar=False)

    def open_tar(self) -> BufferedReader:
        """Open the tar in the blob, decompressed. Reading to its end is an error unless blob and tar are what they should be."""
        return _layers.stream(self, tar=True)

    def files(self, *, max_bytes: int | None = None, max_entries: int | None = None) -> Iterator[LayerFile]:
        """The entries of the layer, one after the other, each to be read until the next one is asked for.

        The layer is verified when its end is reached. The caps are what it may ask for; beyond them is a ``LimitError``.
        """
        return _layers.files(self, max_bytes, max_entries)

    def __iter__(self) -> Iterator[LayerFile]:
        return self.files()


@dataclass(frozen=True)
class LayerEntry:
    """An entry of a layer, as it stands in the tar."""

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
    """The report of a commit, besides the image."""

    stat: Stat
    #: The new layer; None when nothing changed and only the configuration is new.
    layer: WrittenLayer | None
    #: Entries of the directory that cannot be in a layer.
    skipped: Sequence[Skipped]
    #: How many entries got another owner than they have on disk.
    owners_replaced: int


@dataclass(frozen=True)
class Unpacked:
    """The report of an unpack, besides the tree."""

    #: How many entries the tree has, its root not counted.
    entries: int
    #: How many of them have something in the ledger.
    in_ledger: int
    losses: Sequence[Loss]


@dataclass(frozen=True)
class CopiedFiles:
    """The report of a copy into a container, or out of it."""

    #: For how many entries owners or attributes are lost.
    unkept: int
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
    #: The changes, made or to be made: ``"added"``, ``"changed"`` or ``"deleted"``, and the path.
    changes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Applied:
    """The result of applying a layer."""

    layer: WrittenLayer
    #: The directory afterwards.
    snapshot: Snapshot = field(repr=False)
    #: The ledger: what the disk did not take. ``scan`` and the next ``layer_apply`` take it.
    ledger: Ledger
    losses: Sequence[Loss]


@dataclass(frozen=True)
class BuildWarning:
    """A finding of a rule of BuildKit's linter in a Dockerfile."""

    #: The name of the rule.
    rule: str
    message: str
    location: Location


@dataclass(frozen=True)
class BuildCheck:
    """The result of checking a Dockerfile."""

    #: In the order of lines.
    warnings: Sequence[BuildWarning]
    #: Whether the Dockerfile, or ``checks``, asks for warnings to be errors.
    fails: bool


@dataclass(frozen=True)
class BuildArg:
    """An argument that a build takes."""

    name: str
    #: The comment above it: ``# NAME DESCRIPTION``.
    description: str
    #: Its value in this build; None for none.
    value: str | None
    #: The place of its ARG.
    location: Location


@dataclass(frozen=True)
class BuildMount:
    """A secret or an agent that commands of a build mount."""

    #: The id that it is given by.
    id: str
    #: Whether a command fails without it.
    required: bool
    #: The place of the first command that mounts it.
    location: Location


@dataclass(frozen=True)
class BuildOutline:
    """The inputs of a target of a Dockerfile."""

    #: The target's name; its number where it has none.
    name: str
    #: The comment above it: ``# NAME DESCRIPTION``.
    description: str
    #: The arguments of the stages it needs.
    args: Sequence[BuildArg]
    #: The secrets its commands mount.
    secrets: Sequence[BuildMount]
    #: The agents its commands mount.
    ssh: Sequence[BuildMount]


@dataclass(frozen=True)
class BuildTarget:
    """A stage of a Dockerfile that can be built."""

    #: Its name; its number where it has none.
    name: str
    #: The comment above it: ``# NAME DESCRIPTION``.
    description: str
    #: The base that it is built from.
    base: str
    #: Whether it is built when none is named.
    default: bool


@dataclass(frozen=True)
class HistoryRow:
    """A row of ``docker history``."""

    #: The image id for the newest row; None for the others.
    id: str | None
    #: When (RFC 3339).
    created: str | None
    created_by: str
    #: The size of the layer's blob in bytes; 0 for a row without a layer.
    size: int
    #: The size of the layer's tar, where the store has it.
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
class Copied:
    """An image that went from one registry to another."""

    #: The name it got.
    name: str
    #: The digest that both registries have it under.
    digest: str
    #: How many blobs went from one registry to the other.
    sent: int
    bytes_sent: int
    #: How many blobs were taken from another repository of the same registry.
    mounted: int
    #: How many blobs were there already.
    present: int


@dataclass(frozen=True)
class RemoteManifest:
    """A manifest or an index as a registry has it."""

    digest: str
    media_type: str
    #: Exactly as they are there.
    data: bytes


@dataclass(frozen=True)
class ImageUsage:
    """The space that one image takes on disk, all platforms together."""

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
    """The space that a store takes on disk, in bytes."""

    images: Sequence[ImageUsage]
    #: How many blobs there are.
    blobs: int
    blob_bytes: int
    #: The bytes that a prune would free.
    reclaimable: int
    #: How many trees are known.
    trees: int
    #: The size of layer lists, indexes and relations.
    layer_bytes: int
    #: The size of files being written, or left by dead writers.
    tmp_bytes: int
    #: How many records of build steps there are.
    cache_records: int
    #: The bytes that builds keep, and a prune of the build cache frees.
    cache_bytes: int
    #: Of ``layer_bytes``, the size of the indexes of layers.
    index_bytes: int


@dataclass(frozen=True)
class PruneReport:
    """The result of a prune: what it removed, or would remove."""

    #: Images without a name.
    images: Sequence[str]
    blobs: Sequence[str]
    #: DiffIDs that lost their relations, and ChainIDs that lost their entry list.
    layers: Sequence[str]
    #: How many files dead writers had left.
    leftovers: int
    #: The bytes all of it took.
    bytes: int
    #: Names that were taken away.
    untagged: Sequence[str]
    #: The paths of the trees that were forgotten.
    forgotten: Sequence[str]
    #: How many records of build steps went.
    records: int


@dataclass(frozen=True)
class Problem:
    """A problem of a store."""

    #: Such as ``"missing"`` or ``"wrong-digest"``.
    kind: str
    #: The file, digest or image it is about.
    subject: str
    message: str


@dataclass(frozen=True)
class FsckReport:
    """The result of checking a store. True when all is well."""

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
    ignore_times: bool
    exclude: Sequence[str] | None
    ignore_file: Path | None
    reverse: bool
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
    only_if_changed: bool
    ignore_times: bool
    exclude: Sequence[str] | None
    ignore_file: Path | None
    threads: int
    progress: ProgressFunction | None


class RunOptions(TypedDict, total=False):
    """The options of ``Container.run`` and ``Container.exec``."""

    stdin: Any
    input: bytes | str | None
    stdout: Any
    stderr: Any
    capture_output: bool
    timeout: float | None
    check: bool
    text: bool | None
    encoding: str | None
    errors: str | None
    env: Environment | None
    cwd: str | None
    user: str | None
    rung: str | None
    tty: bool
    size: Size | None


class TreeRunOptions(RunOptions, total=False):
    """The options of ``Tree.run``: those of ``Container.run``, and what a container is made with."""

    entrypoint: str | None
    hostname: str | None
    volumes: Sequence[str] | None
    tmpfs: Sequence[str] | None
    network: str
    read_only: bool

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, final, overload

from typing_extensions import Self

from ._path import ImagePath
from ._tree import Tree
from ._types import (
    Applied,
    CheckedOut,
    Committed,
    Compare,
    Compression,
    EventFunction,
    FsckReport,
    HistoryRow,
    ImageLike,
    Layer,
    LayerEntry,
    Loaded,
    Owner,
    OwnerFrom,
    Path,
    ProgressFunction,
    PruneReport,
    Pulled,
    Pushed,
    Readable,
    Ref,
    Skipped,
    Stat,
    Time,
    Usage,
    Writable,
    WrittenLayer,
)

__all__ = [
    "_events",
    "_fail",
    "_FileReader",
    "_ImageFiles",
    "_main",
    "_panic",
    "Change",
    "ChangeIterator",
    "Diff",
    "diff",
    "diff_overlay",
    "Image",
    "info",
    "layer_apply",
    "layer_create",
    "layer_list",
    "login",
    "logout",
    "tags",
    "Entry",
    "EntryIterator",
    "Ledger",
    "Snapshot",
    "scan",
    "Store",
    "version",
]

version: str

@final
class Store:
    def __new__(
        cls,
        path: Path | None = None,
        *,
        max_document_bytes: int | None = None,
        max_document_depth: int | None = None,
        max_index_depth: int | None = None,
        max_layers: int | None = None,
        max_blob_bytes: int | None = None,
    ) -> Self: ...
    @property
    def path(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, *_error: type[BaseException] | BaseException | TracebackType | None
    ) -> None: ...
    def __contains__(self, key: ImageLike, /) -> bool: ...
    def commit(
        self,
        tree: Path,
        name: str | None = None,
        *,
        base: ImageLike | None = None,
        author: str | None = None,
        message: str | None = None,
        changes: Sequence[str] | None = None,
        owner: Owner | None = None,
        owner_from: OwnerFrom | None = None,
        compression: Compression = "gzip",
        level: int | None = None,
        compare: Compare = "auto",
        squash: bool = False,
        created: Time | None = None,
        platform: str | None = None,
        annotations: Mapping[str, str] | None = None,
        reproducible: bool = False,
        clamp_mtime: Time | None = None,
        nanoseconds: bool = False,
        lowers: Sequence[Path] | None = None,
        one_file_system: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Image: ...
    def build(
        self,
        context: Path,
        *,
        dockerfile: Path | None = None,
        dockerfile_text: str | None = None,
        tags: Sequence[str] | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        build_contexts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        no_cache: bool = False,
        no_cache_filter: Sequence[str] | None = None,
        platform: str | None = None,
        compression: Compression = "gzip",
        level: int | None = None,
        source_date_epoch: Time | None = None,
        reproducible: bool = False,
        nanoseconds: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Image: ...
    def unpack(
        self,
        image: ImageLike,
        dir: Path,
        *,
        platform: str | None = None,
        owner_xattr: str | None = None,
        deny_loss: bool = False,
        lenient: bool = False,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        max_ratio: int | None = None,
        sync: bool = False,
        temporary: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Tree: ...
    def checkout(
        self,
        image: ImageLike,
        dir: Path,
        *,
        discard: bool = False,
        dry_run: bool = False,
        platform: str | None = None,
        deny_loss: bool = False,
        max_ratio: int | None = None,
        sync: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> CheckedOut: ...
    def clone(
        self,
        tree: Path,
        dir: Path,
        *,
        sync: bool = False,
        temporary: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Tree: ...
    def diff(
        self,
        tree: Path,
        *,
        base: ImageLike | None = None,
        owner: Owner | None = None,
        owner_from: OwnerFrom | None = None,
        compare: Compare = "auto",
        exact_times: bool = False,
        platform: str | None = None,
        one_file_system: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Diff: ...
    def images(self, *, platform: str | None = None) -> list[Image]: ...
    def image(self, reference: ImageLike, *, platform: str | None = None) -> Image: ...
    def refs(self) -> list[Ref]: ...
    def resolve(self, reference: str) -> str: ...
    def save(
        self,
        images: Sequence[ImageLike],
        file: Path | Writable,
        *,
        format: Literal["docker-archive", "oci-archive"] = "docker-archive",
        progress: ProgressFunction | None = None,
    ) -> None: ...
    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        auth: tuple[str, str] | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Pulled: ...
    def push(
        self,
        image: ImageLike,
        name: str | None = None,
        *,
        platform: str | None = None,
        auth: tuple[str, str] | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Pushed: ...
    def load(
        self,
        file: Path | Readable,
        *,
        names: Literal["keep", "move", "ignore"] = "keep",
        max_bytes: int | None = None,
        max_entries: int | None = None,
        progress: ProgressFunction | None = None,
    ) -> list[Loaded]: ...
    def import_(
        self,
        file: Path | Readable,
        name: str | None = None,
        *,
        changes: Sequence[str] | None = None,
        message: str | None = None,
        author: str | None = None,
        platform: str | None = None,
        created: Time | None = None,
        compression: Compression | None = None,
        level: int | None = None,
        threads: int = 0,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        progress: ProgressFunction | None = None,
    ) -> Image: ...
    def export(
        self,
        source: str | Image | bytes | os.PathLike[str] | os.PathLike[bytes],
        file: Path | Writable,
        *,
        platform: str | None = None,
        owner: Owner | None = None,
        owner_from: OwnerFrom | None = None,
        clamp_mtime: Time | None = None,
        nanoseconds: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> None: ...
    def tag(self, image: ImageLike, name: str) -> None: ...
    def untag(self, name: str) -> None: ...
    def remove(self, image: ImageLike) -> list[str]: ...
    def prune(
        self,
        *,
        dry_run: bool = False,
        keep_untagged: bool = False,
        unused_names: bool = False,
        lost_trees: bool = False,
        keep: Sequence[str] | None = None,
        wait: float = 10.0,
        progress: ProgressFunction | None = None,
    ) -> PruneReport: ...
    def fsck(
        self,
        level: Literal["structure", "reachability", "bytes"] = "bytes",
        *,
        progress: ProgressFunction | None = None,
    ) -> FsckReport: ...
    def info(self) -> dict[str, Any]: ...
    def usage(self, *, progress: ProgressFunction | None = None) -> Usage: ...

@final
class Image:
    @property
    def id(self) -> str: ...
    @property
    def short_id(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def name(self) -> str | None: ...
    @property
    def tags(self) -> list[str]: ...
    @property
    def config(self) -> dict[str, Any]: ...
    @property
    def config_bytes(self) -> bytes: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def manifest_bytes(self) -> bytes: ...
    @property
    def layers(self) -> list[Layer]: ...
    @property
    def platform(self) -> str: ...
    @property
    def annotations(self) -> dict[str, str]: ...
    @property
    def size(self) -> int: ...
    @property
    def created(self) -> str | None: ...
    @property
    def author(self) -> str | None: ...
    @property
    def committed(self) -> Committed | None: ...
    def history(self) -> list[HistoryRow]: ...
    def inspect(self) -> dict[str, Any]: ...
    def contents(self, *, progress: ProgressFunction | None = None) -> Snapshot: ...
    def path(
        self, path: str | os.PathLike[str] | None = None, *, progress: ProgressFunction | None = None
    ) -> ImagePath: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class _ImageFiles:
    def stat(self, path: bytes, follow: bool) -> tuple[int, int, int, int, int, int]: ...
    def names(self, path: bytes) -> list[bytes]: ...
    def link(self, path: bytes) -> bytes: ...
    def path(self, path: bytes) -> bytes: ...
    def open(self, path: bytes) -> _FileReader: ...

@final
class _FileReader:
    def read(self, size: int) -> bytes: ...

@final
class Snapshot:
    @staticmethod
    def load(path: Path) -> Snapshot: ...
    @staticmethod
    def from_bytes(data: bytes) -> Snapshot: ...
    def save(self, path: Path) -> None: ...
    def to_bytes(self) -> bytes: ...
    @property
    def skipped(self) -> list[Skipped]: ...
    def get(self, path: Path) -> Entry | None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Path, /) -> Entry: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[Entry]: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class EntryIterator:
    def __iter__(self) -> Self: ...
    def __next__(self) -> Entry: ...
    def __length_hint__(self) -> int: ...

@final
class Entry(os.PathLike[str]):
    @property
    def path(self) -> str: ...
    @property
    def path_bytes(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(
        self,
    ) -> Literal["file", "directory", "symlink", "character device", "block device", "fifo"]: ...
    @property
    def mode(self) -> int: ...
    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def mtime(self) -> float: ...
    @property
    def mtime_ns(self) -> int: ...
    @property
    def link_target(self) -> str | None: ...
    @property
    def device(self) -> tuple[int, int] | None: ...
    @property
    def nlink(self) -> int: ...
    @property
    def xattrs(self) -> dict[str, bytes]: ...
    @property
    def digest(self) -> str | None: ...
    def __fspath__(self) -> str: ...

@final
class Ledger:
    @staticmethod
    def from_bytes(data: bytes) -> Ledger: ...
    def to_bytes(self) -> bytes: ...
    def __len__(self) -> int: ...

@final
class Diff:
    @property
    def stat(self) -> Stat: ...
    @property
    def skipped(self) -> list[Skipped]: ...
    @property
    def old(self) -> Snapshot | None: ...
    @property
    def new(self) -> Snapshot: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> Change: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[Change]: ...
    def __iter__(self) -> Iterator[Change]: ...

@final
class ChangeIterator:
    def __iter__(self) -> Self: ...
    def __next__(self) -> Change: ...
    def __length_hint__(self) -> int: ...

@final
class Change:
    @property
    def kind(self) -> Literal["added", "changed", "deleted"]: ...
    @property
    def letter(self) -> Literal["A", "C", "D"]: ...
    @property
    def path(self) -> str: ...
    @property
    def path_bytes(self) -> bytes: ...
    @property
    def reasons(self) -> list[str]: ...
    @property
    def old(self) -> Entry | None: ...
    @property
    def new(self) -> Entry | None: ...

def scan(
    path: Path,
    *,
    owner: Owner | None = None,
    owner_from: OwnerFrom | None = None,
    store: Store | None = None,
    ledger: Ledger | None = None,
    previous: Snapshot | None = None,
    one_file_system: bool = False,
    all_xattrs: bool = False,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Snapshot: ...
def diff(
    old: Path | Snapshot | Image,
    new: Path | Snapshot | Image | None = None,
    *,
    store: Store | None = None,
    owner: Owner | None = None,
    owner_from: OwnerFrom | None = None,
    compare: Compare = "auto",
    exact_times: bool = False,
    one_file_system: bool = False,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Diff: ...
def diff_overlay(
    upper: Path,
    lowers: Sequence[Path] | None = None,
    *,
    store: Store | None = None,
    owner: Owner | None = None,
    owner_from: OwnerFrom | None = None,
    compare: Compare = "auto",
    exact_times: bool = False,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Diff: ...
def layer_create(
    diff: Diff,
    file: Path | Writable,
    *,
    compression: Compression = "gzip",
    level: int | None = None,
    clamp_mtime: Time | None = None,
    nanoseconds: bool = False,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> WrittenLayer: ...
def layer_apply(
    file: Path | Readable,
    dir: Path,
    *,
    store: Store | None = None,
    ledger: Ledger | None = None,
    owner_xattr: str | None = None,
    deny_loss: bool = False,
    lenient: bool = False,
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_ratio: int | None = None,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Applied: ...
def layer_list(
    file: Path | Readable,
    *,
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_ratio: int | None = None,
    max_memory: int | None = None,
    progress: ProgressFunction | None = None,
) -> list[LayerEntry]: ...
def info() -> dict[str, Any]: ...
def _panic(look: int = 0) -> None: ...
def _fail() -> None: ...
def tags(repository: str, *, auth: tuple[str, str] | None = None) -> list[str]: ...
def login(registry: str, username: str, password: str) -> str: ...
def logout(registry: str) -> bool: ...
def _events(*, events: EventFunction | None = None) -> None: ...
def _main(arguments: Sequence[Path]) -> int: ...

"""Grow OCI images from a directory: no root, no daemon.

A *tree* is a directory that stands for a root filesystem. ``Store.commit`` makes an image of one, or adds what changed
since as a layer; ``Store.unpack`` is the way back; ``Store.diff`` and ``diff`` say what changed.

    >>> import os, tempfile, treering
    >>> scratch = tempfile.TemporaryDirectory()
    >>> os.makedirs(f"{scratch.name}/rootfs/etc")
    >>> with open(f"{scratch.name}/rootfs/etc/motd", "w") as file:
    ...     _ = file.write("hello\\n")
    >>> with treering.Store(f"{scratch.name}/store") as store:
    ...     image = store.commit(f"{scratch.name}/rootfs", "app:v1", changes=['CMD ["/bin/sh"]'])
    ...     tree = store.unpack("app:v1", f"{scratch.name}/copy")
    ...     os.remove(tree.path / "etc/motd")
    ...     for change in tree.diff():
    ...         print(change)
    C /etc
    D /etc/motd
    >>> scratch.cleanup()

Every operation lets the interpreter go while it works, can be interrupted with Ctrl-C, and may be called from any number
of threads at once. Every exception is an ``Error``, but for the ``TypeError`` and ``IndexError`` of a mistake in the program.
"""

from . import progress
from ._container import Container
from ._errors import (
    AlreadyExistsError,
    BusyError,
    CallbackError,
    CalledCommandError,
    CancelledError,
    ChangedError,
    CommandFailedError,
    CommandTimeoutError,
    CorruptError,
    Error,
    ExistingFileError,
    InputOutputError,
    InternalError,
    InUseError,
    InvalidArgumentError,
    InvalidSyntaxError,
    LimitError,
    LossError,
    MissingFileError,
    NetworkError,
    NoSpaceError,
    NotFoundError,
    PermissionDeniedError,
    UnauthorizedError,
    UnsupportedError,
)
from ._git import run_git
from ._json import as_json
from ._layers import LayerFile
from ._path import ImagePath, PathStat
from ._tree import Tree
from ._treering import (
    Change,
    Diff,
    Entry,
    Image,
    Ledger,
    Registries,
    Snapshot,
    Store,
    copy,
    diff,
    diff_overlay,
    info,
    layer_apply,
    layer_create,
    layer_list,
    login,
    logout,
    read_manifest,
    scan,
    tags,
    version,
)
from ._types import (
    Applied,
    BuildArg,
    BuildCheck,
    BuildMount,
    BuildOutline,
    BuildTarget,
    BuildWarning,
    CheckedOut,
    Committed,
    Copied,
    CopiedFiles,
    Event,
    FsckReport,
    HistoryRow,
    ImageUsage,
    Layer,
    LayerEntry,
    Loaded,
    Location,
    Loss,
    Problem,
    Progress,
    PruneReport,
    Pulled,
    Pushed,
    Ref,
    RemoteManifest,
    Skipped,
    Stat,
    Unpacked,
    Usage,
    WrittenLayer,
)

__version__ = version

__all__ = [
    "AlreadyExistsError",
    "Applied",
    "BuildArg",
    "BuildCheck",
    "BuildMount",
    "BuildOutline",
    "BuildTarget",
    "BuildWarning",
    "BusyError",
    "CallbackError",
    "CalledCommandError",
    "CancelledError",
    "Change",
    "ChangedError",
    "CheckedOut",
    "CommandFailedError",
    "CommandTimeoutError",
    "Committed",
    "Container",
    "Copied",
    "CopiedFiles",
    "CorruptError",
    "Diff",
    "Entry",
    "Error",
    "Event",
    "ExistingFileError",
    "FsckReport",
    "HistoryRow",
    "Image",
    "ImagePath",
    "ImageUsage",
    "InUseError",
    "InputOutputError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidSyntaxError",
    "Layer",
    "LayerEntry",
    "LayerFile",
    "Ledger",
    "LimitError",
    "Loaded",
    "Location",
    "Loss",
    "LossError",
    "MissingFileError",
    "NetworkError",
    "NoSpaceError",
    "NotFoundError",
    "PathStat",
    "PermissionDeniedError",
    "Problem",
    "Progress",
    "PruneReport",
    "Pulled",
    "Pushed",
    "Ref",
    "Registries",
    "RemoteManifest",
    "Skipped",
    "Snapshot",
    "Stat",
    "Store",
    "Tree",
    "UnauthorizedError",
    "Unpacked",
    "UnsupportedError",
    "Usage",
    "WrittenLayer",
    "__version__",
    "as_json",
    "copy",
    "diff",
    "diff_overlay",
    "info",
    "layer_apply",
    "layer_create",
    "layer_list",
    "login",
    "logout",
    "progress",
    "read_manifest",
    "run_git",
    "scan",
    "tags",
    "version",
]

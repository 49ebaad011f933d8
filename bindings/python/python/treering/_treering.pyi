import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, TypedDict, final, overload, type_check_only

from typing_extensions import Self, Unpack

from ._container import Container
from ._path import ImagePath
from ._run import _Command, _Said
from ._tree import Tree
from ._types import (
    Applied,
    BuildCheck,
    BuildOutline,
    BuildTarget,
    CheckedOut,
    Committed,
    Compare,
    Compression,
    Copied,
    CopiedFiles,
    Environment,
    EventFunction,
    FsckReport,
    GitFunction,
    HistoryRow,
    ImageLike,
    Labels,
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
    RemoteManifest,
    Skipped,
    Stat,
    Time,
    TreeRunOptions,
    Usage,
    Words,
    Writable,
    WrittenLayer,
)

__all__ = [
    "_Container",
    "_events",
    "_fail",
    "_FileReader",
    "_Held",
    "_ImageFiles",
    "_LayerFiles",
    "_main",
    "_panic",
    "Change",
    "ChangeIterator",
    "copy",
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
    "read_manifest",
    "Registries",
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
    """A store of images: an OCI image layout on disk, and what is known about the trees made from it.

    Without a path it is the user's: ``$TREERING_ROOT``, else ``$XDG_DATA_HOME/treering``, else
    ``~/.local/share/treering``. What is missing is created. Any number of threads and processes may use one store at
    once. In a ``with`` statement the store is closed at the end. The caps are for what an image in it may ask for: documents
    (indexes, manifests, configurations), layers, and blobs that are written; beyond them is a ``LimitError``. With
    ``no_layer_index`` no indexes of layers are made, which take at most 1% of their blobs and have files read without the
    layer before them; those that are there are used.
    """
    def __new__(
        cls,
        path: Path | None = None,
        *,
        max_document_bytes: int | None = None,
        max_document_depth: int | None = None,
        max_index_depth: int | None = None,
        max_layers: int | None = None,
        max_blob_bytes: int | None = None,
        max_cache_bytes: int | None = None,
        no_layer_index: bool = False,
    ) -> Self: ...
    @property
    def path(self) -> str:
        """The path of the store."""
    @property
    def layout(self) -> str:
        """The path of the store's OCI image layout. Other tools read it as it is and must not write to it, since they take none of
        the store's locks.
        """
    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
    def close(self) -> None:
        """Let go of the store's directories. Images opened before stay usable. Closing twice does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None: ...
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
        only_if_changed: bool = False,
        ignore_times: bool = False,
        exclude: Sequence[str] | None = None,
        ignore_file: Path | None = None,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Image:
        """Make an image of a directory, or add what changed in it since its base as a layer.

        With a name the image gets that name. ``base`` is what the image is built on: an image, ``"scratch"``, or by
        default the image the directory was unpacked from or last committed to. The directory is bound to the new image,
        so the next commit or comparison reads only what changed since. ``owner_from`` is another tool's record of owners to
        go by: ``"rootlesscontainers"``, ``"override-stat"`` or ``"fakeroot:FILE"``. ``changes`` are Dockerfile instructions for the
        configuration. With ``lowers`` the directory is the upper directory of an overlay, and its files keep their owners
        by default when root commits it. ``reproducible`` fixes every time there is: ``created``, and time stamps later
        than it, are the given time or 1970. With ``only_if_changed`` there is no new image where nothing changed and nothing is
        asked for but a name: the base gets the name.

        ``exclude`` has patterns of paths to leave out, as in a ``.dockerignore``, and ``ignore_file`` is a file of such. With
        ``ignore_times`` what differs in its time alone is compared by its content.

        An error leaves the store as it was.
        """
    def edit(
        self,
        image: ImageLike,
        name: str | None = None,
        *,
        changes: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        author: str | None = None,
        message: str | None = None,
        created: Time | None = None,
        append: Sequence[Path | Readable] | None = None,
        drop_last: int = 0,
        squash: bool | int | None = None,
        rebase: tuple[ImageLike, ImageLike] | None = None,
        platform: str | None = None,
        compression: Compression = "gzip",
        level: int | None = None,
        max_ratio: int | None = None,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Image:
        """Make an image out of another one, without a directory: other layers, another base, another configuration.

        ``append`` are layers as ``layer_create`` writes them, to be put on top: paths, and at most one object with ``read``. ``drop_last`` leaves the
        last layers out. ``squash`` is True to make one layer of all, or how many of the last. ``rebase`` is a pair: the image it is built
        on, and the one to take its place. It is always done in the order rebase, drop, append, squash, configuration. Layers that stay
        are not read. ``compression`` and ``level`` are for a squashed layer. Without ``created`` the image is made now.
        """
    def build(
        self,
        context: Path | None = None,
        *,
        context_address: str | None = None,
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
        cache_from: Sequence[str] | None = None,
        cache_to: Sequence[str] | None = None,
        platform: str | None = None,
        squash: bool = False,
        provenance: bool | str | None = None,
        sbom: bool = False,
        jobs: int = 0,
        compression: Compression = "gzip",
        level: int | None = None,
        source_date_epoch: Time | None = None,
        reproducible: bool = False,
        nanoseconds: bool = False,
        pull: bool = False,
        checks: str | None = None,
        secrets: Mapping[str, str | bytes] | None = None,
        secret_files: Mapping[str, Path] | None = None,
        agents: Mapping[str, Path] | None = None,
        hosts: Mapping[str, str] | None = None,
        limits: Sequence[str] | None = None,
        shm_size: int = 0,
        no_network: bool = False,
        helper: Path | None = None,
        threads: int = 0,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        git: GitFunction | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Image:
        """Build an image from a Dockerfile, as ``treering build`` does.

        ``context`` is the directory with the files. ``dockerfile`` is a path, ``Dockerfile`` in the context by default, and
        ``dockerfile_text`` the text itself. Steps that nothing changed for come out of the cache. Base images come from the store.
        ``source_date_epoch`` dates everything the build makes; with ``reproducible`` it is 1970 where nothing else is said.
        ``events`` is called with each ``Event``: steps that begin and end, and warnings.

        ``cache_from`` is where steps are looked for that were carried out elsewhere (``"type=registry,ref=NAME:TAG"``,
        ``"type=local,src=DIR"``), ``cache_to`` where records of steps go (also ``"type=inline"``; ``mode=max`` sends those of all
        stages). With either, with ``registries``, ``auth`` or ``pull``, base images that the store does not have are pulled, and with
        ``pull`` newer versions of those that it has. ``checks`` is what the directive ``# check=`` says. ``platform`` takes several with
        commas between them, for one image of all; ``squash`` makes one layer of those of the build; ``jobs`` is the most commands at once.
        ``provenance`` attests how the image was built (True, ``"mode=max"``, also with ``,builder-id=URI`` or ``,reproducible=true``)
        and ``sbom`` what is in it; the name stands for an index then.

        ``secrets`` are values, text or bytes, that ``RUN --mount=type=secret`` shows, by id; ``secret_files`` are read when a command needs them.
        They are in no cache, layer or event. ``agents`` are the sockets that ``--mount=type=ssh`` reaches, by id (``"default"`` for mounts that
        name none), ``hosts`` more lines for ``/etc/hosts``, name to address, ``limits`` such as ``"nofile=1024:4096"``, ``shm_size`` the most
        bytes in ``/dev/shm``; with ``no_network`` they have none, unless ``RUN --network=host`` asks for it. ``helper`` is the program that starts commands, ``treering-init``, where it is not to be looked for.

        ``context_address`` is where a tar, a Dockerfile or a repository is, instead of ``context``; with neither there is the Dockerfile alone.
        ``build_contexts`` are further ones by name: a directory, an address, or ``docker-image://NAME``. ``git`` is the function that runs git
        where one of them, or ADD, names a repository, such as ``run_git``; without it they are refused.
        """
    def build_check(
        self,
        context: Path | None = None,
        *,
        context_address: str | None = None,
        dockerfile: Path | None = None,
        dockerfile_text: str | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        build_contexts: Mapping[str, str] | None = None,
        platform: str | None = None,
        checks: str | None = None,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        git: GitFunction | None = None,
        progress: ProgressFunction | None = None,
    ) -> BuildCheck:
        """Check a Dockerfile by the rules of BuildKit's linter, and build nothing. The arguments are those of ``build``."""
    def build_outline(
        self,
        context: Path | None = None,
        *,
        context_address: str | None = None,
        dockerfile: Path | None = None,
        dockerfile_text: str | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        build_contexts: Mapping[str, str] | None = None,
        platform: str | None = None,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        git: GitFunction | None = None,
        progress: ProgressFunction | None = None,
    ) -> BuildOutline:
        """List what a target of a Dockerfile takes, and build nothing. The arguments are those of ``build``."""
    def build_targets(
        self,
        context: Path | None = None,
        *,
        context_address: str | None = None,
        dockerfile: Path | None = None,
        dockerfile_text: str | None = None,
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        build_contexts: Mapping[str, str] | None = None,
        platform: str | None = None,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        git: GitFunction | None = None,
        progress: ProgressFunction | None = None,
    ) -> list[BuildTarget]:
        """List the stages of a Dockerfile that can be built, and build nothing. The arguments are those of ``build``."""
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
    ) -> Tree:
        """Unpack an image into a directory, which must not exist or be empty.

        Everything is made beside the directory, checked, and renamed into place. The tree that comes back compares itself
        with its image (``diff``) and grows it (``commit``). ``owner_xattr`` also writes owners into an attribute that other
        tools read: ``"rootlesscontainers"`` or ``"override-stat"``. ``lenient`` takes whiteouts as old tools wrote them;
        ``max_bytes``, ``max_entries`` and ``max_ratio`` cap what one layer may ask for: 1 TiB, ten million, and 1000
        times the size of its blob by default. With ``temporary`` the directory is removed at the end of a ``with`` statement.
        """
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
    ) -> CheckedOut:
        """Make a directory what an image says, in place: only what differs is touched. It came from whatever image; an empty or
        missing one is unpacked to.

        ``"-"`` is the image that the directory was before the present one. Changes that are in no image are an ``InUseError`` that
        lists the first of them, unless ``discard`` throws them away. With ``dry_run`` nothing is done, and the report says what
        would be. After an error, commits and comparisons refuse the directory until the next checkout has finished.
        """
    def clone(
        self,
        tree: Path,
        dir: Path,
        *,
        sync: bool = False,
        temporary: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Tree:
        """Copy a tree that was unpacked or committed, with its record in the store, to a directory that does not exist or
        is empty.

        The copy has the same owners, the same image and the same changes, and its next comparison or commit reads only what
        changes. Blocks are shared where the filesystem can. It is made beside the directory and renamed into place. With
        ``temporary`` the directory is removed at the end of a ``with`` statement.
        """
    def create(
        self,
        image: ImageLike,
        command: Words | None = None,
        *,
        name: str | None = None,
        entrypoint: str | None = None,
        env: Environment | None = None,
        user: str | None = None,
        cwd: str | None = None,
        hostname: str | None = None,
        volumes: Sequence[str] | None = None,
        tmpfs: Sequence[str] | None = None,
        network: str = "host",
        links: Sequence[str] | None = None,
        labels: Labels | None = None,
        read_only: bool = False,
        remove: bool = False,
        stop_signal: str | None = None,
        rung: str | None = None,
        platform: str | None = None,
        threads: int = 0,
        progress: ProgressFunction | None = None,
        tty: bool = False,
        interactive: bool = False,
    ) -> Container:
        """Make a container of an image: a tree with a name, settings and a state, in which commands run. See ``Container``.

        ``command`` is what it runs, by default what the image says; ``env`` adds variables, or takes those away that are None. ``volumes`` are
        ``HOST:PATH[:ro]``, or a path alone for a directory of the container's own, and ``tmpfs`` are ``PATH[:OPTIONS]``; nothing else does a
        command see of the host. ``network`` is ``"host"`` or ``"none"``. With ``remove`` the container goes when its command ends.
        ``tty`` gives its command a terminal, and ``interactive`` keeps its standard input open for ``Container.attach``.
        """
    def container(self, name: str) -> Container:
        """Find a container by its name, its id or the beginning of that."""
    def containers(self) -> list[Container]:
        """Returns the containers of the store, the newest first."""
    def run(self, tree: Path, args: Words | None = None, **options: Unpack[TreeRunOptions]) -> subprocess.CompletedProcess[Any]:
        """Run a command in a directory that was unpacked, cloned or committed, and wait for its end: ``subprocess.run`` for a tree. The same as
        ``Tree.run``.

        Owners, devices, capabilities and all else that the disk does not take without privileges are kept in the store, and every later
        ``diff`` and ``commit`` of the directory has them. Of the host the command has its network and what ``volumes`` names.
        """
    def _run(
        self, tree: Path, said: _Said, command: _Command, output: Callable[[int, bytes], object], timeout: float | None
    ) -> int | None: ...
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
        ignore_times: bool = False,
        exclude: Sequence[str] | None = None,
        ignore_file: Path | None = None,
        reverse: bool = False,
        threads: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Diff:
        """Compare a directory with its base, by default the image it was unpacked from or last committed to. With
        ``reverse`` the changes are those that make the directory into its base.
        """
    def images(self, *, platform: str | None = None) -> list[Image]:
        """The images of the store, in the order of ``index.json``: one per name, and those without a name.

        What is in the store for other platforms only, or is no image, is left out; ``usage`` lists everything.
        """
    def image(self, reference: ImageLike, *, platform: str | None = None) -> Image:
        """Open an image, by name, digest, id or a prefix of the id. From a multi-platform image the one for ``platform`` is
        taken, by default this machine's.
        """
    def refs(self) -> list[Ref]:
        """Returns the names in the store and what they stand for, in the order of ``index.json``; among them images without a
        name.
        """
    def resolve(self, reference: str) -> str:
        """Returns the digest of the manifest or index that a name, digest, id or id prefix stands for."""
    def save(
        self,
        images: ImageLike | Sequence[ImageLike],
        file: Path | Writable,
        *,
        format: Literal["docker-archive", "oci-archive"] = "docker-archive",
        platform: str | None = None,
        progress: ProgressFunction | None = None,
    ) -> None:
        """Write one image or several into one archive: a path, written atomically, or an object with ``write``.

        ``"docker-archive"`` is what ``docker load`` and ``podman load`` read (an OCI layout with a ``manifest.json``
        beside it); ``"oci-archive"`` leaves that out, and may hold images for several platforms. ``platform`` is the one to save
        of an image for several.
        """
    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        as_name: str | None = None,
        max_ratio: int | None = None,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Pulled:
        """Fetch an image from a registry, as ``docker pull`` does; the name moves to it. Layers that the store holds are not
        fetched, transfers that are cut go on, and all of it is checked before the name changes. ``auth`` is a user name and a
        password; without, those are used that docker or podman keep. ``all_platforms`` fetches all that the image's index lists.
        ``as_name`` is the name that the image gets here. ``max_ratio`` is how many times larger than its blob a layer may get.
        """
    def pull_unpack(
        self,
        name: str,
        dir: Path,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        as_name: str | None = None,
        owner_xattr: str | None = None,
        deny_loss: bool = False,
        lenient: bool = False,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        max_ratio: int | None = None,
        sync: bool = False,
        temporary: bool = False,
        threads: int = 0,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> tuple[Pulled, Tree]:
        """Fetch an image as ``pull`` does and unpack it as ``unpack`` does, both at once: layers are applied while they arrive. After an
        error neither the name nor the directory is there.
        """
    def push(
        self,
        image: ImageLike,
        name: str | None = None,
        *,
        platform: str | None = None,
        no_mount: bool = False,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> Pushed:
        """Send an image to a registry, as ``docker push`` does, under ``name`` or its own. What the registry has, or can take
        from another of its repositories, is not sent. ``platform`` sends one out of an image for several; with ``no_mount`` nothing
        is taken from other repositories.
        """
    def create_list(
        self,
        name: str,
        images: ImageLike | Sequence[ImageLike],
        *,
        amend: bool = False,
        auth: tuple[str, str] | None = None,
        registries: Registries | None = None,
        progress: ProgressFunction | None = None,
        events: EventFunction | None = None,
    ) -> str:
        """Make a list of images for several platforms (an index), give it a name in the store, from where ``push`` takes it, and return
        its digest. Each image is one of the store, or else one of its registry, of which manifest and configuration are fetched. Of
        an image for several platforms all are taken. ``amend`` adds to the list that has the name; without it a name that is there is
        an ``AlreadyExistsError``.
        """
    def annotate_list(
        self,
        name: str,
        image: ImageLike,
        *,
        platform: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Change what a list in the store says about one of its images: its platform, and annotations. The image is named as it was when
        the list was made, or by its digest. Returns the digest of the list.
        """
    def load(
        self,
        file: Path | Readable,
        *,
        names: Literal["keep", "move", "ignore"] = "keep",
        max_bytes: int | None = None,
        max_entries: int | None = None,
        progress: ProgressFunction | None = None,
    ) -> list[Loaded]:
        """Load every image of an archive: a path, or an object with ``read``. All of it is checked before any image gets its
        name. ``names`` says what happens when the archive has a name that the store has for another image: ``"keep"`` is
        an error, ``"move"`` takes the name as ``docker load`` does; ``"ignore"`` loads without names. ``max_bytes`` caps
        the archive and each layer in it, uncompressed.
        """
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
    ) -> Image:
        """Make an image of a tar of a filesystem: a path, or an object with ``read``; plain, gzip, zstd, xz or bzip2. Without
        ``compression`` the bytes become the layer as they come.
        """
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
    ) -> None:
        """Write the filesystem of an image or of a directory as one tar, as ``docker export`` does. What is a path-like, or
        bytes, is a directory; a ``str`` or an ``Image`` is an image.
        """
    def tag(self, image: ImageLike, name: str) -> None:
        """Give an image another name, ``:latest`` when it has no tag. A name another image has moves."""
    def untag(self, name: str) -> None:
        """Take a name away. The image stays until the next ``prune``."""
    def remove(self, image: ImageLike) -> list[str]:
        """Remove an image with all its names, which come back. Its blobs stay until the next ``prune``."""
    def prune(
        self,
        *,
        dry_run: bool = False,
        keep_untagged: bool = False,
        unused_names: bool = False,
        lost_trees: bool = False,
        keep: Sequence[str] | None = None,
        wait: float = 10.0,
        build_cache: bool = False,
        all_build_cache: bool = False,
        keep_storage: int = 0,
        unused_for: float = 0.0,
        progress: ProgressFunction | None = None,
    ) -> PruneReport:
        """Remove what nothing needs any more: images without a name, blobs no image and no tree refers to, and what dead
        writers left. Waits ``wait`` seconds at most for writers to finish.

        ``unused_names`` first takes the names of images away that no tree was made from; ``lost_trees`` forgets trees that
        are not where they were, with the owners the disk could not hold. ``keep`` are digests that stay, and what they
        refer to.

        ``build_cache`` also removes the records of build steps that hold layers which no image needs, ``all_build_cache`` all
        records. Those used last stay, up to ``keep_storage`` bytes with their layers, and those used within ``unused_for`` seconds.
        """
    def fsck(
        self,
        level: Literal["structure", "reachability", "bytes"] = "bytes",
        *,
        progress: ProgressFunction | None = None,
    ) -> FsckReport:
        """Check the store without changing it: its ``"structure"``; with ``"reachability"`` also that all is there that
        images refer to; with ``"bytes"`` also the digest of every blob.
        """
    def info(self) -> dict[str, Any]:
        """The result of :func:`treering.info`, with what the filesystem of the store can do and what the store holds."""
    def usage(self, *, progress: ProgressFunction | None = None) -> Usage:
        """The space that the store takes on disk, per image and in all."""

@final
class Image:
    """An image for one platform. Configuration and manifest were read and checked when it was opened; they never change."""
    @property
    def id(self) -> str:
        """The image id: the digest of the configuration."""
    @property
    def short_id(self) -> str:
        """The first 12 digits of the id, as lists of images show it."""
    @property
    def digest(self) -> str:
        """The digest of the manifest."""
    @property
    def name(self) -> str | None:
        """The name it was opened by; None when it was found by digest or id."""
    @property
    def tags(self) -> list[str]:
        """The names it has now, as they stand in the store."""
    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as a new dict."""
    @property
    def config_bytes(self) -> bytes:
        """The configuration's bytes, exactly as stored."""
    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, as a new dict."""
    @property
    def manifest_bytes(self) -> bytes:
        """The manifest's bytes, exactly as stored."""
    @property
    def layers(self) -> list[Layer]:
        """The layers, base first."""
    @property
    def platform(self) -> str:
        """The platform in the configuration, such as ``"linux/amd64"``."""
    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the manifest."""
    @property
    def size(self) -> int:
        """The size of manifest, configuration and layers as stored, in bytes."""
    @property
    def created(self) -> str | None:
        """When the image was made (RFC 3339), as the configuration says."""
    @property
    def author(self) -> str | None:
        """The author, as the configuration says."""
    @property
    def committed(self) -> Committed | None:
        """The report of the commit that gave this object; None for an image that was looked up."""
    def history(self) -> list[HistoryRow]:
        """Returns the rows of ``docker history``, newest first."""
    def report(self, *, progress: ProgressFunction | None = None) -> dict[str, Any]:
        """A report of the image, as a dict: what each step added, changed and wasted, the largest files and packages, and what
        could be smaller. Its layers are read once; nothing is unpacked.
        """
    def report_html(self, *, progress: ProgressFunction | None = None) -> str:
        """``report`` as a page of HTML that needs nothing else: no network, no other file."""
    def inspect(self) -> dict[str, Any]:
        """The JSON that ``docker inspect`` prints of an image, as a dict."""
    def contents(self, *, progress: ProgressFunction | None = None) -> Snapshot:
        """The list of the image, with the digest of every file, as a snapshot. The first time its layers are read for the digests; a
        path below :meth:`path` needs none.
        """
    def path(self, path: str | os.PathLike[str] | None = None, *, progress: ProgressFunction | None = None) -> ImagePath:
        """A path inside the image, to be read without unpacking it. The first time its layers are read."""
    def _open_layer(self, number: int, tar: bool) -> _FileReader:
        """The blob of a layer, or its tar."""
    def _layer_files(self, number: int, max_bytes: int | None, max_entries: int | None) -> _LayerFiles:
        """The entries of a layer, with their content."""
    def edit(self, name: str | None = None, **options: Unpack[_EditOptions]) -> Image:
        """Make another image out of this one, without a directory: see ``Store.edit``, which takes the same keywords."""
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@type_check_only
class _EditOptions(TypedDict, total=False):
    changes: Sequence[str] | None
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    author: str | None
    message: str | None
    created: Time | None
    append: Sequence[Path | Readable] | None
    drop_last: int
    squash: bool | int | None
    rebase: tuple[ImageLike, ImageLike] | None
    platform: str | None
    compression: Compression
    level: int | None
    max_ratio: int | None
    threads: int
    progress: ProgressFunction | None

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
class _LayerFiles:
    def next(self) -> LayerEntry | None: ...
    def read(self, size: int) -> bytes: ...

@final
class Snapshot:
    """The sorted list of everything in a tree at one moment.

    Iterating gives entries in byte order of their paths, the root first. ``snapshot[path]`` looks one up without
    following symbolic links; ``path in snapshot`` asks whether it is there.
    """
    @staticmethod
    def load(path: Path) -> Snapshot:
        """Read a snapshot that was saved. The file is read whole: what happens to it afterwards is of no matter."""
    @staticmethod
    def from_bytes(data: bytes) -> Snapshot:
        """Read the bytes of a snapshot, as ``to_bytes`` gave them."""
    def save(self, path: Path) -> None:
        """Save the snapshot. A regular file appears, or is replaced, once all is written, and keeps its mode. A link is followed; a pipe or
        a device is written to as it is.
        """
    def to_bytes(self) -> bytes:
        """Returns the snapshot as bytes, the same as ``save`` writes."""
    @property
    def skipped(self) -> list[Skipped]:
        """Entries of the directory that cannot be in a layer: sockets, and mount points that were left out."""
    def get(self, path: Path) -> Entry | None:
        """Returns the entry at a path, or None."""
    def __len__(self) -> int: ...
    def __getitem__(self, key: Path, /) -> Entry: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[Entry]: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class EntryIterator:
    """Iterates over the entries of a snapshot."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> Entry: ...
    def __length_hint__(self) -> int: ...

@final
class Entry(os.PathLike[str]):
    """An entry of a snapshot.

    It is path-like, for its path in the tree: ``os.path.join(tree, entry)`` is the file, and ``snapshot[entry]`` is the entry of the same
    path. By itself, as in ``open(entry)``, it names a file below the current directory.
    """
    @property
    def path(self) -> str:
        """The path in the tree, without a leading slash; empty for the root. What is not UTF-8 is as ``os.fsdecode`` has it."""
    @property
    def path_bytes(self) -> bytes:
        """The path as bytes."""
    @property
    def name(self) -> str:
        """The name in its directory; empty for the root."""
    @property
    def kind(
        self,
    ) -> Literal["file", "directory", "symlink", "character device", "block device", "fifo"]:
        """``"file"``, ``"directory"``, ``"symlink"``, ``"character device"``, ``"block device"`` or ``"fifo"``."""
    @property
    def mode(self) -> int:
        """Permission bits, with setuid, setgid and sticky."""
    @property
    def uid(self) -> int:
        """The owner, as a layer has it."""
    @property
    def gid(self) -> int:
        """The group, as a layer has it."""
    @property
    def size(self) -> int:
        """The length of a file in bytes; 0 for everything else."""
    @property
    def mtime(self) -> float:
        """When the content changed last, in seconds since 1970."""
    @property
    def mtime_ns(self) -> int:
        """When the content changed last, in nanoseconds since 1970."""
    @property
    def link_target(self) -> str | None:
        """The target of a symbolic link; None for everything else."""
    @property
    def device(self) -> tuple[int, int] | None:
        """Major and minor number of a device; None for everything else."""
    @property
    def nlink(self) -> int:
        """The number of names of the file, in the tree or out of it."""
    @property
    def xattrs(self) -> dict[str, bytes]:
        """The extended attributes."""
    @property
    def digest(self) -> str | None:
        """The digest of a file's content, ``"sha256:..."``, where it is known (in the list of an image)."""
    def __fspath__(self) -> str: ...

@final
class Ledger:
    """Owners, setuid bits, devices and attributes that an unprivileged process could not put on disk."""
    @staticmethod
    def from_bytes(data: bytes) -> Ledger:
        """Read the bytes of a ledger, as ``to_bytes`` gave them."""
    def to_bytes(self) -> bytes:
        """Returns the ledger as bytes."""
    def __len__(self) -> int: ...

@final
class Diff:
    """The changes between two trees: a sequence of ``Change``, in byte order of their paths.

    As in ``docker diff``, neither the root itself is listed nor the old names of a file that only gained one, though a layer
    made of the changes has them.
    """
    @property
    def stat(self) -> Stat:
        """How many paths were added, changed and deleted, and the bytes in the files among them."""
    @property
    def skipped(self) -> list[Skipped]:
        """Entries of the directory that cannot be in a layer."""
    @property
    def old(self) -> Snapshot | None:
        """The snapshot that was compared with; None for nothing, so that everything is added."""
    @property
    def new(self) -> Snapshot:
        """The snapshot of the newer side."""
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int, /) -> Change: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[Change]: ...
    def __iter__(self) -> Iterator[Change]: ...

@final
class ChangeIterator:
    """Iterates over the changes of a comparison."""
    def __iter__(self) -> Self: ...
    def __next__(self) -> Change: ...
    def __length_hint__(self) -> int: ...

@final
class Change:
    """A changed path."""
    @property
    def kind(self) -> Literal["added", "changed", "deleted"]:
        """``"added"``, ``"changed"`` or ``"deleted"``."""
    @property
    def letter(self) -> Literal["A", "C", "D"]:
        """The letter ``docker diff`` prints: ``"A"``, ``"C"`` or ``"D"``."""
    @property
    def path(self) -> str:
        """The path in the tree, without a leading slash. What is not UTF-8 is as ``os.fsdecode`` has it."""
    @property
    def path_bytes(self) -> bytes:
        """The path as bytes."""
    @property
    def reasons(self) -> list[str]:
        """Why the path counts as changed: ``"type"``, ``"content"``, ``"mode"``, ``"owner"``, ``"mtime"``, ``"xattrs"``,
        ``"target"``, ``"device"``, ``"links"``, ``"parent"`` (something in the directory came or went), ``"suspect"``
        (touched, and the content could not be compared). Empty for what was added or deleted.
        """
    @property
    def old(self) -> Entry | None:
        """The entry as it was; None for what was added."""
    @property
    def new(self) -> Entry | None:
        """The entry as it is; None for what was deleted."""

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
    exclude: Sequence[str] | None = None,
    ignore_file: Path | None = None,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Snapshot:
    """Take a snapshot of a directory.

    ``owner_from`` is another tool's record of owners to go by: ``"rootlesscontainers"``, ``"override-stat"`` or
    ``"fakeroot:FILE"``. ``exclude`` has patterns of paths to leave out, as in a ``.dockerignore``, and ``ignore_file`` is a
    file of such. A ``previous`` snapshot of another owner policy counts for nothing.
    """

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
    ignore_times: bool = False,
    exclude: Sequence[str] | None = None,
    ignore_file: Path | None = None,
    threads: int = 0,
    progress: ProgressFunction | None = None,
) -> Diff:
    """Compare two trees, each a directory, a ``Snapshot`` or an ``Image``.

    Where metadata agrees the content is compared: of two directories, of two images, and of an image and a directory after
    it. Where one side is a snapshot without content, what only content could decide counts as changed, with ``"suspect"``
    among the reasons. With one argument everything is added.

    ``store`` is asked what the disk could not hold of a directory, owners without privileges among it. After an ``Image``
    a directory needs none: the image's own store is asked.
    """

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
) -> Diff:
    """Compare the upper directory of an overlay with its lower ones, the topmost first, without mounting it. By default the
    owners are those that ``store`` has for the lower directories; else those on disk for root, and 0:0 for any other user.
    """

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
) -> WrittenLayer:
    """Write the layer of a comparison: a tar of what was added and changed, with whiteouts for what was deleted.

    ``file`` is a path, written atomically, or an object with ``write``.
    """

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
) -> Applied:
    """Apply a layer to a directory, which is made when it is not there: empty, or the tree the layer was made for.

    ``file`` is a path or an object with ``read``; gzip, zstd and plain tar are distinguished by their bytes. After an error
    the directory is in no defined state. What the disk does not take of owners and the like goes into ``store``, when that
    has a record of the directory; without a store, ``ledger`` is what an earlier call gave for the same directory. ``owner_xattr``
    also writes owners into an attribute, as for ``Store.unpack``.
    """

def layer_list(
    file: Path | Readable,
    *,
    max_bytes: int | None = None,
    max_entries: int | None = None,
    max_ratio: int | None = None,
    max_memory: int | None = None,
    progress: ProgressFunction | None = None,
) -> list[LayerEntry]:
    """List what is in a layer, without putting it anywhere: a path, or an object with ``read``; plain, gzip or zstd.

    The entries are in the order of the layer, whiteouts as they stand there. The caps are what the layer may ask for, and
    ``max_memory`` what the list may take; beyond them is a ``LimitError``.
    """

def info() -> dict[str, Any]:
    """Describe this build and what this machine can do, as a dict: ``version``, ``platform``, ``kernel``, ``uid``,
    ``privileged``, ``processors``, ``threads`` (the default of operations), ``default_store`` and ``abilities``, each with
    ``works`` and ``remark``. :meth:`Store.info` says the same with what holds for one store.
    """

def _panic(look: int = 0) -> None: ...
def _fail() -> None: ...

@final
class Registries:
    """The settings of registries: where they are, which credentials they get, how much patience there is. What is not given is what the
    environment says. Connections belong to single operations.

    ``config_file`` says where registries are (registries.toml); ``auth_file`` is where credentials are read and kept, in Docker's
    format. ``username`` and ``password`` are for every registry that is asked, before any file is looked at. ``stall`` is how many
    seconds a connection may stand still, ``attempts`` how often a request is tried in all. ``credentials`` is called with a registry
    and a repository before any file is looked at, on the thread that called the operation, and returns a user name and a password,
    or None for what the files say: the place for credential helpers, as none is started here.
    """

    def __new__(
        cls,
        *,
        config_file: Path | None = None,
        auth_file: Path | None = None,
        username: str | None = None,
        password: str | None = None,
        stall: float | None = None,
        attempts: int = 0,
        credentials: Callable[[str, str], tuple[str, str] | None] | None = None,
    ) -> Self: ...

def copy(
    source: str,
    target: str,
    *,
    platform: str | None = None,
    auth: tuple[str, str] | None = None,
    registries: Registries | None = None,
    progress: ProgressFunction | None = None,
    events: EventFunction | None = None,
) -> Copied:
    """Copy an image from one registry to another, or within one: every byte as it is, nothing kept on disk. Blobs that the target
    has, or can take from another of its repositories, do not travel. ``platform`` copies one out of an image for several.
    """

def read_manifest(
    name: str,
    *,
    auth: tuple[str, str] | None = None,
    registries: Registries | None = None,
    progress: ProgressFunction | None = None,
    events: EventFunction | None = None,
) -> RemoteManifest:
    """Read a manifest or an index from its registry, and nothing below it."""

def tags(
    repository: str,
    *,
    auth: tuple[str, str] | None = None,
    registries: Registries | None = None,
    progress: ProgressFunction | None = None,
    events: EventFunction | None = None,
) -> list[str]:
    """Every tag of a repository, in the registry's order. ``auth`` is a user name and a password."""

def login(
    registry: str,
    username: str,
    password: str,
    *,
    registries: Registries | None = None,
    progress: ProgressFunction | None = None,
    events: EventFunction | None = None,
) -> str:
    """Ask a registry whether it takes a user name and a password, and keep them where docker does. Returns where that is."""

def logout(registry: str, *, registries: Registries | None = None) -> bool:
    """Forget the credentials of a registry. False when there were none."""

def _events(*, events: EventFunction | None = None) -> None: ...
def _main(arguments: Sequence[Path], helper: Callable[[str, str, bytes], tuple[bool, bytes]] | None = None) -> int: ...

@final
class _Held:
    """A container that no command starts in until ``release``."""
    def release(self) -> None:
        """Let commands start again."""

@final
class _Container:
    """A container of a store, by its id."""
    @property
    def id(self) -> str:
        """The id."""
    def facts(self) -> dict[str, Any]:
        """The facts of it, as ``treering ps --json`` prints them."""
    def tree(self) -> str:
        """The path of its tree."""
    def inspect(self) -> dict[str, Any]:
        """The JSON that ``docker inspect`` prints, as Python objects."""
    def run(self, command: _Command, output: Callable[[int, bytes], object], timeout: float | None) -> int | None:
        """Runs its command, or another one, and waits."""
    def exec(self, command: _Command, output: Callable[[int, bytes], object], timeout: float | None) -> int | None:
        """Runs one more command beside the one that runs."""
    def attach(
        self, command: _Command, output: Callable[[int, bytes], object], timeout: float | None
    ) -> tuple[int, bool] | None:
        """Joins in with its command; gives its exit code and whether it was left instead, or nothing when the time was over."""
    def start(self, command: _Command) -> str | None:
        """Starts its command, or another one, with a supervisor of its own; gives the rung."""
    def stop(self, patience: float | None) -> None:
        """Asks its command to stop, and kills it after a while."""
    def kill(self, signal: str) -> None:
        """Sends its command a signal."""
    def wait(self, timeout: float | None) -> int | None:
        """Waits for the end of its command; nothing when the time is over before."""
    def logs(self, output: Callable[[int, bytes], object], follow: bool, tail: int | None) -> None:
        """Gives what its command wrote to a function."""
    def rename(self, name: str) -> None:
        """Gives it another name."""
    def remove(self, force: bool) -> None:
        """Removes it."""
    def copy_in(self, source: Path, path: Path, keep_owners: bool) -> CopiedFiles:
        """Copies a file or directory of the host into it."""
    def copy_out(self, path: Path, target: Path) -> CopiedFiles:
        """Copies a file or directory of it to the host."""
    def instructions(self) -> list[str]:
        """The instructions that a commit of it begins with."""
    def hold(self) -> _Held:
        """Keeps commands out of it."""

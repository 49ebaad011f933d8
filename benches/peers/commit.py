"""Rows about making layers: the first one of a tree, and the small one after an edit."""

from collections.abc import Callable

from measure import Command
from operations import (
    BASE,
    KEEP,
    Context,
    Row,
    Side,
    bundle,
    file_size,
    foreign_layout,
    largest_blob,
    own_image,
    umoci,
)

STORE = "store/oci"
# Storage and run directories of the run's own; buildah then uses the kernel's overlay when root.
BUILDAH = 'buildah --root "$fs/storage" --runroot "$fs/runroot"'
TAR = 'tar --numeric-owner -cf - -C "$tree" .'


def first(*options: str) -> Side:
    """The first layer of the corpus by treering."""
    return Side(
        f"treering commit {' '.join(options)}",
        lambda ctx: ctx.ours("commit", "--base", "scratch", *options, *KEEP, ctx.corpus.tree, BASE),
        size=largest_blob(STORE),
    )


# --- getting ready for the commit after an edit


def edited_tree(ctx: Context) -> None:
    own_image(ctx)
    ctx.do(ctx.ours("unpack", BASE, ctx.fs / "tree"))
    ctx.edit(ctx.fs / "tree")


def edited_bundle(ctx: Context) -> None:
    bundle(ctx)
    ctx.edit(ctx.fs / "bundle" / "rootfs")


def edited_upper(ctx: Context) -> None:
    own_image(ctx)
    for name in ("upper", "work", "merged"):
        (ctx.fs / name).mkdir()
    ctx.do('mount -t overlay -o "lowerdir=$tree,upperdir=$fs/upper,workdir=$fs/work" overlay "$fs/merged"')
    ctx.edit(ctx.fs / "merged")
    ctx.do('umount "$fs/merged"')


def edited_container(ctx: Context) -> None:
    foreign_layout(ctx)
    ctx.do(f'{BUILDAH} from --name work "oci:$fs/oci:base" && ln -s "$({BUILDAH} mount work)" "$fs/mounted"')
    ctx.edit(ctx.fs / "mounted")


# --- getting ready for the first layer


def filled_container(ctx: Context) -> None:
    ctx.do(f'{BUILDAH} from --name work scratch && cp -a "$tree/." "$({BUILDAH} mount work)"')


def empty_layout(ctx: Context) -> None:
    ctx.do('umoci init --layout "$fs/oci" && umoci new --image "$fs/oci:base"')


def filled_bundle(ctx: Context) -> None:
    empty_layout(ctx)
    ctx.do(f'umoci unpack {umoci(ctx)} --image "$fs/oci:base" "$fs/bundle" && cp -a "$tree/." "$fs/bundle/rootfs/"')


def repack() -> Side:
    """The first layer by umoci, out of a bundle of an empty image."""
    return Side(
        "umoci repack",
        lambda ctx: ["umoci", "repack", "--image", f"{ctx.fs}/oci:base", f"{ctx.fs}/bundle"],
        prepare=filled_bundle, size=largest_blob("oci"), goal=2, tools=("umoci",),
    )


def digests(program: str) -> Callable[[Context], Command]:
    """tar and zstd as before, with what an image needs besides: the digests of the tar and of the blob."""
    return lambda _: (
        f'mkfifo "$fs/fifo"; {program} <"$fs/fifo" >"$fs/diffid" & '
        f'{TAR} | tee "$fs/fifo" | zstd -q -3 -T"$cpus" | tee "$fs/layer" | {program} >"$fs/digest"; wait $!'
    )


def rows() -> list[Row]:
    return [
        Row(
            "commit after one file changed, plain directory",
            Side(
                "treering commit",
                lambda ctx: ctx.ours("commit", "--base", BASE, *KEEP, ctx.fs / "tree", "app:v2"),
                prepare=edited_tree,
            ),
            [
                Side(
                    "umoci repack",
                    lambda ctx: ["umoci", "repack", "--image", f"{ctx.fs}/oci:next", f"{ctx.fs}/bundle"],
                    prepare=edited_bundle, goal=70, tools=("umoci",),
                )
            ],
        ),
        Row(
            "commit after one file changed, overlay upperdir",
            Side(
                "treering commit --upper",
                lambda ctx: ctx.ours(
                    "commit", "--upper", ctx.fs / "upper", "--lower", ctx.corpus.tree, "--base", BASE, *KEEP, "app:v2"
                ),
                prepare=edited_upper, root=True,
            ),
            [
                Side(
                    "buildah commit, native overlay",
                    lambda ctx: f"exec {BUILDAH} commit -q work next",
                    prepare=edited_container, goal=5, tools=("buildah",), root=True,
                )
            ],
        ),
        Row(
            "first layer, zstd -3, with both digests",
            first("--compression", "zstd", "--level", "3"),
            [
                Side(
                    "tar | zstd -3 -T, no digests",
                    lambda ctx: f'{TAR} | zstd -q -3 -T"$cpus" -o "$fs/layer"',
                    size=file_size("layer"), goal=1.15, tools=("tar", "zstd"),
                ),
                Side(
                    "tar | zstd -3 -T, both digests",
                    digests("sha256sum"), size=file_size("layer"), goal=1.6, tools=("tar", "zstd", "sha256sum"),
                ),
                # For the record: the sha256sum of many distributions does not use the CPU's SHA instructions.
                Side(
                    "the same with openssl's digests",
                    digests("openssl dgst -sha256"), size=file_size("layer"), tools=("tar", "zstd", "openssl"),
                ),
            ],
        ),
        Row(
            "first layer, gzip, no larger than pigz -6",
            first("--compression", "gzip"),
            [
                Side(
                    "tar | pigz -6",
                    lambda ctx: f'{TAR} | pigz -6 -n -p "$cpus" >"$fs/layer"',
                    size=file_size("layer"), goal=4, tools=("tar", "pigz"),
                ),
                repack(),
                # For the record: it looks for no changes, and has no record of the tree afterwards.
                Side(
                    "umoci insert",
                    lambda ctx: ["umoci", "insert", "--image", f"{ctx.fs}/oci:base", str(ctx.corpus.tree), "/"],
                    prepare=empty_layout, size=largest_blob("oci"), tools=("umoci",),
                ),
                # For the record: it starts from a finished tar, with one thread.
                Side(
                    "crane append, from a ready tar",
                    lambda ctx: [
                        "crane", "append", "--oci-empty-base",
                        "-f", str(ctx.corpus.tar), "-t", "base", "-o", f"{ctx.fs}/out",
                    ],
                    size=file_size("out"), tools=("crane",),
                ),
            ],
            no_larger_than="tar | pigz -6",
        ),
        # For users that do not need pigz's size: the fastest level with a layer smaller than umoci's.
        Row(
            "first layer, gzip, no larger than umoci's",
            first("--compression", "gzip", "--level", "2"),
            [repack()],
            no_larger_than="umoci repack",
        ),
        Row(
            "first layer, uncompressed",
            first("--compression", "none"),
            [
                Side(
                    "buildah commit",
                    lambda ctx: f'exec {BUILDAH} commit -q --disable-compression work "oci:$fs/out:base"',
                    prepare=filled_container, size=largest_blob("out"), goal=8, tools=("buildah",), root=True,
                )
            ],
        ),
        Row(
            "first layer of one 10 GB sparse file",
            first("--compression", "zstd", "--level", "3"),
            [],
            corpus="sparse-10g",
        ),
    ]

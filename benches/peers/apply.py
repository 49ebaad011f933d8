"""Rows about taking layers apart, and about moving images in and out."""

from operations import (
    BASE,
    Context,
    Row,
    Side,
    complete,
    file_size,
    foreign_image,
    foreign_layout,
    own_image,
    umoci,
)

SKOPEO = "exec skopeo --insecure-policy copy -q"


def target(ctx: Context) -> None:
    (ctx.fs / "tree").mkdir()


def zstd_tar(ctx: Context) -> None:
    target(ctx)
    ctx.do('tar --numeric-owner -cf - -C "$tree" . | zstd -q -3 -T"$cpus" -o "$fs/layer"')


def loaded(ctx: Context) -> str:
    return f'"docker-archive:{ctx.corpus.docker}" "oci:$fs/out:base"'


def rows() -> list[Row]:
    return [
        Row(
            "apply a gzip image made by someone else, index included",
            Side(
                "treering unpack",
                lambda ctx: ctx.ours("unpack", "foreign:v1", ctx.fs / "tree"),
                prepare=foreign_image, check=complete("tree"),
            ),
            [
                Side(
                    "umoci unpack",
                    lambda ctx: f'exec umoci unpack {umoci(ctx)} --image "$fs/oci:base" "$fs/bundle"',
                    prepare=foreign_layout, check=complete("bundle/rootfs"), goal=6, tools=("umoci",),
                )
            ],
        ),
        Row(
            "apply our own zstd image",
            Side(
                "treering unpack",
                lambda ctx: ctx.ours("unpack", BASE, ctx.fs / "tree"),
                prepare=own_image, check=complete("tree"),
            ),
            [
                Side(
                    "tar --zstd -x",
                    lambda ctx: ["tar", "--zstd", "-xf", f"{ctx.fs}/layer", "-C", f"{ctx.fs}/tree"],
                    prepare=zstd_tar, check=complete("tree"), goal=2, tools=("tar", "zstd"),
                )
            ],
        ),
        Row(
            "apply a plain tar",
            Side(
                "treering layer apply",
                lambda ctx: ctx.ours("layer", "apply", ctx.corpus.tar, ctx.fs / "tree"),
                prepare=target, check=complete("tree"),
            ),
            [
                Side(
                    "tar -x",
                    lambda ctx: ["tar", "-xf", str(ctx.corpus.tar), "-C", f"{ctx.fs}/tree"],
                    prepare=target, check=complete("tree"), goal=1.5, tools=("tar",),
                )
            ],
        ),
        Row(
            "apply one 10 GB sparse file",
            Side(
                "treering unpack",
                lambda ctx: ctx.ours("unpack", BASE, ctx.fs / "tree"),
                prepare=own_image, check=complete("tree"),
            ),
            [],
            corpus="sparse-10g",
        ),
        Row(
            "save to docker-archive",
            Side(
                "treering save",
                lambda ctx: ctx.ours("save", "-o", ctx.fs / "out", "foreign:v1"),
                prepare=foreign_image, size=file_size("out"),
            ),
            [
                Side(
                    "skopeo copy",
                    lambda ctx: f'{SKOPEO} "oci:$fs/oci:base" "docker-archive:$fs/out:foreign:v1"',
                    prepare=foreign_layout, size=file_size("out"), goal=2, tools=("skopeo",),
                )
            ],
        ),
        Row(
            "load from docker-archive",
            Side("treering load", lambda ctx: ctx.ours("load", "-i", ctx.corpus.docker)),
            [
                # Into an uncompressed layer, as it stands in the archive; by default skopeo compresses it, see below.
                Side(
                    "skopeo copy, layers as they are",
                    lambda ctx: f'{SKOPEO} --dest-oci-accept-uncompressed-layers {loaded(ctx)}',
                    goal=2, tools=("skopeo",),
                ),
                Side(
                    "skopeo copy, gzip",
                    lambda ctx: f"{SKOPEO} {loaded(ctx)}",
                    goal=2, tools=("skopeo",),
                ),
            ],
        ),
    ]

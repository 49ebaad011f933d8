"""Rows about what lists and indexes of layers cost where they are made. Beside it is the same job that makes none."""

from collections.abc import Callable

from operations import BASE, KEEP, Context, Row, Side, complete, foreign_image, own_image

ZSTD = ["--compression", "zstd", "--level", "3"]


def unseen(image: Callable[[Context], None], what: str) -> Callable[[Context], None]:
    """An image as another tool puts it into the store: nothing is known of its blobs. With `what` only so much is forgotten."""

    def prepare(ctx: Context) -> None:
        image(ctx)
        ctx.do(f'rm -rf "$fs"/store/layers/{what}')

    return prepare


def unpack(title: str, name: str, prepare: Callable[[Context], None], goal: float | None = None) -> Side:
    return Side(
        title, lambda ctx: ctx.ours("unpack", name, ctx.fs / "tree"), prepare=prepare, check=complete("tree"), goal=goal
    )


def row(what: str, name: str, image: Callable[[Context], None]) -> Row:
    # Either way the DiffIDs are taken, because what has them is forgotten.
    return Row(
        f"list and index made by the unpack of {what}",
        unpack("treering unpack", name, unseen(image, "*")),
        [unpack("the same with both at hand", name, unseen(image, "blob-*"), goal=0.98)],
    )


def rows() -> list[Row]:
    return [
        Row(
            "list and index made by a first layer, zstd",
            Side(
                "treering commit",
                lambda ctx: ctx.ours("commit", "--base", "scratch", *ZSTD, *KEEP, ctx.corpus.tree, BASE),
            ),
            [
                Side(
                    "treering layer create, which makes neither",
                    lambda ctx: ctx.ours("layer", "create", *ZSTD, *KEEP, ctx.corpus.tree, "-o", ctx.fs / "layer"),
                    goal=0.98,
                )
            ],
        ),
        row("our own zstd image", BASE, own_image),
        row("a gzip image made by someone else", "foreign:v1", foreign_image),
    ]

"""Rows about one file of an image that is not unpacked."""

import os
from collections.abc import Callable

from measure import Command
from operations import BASE, KEEP, Context, Row, Side, foreign_image, own_image

# Bytes of the file that is read, about.
WANTED = 10_000


def wanted(ctx: Context) -> str:
    """The regular file with the size nearest to 10 kB, by its path in the tree."""
    found = []
    for directory, _, files in os.walk(ctx.corpus.tree):
        for file in files:
            path = os.path.join(directory, file)
            if not os.path.islink(path) and os.path.isfile(path) and os.stat(path).st_nlink == 1:
                found.append((abs(os.stat(path).st_size - WANTED), os.path.relpath(path, ctx.corpus.tree)))
    return min(found)[1]


def flushed_image(ctx: Context) -> None:
    ctx.do(ctx.ours("commit", "--base", "scratch", "--compression", "gzip", *KEEP, ctx.corpus.tree, BASE))


def plain_image(ctx: Context) -> None:
    """The layer as `gzip` writes it: one stream that was never flushed."""
    ctx.do(ctx.ours("import", ctx.corpus.gzip, BASE))


def listed(image: Callable[[Context], None], name: str) -> Callable[[Context], None]:
    """An image that was looked at once, as after an unpack or a commit."""

    def prepare(ctx: Context) -> None:
        image(ctx)
        ctx.do([*ctx.ours("ls", f"{name}:/")])

    return prepare


def cat(name: str) -> Callable[[Context], Command]:
    return lambda ctx: ctx.ours("cat", f"{name}:/{wanted(ctx)}")


def row(what: str, image: Callable[[Context], None], name: str, seconds: float) -> Row:
    return Row(
        f"cat one 10 kB file of the base, {what}",
        Side("treering cat", cat(name), prepare=listed(image, name)),
        [
            # For the record: what one does without an index, out of the same tar.
            Side(
                "tar -xO out of the ready tar",
                lambda ctx: ["tar", "-xOf", str(ctx.corpus.tar), f"./{wanted(ctx)}"], tools=("tar",),
            )
        ],
        at_most=seconds, peak_mb=48,
    )


def rows() -> list[Row]:
    return [
        row("our zstd", own_image, BASE, 0.030),
        row("our gzip, flushed between pieces", flushed_image, BASE, 0.060),
        row("gzip by umoci", foreign_image, "foreign:v1", 0.060),
        row("gzip by gzip, never flushed", plain_image, BASE, 0.060),
    ]

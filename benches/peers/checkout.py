"""Rows about going back: a tree that moved on becomes the image it came from again."""

import shutil
import time
from collections.abc import Callable

from measure import Failed
from operations import BASE, KEEP, Context, Row, Side, complete, foreign_image, own_image

# What the second row rewrites: so many files with so many bytes each.
TOUCHED, BYTES = 2000, 10_000


def touch(ctx: Context) -> None:
    """Adds 2,000 files of 10 kB to a directory of their own."""
    place = ctx.fs / "tree" / "var" / "step"
    place.mkdir(parents=True)
    for number in range(TOUCHED):
        (place / f"{number:04}").write_bytes(number.to_bytes(4, "big") * (BYTES // 4))


def change(ctx: Context) -> None:
    """Rewrites the files that `touch` made."""
    place = ctx.fs / "tree" / "var" / "step"
    for number in range(TOUCHED):
        (place / f"{number:04}").write_bytes((~number & 0xFFFFFFFF).to_bytes(4, "big") * (BYTES // 4))


def drop(ctx: Context) -> None:
    """Deletes /usr/share."""
    shutil.rmtree(ctx.fs / "tree" / "usr" / "share")


def edit(ctx: Context) -> None:
    ctx.edit(ctx.fs / "tree")


def committed(ctx: Context, base: str, name: str) -> None:
    ctx.do(ctx.ours("commit", "--base", base, *KEEP, ctx.fs / "tree", name))


def unpacked(image: Callable[[Context], None], base: str, *steps: Callable[[Context], None]) -> Callable[[Context], None]:
    """The base image as a tree, and an image after each of the steps: step1:v1, step2:v1."""

    def prepare(ctx: Context) -> None:
        image(ctx)
        ctx.do(ctx.ours("unpack", base, ctx.fs / "tree"))
        last = base
        for number, step in enumerate(steps, 1):
            # Times in layers are whole seconds, and two steps of anybody's work are further apart than that.
            time.sleep(1.1)
            step(ctx)
            committed(ctx, last, last := f"step{number}:v1")

    return prepare


def back(to: str, prepare: Callable[[Context], None], check: Callable[[Context], None]) -> Side:
    return Side(
        "treering checkout", lambda ctx: ctx.ours("checkout", to, ctx.fs / "tree"), prepare=prepare, check=check
    )


def restored(ctx: Context) -> None:
    """The first of the rewritten files must have its old content."""
    if (ctx.fs / "tree" / "var" / "step" / "0001").read_bytes()[:4] != (1).to_bytes(4, "big"):
        raise Failed("the files have not come back")


def scanned(ctx: Context) -> None:
    unpacked(own_image, BASE, edit)(ctx)
    ctx.do(ctx.ours("snapshot", ctx.fs / "tree", "-o", ctx.fs / "first"))


def repository(step: Callable[[Context], None]) -> Callable[[Context], None]:
    """The corpus in a git repository, with a step committed on top."""

    def prepare(ctx: Context) -> None:
        ctx.do('cp -a "$tree" "$fs/tree"')
        ctx.do(
            'cd "$fs/tree" && rm -rf dev && git init -q . && git config user.name b && git config user.email b@b && '
            "git config gc.auto 0 && git config core.compression 1 && git add -A -f . && git commit -q -m base && git tag base"
        )
        step(ctx)
        ctx.do('cd "$fs/tree" && git add -A -f . && git commit -q -m step && git status >/dev/null')

    return prepare


def rows() -> list[Row]:
    return [
        Row(
            "back over a step that changed one file",
            back(BASE, unpacked(own_image, BASE, edit), complete("tree")),
            [
                Side(
                    "a scan of the same tree, nothing changed",
                    lambda ctx: ctx.ours("snapshot", ctx.fs / "tree", "--previous", ctx.fs / "first", "-o", "-"),
                    prepare=scanned, goal=0.5,
                ),
                Side(
                    "git checkout",
                    lambda ctx: ["git", "-C", f"{ctx.fs}/tree", "checkout", "-q", "base"],
                    prepare=repository(edit), tools=("git",),
                ),
            ],
        ),
        Row(
            "back over a step that rewrote 2,000 files, 20 MB, in a layer of ours",
            back("step1:v1", unpacked(own_image, BASE, touch, change), restored),
            [
                Side(
                    "treering unpack of the same image",
                    lambda ctx: ctx.ours("unpack", "step1:v1", ctx.fs / "again"),
                    prepare=unpacked(own_image, BASE, touch), goal=10,
                )
            ],
        ),
        Row(
            "back over a step that deleted /usr/share, gzip base by umoci",
            back("foreign:v1", unpacked(foreign_image, "foreign:v1", drop), complete("tree")),
            [
                Side(
                    "treering unpack of the same image",
                    lambda ctx: ctx.ours("unpack", "foreign:v1", ctx.fs / "tree"),
                    prepare=foreign_image, check=complete("tree"), goal=1 / 0.6,
                )
            ],
        ),
    ]

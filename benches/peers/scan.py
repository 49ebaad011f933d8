"""Rows about looking at a tree: the first snapshot, and the next one when nothing changed."""

from collections.abc import Callable

from measure import Command
from operations import Context, Row, Side, bundle, extracted

# Every field of a snapshot entry that find can print; the extended attributes it cannot.
FIELDS = "%y %m %U %G %s %T@ %C@ %D %i %n %l %p\\0"


def scanned(ctx: Context) -> None:
    extracted(ctx)
    ctx.do(ctx.ours("snapshot", ctx.fs / "tree", "-o", ctx.fs / "first"))


def find(goal: float) -> Side:
    return Side(
        "find -printf, the same fields",
        lambda ctx: ["find", str(ctx.fs / "tree"), "-printf", FIELDS],
        prepare=extracted, goal=goal, tools=("find",),
    )


def again(to: str) -> Callable[[Context], Command]:
    return lambda ctx: ctx.ours(
        "snapshot", ctx.fs / "tree", "--previous", ctx.fs / "first", "-o", to or ctx.fs / "second"
    )


def rows() -> list[Row]:
    # The snapshot goes where the output of find goes; what a file costs that survives a power loss stands beside it.
    return [
        Row(
            "re-scan, nothing changed",
            Side("treering snapshot --previous", again("-"), prepare=scanned),
            [
                Side("the same into a synced file", again(""), prepare=scanned),
                Side(
                    "umoci repack",
                    lambda ctx: ["umoci", "repack", "--image", f"{ctx.fs}/oci:same", f"{ctx.fs}/bundle"],
                    prepare=bundle, goal=80, tools=("umoci",),
                ),
                find(1.5),
            ],
        ),
        Row(
            "first scan, with all extended attributes",
            Side(
                "treering snapshot", lambda ctx: ctx.ours("snapshot", ctx.fs / "tree", "-o", "-"), prepare=extracted
            ),
            [
                Side(
                    "the same into a synced file",
                    lambda ctx: ctx.ours("snapshot", ctx.fs / "tree", "-o", ctx.fs / "first"), prepare=extracted,
                ),
                find(1.5),
                Side(
                    "tar --xattrs | cat",
                    lambda ctx: "tar --xattrs --xattrs-include='*' --acls -cf - -C \"$fs/tree\" . | cat >/dev/null",
                    prepare=extracted, tools=("tar",),
                ),
                # GNU tar finds that the archive has no reader and does not read the files: the closest to a scan.
                Side(
                    "tar --xattrs to /dev/null",
                    lambda ctx: "tar --xattrs --xattrs-include='*' --acls -cf /dev/null -C \"$fs/tree\" .",
                    prepare=extracted, goal=3, tools=("tar",),
                ),
            ],
        ),
    ]

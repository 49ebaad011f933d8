"""Rows about looking at a tree: the first snapshot, and the next one when nothing changed."""

from operations import Context, Row, Side, bundle, extracted, umoci

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


def rows() -> list[Row]:
    return [
        Row(
            "re-scan, nothing changed",
            Side(
                "treering snapshot --previous",
                lambda ctx: ctx.ours(
                    "snapshot", ctx.fs / "tree", "--previous", ctx.fs / "first", "-o", ctx.fs / "second"
                ),
                prepare=scanned,
            ),
            [
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
                "treering snapshot",
                lambda ctx: ctx.ours("snapshot", ctx.fs / "tree", "-o", ctx.fs / "first"),
                prepare=extracted,
            ),
            [
                find(1.5),
                Side(
                    "tar --xattrs | cat",
                    lambda ctx: "tar --xattrs --xattrs-include='*' --acls -cf - -C \"$fs/tree\" . | cat >/dev/null",
                    prepare=extracted, goal=3, tools=("tar",),
                ),
                # GNU tar sees that nobody will read the archive and does not read the files: the closest to a scan.
                Side(
                    "tar --xattrs to /dev/null",
                    lambda ctx: "tar --xattrs --xattrs-include='*' --acls -cf /dev/null -C \"$fs/tree\" .",
                    prepare=extracted, tools=("tar",),
                ),
            ],
        ),
    ]

"""Rows about building: the second time, when little or nothing changed."""

import time
from collections.abc import Callable
from pathlib import Path

from commit import BUILDAH
from operations import BASE, Context, Row, Side, foreign_layout, own_image

SKOPEO = "skopeo --insecure-policy copy -q"
# A daemon of the run's own, which touches nothing of the machine's network.
DOCKERD = ["--iptables=false", "--ip6tables=false", "--bridge=none"]
# Debian's own, by its path: what lies before it on PATH may lack the BuildKit that this one has inside.
DOCKER = '/usr/bin/docker -H "unix://$fs/docker.sock"'
# Files of the context that the steps copy.
FILES = 2000


def context(ctx: Context, base: str) -> None:
    """A context of 2,000 files, and a Dockerfile of twelve steps, the last of which copies one file."""
    place = ctx.fs / "context"
    for number in range(FILES):
        file = place / f"part{number % 8}" / f"{number:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"file {number}\n".encode() * 200)
    (place / "last").write_text("first\n")
    steps = [f"COPY part{number} /app/part{number}" for number in range(8)]
    lines = [f"FROM {base}", "ENV A=1 B=2", "WORKDIR /app", *steps, "LABEL made=here", "COPY last /app/last"]
    (place / "Dockerfile").write_text("\n".join(lines) + "\n")
    # No tool need doubt times that are a clock tick old.
    time.sleep(0.1)


def change_last(ctx: Context) -> None:
    (ctx.fs / "context" / "last").write_text("second\n")
    time.sleep(0.1)


def ours(*then: Callable[[Context], None]) -> Callable[[Context], None]:
    def prepare(ctx: Context) -> None:
        own_image(ctx)
        context(ctx, BASE)
        ctx.do(ctx.ours("build", "-q", "-t", "app", ctx.fs / "context"))
        for step in then:
            step(ctx)

    return prepare


def buildah(*then: Callable[[Context], None]) -> Callable[[Context], None]:
    def prepare(ctx: Context) -> None:
        foreign_layout(ctx)
        ctx.do(f'{BUILDAH} pull -q "oci:$fs/oci:base" >"$fs/id" && {BUILDAH} tag "$(cat "$fs/id")" localhost/base:v1')
        context(ctx, "localhost/base:v1")
        ctx.do(f'{BUILDAH} bud -q --layers --isolation chroot -t app "$fs/context"')
        for step in then:
            step(ctx)

    return prepare


def docker(kit: int, *then: Callable[[Context], None]) -> Callable[[Context], None]:
    def prepare(ctx: Context) -> None:
        ctx.env["DOCKER_BUILDKIT"] = str(kit)
        ctx.serve(
            ["dockerd", *DOCKERD, "-H", f"unix://{ctx.fs}/docker.sock", "--data-root", f"{ctx.fs}/docker",
             "--exec-root", f"{ctx.fs}/docker-run", "-p", f"{ctx.fs}/docker.pid"],
            f"{DOCKER} info",
        )
        foreign_layout(ctx)
        ctx.do(f'{SKOPEO} "oci:$fs/oci:base" "docker-archive:/dev/stdout:base:v1" | {DOCKER} load -q')
        context(ctx, "base:v1")
        ctx.do(f'{DOCKER} build -q --network none -t app "$fs/context"')
        for step in then:
            step(ctx)

    return prepare


def peers(goals: tuple[float, float | None], *then: Callable[[Context], None]) -> list[Side]:
    """buildah and the two builders of Docker, with the goal beside the first and beside the others."""
    sides = [
        Side(
            "buildah bud --layers",
            lambda ctx: f'exec {BUILDAH} bud -q --layers --isolation chroot -t app "$fs/context"',
            prepare=buildah(*then), goal=goals[0], tools=("buildah",), root=True,
        )
    ]
    for kit, name in ((1, "docker build, BuildKit"), (0, "docker build, the old builder")):
        sides.append(
            Side(
                name,
                lambda ctx: f'exec {DOCKER} build -q --network none -t app "$fs/context"',
                prepare=docker(kit, *then), goal=goals[1], tools=("docker", "dockerd", "skopeo"), root=True,
            )
        )
    return sides


def whole(ctx: Context) -> Path:
    """The corpus itself as a context: one COPY of everything."""
    return ctx.fs / "tree"


def whole_built(ctx: Context) -> None:
    ctx.do('cp -a "$tree" "$fs/tree"')
    (ctx.fs / "Dockerfile").write_text("FROM scratch\nCOPY . /app/\n")
    time.sleep(0.1)
    ctx.do(ctx.ours("build", "-q", "-f", ctx.fs / "Dockerfile", "-t", "app", whole(ctx)))


# Packages of the corpus's own repository, about 40 with those that they need.
INSTALL = (
    "export DEBIAN_FRONTEND=noninteractive; apt-get -qq update && apt-get -qq -y --no-install-recommends install "
    "openssh-client dbus systemd man-db iputils-ping sudo acl libcap2-bin attr nginx-light curl >/dev/null 2>&1"
)


def installing(pooled: bool) -> Callable[[Context], None]:
    """A Dockerfile that installs packages and copies a file. The tree of its base is in the pool, or is not."""

    def prepare(ctx: Context) -> None:
        own_image(ctx)
        place = ctx.fs / "context"
        place.mkdir()
        (place / "file").write_text("copied\n")
        (place / "Dockerfile").write_text(f"FROM {BASE}\nRUN {INSTALL}\nCOPY file /file\n")
        if pooled:
            (ctx.fs / "first").write_text(f"FROM {BASE}\nRUN true\n")
            ctx.do(ctx.ours("build", "-q", "-f", ctx.fs / "first", place))
        time.sleep(0.1)

    return prepare


def install(name: str, pooled: bool, *options: str) -> Side:
    return Side(
        name, lambda ctx: ctx.ours("build", "-q", *options, "-t", "app", ctx.fs / "context"),
        prepare=installing(pooled), root=True,
    )


def zstd(pooled: bool) -> Side:
    """What of the time is gzip, which everything reads."""
    return install("treering build --compression zstd", pooled, "--compression", "zstd")


def by_hand(most: float) -> Side:
    """The same commands in a tree that is unpacked: what a build may take this many times longer than."""

    def prepare(ctx: Context) -> None:
        own_image(ctx)
        ctx.do(ctx.ours("unpack", BASE, ctx.fs / "tree"))
        ctx.do(ctx.ours("run", ctx.fs / "tree", "/bin/true"))
        (ctx.fs / "file").write_text("copied\n")
        time.sleep(0.1)

    script = f'"$treering" run "$fs/tree" sh -c "{INSTALL}" && cp "$fs/file" "$fs/tree/file"'
    return Side(
        "treering run in an unpacked tree",
        lambda ctx: ["env", f"treering={ctx.treering}", "bash", "-c", script],
        prepare=prepare, goal=1 / most, root=True,
    )


def midst(number: int) -> Callable[[Context], None]:
    """A RUN between two COPYs, built once, then changed."""

    def dockerfile(ctx: Context, number: int) -> None:
        text = f"FROM {BASE}\nCOPY file /first\nRUN echo {number} > /said\nCOPY file /last\n"
        (ctx.fs / "context" / "Dockerfile").write_text(text)

    def prepare(ctx: Context) -> None:
        own_image(ctx)
        (ctx.fs / "context").mkdir()
        (ctx.fs / "context" / "file").write_text("copied\n")
        dockerfile(ctx, 0)
        ctx.do(ctx.ours("build", "-q", "-t", "app", ctx.fs / "context"))
        dockerfile(ctx, number)
        time.sleep(0.1)

    return prepare


def scanned(ctx: Context) -> None:
    own_image(ctx)
    ctx.do(ctx.ours("unpack", BASE, ctx.fs / "tree"))
    time.sleep(0.1)
    ctx.do(ctx.ours("diff", ctx.fs / "tree"))


def rows() -> list[Row]:
    build = Side("treering build", lambda ctx: ctx.ours("build", "-q", "-t", "app", ctx.fs / "context"), prepare=ours())
    last = Side(
        "treering build", lambda ctx: ctx.ours("build", "-q", "-t", "app", ctx.fs / "context"), prepare=ours(change_last)
    )
    return [
        Row("rebuild, twelve steps, 2,000 files, nothing changed", build, peers((10, 5)), at_most=0.050),
        Row("rebuild, the last COPY of one file changed", last, peers((10, None), change_last), at_most=0.060),
        Row(
            "rebuild, a context of 100,000 files, nothing changed",
            Side(
                "treering build",
                lambda ctx: ctx.ours("build", "-q", "-f", ctx.fs / "Dockerfile", "-t", "app", whole(ctx)),
                prepare=whole_built,
            ),
            [
                Side(
                    "find -printf over it",
                    lambda ctx: ["find", str(whole(ctx)), "-printf", "%y %m %U %G %s %T@ %C@ %D %i %n %l %p\\0"],
                    prepare=lambda ctx: ctx.do('cp -a "$tree" "$fs/tree"'), goal=1 / 1.5, tools=("find",),
                )
            ],
            corpus="small-100k",
        ),
        Row(
            "first build: apt-get install of 40 packages, COPY; the base's tree in the pool",
            install("treering build", True), [by_hand(1.1), zstd(True)], corpus="debian-apt",
        ),
        Row(
            "first build: apt-get install of 40 packages, COPY; no tree in the pool",
            install("treering build", False), [by_hand(1.25), zstd(False)], corpus="debian-apt",
        ),
        Row(
            "rebuild, a RUN in the midst changed, its tree in the pool",
            Side(
                "treering build",
                lambda ctx: ctx.ours("build", "-q", "-t", "app", ctx.fs / "context"),
                prepare=midst(1), root=True,
            ),
            [
                Side(
                    "treering diff of a tree without changes",
                    lambda ctx: ctx.ours("diff", ctx.fs / "tree"), prepare=scanned, goal=1 / 3,
                ),
                # The goal is three times that, and the command.
                Side(
                    "the command, by treering run",
                    lambda ctx: ctx.ours("run", ctx.fs / "tree", "--", "/bin/sh", "-c", "echo 1 > /said"),
                    prepare=scanned, root=True,
                ),
            ],
        ),
    ]

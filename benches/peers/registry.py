"""Rows about registries: Debian's docker-registry on the loopback address, with its data on the run's own filesystem."""

import shutil
import socket
from collections.abc import Callable

from measure import Failed
from operations import BASE, KEEP, Context, Row, Side, complete, entries, foreign_image, foreign_layout, own_image, umoci

from build import context

SKOPEO = "skopeo --insecure-policy copy -q"
PODMAN = 'podman --root "$fs/storage" --runroot "$fs/runroot"'


def serve(ctx: Context) -> None:
    """Starts a registry, and gives its address to the commands as $registry."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (ctx.fs / "registry.yml").write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {ctx.fs}/registry}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
    )
    ctx.env["registry"] = f"localhost:{port}"
    ctx.serve(["docker-registry", "serve", f"{ctx.fs}/registry.yml"], f"exec 3<>/dev/tcp/127.0.0.1/{port}")


def filled(ctx: Context) -> None:
    """A registry that has the image which umoci made."""
    serve(ctx)
    foreign_layout(ctx)
    ctx.do(f'{SKOPEO} --dest-tls-verify=false "oci:$fs/oci:base" "docker://$registry/base:v1"')
    shutil.rmtree(ctx.fs / "oci")


def with_image(image: Callable[[Context], None]) -> Callable[[Context], None]:
    def prepare(ctx: Context) -> None:
        serve(ctx)
        image(ctx)

    return prepare


# What the layers of an image after the first one bring, about a third of the corpus each.
PARTS = ("usr/share", "usr/lib/jvm", "usr/lib/gcc")


def layered_image(ctx: Context) -> None:
    """The corpus in gzip layers, as the steps of a build leave them. The store is a layout that any tool can read."""
    ctx.do('cp -a "$tree" "$fs/tree"')
    there = [part for part in PARTS if (ctx.fs / "tree" / part).is_dir()]
    for part in there:
        (ctx.fs / "aside" / part).parent.mkdir(parents=True, exist_ok=True)
        (ctx.fs / "tree" / part).rename(ctx.fs / "aside" / part)
    base = "scratch"
    for number, part in enumerate([None, *there]):
        if part:
            (ctx.fs / "aside" / part).rename(ctx.fs / "tree" / part)
        name = f"layers:{number}"
        ctx.do(ctx.ours("commit", "--base", base, "--compression", "gzip", *KEEP, ctx.fs / "tree", name))
        base = name
    ctx.do(ctx.ours("tag", base, "layered:v1"))
    shutil.rmtree(ctx.fs / "tree")


def in_podman(ctx: Context) -> None:
    """podman keeps an image as an unpacked tree somewhere in its storage."""
    trees = list((ctx.fs / "storage" / "overlay").glob("*/diff"))
    if not any(entries(tree) >= ctx.corpus.entries for tree in trees):
        raise Failed("podman has no such tree")


def cached(second: bool) -> Callable[[Context], None]:
    """A build of twelve steps was carried out here and its cache is in the registry; the second runner has the base image alone."""

    def prepare(ctx: Context) -> None:
        serve(ctx)
        own_image(ctx)
        context(ctx, BASE)
        cache = f"type=registry,ref={ctx.env['registry']}/app:cache,mode=max"
        ctx.do(ctx.ours("build", "-q", "--cache-to", cache, "-t", "app", ctx.fs / "context"))
        if second:
            shutil.rmtree(ctx.fs / "store")
            own_image(ctx)

    return prepare


def nothing_built(ctx: Context) -> None:
    """The image is there, and a build of it finds every step."""
    done = ctx.ours("build", "--offline", "--progress", "json", "-t", "app", ctx.fs / "context")
    ctx.do(ctx.ours("inspect", "app"))
    ctx.do(done)


def build_cached(ctx: Context) -> list[str]:
    return ctx.ours("build", "-q", "--cache-from", f"{ctx.env['registry']}/app:cache", "-t", "app", ctx.fs / "context")


def push(
    what: str, name: str, ours: Callable[[Context], None], layout: str, theirs: Callable[[Context], None]
) -> Row:
    """A push of an image by its name in the store; skopeo takes the same out of a layout."""
    return Row(
        f"push a fresh image of {what}",
        Side(
            "treering push", lambda ctx: ctx.ours("push", name, f"{ctx.env['registry']}/base:v1"),
            prepare=with_image(ours), tools=("docker-registry",),
        ),
        [
            Side(
                "skopeo copy",
                lambda ctx: f'exec {SKOPEO} --dest-tls-verify=false "oci:$fs/{layout}" "docker://$registry/base:v1"',
                prepare=with_image(theirs), goal=1.5, tools=("docker-registry", "skopeo"),
            )
        ],
    )


def rows() -> list[Row]:
    return [
        Row(
            "a second runner's build of twelve steps",
            Side(
                "treering build --cache-from", build_cached, prepare=cached(second=True), check=nothing_built,
                tools=("docker-registry",),
            ),
            [
                # What is allowed is twice that, and besides a round trip to the registry for each step.
                Side(
                    "the same where it was built", build_cached, prepare=cached(second=False), goal=0.5,
                    tools=("docker-registry",),
                )
            ],
        ),
        Row(
            "pull and unpack",
            Side(
                "treering pull --unpack",
                lambda ctx: ctx.ours("pull", "--unpack", ctx.fs / "tree", f"{ctx.env['registry']}/base:v1"),
                prepare=filled, check=complete("tree"), tools=("docker-registry", "skopeo"),
            ),
            [
                Side(
                    "skopeo copy, umoci unpack",
                    lambda ctx: f'{SKOPEO} --src-tls-verify=false "docker://$registry/base:v1" "oci:$fs/oci:base" && '
                    f'exec umoci unpack {umoci(ctx)} --image "$fs/oci:base" "$fs/bundle"',
                    prepare=filled, check=complete("bundle/rootfs"), goal=3, tools=("docker-registry", "skopeo", "umoci"),
                ),
                Side(
                    "podman pull",
                    lambda ctx: f'exec {PODMAN} pull -q --tls-verify=false "$registry/base:v1"',
                    prepare=filled, check=in_podman, goal=3, tools=("docker-registry", "skopeo", "podman"), root=True,
                ),
            ],
        ),
        push("one layer", "foreign:v1", foreign_image, "oci:base", foreign_layout),
        push("several layers", "layered:v1", layered_image, "store/oci:layered:v1", layered_image),
    ]

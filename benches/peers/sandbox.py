"""Rows about commands that run in a tree: what starting one costs, and what it costs that owners and paths are emulated.

All titles begin with `run`, so that `make bench-run` measures these and nothing else.
"""

import shlex

from operations import BASE, Context, Row, Side, own_image

# So often, in one run of a row: starting once is too short to time alone.
OFTEN = 20
# A user without any privilege; its store and its trees are its own.
USER = 65534
AS_USER = (
    f"setpriv --reuid {USER} --regid {USER} --clear-groups --inh-caps=-all env"
    ' HOME="$fs/user" TMPDIR="$fs/user" TREERING_ROOT="$fs/user/store" "$fs/bin/treering"'
)
PROOT = 'proot -0 -r "$fs/proot" -b /proc -b /dev -w /'

# Some 40 packages with what they need, out of the repository that is in the tree.
INSTALL = (
    "export DEBIAN_FRONTEND=noninteractive LC_ALL=C; apt-get -qq update &&"
    " apt-get -qq -y --no-install-recommends install openssh-client dbus systemd man-db iputils-ping sudo acl libcap2-bin attr"
)
# Fewer of them: what a tracer of the peers' kind gets to its end.
INSTALL_FEW = (
    "export DEBIAN_FRONTEND=noninteractive LC_ALL=C; apt-get -qq -o APT::Sandbox::User=root update &&"
    " apt-get -qq -y -o APT::Sandbox::User=root --no-install-recommends install openssh-client acl attr"
)
DU = "for i in 1 2 3 4 5 6 7 8 9 10; do du -s /usr; done"
COMPUTE = "exec perl -e 'my $x = 0; $x = ($x + $_ * $_) % 65521 for 1 .. 15_000_000; print $x'"


def unpacked(ctx: Context) -> None:
    own_image(ctx)
    ctx.do(ctx.ours("unpack", BASE, ctx.fs / "tree"))
    # The first run looks at what the machine allows.
    ctx.do(ctx.ours("run", ctx.fs / "tree", "/bin/true"))


def often(command: str) -> str:
    return f"for i in $(seq {OFTEN}); do {command}; done"


def run(rung: str, command: str) -> Side:
    return Side(
        f"treering run --rung {rung}",
        lambda ctx: ["bash", "-c", often(f'"{ctx.treering}" run --rung {rung} "$fs/tree" {command}')],
        prepare=unpacked, root=True,
    )


def of_user(ctx: Context) -> None:
    """The tree of the corpus, unpacked by the user, and a container of it."""
    ctx.do(f'chmod 755 "$fs"; mkdir -p "$fs/bin" "$fs/user" && chown {USER}:{USER} "$fs/user"')
    ctx.do(f'cp "{ctx.treering}" "$fs/bin/treering"')
    ctx.do(f'{AS_USER} -q import "$tree.tar" apt:1 && {AS_USER} -q unpack apt:1 "$fs/user/tree"')
    ctx.do(f"{AS_USER} -q create --name box apt:1 && {AS_USER} run -q box /bin/true")


def of_root(ctx: Context) -> None:
    """The same tree as real root has it."""
    ctx.do(ctx.ours("-q", "import", f"{ctx.corpus.tree}.tar", "apt:1"))
    ctx.do(ctx.ours("-q", "unpack", "apt:1", ctx.fs / "tree"))
    ctx.do(ctx.ours("run", "-q", ctx.fs / "tree", "/bin/true"))


def of_proot(ctx: Context) -> None:
    ctx.do('mkdir "$fs/proot" && tar --exclude ./dev -xf "$tree.tar" -C "$fs/proot" && mkdir -p "$fs/proot/dev"')


def emulated(rung: str, script: str) -> Side:
    return Side(
        f"treering run --rung {rung}, as a user",
        lambda ctx: f'exec {AS_USER} run -q --rung {rung} "$fs/user/tree" -- sh -c {shlex.quote(script)} >/dev/null',
        prepare=of_user, root=True,
    )


def real(script: str, goal: float) -> Side:
    """The same namespaces and mounts with nothing emulated: real root."""
    return Side(
        "treering run --rung root",
        lambda ctx: f'exec "{ctx.treering}" run -q --rung root "$fs/tree" -- sh -c {shlex.quote(script)} >/dev/null',
        prepare=of_root, goal=goal, root=True,
    )


def proot(script: str, goal: float) -> Side:
    return Side(
        "proot -0",
        lambda ctx: f"exec {PROOT} /bin/sh -c {shlex.quote(script)} >/dev/null",
        prepare=of_proot, goal=goal, tools=("proot",), root=True,
    )


def pooled(ctx: Context) -> None:
    own_image(ctx)
    # The first container leaves its tree as a spare one.
    ctx.do(ctx.ours("run", "-q", "--rm", BASE, "/bin/true"))


def scanned(ctx: Context) -> None:
    unpacked(ctx)
    ctx.do(ctx.ours("diff", ctx.fs / "tree"))


def row(title: str, ours: Side, *peers: Side) -> Row:
    return Row(f"run: {title}", ours, list(peers), corpus="debian-apt")


def rows() -> list[Row]:
    return [
        Row(
            f"run /bin/true in a tree, {OFTEN} times",
            run("notify", "/bin/true"),
            [run("root", "/bin/true")],
            at_most=OFTEN * 0.015,
        ),
        Row(
            f"run /bin/true in a container, {OFTEN} times",
            Side(
                "treering run --rung notify, as a user",
                lambda ctx: often(f"{AS_USER} run -q --rung notify box /bin/true"), prepare=of_user, root=True,
            ),
            [],
            corpus="debian-apt",
            at_most=OFTEN * 0.015,
        ),
        Row(
            "run --rm of an image with a spare tree",
            Side("treering run --rm", lambda ctx: ctx.ours("run", "-q", "--rm", BASE, "/bin/true"), prepare=pooled, root=True),
            [
                Side(
                    "treering diff, nothing changed", lambda ctx: ctx.ours("diff", ctx.fs / "tree"), prepare=scanned,
                    goal=1 / 3, root=True,
                )
            ],
        ),
        row("install some 40 packages", emulated("notify", INSTALL), real(INSTALL, 0.71)),
        row("install three packages by paths", emulated("paths", INSTALL_FEW), proot(INSTALL_FEW, 2)),
        row("10 times du /usr", emulated("notify", DU), real(DU, 1 / 8)),
        row("10 times du /usr by paths", emulated("paths", DU), proot(DU, 3)),
        row("a program that computes", emulated("notify", COMPUTE), real(COMPUTE, 0.97)),
        row("a program that computes, by paths", emulated("paths", COMPUTE), real(COMPUTE, 0.97)),
    ]

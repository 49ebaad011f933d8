"""Inputs of a build's commands, looks at a Dockerfile, and repositories as contexts."""

from __future__ import annotations

import functools
import http.server
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator

import pytest

import treering

BUSYBOX = pathlib.Path("/usr/bin/busybox")
STATIC = BUSYBOX.exists() and b"/ld-linux-" not in BUSYBOX.read_bytes()
SECRET = "s3cr3t-v4lu3"


def has_files(store: treering.Store, text: str) -> bool:
    """Whether some file of the store has a text in it."""
    files = (path for path in pathlib.Path(store.path).rglob("*") if path.is_file())
    return any(text.encode() in path.read_bytes() for path in files)


@pytest.fixture
def bb(store: treering.Store, tmp_path: pathlib.Path) -> treering.Image:
    if not STATIC and "CI" not in os.environ:
        pytest.skip("SKIP-TOOL busybox: not a static program here")
    root = tmp_path / "bb"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in ("sh", "cat", "df", "grep", "test", "wc"):
        (root / "bin" / name).symlink_to("busybox")
    return store.commit(root, "bb:1", compression="none")


def test_commands_have_what_a_build_gives(store: treering.Store, bb: treering.Image, tmp_path: pathlib.Path) -> None:
    text = """
        FROM bb:1
        RUN --mount=type=secret,id=value,env=VALUE --mount=type=secret,id=bytes,env=BYTES --mount=type=secret,id=file,env=FILE \\
            echo ${#VALUE} ${#BYTES} ${#FILE} > /lengths
        RUN --mount=type=ssh,required test -S "$SSH_AUTH_SOCK" && echo socket > /socket
        RUN grep db.example /etc/hosts > /hosts && ulimit -n > /limit
        RUN --mount=type=ssh,id=other test -S "$SSH_AUTH_SOCK" && df -k /dev/shm > /shm
    """
    file = tmp_path / "token"
    file.write_text(SECRET * 2)
    agent = tmp_path / "agent"
    seen: list[treering.Event] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        listening.listen()
        image = store.build(
            dockerfile_text=text,
            tags=["made"],
            compression="none",
            secrets={"value": SECRET, "bytes": SECRET.encode() * 3},
            secret_files={"file": file},
            agents={"default": agent, "other": bytes(agent)},
            hosts={"db.example": "192.0.2.7"},
            limits=["nofile=123:456"],
            shm_size=8 << 20,
            helper=os.environ.get("TREERING_INIT"),
            events=seen.append,
        )
    size = len(SECRET)
    assert image.path("lengths").read_text() == f"{size} {3 * size} {2 * size}\n"
    assert image.path("socket").read_text() == "socket\n"
    assert image.path("hosts").read_text().split() == ["192.0.2.7", "db.example"]
    assert image.path("limit").read_text() == "123\n"
    shm = image.path("shm").read_text().splitlines()[-1].split()
    if shm[0] == "tmpfs" and shm[-1] == "/dev/shm":  # by chroot(2) alone there is none of its own
        assert shm[1] == str(8 << 10)
    assert {one.kind for one in seen} >= {"started", "finished"}
    assert SECRET not in repr(seen) and SECRET not in repr(image.config) and not has_files(store, SECRET)
    with pytest.raises(treering.Error, match="secret") as caught:
        store.build(dockerfile_text="FROM bb:1\nRUN --mount=type=secret,id=absent,required true\n")
    assert caught.value.hint is not None and "secrets= or secret_files=" in caught.value.hint


def test_the_helper_is_the_one_that_is_given(store: treering.Store, bb: treering.Image, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.NotFoundError) as caught:
        store.build(dockerfile_text="FROM bb:1\nRUN true\n", helper=tmp_path / "absent")
    assert "absent" in str(caught.value)


def test_contexts_have_names(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app:v1")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/f").write_text("of a directory\n")
    contexts = {"base": "docker-image://app:v1", "more": str(tmp_path / "more")}
    text = "FROM base\nCOPY --from=more f /f\n"
    image = store.build(dockerfile_text=text, build_contexts=contexts)
    assert image.path("f").read_text() == "of a directory\n"
    assert image.path("etc/motd").read_text() == "welcome\n"
    with pytest.raises(treering.NotFoundError):
        store.build(dockerfile_text=text)


def test_options_that_are_wrong(store: treering.Store, tmp_path: pathlib.Path) -> None:
    text = "FROM scratch\n"
    with pytest.raises(treering.InvalidArgumentError, match="exclude each other"):
        store.build(tmp_path, context_address="https://registry.example/x", dockerfile_text=text)
    with pytest.raises(treering.InvalidArgumentError):
        store.build(dockerfile_text=text, limits=["nofile=many"])
    with pytest.raises(TypeError):
        store.build(dockerfile_text=text, secrets={"id": 5})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        store.build(dockerfile_text=text, secret_files={"id": None})  # type: ignore[dict-item]
    with pytest.raises(treering.InvalidArgumentError, match="out of range"):
        store.build(dockerfile_text=text, shm_size=-1)


def test_looks_build_nothing(store: treering.Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        "# check=error=true\n# V is the version\nARG V=1\nARG W\n# one makes it\nFROM scratch as one\n"
        "RUN --mount=type=secret,id=s,required --mount=type=ssh x\nARG V\nARG W=$V\nFROM one\nMAINTAINER me\n"
    )
    found = store.build_check(tmp_path)
    assert found.fails
    assert [(one.rule, one.location.line) for one in found.warnings] == [
        ("FromAsCasing", 6),
        ("MaintainerDeprecated", 11),
    ]
    assert found.warnings[1].location.text == "MAINTAINER me"
    fewer = store.build_check(tmp_path, checks="skip=FromAsCasing")
    assert not fewer.fails and [one.rule for one in fewer.warnings] == ["MaintainerDeprecated"]

    def place(line: int, text: str) -> treering.Location:
        return treering.Location("Dockerfile", line, 1, text)

    line = place(7, "RUN --mount=type=secret,id=s,required --mount=type=ssh x")
    assert store.build_outline(tmp_path, target="one", build_args={"W": "x"}) == treering.BuildOutline(
        name="one",
        description="makes it",
        args=[
            treering.BuildArg("V", "is the version", "1", place(3, "ARG V=1")),
            treering.BuildArg("W", "", "x", place(9, "ARG W=$V")),
        ],
        secrets=[treering.BuildMount("s", True, line)],
        ssh=[treering.BuildMount("default", False, line)],
    )
    assert store.build_outline(tmp_path).name == "1"
    assert store.build_targets(tmp_path) == [
        treering.BuildTarget("one", "makes it", "scratch", default=False),
        treering.BuildTarget("1", "", "one", default=True),
    ]
    for call, result in {
        "check": found.warnings,
        "outline": store.build_outline(tmp_path),
        "targets": store.build_targets(tmp_path),
    }.items():
        command = [sys.executable, "-m", "treering", "--json", "--root", store.path, "build", "--call", call, str(tmp_path)]
        printed = subprocess.run(command, capture_output=True, check=False).stdout
        assert json.loads(printed) == treering.as_json(result), call
    assert store.images() == [] and not has_files(store, "MAINTAINER")
    with pytest.raises(treering.InvalidSyntaxError):
        store.build_targets(dockerfile_text="FROM scratch\nCPOY a b\n")
    with pytest.raises(treering.NotFoundError):
        store.build_check(tmp_path, target="absent")


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> Iterator[str]:
    """The address of a repository."""
    if shutil.which("git") is None and "CI" not in os.environ:
        pytest.skip("SKIP-TOOL git: not here")
    work, served = tmp_path / "work", tmp_path / "served"
    work.mkdir()
    served.mkdir()

    def git(*arguments: object) -> None:
        settings = ["-c", "user.name=a", "-c", "user.email=a@host.example", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *settings, *map(str, arguments)], cwd=work, check=True, capture_output=True)

    git("init")
    (work / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (work / "f").write_text("of a repository\n")
    git("add", ".")
    git("commit", "-m", "first")
    git("clone", "--bare", ".", served / "project.git")
    git("--git-dir", served / "project.git", "update-server-info")
    with tarfile.open(served / "context.tar", "w") as archive:
        for name in ("Dockerfile", "f"):
            archive.add(work / name, name)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(served))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/project.git"
        server.shutdown()
        thread.join()


def test_a_tar_at_an_address_is_a_context(store: treering.Store, repository: str) -> None:
    address = repository.replace("project.git", "context.tar")
    assert store.build(context_address=address).path("f").read_text() == "of a repository\n"
    assert [one.base for one in store.build_targets(context_address=address)] == ["scratch"]


def test_a_repository_is_a_context(store: treering.Store, repository: str) -> None:
    image = store.build(context_address=f"{repository}#main", git=treering.run_git)
    assert image.path("f").read_text() == "of a repository\n"
    text = f"FROM scratch\nADD {repository}#main /added\nCOPY --from=named f /copied\n"
    threads: set[int] = set()

    def git(directory: str, arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
        threads.add(threading.get_ident())
        assert environment["GIT_CONFIG_NOSYSTEM"] == "1" and "PATH" not in environment
        return treering.run_git(directory, arguments, environment)

    image = store.build(dockerfile_text=text, build_contexts={"named": repository}, git=git)
    assert image.path("copied").read_bytes() == image.path("added/f").read_bytes()
    assert threads == {threading.get_ident()}
    [target] = store.build_targets(context_address=repository, git=git)
    assert target.base == "scratch"


def test_git_is_a_function_of_the_caller(store: treering.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://host.example/project.git"
    with pytest.raises(treering.UnsupportedError, match="starts no git"):
        store.build(context_address=address)

    def failing(*_: object) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], 128, None, b"fatal: nobody is there\n")

    with pytest.raises(treering.NetworkError, match="nobody is there"):
        store.build(context_address=address, git=failing)

    def raising(*_: object) -> subprocess.CompletedProcess[bytes]:
        raise OSError("no git today")

    def interrupted(*_: object) -> subprocess.CompletedProcess[bytes]:
        raise KeyboardInterrupt

    with pytest.raises(treering.CallbackError) as caught:
        store.build(context_address=address, git=raising)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(KeyboardInterrupt):
        store.build(context_address=address, git=interrupted)
    with pytest.raises(treering.CallbackError, match="stdout as bytes or None"):
        store.build(context_address=address, git=lambda *_: subprocess.CompletedProcess([], 0, "text", None))
    monkeypatch.setenv("PATH", "relative")
    with pytest.raises(treering.CallbackError, match="no git on PATH"):
        store.build(context_address=address, git=treering.run_git)

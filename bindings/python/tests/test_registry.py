"""Registries: a small one in Python, and what happens to a program that waits for one."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import treering
import treering.__main__


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if server.silent.is_set():
            time.sleep(30)
        expected = "Basic " + base64.b64encode(b"user:secret").decode()
        if server.guarded and self.headers.get("Authorization") != expected:
            return self.answer(401, WWW_Authenticate='Basic realm="test"')
        path, _, query = self.path.partition("?")
        kept = server.kept
        if path == "/v2/":
            return self.answer(200, b"{}")
        if path.endswith("/tags/list"):
            tags = [key.rsplit("/", 1)[1] for key in kept if "/manifests/" in key and "sha256:" not in key]
            return self.answer(200, json.dumps({"tags": tags}).encode())
        if "/uploads/" in path and self.command == "POST":
            asked = urllib.parse.parse_qs(query)
            if "mount" in asked:
                known = kept.get(f"/v2/{asked['from'][0]}/blobs/{asked['mount'][0]}")
                if known is not None:
                    kept[path.partition("/uploads/")[0] + "/" + asked["mount"][0]] = known
                    return self.answer(201)
            return self.answer(202, Location=path + "one")
        if "/uploads/" in path and self.command == "PUT":
            digest = query.partition("digest=")[2].replace("%3A", ":")
            kept[path.partition("/uploads/")[0] + "/" + digest] = ("application/octet-stream", body)
            return self.answer(201)
        if self.command == "PUT":
            media_type = self.headers["Content-Type"]
            kept[path] = (media_type, body)
            digest = "sha256:" + hashlib.sha256(body).hexdigest()
            kept[path.rpartition("/")[0] + "/" + digest] = (media_type, body)
            return self.answer(201)
        if path not in kept:
            return self.answer(404, b'{"errors":[{"code":"UNKNOWN","message":"not here"}]}')
        media_type, body = kept[path]
        return self.answer(200, body, Content_Type=media_type)

    do_GET = do_HEAD = do_PUT = do_POST = handle_any


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        #: Media type and bytes of what was sent, by path.
        self.kept: dict[str, tuple[str, bytes]] = {}
        #: Whether a password is wanted.
        self.guarded = False
        #: Whether nothing is answered.
        self.silent = threading.Event()


class Registry:
    def __init__(self) -> None:
        self.server = Server()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    (tmp_path / "registries.toml").write_text("")
    monkeypatch.setenv("TREERING_REGISTRIES", str(tmp_path / "registries.toml"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    made = Registry()
    # The scheme is not found out by asking: the small server would wait for the end of a line.
    (tmp_path / "registries.toml").write_text(f'[[registry]]\nprefix = "{made.host}"\nlocation = "http://{made.host}"\n')
    yield made
    made.server.shutdown()
    made.server.server_close()
    made.thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[treering.Store]:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    with treering.Store(tmp_path / "store") as made:
        made.commit(tree, "app:v1")
        yield made


def test_push_and_pull(registry: Registry, store: treering.Store, tmp_path: Path) -> None:
    name = f"{registry.host}/team/app:v1"
    seen: list[treering.Progress] = []
    events: list[treering.Event] = []
    pushed = store.push("app:v1", name, progress=seen.append, events=events.append)
    assert (pushed.name, pushed.sent, pushed.only_platform) == (name, 2, None)
    assert seen and any(event.kind == "transfer" for event in events)
    assert treering.tags(f"{registry.host}/team/app") == ["v1"]
    with treering.Store(tmp_path / "other") as other:
        pulled = other.pull(name)
        assert (pulled.name, pulled.digest, pulled.layers_fetched) == (name, pushed.digest, 1)
        assert pulled.id == store.image("app:v1").id
        assert other.pull(name).up_to_date
        with pytest.raises(treering.NotFoundError, match="404: UNKNOWN: not here"):
            other.pull(f"{registry.host}/team/app:v2")


def test_credentials(registry: Registry, store: treering.Store, tmp_path: Path) -> None:
    registry.server.guarded = True
    name = f"{registry.host}/app:v1"
    with pytest.raises(treering.UnauthorizedError):
        store.push("app:v1", name)
    with pytest.raises(treering.UnauthorizedError):
        treering.login(registry.host, "user", "wrong")
    store.push("app:v1", name, auth=("user", "secret"))
    assert treering.login(registry.host, "user", "secret") == str(tmp_path / "auth.json")
    assert store.pull(name).layers_fetched == 0
    assert treering.logout(registry.host)
    assert not treering.logout(registry.host)


def test_waiting_for_a_registry_is_interrupted(registry: Registry, store: treering.Store) -> None:
    registry.server.silent.set()
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        store.pull(f"{registry.host}/app:v1")
    assert time.monotonic() - began < 3
    name = f"{registry.host}/app:v1"
    calls: list[Callable[..., object]] = [
        partial(store.pull, name),
        partial(store.push, "app:v1", name),
        partial(store.create_list, "list:v1", name),
        partial(treering.copy, name, f"{registry.host}/app:v2"),
        partial(treering.read_manifest, name),
        partial(treering.tags, f"{registry.host}/app"),
        partial(treering.login, registry.host, "user", "secret"),
    ]
    for call in calls:
        with pytest.raises(treering.CancelledError):
            call(progress=lambda _: True)


def test_pull_under_another_name_and_unpack(registry: Registry, store: treering.Store, tmp_path: Path) -> None:
    name = f"{registry.host}/app:v1"
    store.push("app:v1", name)
    with treering.Store(tmp_path / "other") as other:
        assert other.pull(name, as_name="mine:v2").name == "mine:v2"
        assert [ref.name for ref in other.refs()] == ["mine:v2"]
        with pytest.raises(treering.LimitError):
            treering.Store(tmp_path / "strict", max_layers=0).pull(name)
    seen: list[treering.Event] = []
    with treering.Store(tmp_path / "third") as third:
        pulled, tree = third.pull_unpack(name, tmp_path / "unpacked", events=seen.append, temporary=True)
        assert (pulled.layers_fetched, tree.unpacked.entries) == (1, 1)
        assert any(event.kind == "transfer" for event in seen)
        with tree:
            assert (tree.path / "file").read_text() == "content"
            assert tree.image.id == pulled.id
            assert not list(tree.diff())
        assert not tree.path.exists()
        with pytest.raises(treering.NotFoundError):
            third.pull_unpack(f"{registry.host}/app:v9", tmp_path / "nothing")
        assert not (tmp_path / "nothing").exists()


def test_blobs_are_mounted_unless_that_is_not_wanted(registry: Registry, store: treering.Store) -> None:
    store.push("app:v1", f"{registry.host}/one:v1")
    store.tag("app:v1", f"{registry.host}/one:v1")
    assert store.push("app:v1", f"{registry.host}/two:v1").mounted == 2
    plain = store.push("app:v1", f"{registry.host}/three:v1", no_mount=True)
    assert (plain.mounted, plain.sent) == (0, 2)


def test_copy_and_manifests(registry: Registry, store: treering.Store) -> None:
    name = f"{registry.host}/app:v1"
    pushed = store.push("app:v1", name)
    found = treering.read_manifest(name)
    assert found.digest == pushed.digest == "sha256:" + hashlib.sha256(found.data).hexdigest()
    assert json.loads(found.data)["mediaType"] == found.media_type
    other = Registry()
    try:
        with open(os.environ["TREERING_REGISTRIES"], "a") as config:
            config.write(f'[[registry]]\nprefix = "{other.host}"\nlocation = "http://{other.host}"\n')
        copied = treering.copy(name, f"{other.host}/there/app:v1")
        assert (copied.digest, copied.sent, copied.mounted) == (pushed.digest, 2, 0)
        assert treering.read_manifest(f"{other.host}/there/app:v1") == found
        assert treering.copy(name, f"{registry.host}/again:v1").mounted == 2
        with pytest.raises(treering.NotFoundError):
            treering.copy(name, f"{other.host}/there/app:v2", platform="linux/s390x")
    finally:
        other.server.shutdown()
        other.server.server_close()
        other.thread.join()


def test_lists_of_manifests(registry: Registry, store: treering.Store, tmp_path: Path) -> None:
    (tmp_path / "tree/file").write_text("for another machine")
    foreign = store.commit(tmp_path / "tree", "app:foreign", base="scratch", platform="linux/s390x")
    name = f"{registry.host}/app:all"
    digest = store.create_list(name, ["app:v1", foreign])
    with pytest.raises(treering.AlreadyExistsError):
        store.create_list(name, ["app:v1"])
    amended = store.create_list(name, "app:v1", amend=True)
    changed = store.annotate_list(name, foreign, platform="linux/arm64", annotations={"who": "me"})
    assert len({digest, amended, changed}) == 3
    pushed = store.push(name)
    assert (pushed.digest, pushed.only_platform) == (changed, None)
    listed = json.loads(treering.read_manifest(name).data)["manifests"]
    arm = next(entry for entry in listed if entry["platform"]["architecture"] == "arm64")
    assert arm["annotations"] == {"who": "me"} and arm["digest"] == foreign.digest
    with treering.Store(tmp_path / "other") as other:
        assert other.pull(name, all_platforms=True).layers_fetched == 2
        assert other.pull(name, platform="linux/arm64").manifest == foreign.digest


def test_registries_as_a_program_reaches_them(registry: Registry, store: treering.Store, tmp_path: Path) -> None:
    registry.server.guarded = True
    name = f"{registry.host}/app:v1"
    asked: list[tuple[str, str, int]] = []

    def credentials(host: str, repository: str) -> tuple[str, str]:
        asked.append((host, repository, threading.get_ident()))
        return "user", "secret"

    store.push("app:v1", name, registries=treering.Registries(credentials=credentials))
    assert asked and all(one == (registry.host, "app", threading.get_ident()) for one in asked)
    named = treering.Registries(username="user", password="secret", stall=5, attempts=2)
    assert treering.tags(f"{registry.host}/app", registries=named) == ["v1"]
    with pytest.raises(treering.UnauthorizedError):
        treering.tags(f"{registry.host}/app", registries=treering.Registries(credentials=lambda *_: None))
    kept = treering.Registries(auth_file=tmp_path / "mine.json")
    assert treering.login(registry.host, "user", "secret", registries=kept) == str(tmp_path / "mine.json")
    assert store.pull(name, registries=kept).up_to_date is False
    assert treering.logout(registry.host, registries=kept)

    def broken(*_: str) -> tuple[str, str]:
        raise RuntimeError("no helper")

    with pytest.raises(treering.CallbackError, match="no helper"):
        store.pull(name, registries=treering.Registries(credentials=broken))
    for options in ({"username": "user"}, {"username": "a", "password": "b", "credentials": credentials}, {"stall": -1}):
        with pytest.raises(treering.InvalidArgumentError):
            treering.Registries(**options)


HELPER = """#!/bin/sh
cat >"$HOME/asked-$1"
case $1 in
get) cat "$HOME/kept" 2>/dev/null || { echo credentials not found in native keychain; exit 1; } ;;
store) cp "$HOME/asked-store" "$HOME/kept" ;;
erase) rm "$HOME/kept" ;;
esac
"""


def test_the_command_starts_credential_helpers_and_a_program_that_calls_it_does_not(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    registry.server.guarded = True
    (tmp_path / "auth.json").write_text(json.dumps({"credHelpers": {registry.host: "mine"}}))
    (tmp_path / "bin").mkdir()
    helper = tmp_path / "bin/docker-credential-mine"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "treering", *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True)

    done = run("login", "-u", "user", "--password-stdin", registry.host, given="secret\n")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "kept").read_text()) == {"ServerURL": registry.host, "Username": "user", "Secret": "secret"}
    assert "secret" not in (tmp_path / "auth.json").read_text()
    registry.server.kept["/v2/app/manifests/v1"] = ("application/json", b"{}")
    done = run("tags", f"{registry.host}/app")
    assert (done.returncode, done.stdout) == (0, "v1\n"), done.stderr
    # In a program of somebody else's nothing is started.
    assert treering.__main__.main(["tags", f"{registry.host}/app"]) != 0
    assert "starting it was not allowed" in capfd.readouterr().err
    assert run("logout", registry.host).returncode == 0
    assert not (tmp_path / "kept").exists()
    helper.unlink()
    done = run("tags", f"{registry.host}/app")
    assert done.returncode != 0 and "docker-credential-mine" in done.stderr

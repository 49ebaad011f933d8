"""Registries: a small one in Python, and what happens to a program that waits for one."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import treering


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
    with pytest.raises(treering.CancelledError):
        store.pull(f"{registry.host}/app:v1", progress=lambda _: True)

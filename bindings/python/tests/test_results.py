"""Results as JSON and pickled, errors as what Python has, cancelling and logging."""

from __future__ import annotations

import ast
import asyncio
import datetime
import errno
import inspect
import json
import logging
import os
import pathlib
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest

import treering
from treering import as_json


def command(store: treering.Store, *arguments: object) -> Any:
    line = [sys.executable, "-m", "treering", "--root", str(store.path), "--json", *map(str, arguments)]
    run = subprocess.run(line, capture_output=True, check=True)
    return json.loads(run.stdout)


def test_results_are_the_json_of_the_command(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = store.commit(tree, "app:v1", created=0)
    (tree / "etc/motd").write_text("changed\n")
    (tree / os.fsdecode(b"caf\xe9\n")).write_text("x")
    (tree / "bin/bash").unlink()
    os.mkfifo(tree / "pipe")
    assert as_json(treering.diff(first, tree)) == command(store, "diff", "app:v1", tree)
    image = store.commit(tree, "app:v2", created="2026-01-31T12:00:00.5Z")
    assert image.created == "2026-01-31T12:00:00Z"
    assert as_json(store.images()) == command(store, "images")[::-1] or as_json(
        sorted(store.images(), key=lambda one: one.created or "", reverse=True)
    ) == command(store, "images")
    assert as_json(image.history()) == command(store, "history", "app:v2")
    assert as_json(store.usage()) == command(store, "df")
    assert as_json(store.fsck()) == command(store, "fsck")
    diff = treering.diff(first, tree)
    written = treering.layer_create(diff, tmp_path / "layer.tar", compression="none")
    theirs = command(store, "layer", "ls", tmp_path / "layer.tar")
    assert as_json(treering.layer_list(tmp_path / "layer.tar")) == theirs
    assert as_json(written).keys() == {"diff_id", "diff_size", "digest", "size"}
    made = as_json(image.committed)
    assert made["changes"] == {"added": 2, "changed": 3, "deleted": 1, "bytes": 9}
    json.dumps([made, as_json(store.unpack("app:v1", tmp_path / "copy").unpacked)])
    with pytest.raises(TypeError):
        as_json(store)


def test_results_are_pickled(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1")
    same = pickle.loads(pickle.dumps(image))
    assert (same.id, same.digest) == (image.id, image.digest)
    copy = store.unpack("app:v1", tmp_path / "copy")
    (copy.path / "new").touch()
    second = copy.commit("app:v2")
    for result in [second.committed, copy.unpacked, store.usage(), *second.history(), *second.layers, store.fsck()]:
        assert pickle.loads(pickle.dumps(result)) == result
    checked = copy.checkout("app:v1")
    assert pickle.loads(pickle.dumps(checked)).image.digest == image.digest
    snapshot = treering.scan(tree)
    assert pickle.loads(pickle.dumps(snapshot)) == snapshot
    treering.layer_create(treering.diff(tree), tmp_path / "layer", compression="zstd")
    applied = pickle.loads(pickle.dumps(treering.layer_apply(tmp_path / "layer", tmp_path / "applied")))
    assert applied.snapshot["etc/motd"].size == 8 and len(applied.ledger) >= 0


def test_what_is_no_file_is_a_file_not_found(store: treering.Store, tmp_path: pathlib.Path) -> None:
    assert issubclass(treering.MissingFileError, FileNotFoundError)
    assert issubclass(treering.ExistingFileError, FileExistsError)
    with pytest.raises(treering.MissingFileError) as caught:
        store.commit(tmp_path / "absent")
    error = caught.value
    assert (error.errno, error.filename) == (errno.ENOENT, str(tmp_path / "absent"))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.errno, copy.filename, str(copy)) == (type(error), error.errno, error.filename, str(error))
    # An image that is not there is no file.
    with pytest.raises(treering.NotFoundError) as other:
        store.image("absent:v1")
    assert not isinstance(other.value, OSError)
    shown = repr(other.value)
    assert shown.startswith("NotFoundError(") and "operation='" in shown and "path='absent:v1'" in shown


def test_a_time_comes_out_as_it_goes_in(store: treering.Store, tree: pathlib.Path) -> None:
    image = store.commit(tree, created=datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone.utc))
    assert image.created is not None
    again = store.commit(tree, created=image.created, base="scratch")
    assert again.created == image.created
    with pytest.raises(treering.InvalidArgumentError, match="time zone"):
        store.commit(tree, created=datetime.datetime(2026, 1, 31))
    with pytest.raises(treering.InvalidArgumentError, match="RFC 3339"):
        store.commit(tree, created="yesterday")


def test_one_image_is_saved_by_its_name(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1")
    store.save("app:v1", tmp_path / "one.tar")
    store.save(image, tmp_path / "two.tar")
    store.save(["app:v1"], tmp_path / "three.tar")
    assert len({(tmp_path / f"{name}.tar").read_bytes() for name in ("one", "two", "three")}) == 1
    with pytest.raises(TypeError, match="images"):
        store.save(7, tmp_path / "four.tar")  # type: ignore[arg-type]


def test_a_token_cancels_from_another_thread(store: treering.Store, tree: pathlib.Path) -> None:
    for n in range(40):
        (tree / f"large{n}").write_bytes(os.urandom(1 << 20))
    seen: list[treering.Progress] = []
    cancel = treering.progress.Cancel(seen.append)
    timer = threading.Timer(0.05, cancel.cancel)
    timer.start()
    with pytest.raises(treering.CancelledError):
        store.commit(tree, "app:v1", compression="zstd", level=19, threads=1, progress=cancel)
    timer.join()
    assert cancel.cancelled and seen and store.refs() == []
    with pytest.raises(treering.CancelledError):
        store.commit(tree, progress=cancel)


def test_a_timeout_of_asyncio_stops_the_work(store: treering.Store, tree: pathlib.Path) -> None:
    for n in range(40):
        (tree / f"large{n}").write_bytes(os.urandom(1 << 20))

    async def commit() -> None:
        cancel = treering.progress.Cancel()
        work = asyncio.create_task(
            asyncio.to_thread(store.commit, tree, "app:v1", compression="zstd", level=19, threads=1, progress=cancel)
        )
        try:
            await asyncio.wait_for(asyncio.shield(work), 0.05)
        except asyncio.TimeoutError:
            cancel.cancel()
            with pytest.raises(treering.CancelledError):
                await work

    asyncio.run(commit())
    assert store.refs() == []


def test_directories_are_named_by_descriptor(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    opened = os.open(tree, os.O_RDONLY)
    tree.rename(tmp_path / "moved")
    try:
        image = store.commit(opened, "app:v1")
        assert len(treering.scan(opened)) == len(treering.scan(tmp_path / "moved"))
        assert list(store.diff(opened)) == [] and list(store.diff(tmp_path / "moved")) == []
        (tmp_path / "copy").mkdir()
        copy = os.open(tmp_path / "copy", os.O_RDONLY)
        store.unpack(image, copy)
        os.close(copy)
        assert list(store.diff(tmp_path / "copy")) == []
    finally:
        os.close(opened)


def test_warnings_are_logged(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tree / "zeros").write_bytes(bytes(80 << 20))
    store.commit(tree, "app:v1", compression="zstd")
    with caplog.at_level(logging.WARNING, "treering"):
        store.save("app:v1", tmp_path / "app.tar")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "uncompressed" in caplog.records[0].getMessage()
    caplog.clear()
    with caplog.at_level(logging.CRITICAL, "treering"):
        store.save("app:v1", tmp_path / "app.tar")
    assert not caplog.records


def test_stubs_say_what_the_functions_say() -> None:
    """Editors show the stubs. ``python tests/test_results.py`` writes their docstrings anew."""
    text = STUBS.read_text()
    assert documented(text) == text


STUBS = pathlib.Path(treering.__file__).with_name("_treering.pyi")
SOURCE = pathlib.Path(__file__).parent.parent / "python/treering/_treering.pyi"


def documented(text: str) -> str:
    """The stubs with the docstrings of what they stand for."""
    lines = text.splitlines()
    module = ast.parse(text)
    edits: list[tuple[int, int, int, str, bool]] = []

    def visit(node: ast.stmt, owner: object) -> None:
        if isinstance(node, ast.If):
            for one in node.body:
                visit(one, owner)
        if not isinstance(node, (ast.ClassDef, ast.FunctionDef)) or node.name.startswith("_"):
            return
        thing = inspect.getattr_static(owner, node.name, None)
        # A static method has the text of its own type otherwise.
        doc = inspect.getdoc(thing.__func__ if isinstance(thing, staticmethod) else thing)
        if isinstance(node, ast.ClassDef):
            for one in node.body:
                visit(one, thing)
        setter = isinstance(node, ast.FunctionDef) and any(isinstance(d, ast.Attribute) for d in node.decorator_list)
        if not doc or thing is None or setter:
            return
        first = node.body[0]
        old = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        is_text = old and isinstance(first.value.value, str)  # type: ignore[attr-defined]
        alone = isinstance(node, ast.FunctionDef) and len(node.body) == 1
        begin = min([first.lineno, *(one.lineno for one in getattr(first, "decorator_list", []))])
        edits.append((begin, first.end_lineno or first.lineno, node.col_offset + 4, doc, is_text or alone))

    for node in module.body:
        visit(node, treering._treering)
    for begin, end, indent, doc, replace in sorted(edits, reverse=True):
        pad = " " * indent
        doc = doc.replace("\\", "\\\\")
        block = [f'{pad}"""{doc.splitlines()[0]}', *(f"{pad}{line}".rstrip() for line in doc.splitlines()[1:])]
        block[-1] += '"""' if len(block) == 1 else ""
        if len(block) > 1:
            block.append(f'{pad}"""')
        if not replace:
            lines[begin - 1 : begin - 1] = block
            continue
        head = lines[begin - 1]
        if begin == end and head.rstrip().endswith("..."):
            # `def f() -> T: ...` on one line, or `...` on its own.
            before = head.rstrip()[:-3].rstrip()
            lines[begin - 1 : end] = ([before] if before else []) + block
        else:
            lines[begin - 1 : end] = block
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    SOURCE.write_text(documented(SOURCE.read_text()))


def test_a_report_is_that_of_the_command(store: treering.Store, tree: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1", created=0)
    report = image.report()
    assert report == command(store, "report", "app:v1") | {"name": report["name"]}
    assert report["image_id"] == image.id and report["steps"][0]["layer"]["added"]["files"] > 0
    assert image.report_html().startswith("<!doctype html>")

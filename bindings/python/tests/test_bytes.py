"""Names are bytes: whatever they are, they come back unchanged."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import shutil
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

import treering

ODD = [b"caf\xe9", b"\xff\xfe", b"line\nbreak", b" ", b"-", b"a\\b", "naïve ☃".encode(), b"x" * 200]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_round_trip(tmp_path: pathlib.Path, name: bytes) -> None:
    base = os.fsencode(tmp_path)
    tree = os.path.join(base, b"tree" + name[:20])
    os.mkdir(tree)
    path = os.path.join(tree, name)
    with open(path, "wb") as file:
        file.write(name)
    os.symlink(name, path + b".link")
    store = treering.Store(os.path.join(base, b"store" + name[:20]))
    assert os.fsencode(store.path) == os.path.join(base, b"store" + name[:20])
    image = store.commit(tree, "app")
    for wanted in (tree, os.fsdecode(tree)):
        entry = treering.scan(wanted)[name]
        assert entry.path_bytes == name
        assert os.fsencode(entry.path) == name
        assert treering.scan(wanted)[entry.path].name == entry.path
    assert os.fsencode(image.contents()[name + b".link"].link_target or "") == name
    copy = store.unpack(image, os.path.join(base, b"copy" + name[:20]))
    with open(os.path.join(os.fsencode(copy), name), "rb") as file:
        assert file.read() == name
    os.unlink(os.path.join(os.fsencode(copy), name))
    [change] = copy.diff()
    assert change.path_bytes == name
    assert change.path == os.fsdecode(name)
    assert str(change) == "D /" + os.fsdecode(name)
    repr(change).encode()
    snapshot = os.path.join(base, name)
    scanned = treering.scan(copy)
    scanned.save(snapshot)
    assert treering.Snapshot.load(snapshot) == scanned


def test_errors_name_odd_paths(tmp_path: pathlib.Path) -> None:
    absent = os.path.join(os.fsencode(tmp_path), b"\xff")
    with pytest.raises(treering.NotFoundError) as caught:
        treering.scan(absent)
    assert os.fsencode(caught.value.path or "") == absent
    str(caught.value).encode()


names = st.binary(min_size=1, max_size=60).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..") and not name.startswith(b".wh.")
)


@given(st.sets(st.lists(names, min_size=1, max_size=4).map(tuple), max_size=6), st.binary(max_size=100))
def test_any_tree_survives(paths: set[tuple[bytes, ...]], content: bytes) -> None:
    base = tempfile.mkdtemp().encode()
    try:
        tree, copy = base + b"/tree", base + b"/copy"
        os.mkdir(tree)
        os.mkdir(copy)
        for path in paths:
            try:
                os.makedirs(os.path.join(tree, *path[:-1]), exist_ok=True)
                with open(os.path.join(tree, *path), "xb") as file:
                    file.write(content)
            except OSError:
                continue  # one is a file where another wants a directory
        snapshot = treering.scan(tree)
        found = [entry.path_bytes for entry in snapshot]
        expected = [b""]
        for directory, directories, files in os.walk(tree):
            relative = os.path.relpath(directory, tree)
            for name in directories + files:
                expected.append(os.path.normpath(os.path.join(relative, name)))
        assert found == sorted(expected)
        assert all(snapshot[path].path_bytes == path for path in found)
        assert all(os.fsencode(entry.path) == entry.path_bytes for entry in snapshot)
        layer = io.BytesIO()
        treering.layer_create(treering.diff(tree), layer, compression="none")
        layer.seek(0)
        treering.layer_apply(layer, copy)
        assert [entry.path_bytes for entry in treering.scan(copy)] == found
        assert not [change for change in treering.diff(tree, copy) if change.reasons != ["mtime"]]
    finally:
        shutil.rmtree(base)


@given(st.text(max_size=40), st.binary(max_size=40))
def test_any_text_is_taken_or_refused(text: str, data: bytes) -> None:
    for refused in (text, data):
        with contextlib.suppress(treering.Error, ValueError):
            treering.scan(os.path.join("/nonexistent", refused) if isinstance(refused, str) else b"/nonexistent/" + refused)

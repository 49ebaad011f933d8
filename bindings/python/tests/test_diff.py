"""Snapshots, comparisons and layers."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import tarfile

import pytest

import treering


def test_a_snapshot_is_a_sorted_mapping(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    snapshot = treering.scan(tree)
    assert [entry.path for entry in snapshot] == [
        "",
        "bin",
        "bin/bash",
        "bin/sh",
        "etc",
        "etc/hostname",
        "etc/motd",
    ]
    assert len(snapshot) == 7
    entry = snapshot["bin/sh"]
    assert (entry.kind, entry.name, entry.size, entry.mode) == ("file", "sh", 5004, 0o755)
    assert (entry.uid, entry.gid) == (0, 0)
    assert entry.mtime == 1_500_000_000
    assert entry.mtime_ns == 1_500_000_000 * 10**9
    assert (entry.link_target, entry.device, entry.xattrs, entry.digest) == (None, None, {}, None)
    assert snapshot["bin/bash"].link_target == "sh"
    assert snapshot[b"/etc//motd"].path == "etc/motd"
    assert os.path.exists(os.path.join(tree, entry))
    assert not os.path.exists(entry), "by itself it is below the current directory"
    assert "etc/absent" not in snapshot and snapshot.get("etc/absent") is None
    assert 3 not in snapshot
    with pytest.raises(KeyError, match="etc/absent") as missing:
        snapshot["etc/absent"]
    assert isinstance(missing.value, treering.NotFoundError) and missing.value.path == "etc/absent"
    with pytest.raises(TypeError):
        snapshot[3]
    snapshot.save(tmp_path / "saved")
    again = treering.Snapshot.load(tmp_path / "saved")
    assert again == snapshot and hash(again) == hash(snapshot)
    # It was read: what becomes of the file is of no matter.
    os.truncate(tmp_path / "saved", 0)
    assert again.to_bytes() == snapshot.to_bytes()
    assert treering.Snapshot.from_bytes(snapshot.to_bytes()) == snapshot
    with pytest.raises(treering.CorruptError):
        treering.Snapshot.from_bytes(snapshot.to_bytes()[:-1])


def test_iterators_are_independent(tree: pathlib.Path) -> None:
    snapshot = treering.scan(tree)
    one, two = iter(snapshot), iter(snapshot)
    next(one)
    next(one)
    assert next(two).path == ""
    assert len(list(one)) == 5
    assert list(one) == []


def test_sockets_are_reported(
    tree: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    monkeypatch.chdir(tree)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        found = treering.scan(tree)
        image = treering.Store(tmp_path / "store").commit(tree, base="scratch")
        told = [treering.Skipped("s", "socket")]
        assert found.skipped == told
        for diff in (
            treering.diff(tree),
            treering.diff(tree, tree),
            treering.diff(image, tree),
            treering.diff(found, tree),
            treering.diff(image, found),
        ):
            assert diff.skipped == told
            assert diff.new.skipped == told


def test_two_directories(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    assert list(treering.diff(tree, copy)) == []
    (copy / "etc/motd").write_text("other\n")
    (copy / "bin/bash").unlink()
    diff = treering.diff(tree, str(copy))
    assert [str(change) for change in diff] == ["C /bin", "D /bin/bash", "C /etc", "C /etc/motd"]
    motd = diff[-1]
    assert "content" in motd.reasons
    assert motd.old is not None and motd.old.size == 8
    assert motd.new is not None and motd.new.size == 6
    gone = diff[1]
    assert gone.new is None and gone.reasons == []
    assert diff.old is not None and "bin/bash" in diff.old and "bin/bash" not in diff.new
    for part in (slice(0, 1), slice(1, None), slice(None, None, -2), slice(9, 12), slice(3, 0, -1)):
        assert [str(change) for change in diff[part]] == [str(change) for change in diff][part]
    for number in (4, 1 << 70):
        with pytest.raises(IndexError):
            diff[number]
    with pytest.raises(IndexError):
        diff[-5]


def test_snapshots_and_images(store: treering.Store, tree: pathlib.Path) -> None:
    before = treering.scan(tree)
    image = store.commit(tree, "app")
    (tree / "new").touch()
    changes = [(change.kind, change.path) for change in treering.diff(before, tree)]
    assert changes == [("added", "new")]
    assert [change.path for change in treering.diff(image, tree, owner="root")] == ["new"]
    assert len(treering.diff(image, image)) == 0
    everything = treering.diff(tree)
    assert len(everything) == 7 and {change.kind for change in everything} == {"added"}
    with pytest.raises(TypeError, match="a directory, a Snapshot or an Image, not float"):
        treering.diff(3.5, tree)  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_layers_through_file_objects(tree: pathlib.Path, tmp_path: pathlib.Path, compression: str) -> None:
    out = io.BytesIO()
    made = treering.layer_create(treering.diff(tree), out, compression=compression)  # type: ignore[arg-type]
    assert made.size == len(out.getvalue())
    file = tmp_path / "layer"
    assert treering.layer_create(treering.diff(tree), file, compression=compression) == made  # type: ignore[arg-type]
    assert file.read_bytes() == out.getvalue()
    if compression == "none":
        with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
            assert "etc/motd" in archive.getnames()

    copy = tmp_path / "copy"
    copy.mkdir()
    applied = treering.layer_apply(io.BytesIO(out.getvalue()), copy)
    assert applied.layer == made
    assert applied.losses == []
    assert len(applied.snapshot) == 7
    assert list(treering.diff(tree, copy)) == []

    (copy / "etc/motd").unlink()
    step = io.BytesIO()
    treering.layer_create(treering.diff(applied.snapshot, copy), step, compression=compression)  # type: ignore[arg-type]
    step.seek(0)
    treering.layer_apply(step, tree, ledger=applied.ledger)
    assert not (tree / "etc/motd").exists()


def test_short_reads_and_writes(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    class Slow:
        def __init__(self) -> None:
            self.data = bytearray()
            self.at = 0

        def write(self, data: bytes) -> int:
            self.data += data[:1000]
            return min(len(data), 1000)

        def read(self, size: int) -> bytes:
            self.at += 7
            return bytes(self.data[self.at - 7 : self.at])

    slow = Slow()
    made = treering.layer_create(treering.diff(tree), slow)
    assert len(slow.data) == made.size
    copy = tmp_path / "copy"
    copy.mkdir()
    assert treering.layer_apply(slow, copy).layer == made


def test_a_diff_of_snapshots_has_no_content(tree: pathlib.Path) -> None:
    empty = treering.diff(treering.scan(tree), treering.scan(tree))
    with pytest.raises(treering.UnsupportedError, match="content of the files is not at hand"):
        treering.layer_create(empty, io.BytesIO())


def test_a_ledger_travels(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    layer = io.BytesIO()
    treering.layer_create(treering.diff(tree, owner=(12, 34)), layer)
    layer.seek(0)
    copy = tmp_path / "copy"
    copy.mkdir()
    applied = treering.layer_apply(layer, copy)
    ledger = treering.Ledger.from_bytes(applied.ledger.to_bytes())
    assert len(ledger) == len(applied.ledger)
    owner = "keep" if os.geteuid() == 0 else "root"
    entry = treering.scan(copy, owner=owner, ledger=ledger)["etc/motd"]
    assert (entry.uid, entry.gid) == (12, 34)


def test_a_store_keeps_what_a_layer_brings(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    store.commit(tree, "app")
    layer = tmp_path / "layer"
    (tree / "new").touch()
    treering.layer_create(treering.diff(tree, owner=(12, 34)), layer)
    work = store.unpack("app", tmp_path / "work")
    treering.layer_apply(layer, work, store=store)
    owners = {change.path: (change.new.uid, change.new.gid) for change in work.diff() if change.new}
    assert owners["new"] == (12, 34)
    # Without a store the directory is made, and the caller keeps what the disk does not take.
    ledger = treering.layer_apply(layer, tmp_path / "made").ledger
    with pytest.raises(treering.InvalidArgumentError, match="one of the two"):
        treering.layer_apply(layer, work, store=store, ledger=ledger)


def test_owners_for_and_from_other_tools(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    store.commit(tree, "app", owner=(12, 34))
    work = store.unpack("app", tmp_path / "work", owner_xattr="override-stat")
    entry = treering.scan(work, owner_from="override-stat")["etc/motd"]
    assert (entry.uid, entry.gid) == (12, 34)
    assert not list(work.diff())
    assert treering.scan(work, owner_from=b"none")["etc/motd"].uid == 0
    with pytest.raises(treering.InvalidArgumentError, match="expected none, rootlesscontainers"):
        treering.scan(work, owner_from="somebody")
    with pytest.raises(treering.NotFoundError):
        work.commit(owner_from=f"fakeroot:{tmp_path}/missing")


def test_what_the_store_has_of_a_directory_counts(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Owners that the disk does not hold (or the default policy does not ask it for) are no change."""
    image = store.commit(tree, "own", owner=(12, 34))
    one, two = store.unpack(image, tmp_path / "one"), store.unpack(image, tmp_path / "two")
    before = treering.scan(one, store=store)
    assert list(store.diff(one, base=image)) == []
    assert list(treering.diff(image, one)) == []
    assert list(treering.diff(one, two, store=store)) == []
    assert list(treering.diff(before, one, store=store)) == []
    assert list(treering.diff(one, image, store=store, compare="metadata")) == []
    everything = treering.diff(one, store=store)
    assert {(change.new.uid, change.new.gid) for change in everything if change.new} == {(12, 34)}
    # The store of an image is asked, on whichever side it is. Without a store there are no owners.
    assert list(treering.diff(one, image)) == []
    unknown = treering.diff(treering.scan(one), image, compare="metadata")
    assert {reason for change in unknown for reason in change.reasons} >= {"owner"}

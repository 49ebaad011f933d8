"""Archives, through paths and through file objects."""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import pathlib
import stat
import tarfile
import threading
from collections.abc import Callable

import pytest

import treering


@pytest.mark.parametrize("format", ["docker-archive", "oci-archive"])
def test_save_and_load(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path, format: str) -> None:
    image = store.commit(tree, "app:v1")
    out = io.BytesIO()
    store.save(["app:v1"], out, format=format)  # type: ignore[arg-type]
    store.save([image], tmp_path / "app.tar", format=format)  # type: ignore[arg-type]
    assert (tmp_path / "app.tar").read_bytes() == out.getvalue()
    store.save(["app:v1"], tmp_path / "app.tar", format=format)  # type: ignore[arg-type]
    assert (tmp_path / "app.tar").read_bytes() == out.getvalue()
    with tarfile.open(tmp_path / "app.tar") as tar:
        assert ("manifest.json" in tar.getnames()) == (format == "docker-archive")

    for source in (tmp_path / "app.tar", io.BytesIO(out.getvalue())):
        other = treering.Store(tmp_path / f"other{id(source)}")
        [loaded] = other.load(source)
        assert loaded == treering.Loaded("app:v1", image.digest, image.id)
        assert other.image("app:v1") == image
        assert other.fsck()


def test_what_a_path_leads_to_is_written(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app:v1")
    snapshot = treering.scan(tree)
    difference = treering.diff(treering.scan(tree), tree)
    device = pathlib.Path("/dev/null")
    if os.geteuid() == 0:
        # A device of our own: what replaced one must not replace the machine's.
        device = tmp_path / "null"
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    writers: list[Callable[[pathlib.Path], object]] = [
        lambda path: store.save(["app:v1"], path),
        lambda path: store.export("app:v1", path),
        lambda path: treering.layer_create(difference, path),
        snapshot.save,
    ]
    for number, write in enumerate(writers):
        root = tmp_path / str(number)
        root.mkdir()
        write(root / "plain")
        size = (root / "plain").stat().st_size
        (root / "file").write_text("secret")
        (root / "file").chmod(0o600)
        (root / "link").symlink_to("file")
        write(root / "link")
        assert (root / "link").is_symlink()
        status = (root / "file").stat()
        assert (status.st_mode & 0o7777, status.st_size) == (0o600, size)

        os.mkfifo(root / "fifo")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            reader = pool.submit((root / "fifo").read_bytes)
            write(root / "fifo")
            assert len(reader.result()) == size
        assert (root / "fifo").is_fifo()

        with open(root / "file", "r+b", buffering=0) as file:
            file.seek(3)
            write(pathlib.Path(f"/dev/fd/{file.fileno()}"))
            assert file.tell() == size + 3
        write(device)
        assert device.is_char_device()


def test_to_wait_for_the_reader_of_a_fifo_can_be_cancelled(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    store.commit(tree, "app:v1")
    os.mkfifo(tmp_path / "fifo")
    cancel = treering.progress.Cancel()
    timer = threading.Timer(0.2, cancel.cancel)
    timer.start()
    with pytest.raises(treering.CancelledError):
        store.save(["app:v1"], tmp_path / "fifo", progress=cancel)
    timer.join()


def test_names_of_an_archive(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = store.commit(tree, "app:v1")
    store.save(["app:v1"], tmp_path / "app.tar")
    (tree / "new").touch()
    second = store.commit(tree, "app:v1")
    with pytest.raises(treering.AlreadyExistsError):
        store.load(tmp_path / "app.tar")
    assert store.load(tmp_path / "app.tar", names="ignore")[0].name is None
    assert store.image("app:v1") == second
    store.load(tmp_path / "app.tar", names="move")
    assert store.image("app:v1") == first
    with pytest.raises(treering.InvalidArgumentError):
        store.load(tmp_path / "app.tar", names="whatever")  # type: ignore[arg-type]
    with pytest.raises(treering.InvalidArgumentError):
        store.save(["app:v1"], tmp_path / "x.tar", format="zip")  # type: ignore[arg-type]
    assert not (tmp_path / "x.tar").exists()


def test_what_is_in_a_layer(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    before = treering.scan(tree)
    (tree / "etc/motd").unlink()
    (tree / "etc/caf\udce9").write_text("bytes")
    os.link(tree / "etc/hostname", tree / "etc/other")
    file = tmp_path / "layer.tar.zst"
    treering.layer_create(treering.diff(before, tree), file, compression="zstd")
    listed = treering.layer_list(file)
    assert [entry.path for entry in listed] == [
        "etc", "etc/.wh.motd", "etc/caf\udce9", "etc/hostname", "etc/other"
    ]
    assert [entry.kind for entry in listed] == ["directory", "file", "file", "file", "hardlink"]
    assert listed[4].link == "etc/hostname"
    assert listed[2].size == 5 and listed[2].mtime_ns > 1_600_000_000 * 10**9
    with open(file, "rb") as stream:
        assert treering.layer_list(stream) == listed
    with pytest.raises(treering.CorruptError):
        treering.layer_list(io.BytesIO(file.read_bytes()[:-9]))
    with pytest.raises(treering.CancelledError):
        treering.layer_list(file, progress=lambda _: True)
    with pytest.raises(treering.LimitError):
        treering.layer_list(file, max_bytes=1)
    with pytest.raises(treering.LimitError):
        treering.layer_list(file, max_entries=1)
    with pytest.raises(treering.LimitError):
        treering.layer_list(file, max_memory=1)
    assert treering.layer_list(file, max_bytes=1 << 20, max_entries=100, max_ratio=9, max_memory=1 << 20) == listed


def test_export_and_import(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1")
    for source in ("app:v1", image, tree, os.fsencode(tree)):
        out = io.BytesIO()
        store.export(source, out)
        with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
            assert tar.extractfile("etc/motd").read() == b"welcome\n"  # type: ignore[union-attr]
    store.export("app:v1", tmp_path / "root.tar")
    assert (tmp_path / "root.tar").stat().st_size > 0

    made = store.import_(tmp_path / "root.tar", "imported:v1", changes=["CMD x"], author="me", compression="zstd")
    assert made.name == "imported:v1"
    assert made.author == "me"
    assert made.layers[0].media_type.endswith("zstd")
    assert made.committed is not None and made.committed.layer is not None
    assert [change.path for change in treering.diff(image, made)] == []
    with open(tmp_path / "root.tar", "rb") as file:
        kept = store.import_(file, created=0)
    assert kept.layers[0].diff_id == kept.layers[0].digest
    assert kept.created == "1970-01-01T00:00:00Z"
    with pytest.raises(treering.InvalidArgumentError):
        store.import_(tmp_path / "root.tar", level=3)


def test_what_is_no_archive(store: treering.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.NotFoundError):
        store.load(tmp_path / "absent.tar")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as out:
        out.addfile(tarfile.TarInfo("x"))
    with pytest.raises(treering.InvalidArgumentError, match="not an image archive"):
        store.load(io.BytesIO(tar.getvalue()))
    with pytest.raises(treering.NotFoundError):
        store.save(["absent"], tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_a_pipe_is_a_file(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    import threading

    store.commit(tree, "app:v1")
    other = treering.Store(tmp_path / "other")
    read, write = os.pipe()

    def send() -> None:
        with open(write, "wb") as file:
            store.save(["app:v1"], file)

    thread = threading.Thread(target=send)
    thread.start()
    with open(read, "rb") as file:
        [loaded] = other.load(file)
    thread.join()
    assert loaded.name == "app:v1"
    assert json.loads(other.image("app:v1").config_bytes) == store.image("app:v1").config

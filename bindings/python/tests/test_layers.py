"""Layers of images as streams, and their entries with their content."""

import copy
import hashlib
import io
import pickle
import tarfile
from pathlib import Path

import pytest

import treering


@pytest.fixture
def image(tmp_path: Path) -> treering.Image:
    store = treering.Store(tmp_path / "store")
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "large").write_bytes(b"0123456789abcdef" * 200_000)
    (tree / "etc" / "small").write_bytes(b"small\n")
    (tree / "link").symlink_to("etc/small")
    store.commit(tree, "app:1")
    (tree / "etc" / "small").unlink()
    (tree / "etc" / "empty").write_bytes(b"")
    return store.commit(tree, "app:2")


def test_the_blob_and_the_tar_of_a_layer_are_streams(image: treering.Image) -> None:
    for layer in image.layers:
        with layer.open() as blob:
            data = blob.read()
        assert (len(data), "sha256:" + hashlib.sha256(data).hexdigest()) == (layer.size, layer.digest)
        with layer.open_tar() as tar:
            data = tar.read()
        assert "sha256:" + hashlib.sha256(data).hexdigest() == layer.diff_id
    with image.layers[0].open_tar() as tar, tarfile.open(fileobj=tar, mode="r|") as archive:
        assert "etc/large" in [member.name for member in archive]


def test_a_layer_is_iterated_with_its_contents(image: treering.Image) -> None:
    first, second = image.layers
    seen = {file.entry.path: (file.entry.kind, file.read()) for file in first}
    assert seen["etc/small"] == ("file", b"small\n")
    assert seen["etc/large"] == ("file", b"0123456789abcdef" * 200_000)
    assert seen["link"] == ("symlink", b"")
    assert seen["etc"][0] == "directory"
    with second.open() as blob:
        assert [file.entry for file in second] == treering.layer_list(blob)
    assert {file.entry.path for file in second} >= {"etc/.wh.small", "etc/empty"}
    # In parts, and not at all.
    for file in first.files():
        if file.entry.path == "etc/large":
            assert file.read(16) == b"0123456789abcdef"
            assert io.BufferedReader(file).readline(20) == b"0123456789abcdef0123"


def test_an_entry_ends_with_the_next(image: treering.Image) -> None:
    files = list(image.layers[0])
    with pytest.raises(ValueError, match="next entry"):
        files[0].read()


def test_a_layer_that_is_not_what_it_should_be_is_an_error(image: treering.Image, tmp_path: Path) -> None:
    layer = image.layers[0]
    with pytest.raises(treering.LimitError):
        list(layer.files(max_entries=1))
    blob = tmp_path / "store" / "oci" / "blobs" / "sha256" / layer.digest.removeprefix("sha256:")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    with pytest.raises(treering.CorruptError), layer.open() as stream:
        stream.read()
    with pytest.raises(treering.CorruptError):
        list(layer)


def test_a_layer_is_plain_data_all_the_same(image: treering.Image) -> None:
    layer = image.layers[1]
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other == layer and hash(other) == hash(layer)
        with other.open() as blob:
            assert len(blob.read()) == layer.size
    alone = treering.Layer(layer.digest, layer.size, layer.diff_id, layer.media_type)
    assert alone == layer and repr(alone) == repr(layer)
    with pytest.raises(ValueError, match="that an image gave"):
        alone.open()

"""Stores, images and trees."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

import pytest

import treering


def test_a_directory_becomes_an_image_and_a_directory_again(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    image = store.commit(tree, "app:v1", author="me", message="First", changes=['CMD ["/bin/sh"]', "ENV A=b"])
    assert image.name == "app:v1"
    assert image.tags == ["app:v1"]
    assert image.id.startswith("sha256:") and len(image.id) == 71
    assert image.short_id == image.id[7:19]
    assert image.author == "me"
    assert image.config["config"]["Cmd"] == ["/bin/sh"]
    assert image.config["config"]["Env"] == ["A=b"]
    assert json.loads(image.config_bytes) == image.config
    assert json.loads(image.manifest_bytes) == image.manifest
    [layer] = image.layers
    assert layer.digest == image.manifest["layers"][0]["digest"]
    assert layer.diff_id == image.config["rootfs"]["diff_ids"][0]
    assert layer.media_type.endswith("+gzip")
    assert image.size > layer.size
    [row] = image.history()
    assert (row.id, row.comment, row.diff_id) == (image.id, "First", layer.diff_id)
    inspected = image.inspect()
    assert inspected["Id"] == image.id
    assert inspected["RepoTags"] == ["app:v1"]
    assert image.committed is not None
    assert image.committed.stat.added == 6
    assert image.committed.layer is not None
    assert image.committed.layer.digest == layer.digest

    copy = store.unpack("app:v1", tmp_path / "copy")
    assert isinstance(copy, treering.Tree)
    assert copy.path == tmp_path / "copy"
    assert os.fspath(copy) == str(tmp_path / "copy")
    assert copy.image == image
    assert copy.unpacked.entries == 6
    assert (copy.path / "etc/hostname").read_text() == "oak\n"
    assert os.readlink(copy.path / "bin/bash") == "sh"
    assert list(copy.diff()) == []


def test_changes_become_a_layer(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = store.commit(tree, "app:v1")
    work = store.unpack(first, tmp_path / "work")
    (work.path / "etc/motd").unlink()
    (work.path / "etc/hostname").write_text("elm\n")
    (work.path / "new").mkdir()
    diff = work.diff()
    assert [(c.letter, c.kind, c.path) for c in diff] == [
        ("C", "changed", "etc"),
        ("C", "changed", "etc/hostname"),
        ("D", "deleted", "etc/motd"),
        ("A", "added", "new"),
    ]
    assert diff.stat == treering.Stat(added=1, changed=2, deleted=1, bytes=4)
    second = work.commit("app:v2", message="Second")
    assert work.image is second
    assert [layer.digest for layer in second.layers][:1] == [first.layers[0].digest]
    assert len(second.layers) == 2
    assert len(work.diff()) == 0
    assert {c.path for c in work.diff(first)} == {c.path for c in diff}
    flat = store.commit(work, "app:flat", squash=True)
    assert len(flat.layers) == 1


def test_the_same_tree_gives_the_same_bytes(store: treering.Store, tree: pathlib.Path) -> None:
    a = store.commit(tree, "a", base="scratch", created=1_600_000_000, threads=1)
    when = datetime.datetime(2020, 9, 13, 12, 26, 40, tzinfo=datetime.timezone.utc)
    b = store.commit(tree, "b", base="scratch", created=when, threads=4)
    assert a.digest == b.digest
    assert a == b and hash(a) == hash(b)
    assert a.created == "2020-09-13T12:26:40Z"
    c = store.commit(tree, "c", base="scratch", reproducible=True)
    assert c.created == "1970-01-01T00:00:00Z"
    assert c.layers != a.layers  # no time stamp is later than 1970
    assert c == store.commit(tree, "c", base="scratch", reproducible=True)


def test_options_reach_the_image(store: treering.Store, tree: pathlib.Path) -> None:
    image = store.commit(
        tree,
        compression="zstd",
        level=1,
        platform="linux/arm64",
        annotations={"org.example": "yes"},
        owner=(7, 8),
    )
    assert image.name is None
    assert image.tags == []
    assert image.platform == "linux/arm64"
    assert image.annotations == {"org.example": "yes"}
    assert image.layers[0].media_type.endswith("+zstd")
    entry = image.contents()["etc/motd"]
    assert (entry.uid, entry.gid) == (7, 8)
    assert entry.digest is not None and entry.digest.startswith("sha256:")


def test_names(store: treering.Store, tree: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1")
    store.tag("app:v1", "other")
    assert [(ref.name, ref.digest) for ref in store.refs()] == [
        ("app:v1", image.digest),
        ("other:latest", image.digest),
    ]
    assert store.resolve("other") == image.digest
    assert set(image.tags) == {"app:v1", "other:latest"}
    assert "other" in store and "absent" not in store and store.image("other") in store
    assert store.image(image.id[7:15]) == image
    assert [found.name for found in store.images()] == ["app:v1", "other:latest"]
    store.untag("other")
    assert store.remove(image) == ["app:v1"]
    assert store.images() == []


def test_keeping_house(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1", base="scratch")
    usage = store.usage()
    assert usage.images[0].names == ["app:v1"]
    assert usage.images[0].digest == image.digest
    assert usage.blob_bytes == image.size
    report = store.fsck()
    assert report and report.problems == []
    assert report.blobs == 3
    other = treering.Store(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    victim = other.commit(tmp_path / "empty", "gone")
    other.untag("gone")
    (tmp_path / "empty").rmdir()
    would = other.prune(dry_run=True)
    done = other.prune(wait=5)
    assert done.bytes == would.bytes
    assert "gone" not in other
    assert victim.config  # what was read before stays

    blob = pathlib.Path(store.path, "oci/blobs/sha256", image.layers[0].digest[7:])
    blob.chmod(0o600)
    blob.write_bytes(blob.read_bytes()[::-1])
    report = store.fsck("bytes")
    assert not report
    assert report.problems[0].kind == "wrong-digest"
    assert store.fsck("reachability")


def test_prune_lets_go_of_names_and_trees(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    image = store.commit(tree, "app:v1", base="scratch")
    store.commit(tree, "other:v1", base="scratch", message="other")
    store.unpack("app:v1", tmp_path / "work")
    shutil.rmtree(tree)
    would = store.prune(unused_names=True, lost_trees=True, dry_run=True)
    assert would.forgotten == [str(tree)]
    done = store.prune(lost_trees=True)
    assert (done.forgotten, done.untagged) == ([str(tree)], [])
    done = store.prune(unused_names=True)
    assert done.untagged == ["docker.io/library/other:v1"] or done.untagged == ["other:v1"]
    assert [one.name for one in store.images()] == ["app:v1"]
    store.untag("app:v1")
    shutil.rmtree(tmp_path / "work")
    done = store.prune(lost_trees=True, keep_untagged=True, keep=[image.digest])
    assert done.forgotten and not done.blobs
    assert store.prune().blobs
    with pytest.raises(treering.InvalidArgumentError):
        store.prune(keep=["sha256:12"])


def test_what_the_store_has_of_a_tree(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    store.commit(tree, "app", owner="7:8")
    assert {entry.uid for entry in treering.scan(tree, store=store)} == {7}
    assert {entry.uid for entry in treering.scan(tree)} == {0}
    assert {entry.uid for entry in treering.scan(tree, store=store, owner="1:1")} == {1}
    treering.layer_create(treering.diff(tree), tmp_path / "layer")
    (tmp_path / "applied").mkdir()
    ledger = treering.layer_apply(tmp_path / "layer", tmp_path / "applied").ledger
    with pytest.raises(treering.InvalidArgumentError, match="one of the two"):
        treering.scan(tree, store=store, ledger=ledger)
    info = store.info()
    assert info["store"] == {"root": store.path, "images": 1, "trees": 1}
    assert set(treering.info()["abilities"]) <= set(info["abilities"])


def test_a_tree_is_cloned(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app:v1")
    work = store.unpack("app:v1", tmp_path / "work")
    (work.path / "new").write_text("new")
    copy = work.clone(tmp_path / "copy")
    assert (copy.image.id, copy.unpacked.losses) == (work.image.id, [])
    assert [str(change) for change in copy.diff()] == [str(change) for change in work.diff()] != []
    assert copy.commit("app:v2").layers[-1].diff_id == work.commit("app:v3").layers[-1].diff_id
    with store.clone(copy, tmp_path / "other", temporary=True, sync=True, threads=1) as other:
        assert (other.path / "new").read_text() == "new"
    assert not other.path.exists()
    with pytest.raises(treering.NotFoundError):
        store.clone(tmp_path, tmp_path / "none")


def test_a_tree_is_checked_out(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = store.commit(tree, "app:v1")
    work = store.unpack("app:v1", tmp_path / "work")
    inode = (work.path / "new").write_text("new") and os.stat(work.path).st_ino
    second = work.commit("app:v2")
    (work.path / "new").write_text("newer")
    with pytest.raises(treering.InUseError, match="C /new"):
        work.checkout(first)
    assert work.checkout("app:v1", discard=True, dry_run=True).changes == [("changed", ""), ("deleted", "new")]
    report = work.checkout(first, discard=True)
    assert (report.image.id, report.removed, report.losses, work.image.id) == (first.id, 1, [], first.id)
    assert (list(work.diff()), os.stat(work.path).st_ino) == ([], inode)
    assert work.checkout("-").image.id == second.id
    assert (work.path / "new").read_text() == "new"
    assert store.checkout("app:v1", tmp_path / "fresh", threads=1, sync=True).written > 0


def test_caps_of_unpacking(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app")
    for caps in ({"max_bytes": 10}, {"max_entries": 2}):
        with pytest.raises(treering.LimitError):
            store.unpack("app", tmp_path / "work", **caps)  # type: ignore[arg-type]
    store.unpack("app", tmp_path / "work", max_bytes=1 << 20, max_entries=100, lenient=True)
    store.save(["app"], tmp_path / "app.tar")
    store.export("app", tmp_path / "plain.tar")
    for caps in ({"max_bytes": 1000}, {"max_entries": 1}):
        with pytest.raises(treering.LimitError):
            store.load(tmp_path / "app.tar", **caps)  # type: ignore[arg-type]
        with pytest.raises(treering.LimitError):
            store.import_(tmp_path / "plain.tar", **caps)  # type: ignore[arg-type]
    store.load(tmp_path / "app.tar", max_bytes=1 << 20, max_entries=100)


def test_a_store_is_a_context_manager(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    with treering.Store(os.fsencode(tmp_path / "store")) as store:
        image = store.commit(tree, "app")
        assert str(tmp_path / "store") in repr(store)
        assert not store.closed
    assert "closed" in repr(store) and [store.closed] == [True]
    with pytest.raises(treering.InvalidArgumentError, match="closed"):
        store.images()
    with pytest.raises(treering.InvalidArgumentError, match="closed"), store:
        pass
    store.close()
    assert image.history()  # an image keeps what it needs


def test_a_temporary_tree_goes(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app")
    with store.unpack("app", tmp_path / "a", temporary=True) as temporary:
        assert (temporary.path / "etc/motd").exists()
    assert not (tmp_path / "a").exists()
    with store.unpack("app", tmp_path / "b") as kept:
        pass
    assert kept.path.exists()
    kept.remove()
    kept.remove()
    assert not kept.path.exists()


def test_the_default_store_is_where_the_environment_says(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREERING_ROOT", str(tmp_path / "here"))
    assert treering.Store().path == str(tmp_path / "here")
    assert treering.info()["default_store"] == str(tmp_path / "here")


def test_overlay_upper_directories(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    store.commit(tree, "app:v1")
    upper = tmp_path / "upper"
    (upper / "etc").mkdir(parents=True)
    (upper / "etc/motd").write_text("changed\n")
    diff = treering.diff_overlay(upper, [tree])
    assert "etc/motd" in [change.path for change in diff]
    image = store.commit(upper, "app:v2", base="app:v1", lowers=[tree])
    assert len(image.layers) == 2


def test_reprs_help(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    image = store.commit(tree, "app:v1")
    assert repr(image) == f"<treering.Image app:v1 {image.short_id} {image.platform} of 1 layers>"
    copy = store.unpack("app:v1", tmp_path / "copy")
    assert repr(copy) == f"<treering.Tree {str(tmp_path / 'copy')!r} of {image.short_id}>"
    (copy.path / "etc/motd").chmod(0o600)
    diff = copy.diff()
    assert repr(diff) == "<treering.Diff: 0 added, 2 changed, 0 deleted>"
    assert repr(diff[1]) == "<treering.Change changed /etc/motd (mode)>"
    assert repr(diff.new["etc/motd"]).startswith("<treering.Entry file /etc/motd 0600")
    assert repr(diff.new) == "<treering.Snapshot of 7 entries>"


def test_caps(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    path = tmp_path / "store"
    image = treering.Store(path).commit(tree, "app")
    (tree / "more").write_text("more")
    for cap, number in {"document_bytes": 100, "document_depth": 2, "layers": 1, "blob_bytes": 50}.items():
        limit: dict[str, Any] = {f"max_{cap}": number}
        with pytest.raises(treering.LimitError):
            treering.Store(path, **limit).commit(tree, "app")
    with pytest.raises(treering.InvalidArgumentError):
        treering.Store(path, max_layers=-1)
    # An index in an index.
    index = json.loads((path / "oci/index.json").read_text())
    inner = json.dumps({"schemaVersion": 2, "manifests": [
        {**index["manifests"][0], "annotations": {}, "platform": {"os": "linux", "architecture": "amd64"}}
    ]}).encode()
    digest = hashlib.sha256(inner).hexdigest()
    (path / "oci/blobs/sha256" / digest).write_bytes(inner)
    index["manifests"].append({
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{digest}", "size": len(inner),
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
    })
    (path / "oci/index.json").write_text(json.dumps(index))
    assert treering.Store(path).image("multi", platform="linux/amd64").id == image.id
    with pytest.raises(treering.LimitError, match="nested more than 1 deep"):
        treering.Store(path, max_index_depth=1).image("multi", platform="linux/amd64")


def test_a_store_without_layer_indexes(tmp_path: pathlib.Path, tree: pathlib.Path) -> None:
    path = tmp_path / "store"
    for without in (True, False):
        store = treering.Store(path, no_layer_index=without)
        assert store.layout == str(path / "oci")
        image = store.commit(tree, "app", base="scratch", message=str(without))
        assert image.path("/etc/hostname").read_text() == "oak\n"
        assert (store.usage().index_bytes == 0) is without


def test_a_dockerfile_becomes_an_image(store: treering.Store, tmp_path: pathlib.Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("content\n")
    (context / "Dockerfile").write_text("FROM scratch\nARG V=1\nCOPY file /app/\nENV V=$V\n")
    options: dict[str, Any] = {
        "tags": ["app:v1", "app:latest"],
        "build_args": {"V": "2"},
        "labels": {"a": "b"},
    }
    image = store.build(context, **options)
    assert image.tags == ["app:latest", "app:v1"] or image.tags == ["app:v1", "app:latest"]
    assert "V=2" in image.config["config"]["Env"]
    assert image.config["config"]["Labels"] == {"a": "b"}
    assert [entry.path for entry in image.contents()] == ["", "app", "app/file"]
    assert store.build(context, **options) == image
    text = store.build(context, dockerfile_text="FROM app:v1\nUSER 5\n", reproducible=True)
    assert text.config["created"] == "1970-01-01T00:00:00Z"
    with pytest.raises(treering.Error, match="unknown instruction") as raised:
        store.build(context, dockerfile_text="FROM scratch\nCPOY a b\n")
    assert raised.value.hint == "did you mean COPY?"
    with pytest.raises(treering.Error):
        store.build(context, dockerfile="x", dockerfile_text="FROM scratch")


def test_a_build_attests_what_it_made(store: treering.Store, tmp_path: pathlib.Path) -> None:
    text = "FROM scratch\nCOPY <<A /a\n1\nA\n"
    plain = store.build(tmp_path, dockerfile_text=text, tags=["plain"])
    for provenance in (True, "mode=max,builder-id=https://ci.example/7"):
        made = store.build(tmp_path, dockerfile_text=text, tags=["app"], provenance=provenance, sbom=True)
        assert made.id == plain.id
        assert store.image("app").id == plain.id
        (index,) = {str(ref.digest) for ref in store.refs() if "app" in str(ref.name)}
        assert index != str(made.digest)
    with pytest.raises(treering.Error, match="provenance has no field"):
        store.build(tmp_path, dockerfile_text=text, provenance="most")


def test_a_build_cache_is_shared_and_pruned(store: treering.Store, tmp_path: pathlib.Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_text("content\n")
    text = "FROM scratch\nCOPY file /file\n"
    cache = tmp_path / "cache"
    image = store.build(context, dockerfile_text=text, tags=["app"], cache_to=[f"type=local,dest={cache},mode=max"])
    other = treering.Store(tmp_path / "other")
    assert other.build(context, dockerfile_text=text, cache_from=[f"type=local,src={cache}"]).id == image.id
    with pytest.raises(treering.Error, match="no build cache of type"):
        store.build(context, dockerfile_text=text, cache_to=["type=gha"])
    usage = store.usage()
    assert usage.cache_records == 1
    assert usage.cache_bytes > 0
    assert store.prune(build_cache=True).records == 0, "the image needs the layer"
    assert store.prune(all_build_cache=True, keep_storage=1 << 20).records == 0
    assert store.prune(all_build_cache=True, unused_for=3600.0).records == 0
    assert store.prune(all_build_cache=True, dry_run=True).records == 1
    assert store.prune(all_build_cache=True).records == 1
    assert store.usage().cache_records == 0
    with pytest.raises(treering.Error):
        store.prune(build_cache=True, unused_for=-1.0)


def test_an_image_out_of_an_image(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = store.commit(tree, "app:v1")
    (tree / "more").write_text("more")
    second = store.commit(tree, "app:v2")
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    image = store.edit("app:v2", "app:v3", changes=["ENV A=b"], labels={"tier": "web"}, created=when, message="Why")
    assert image.name == "app:v3"
    assert image.created == "2026-01-02T00:00:00Z"
    assert image.config["config"]["Labels"] == {"tier": "web"}
    assert image.layers == second.layers
    assert image.history()[0].comment == "Why"
    assert second.edit(drop_last=1).layers == first.layers
    [layer] = second.edit("app:one", squash=True, annotations={"a": "b"}).layers
    assert store.image("app:one").annotations == {"a": "b"}
    assert store.image("app:one").path("/more").read_text() == "more"
    assert len(second.edit(squash=1).layers) == 2
    treering.layer_create(treering.diff(tree), tmp_path / "layer.tar.gz")
    with (tmp_path / "layer.tar.gz").open("rb") as file:
        both = store.edit(first, "app:both", append=[tmp_path / "layer.tar.gz", file])
    assert len(both.layers) == len(first.layers) + 2
    assert both.layers[-1] == both.layers[-2]
    with pytest.raises(treering.InvalidArgumentError, match="not built on the old base"):
        store.edit("app:v2", rebase=("app:one", "app:v1"))
    rebased = store.edit("app:v2", rebase=(first, "app:one"))
    assert rebased.layers == [layer, second.layers[-1]]
    with pytest.raises(TypeError):
        store.edit("app:v2", squash="all")  # type: ignore[arg-type]

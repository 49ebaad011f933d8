"""Bad use: an exception under one base, with operation, place and message."""

from __future__ import annotations

import errno
import io
import itertools
import pathlib
import pickle
import threading
from collections.abc import Callable

import pytest

import treering


def test_every_kind_has_a_class() -> None:
    from treering._errors import Error

    classes = set(Error._kinds.values())
    assert sorted(one.code for one in classes) == list(range(1, 21))
    for kind, one in Error._kinds.items():
        assert (one.kind, one("m").kind, one("m").code) == (kind, kind, one.code)
    assert all(issubclass(one, treering.Error) for one in classes)
    assert all(one.__name__ in treering.__all__ for one in classes)
    assert issubclass(treering.NotFoundError, KeyError)
    assert issubclass(treering.InvalidArgumentError, ValueError)


def test_an_error_says_all(store: treering.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.NotFoundError) as caught:
        store.image("absent:v1")
    error = caught.value
    assert (error.code, error.kind, error.path) == (2, "not-found", "absent:v1")
    assert error.operation and error.message
    assert error.hint == "Store.images() lists what is in the store"
    assert str(error).startswith(f"{error.operation}: absent:v1: {error.message}")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is treering.NotFoundError
    assert (str(copy), copy.code, copy.hint) == (str(error), error.code, error.hint)


def test_an_error_has_exit_code_and_place(store: treering.Store) -> None:
    from treering._treering import _fail

    with pytest.raises(treering.CommandFailedError) as caught:
        _fail()
    error = caught.value
    assert (error.code, error.kind, error.exit_code) == (17, "command-failed", 7)
    assert error.location == treering.Location("Dockerfile", 3, 5, "RUN make")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is treering.CommandFailedError
    assert (copy.exit_code, copy.location, str(copy)) == (7, error.location, str(error))
    with pytest.raises(treering.NotFoundError) as other:
        store.image("absent:v1")
    assert (other.value.exit_code, other.value.location) == (None, None)


def test_the_system_is_the_cause(store: treering.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.NotFoundError) as caught:
        store.commit(tmp_path / "absent", "app")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOENT
    assert caught.value.path is not None and caught.value.path.endswith("absent")


def test_what_is_there_stays(store: treering.Store, tree: pathlib.Path) -> None:
    store.commit(tree, "app")
    with pytest.raises(treering.AlreadyExistsError) as caught:
        store.unpack("app", tree)
    assert caught.value.hint
    assert caught.value.hint in str(caught.value)


def test_bad_arguments(store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    bad = treering.InvalidArgumentError
    with pytest.raises(bad, match="gzip levels"):
        store.commit(tree, "app", level=99)
    with pytest.raises(bad):
        store.commit(tree, "app", compression="lzma")  # type: ignore[arg-type]
    with pytest.raises(bad):
        store.commit(tree, "UPPER CASE")
    with pytest.raises(bad):
        store.commit(tree, "app", changes=["NONSENSE 1"])
    with pytest.raises(bad):
        store.commit(tree, "app", owner="nobody knows")
    with pytest.raises(bad):
        store.diff(tree, compare="hard")  # type: ignore[arg-type]
    with pytest.raises(bad):
        store.fsck("everything")  # type: ignore[arg-type]
    with pytest.raises(bad):
        store.prune(wait=-1)
    with pytest.raises(bad):
        store.commit(tree, "app", platform="a/b/c/d")
    with pytest.raises(bad, match="null byte"):
        store.commit("a\0b")
    with pytest.raises(bad, match="is empty"):
        treering.Store("")
    with pytest.raises(bad, match="stand for no bytes"):
        treering.scan("\ud800")
    for created in (1 << 70, 1e300, float("nan"), 10**400):
        with pytest.raises(bad, match="time out of range"):
            store.commit(tree, "app", created=created)
    with pytest.raises(bad, match="out of range"):
        store.commit(tree, "app", owner=(1 << 40, 0))
    with pytest.raises(bad, match="out of range"):
        store.commit(tree, "app", level=1 << 40)
    with pytest.raises(bad, match="out of range"):
        store.unpack("app", tmp_path / "x", max_bytes=-1)
    with pytest.raises(bad, match="out of range"):
        treering.scan(tree, threads=1 << 70)
    with pytest.raises(TypeError):
        store.commit(3.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.commit(tree, "app", changes="CMD x")  # a str is no list of instructions
    with pytest.raises(TypeError):
        store.commit(tree, "app", owner=5)  # type: ignore[arg-type]
    with pytest.raises(bad, match="RFC 3339"):
        store.commit(tree, "app", created="yesterday")
    with pytest.raises(treering.Error):
        store.commit(1 << 20)  # no descriptor of a directory
    with pytest.raises(TypeError):
        store.image(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.commit(tree, "app", surprise=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"a path or an object with read\(\), not int"):
        treering.layer_apply(3, tmp_path)
    with pytest.raises(bad, match="out of range"):
        store.commit(tree, "app", threads=-1)
    assert store.images() == []


def test_damaged_layers(tmp_path: pathlib.Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(treering.CorruptError):
        treering.layer_apply(io.BytesIO(b"\x1f\x8b\x08garbage"), target)
    with pytest.raises(treering.UnsupportedError):
        treering.layer_apply(io.BytesIO(b"\xfd7zXZ\0" + bytes(600)), target)


class Boom(Exception):
    pass


class Broken:
    def read(self, size: int) -> bytes:
        raise Boom("no more")

    def write(self, data: bytes) -> int:
        raise Boom("full")


def test_a_failing_file_object_is_the_cause(tree: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.CallbackError, match="Boom: full") as caught:
        treering.layer_create(treering.diff(tree), Broken())
    assert isinstance(caught.value.__cause__, Boom)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(treering.CallbackError, match="Boom: no more") as caught:
        treering.layer_apply(Broken(), target)
    assert isinstance(caught.value.__cause__, Boom)
    assert caught.value.code == 14


@pytest.mark.parametrize("answer", [None, "text", 5, b"x" * (1 << 21), object()])
def test_file_objects_that_answer_nonsense(tmp_path: pathlib.Path, answer: object) -> None:
    class Odd:
        def read(self, size: int) -> object:
            return answer

    with pytest.raises(treering.CallbackError):
        treering.layer_apply(Odd(), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [0, -1, 1 << 40, "all"])
def test_writers_that_answer_nonsense(tree: pathlib.Path, answer: object) -> None:
    class Odd:
        def write(self, data: bytes) -> object:
            return answer

    with pytest.raises(treering.CallbackError):
        treering.layer_create(treering.diff(tree), Odd())


def test_stop_wishes_pass_through(tree: pathlib.Path) -> None:
    class Leaving:
        def write(self, data: bytes) -> int:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        treering.layer_create(treering.diff(tree), Leaving())


def test_a_defect_is_an_exception() -> None:
    from treering._treering import _panic

    for _ in range(3):
        with pytest.raises(treering.InternalError, match="_panic was called") as caught:
            _panic()
    assert (caught.value.code, caught.value.operation) == (15, "panic")


def test_a_defect_on_any_thread_is_an_exception(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Each operation panics at every look whether it was cancelled in turn, until it gets through."""
    from treering._treering import _panic

    store.commit(tree, "app")
    layer = tmp_path / "layer.tar.gz"
    treering.layer_create(treering.diff(tree), layer)
    new = (tmp_path / f"new{number}" for number in itertools.count())
    operations: list[Callable[[], object]] = [
        lambda: treering.scan(tree),
        lambda: store.commit(tree, "again", base="scratch"),
        lambda: store.unpack("app", next(new)),
        lambda: treering.layer_apply(layer, next(new)),
        lambda: treering.layer_list(layer),
        lambda: store.fsck(),
    ]
    for operation in operations:
        for look in range(1, 1000):
            _panic(look)
            try:
                operation()
                break
            except treering.InternalError as error:
                assert error.code == 15 and error.operation
        assert 1 < look < 999
        assert threading.active_count() == 1
    assert store.fsck().problems == []


def test_text_is_text(store: treering.Store, tree: pathlib.Path) -> None:
    """Names and words are text; only paths may be any bytes."""
    store.commit(tree, "app")
    for call in (
        lambda: store.tag("app", "caf\udce9"),
        lambda: store.image("caf\udce9"),
        lambda: store.commit(tree, "app", author="caf\udce9"),
        lambda: store.commit(tree, "app", changes=["CMD caf\udce9"]),
        lambda: store.commit(tree, "app", annotations={"caf\udce9": ""}),
        lambda: store.commit(tree, "app", owner="caf\udce9"),
        lambda: store.commit(tree, "app", compression="caf\udce9"),  # type: ignore[arg-type]
        lambda: store.image("app", platform="caf\udce9"),
        lambda: store.resolve("caf\udce9"),
        lambda: store.untag("caf\udce9"),
        lambda: store.fsck("caf\udce9"),  # type: ignore[arg-type]
        lambda: store.prune(keep=["caf\udce9"]),
        lambda: store.save(["app"], io.BytesIO(), format="caf\udce9"),  # type: ignore[arg-type]
        lambda: store.load(io.BytesIO(), names="caf\udce9"),  # type: ignore[arg-type]
        lambda: "caf\udce9" in store,
    ):
        with pytest.raises(treering.InvalidArgumentError):
            call()
    with pytest.raises(treering.InvalidArgumentError):
        store.tag("app", "a\0b")
    assert len(store.images()) == 1


def test_no_signature_hides_a_default() -> None:
    import inspect

    functions = [getattr(treering, name) for name in ("diff", "diff_overlay", "scan", "layer_create", "layer_apply", "layer_list")]
    functions += [getattr(treering.Store, name) for name in dir(treering.Store) if not name.startswith("_")]
    for function in filter(callable, functions):
        for parameter in inspect.signature(function).parameters.values():
            assert parameter.default is not Ellipsis, (function, parameter)

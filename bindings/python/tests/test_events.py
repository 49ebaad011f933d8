"""Events of an operation, given to the caller's function."""

from __future__ import annotations

import pathlib
import threading

import pytest

import treering
from treering._treering import _events


def test_every_kind_comes_in_order() -> None:
    seen: list[treering.Event] = []
    threads = set()

    def take(event: treering.Event) -> None:
        seen.append(event)
        threads.add(threading.get_ident())

    _events(events=take)
    place = treering.Location("Dockerfile", 3, 5, "RUN make")
    assert seen == [
        treering.Event("started", step=1, stage="build", place=2, places=3, text="RUN make", location=place),
        treering.Event("output", step=1, stream="stderr", output=b"caf\xe9\n"),
        treering.Event("output-dropped", step=1, size=10),
        treering.Event("failed", step=1, text="the command failed"),
        treering.Event("transfer", step=2, digest="sha256:" + "ab" * 32, size=5, total=50),
        treering.Event("cached", step=2),
        treering.Event("finished", step=2, seconds=1.5, size=20),
        treering.Event("warning", rule="StageNameCasing", text="a stage has capitals", location=place),
    ]
    assert threads == {threading.get_ident()}
    _events()


def test_a_function_that_raises_is_the_cause() -> None:
    calls = 0

    def breaks(event: treering.Event) -> None:
        nonlocal calls
        calls += 1
        raise ValueError(event.kind)

    with pytest.raises(treering.CallbackError) as caught:
        _events(events=breaks)
    assert isinstance(caught.value.__cause__, ValueError)
    assert calls == 1


def test_a_build_says_what_happens(store: treering.Store, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("content\n")
    seen: list[treering.Event] = []
    text = "FROM scratch\nCOPY file /app/\nENV V=1\n"
    store.build(tmp_path, dockerfile_text=text, tags=["app:v1"], events=seen.append)
    started = {event.step: event for event in seen if event.kind == "started"}
    finished = {event.step: event for event in seen if event.kind == "finished"}
    assert started.keys() == finished.keys()
    copy = next(event for event in started.values() if "COPY file" in event.text)
    assert copy.location is not None and (copy.location.line, copy.location.text) == (2, "COPY file /app/")
    assert finished[copy.step].size > 0
    assert seen.index(copy) < seen.index(finished[copy.step])

    again: list[treering.Event] = []
    store.build(tmp_path, dockerfile_text=text, tags=["app:v1"], events=again.append)
    assert any(event.kind == "cached" for event in again)


def test_a_dockerfile_that_is_not_well_formed_has_a_place(store: treering.Store, tmp_path: pathlib.Path) -> None:
    with pytest.raises(treering.InvalidSyntaxError) as caught:
        store.build(tmp_path, dockerfile_text="FROM scratch\nCPOY a b\n")
    assert caught.value.location is not None
    assert (caught.value.location.line, caught.value.location.text) == (2, "CPOY a b")

"""Operations while they run: progress, threads, signals."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import treering


@pytest.fixture
def large(tmp_path: pathlib.Path) -> pathlib.Path:
    """Enough to keep an operation busy for a second or two."""
    root = tmp_path / "large"
    root.mkdir()
    for number in range(48):
        (root / f"file{number}").write_bytes(os.urandom(1 << 20))
    return root


def slow(store: treering.Store, tree: pathlib.Path, progress: treering.progress.ProgressFunction | None = None
) -> treering.Image:
    return store.commit(
        tree, "slow", base="scratch", compression="zstd", level=12, threads=1, progress=progress
    )


def test_progress_is_reported_on_the_calling_thread(store: treering.Store, large: pathlib.Path) -> None:
    seen: list[treering.Progress] = []
    threads: set[int] = set()

    def progress(now: treering.Progress) -> None:
        seen.append(now)
        threads.add(threading.get_ident())

    slow(store, large, progress)
    assert threads == {threading.get_ident()}
    assert len(seen) > 1
    assert [one.done for one in seen] == [False] * (len(seen) - 1) + [True]
    last = seen[-1]
    assert last.operation == "commit"
    # The tar of the layer: content, a header for each entry and the end.
    assert 48 << 20 < last.bytes_total < 49 << 20
    assert last.bytes_read == last.bytes_total
    assert last.bytes_written > 0 and last.entries >= 48
    assert [one.bytes_read for one in seen] == sorted(one.bytes_read for one in seen)


def test_a_true_answer_cancels(store: treering.Store, large: pathlib.Path) -> None:
    with pytest.raises(treering.CancelledError) as caught:
        slow(store, large, lambda progress: not progress.done)
    assert caught.value.kind == "cancelled"
    assert store.images() == []
    with pytest.raises(treering.CancelledError):
        treering.scan(large, progress=lambda _: True)  # before it has begun


def test_a_cancelled_file_is_not_read_from(store: treering.Store) -> None:
    class Slow:
        cancelled = False

        def read(self, size: int) -> bytes:
            assert not self.cancelled
            time.sleep(0.001)  # or there would be enough to see that it is no tar before anyone cancels
            return b"x" * min(size, 100)

    for read in (store.import_, store.load, treering.layer_list):
        slow = Slow()
        begun = False

        def progress(_: treering.Progress, slow: Slow = slow) -> bool:
            nonlocal begun
            slow.cancelled, begun = begun, True  # the first report comes before anything is read
            return slow.cancelled

        with pytest.raises(treering.CancelledError):
            read(slow, progress=progress)
        assert slow.cancelled


def commit_anew(root: str, tree: str, number: int) -> str:
    return treering.Store(root).commit(tree, f"child:{number}", base="scratch", message=str(number)).id


def test_forked_children_have_stores_of_their_own(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    store.commit(tree, "parent:1", base="scratch")
    with contextlib.ExitStack() as files:
        # What the children write must get none of these, whatever their numbers.
        for number in range(60):
            files.enter_context((tmp_path / f"open{number}").open("w"))
        with multiprocessing.get_context("fork").Pool(2) as pool:
            made = pool.starmap(commit_anew, [(str(tmp_path / "store"), str(tree), number) for number in range(4)])
        assert len(set(made)) == 4
        assert all((tmp_path / f"open{number}").stat().st_nlink == 1 for number in range(60))
    assert len(store.images()) == 5
    assert store.fsck().problems == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_an_idle_forked_pool_blocks_nobody(store: treering.Store, tree: pathlib.Path) -> None:
    """Its children have copies of the descriptors that another thread had locked when they were forked."""
    ended, made = threading.Event(), [0]

    def commit_on() -> None:
        while not ended.is_set():
            store.commit(tree, "busy:1", base="scratch", message=str(made[0]))
            made[0] += 1

    thread = threading.Thread(target=commit_on)
    thread.start()
    with contextlib.ExitStack() as pools:
        try:
            for _ in range(3):
                pools.enter_context(multiprocessing.get_context("fork").Pool(4))
            before, late = made[0], time.monotonic() + 60
            while made[0] < before + 5:
                assert time.monotonic() < late, "the store is locked by children that do nothing"
                time.sleep(0.01)
            store.prune()
        finally:
            ended.set()
            thread.join()


def test_what_a_callback_raises_is_the_cause(store: treering.Store, large: pathlib.Path) -> None:
    class Boom(Exception):
        pass

    def progress(_: treering.Progress) -> None:
        raise Boom("enough")

    start = time.monotonic()
    with pytest.raises(treering.CallbackError, match="Boom: enough") as caught:
        slow(store, large, progress)
    assert isinstance(caught.value.__cause__, Boom)
    assert caught.value.operation == "commit"
    assert time.monotonic() - start < 5
    assert store.images() == []


def test_stop_wishes_in_a_callback_pass_through(store: treering.Store, large: pathlib.Path) -> None:
    def progress(_: treering.Progress) -> None:
        sys.exit(7)

    with pytest.raises(SystemExit):
        slow(store, large, progress)


def test_a_callback_may_use_the_store(store: treering.Store, large: pathlib.Path) -> None:
    counts: list[int] = []
    slow(store, large, lambda _: counts.append(len(store.images())))
    assert counts[-1] == 1 and counts[0] == 0


def test_other_threads_run_meanwhile(store: treering.Store, large: pathlib.Path) -> None:
    ticks = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not stop.wait(0.005):
            ticks += 1

    thread = threading.Thread(target=count)
    thread.start()
    slow(store, large)
    stop.set()
    thread.join()
    assert ticks > 10


def test_eight_threads_commit_at_once(store: treering.Store, tmp_path: pathlib.Path) -> None:
    def work(number: int) -> str:
        tree = tmp_path / f"tree{number}"
        tree.mkdir()
        image = None
        for step in range(5):
            (tree / f"file{step}").write_text(f"{number} {step}")
            image = store.commit(tree, f"app:{number}.{step}", message=f"step {step}")
        assert image is not None and len(image.layers) == 5
        copy = store.unpack(image, tmp_path / f"copy{number}")
        assert len(copy.diff()) == 0
        return image.digest

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(work, range(8)))
    assert len(set(digests)) == 8
    assert len(store.images()) == 40
    assert store.fsck()


def test_one_object_in_many_threads(tree: pathlib.Path) -> None:
    diff = treering.diff(tree)
    changes = iter(diff)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: [change.path for change in changes], range(8)))
    assert sorted(path for part in parts for path in part) == [change.path for change in diff]


INTERRUPTED = """
    import signal, sys, time, threading
    import treering

    raised_at = None

    def handler(number, frame):
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    store = treering.Store(sys.argv[1])
    print("ready", flush=True)
    try:
        if sys.argv[3] == "commit":
            store.commit(sys.argv[2], "app", compression="zstd", level=19)
        else:
            while True:
                treering.scan(sys.argv[2])
    except KeyboardInterrupt:
        print("interrupted", time.monotonic(), len(store.images()), threading.active_count(), flush=True)
        sys.exit(0)
    sys.exit("finished before the signal came")
"""


@pytest.mark.parametrize("operation", ["commit", "scan"])
def test_ctrl_c(large: pathlib.Path, tmp_path: pathlib.Path, operation: str) -> None:
    # What is measured is how long it takes; another process may have the processor for a while, but not most of the time.
    latencies = []
    for attempt in range(5):
        script = textwrap.dedent(INTERRUPTED)
        arguments = [sys.executable, "-c", script, str(tmp_path / f"s{attempt}"), str(large), operation]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(0.4)
            sent = time.monotonic()
            child.send_signal(signal.SIGINT)
            word, when, images, threads = child.stdout.readline().split()
            assert child.wait(20) == 0
        assert (word, images, threads) == ("interrupted", "0", "1")
        latencies.append(float(when) - sent)
    assert statistics.median(latencies) < 0.1, latencies


def test_the_last_report_is_for_notice_only(store: treering.Store, tree: pathlib.Path) -> None:
    def raises(progress: treering.Progress) -> None:
        if progress.done:
            raise RuntimeError("late")

    # A true answer comes too late; an exception is reported, and what was made is there.
    store.commit(tree, "one", progress=lambda progress: progress.done)
    with pytest.raises(treering.CallbackError, match="late"):
        store.commit(tree, "two", base="scratch", progress=raises)
    assert "one" in store and "two" in store


def test_an_uncaught_ctrl_c_ends_the_process_as_python_does(large: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # A process in the background of a shell is set to ignore it.
    script = "import signal, sys, treering\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "print(flush=True)\nwhile True: treering.scan(sys.argv[1])"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(large)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=20)
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in error


def test_a_signal_handler_may_raise_what_it_likes(store: treering.Store, large: pathlib.Path) -> None:
    class Late(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise Late

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Late):
            while True:
                slow(store, large)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_progress_bars(store: treering.Store, large: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with treering.progress.tqdm_adapter() as progress:
        slow(store, large, progress)
    assert "commit" in capsys.readouterr().err
    with treering.progress.rich_adapter() as progress:
        slow(store, large, progress)
    from rich.progress import Progress

    with Progress() as bars, treering.progress.rich_adapter(bars) as progress:
        slow(store, large, progress)
        assert bars.tasks[0].completed >= 48 << 20


def test_a_change_costs_little(tmp_path: pathlib.Path) -> None:
    """In the best of many rounds, which a busy machine cannot spoil."""
    for number in range(2000):
        (tmp_path / str(number)).touch()
    diff = treering.diff(tmp_path)
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        paths = [change.path for change in diff]
        best = min(best, (time.perf_counter() - start) / len(paths))
    assert len(paths) == 2000 and best < 3e-6, best


def test_import_brings_no_bars() -> None:
    script = "import sys, treering; sys.exit(any(name in sys.modules for name in ('tqdm', 'rich')))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_nothing_is_left_behind() -> None:
    """In a process of its own: what pytest and the tests before keep would be measured too."""
    script = pathlib.Path(__file__).with_name("soak.py")
    cycles = os.environ.get("TREERING_SOAK", "10000")
    subprocess.run([sys.executable, "-W", "error", str(script), cycles], check=True)


def test_every_operation_ends_at_its_total(
    store: treering.Store, tree: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    seen: list[treering.Progress] = []
    progress = seen.append

    def ended(operation: str) -> int:
        last = seen[-1]
        assert last.done
        assert last.bytes_read == last.bytes_total, operation
        assert last.entries > 0, operation
        assert [one.bytes_read for one in seen] == sorted(one.bytes_read for one in seen)
        seen.clear()
        return last.bytes_total

    store.commit(tree, "app:v1", progress=progress)
    assert ended("commit") > 0
    image = store.image("app:v1")
    out = tmp_path / "out"
    store.unpack("app:v1", out, progress=progress)
    assert ended("unpack") == sum(layer.size for layer in image.layers)
    store.save(["app:v1"], tmp_path / "app.tar", progress=progress)
    assert ended("save") > 0
    size = (tmp_path / "app.tar").stat().st_size
    store.load(tmp_path / "app.tar", progress=progress)
    assert ended("load") >= size
    with open(tmp_path / "app.tar", "rb") as file:
        store.load(file, progress=progress)
    assert ended("load of a stream") >= size
    store.export("app:v1", tmp_path / "flat.tar", progress=progress)
    assert ended("export") > 0
    store.import_(tmp_path / "flat.tar", "flat:v1", progress=progress)
    assert ended("import") == (tmp_path / "flat.tar").stat().st_size
    store.fsck(progress=progress)
    assert ended("fsck") > 0
    store.diff(out, progress=progress)
    ended("diff")
    store.checkout("app:v1", out, progress=progress)
    ended("checkout")
    store.clone(out, tmp_path / "copy", progress=progress)
    ended("clone")
    treering.scan(out, progress=progress)
    ended("scan")
    diff = treering.diff(treering.scan(tmp_path / "copy"), out)
    treering.layer_create(diff, tmp_path / "layer", progress=progress)
    ended("layer")
    treering.layer_apply(tmp_path / "layer", tmp_path / "applied", progress=progress)
    assert ended("apply") == (tmp_path / "layer").stat().st_size

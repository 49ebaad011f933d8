"""Commands in trees and containers."""

from __future__ import annotations

import gc
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import treering

BUSYBOX = pathlib.Path("/usr/bin/busybox")


def _is_static() -> bool:
    return BUSYBOX.exists() and b"/ld-linux-" not in BUSYBOX.read_bytes()


pytestmark = pytest.mark.skipif(not _is_static() and "CI" not in os.environ, reason="SKIP-TOOL busybox: not a static program here")


@pytest.fixture
def image(store: treering.Store, tmp_path: pathlib.Path) -> treering.Image:
    root = tmp_path / "bb"
    (root / "bin").mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    return store.commit(root, "bb:1", changes=['CMD ["echo", "hello"]', "ENV FROM=image"])


@pytest.fixture
def work(store: treering.Store, image: treering.Image, tmp_path: pathlib.Path) -> treering.Tree:
    return store.unpack(image, tmp_path / "work")


Run = Callable[..., "subprocess.CompletedProcess[Any]"]


@pytest.fixture(params=["tree", "container", "exec"])
def run(request: pytest.FixtureRequest, store: treering.Store, image: treering.Image, tmp_path: pathlib.Path) -> Any:
    if request.param == "tree":
        yield store.unpack(image, tmp_path / "other").run
        return
    with store.create(image, ["sh", "-c", "sleep 1000"]) as box:
        if request.param == "container":
            yield box.run
        else:
            box.start()
            yield box.exec


def test_it_has_the_shape_of_subprocess(run: Run) -> None:
    done = run(["sh", "-c", "cat; echo out; echo err >&2; exit 3"], input=b"in\n", capture_output=True)
    assert isinstance(done, subprocess.CompletedProcess)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"in\nout\n", b"err\n")
    assert done.args == ["sh", "-c", "cat; echo out; echo err >&2; exit 3"]
    script = "printf 'a\\r\\nb'; echo $FROM$MINE$HOME; pwd"
    text = run(["sh", "-c", script], stdout=subprocess.PIPE, text=True, env={"MINE": "+", "HOME": None}, cwd="/bin")
    assert text.stdout.split("\n")[:2] == ["a", "bimage+/"] and text.stdout.split("\n")[2] == "/bin" and text.stderr is None
    merged = run(["sh", "-c", "echo 1; echo 2 >&2; echo 3"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert merged.stdout == b"1\n2\n3\n"
    assert run("true").returncode == 0
    assert run(["id", "-u"], user="7:8", capture_output=True, encoding="utf-8").stdout == "7\n"


def test_output_goes_where_it_is_sent(run: Run, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    pieces: list[bytes] = []
    with (tmp_path / "out").open("wb") as file:
        assert run(["sh", "-c", "echo file; echo function >&2"], stdout=file, stderr=pieces.append).returncode == 0
    assert (tmp_path / "out").read_bytes() == b"file\n" and b"".join(pieces) == b"function\n"
    run(["sh", "-c", "echo shown; echo gone >&2"], stderr=subprocess.DEVNULL)
    assert capfd.readouterr() == ("shown\n", "")
    large = run(["sh", "-c", "head -c 300000 /dev/zero"], capture_output=True)
    assert large.stdout == bytes(300_000)
    with (tmp_path / "in").open("w+b") as given:
        given.write(b"from a file")
        given.seek(0)
        assert run(["cat"], stdin=given, stdout=subprocess.PIPE).stdout == b"from a file"

    def refuse(_data: bytes) -> None:
        raise ValueError("no")

    with pytest.raises(treering.CallbackError) as raised:
        run(["sh", "-c", "echo x; sleep 1000"], stdout=refuse)
    assert isinstance(raised.value.__cause__, ValueError)


def test_failures_are_those_of_subprocess(run: Run) -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run(["sh", "-c", "echo why >&2; exit 9"], check=True, capture_output=True, text=True)
    error = failed.value
    assert isinstance(error, treering.CalledCommandError) and isinstance(error, treering.CommandFailedError)
    assert (error.returncode, error.exit_code, error.stderr, error.kind) == (9, 9, "why\n", "command-failed")
    assert "returned non-zero exit status 9" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (again.returncode, again.stderr, again.cmd) == (9, "why\n", error.cmd)
    began = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired) as late:
        run(["sh", "-c", "echo first; sleep 1000 & wait"], timeout=0.5, capture_output=True)
    assert 0.4 < time.monotonic() - began < 20
    assert isinstance(late.value, treering.CommandTimeoutError) and late.value.stdout == b"first\n"
    assert pickle.loads(pickle.dumps(late.value)).timeout == 0.5
    with pytest.raises(treering.CommandFailedError) as missing:
        run(["/no/such/program"])
    assert missing.value.exit_code == 127
    for wrong in ({"capture_output": True, "stdout": subprocess.PIPE}, {"stdin": subprocess.PIPE}, {"input": b"", "stdin": 0}):
        with pytest.raises(ValueError):
            run(["true"], **wrong)
    for wrong_type in ({"input": "text"}, {"stdout": object()}):
        with pytest.raises(TypeError):
            run(["true"], **wrong_type)
    with pytest.raises(TypeError):
        run([b"true"])
    assert run(["sh", "-c", "kill -9 $$"]).returncode == 137


def test_ctrl_c_ends_a_command_and_all_it_started(run: Run) -> None:
    # A number that no other process has among its arguments.
    mark = str(100_000 + os.getpid())

    def alive() -> int:
        found = 0
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                found += mark.encode() in entry.read_bytes().split(b"\0")
            except OSError:
                continue
        return found

    def interrupt() -> None:
        end = time.monotonic() + 20
        while alive() < 1 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(["sleep", mark])
    assert alive() == 0


def test_a_tree_keeps_what_a_command_left(store: treering.Store, work: treering.Tree) -> None:
    work.run(["sh", "-c", "echo x >/new; chown 5:6 /new"], check=True)
    assert [str(change) for change in work.diff()] == ["A /new"]
    [entry] = [entry for entry in store.diff(work).new if entry.path == "new"]
    assert (entry.uid, entry.gid) == (5, 6)
    assert work.run(capture_output=True).stdout == b"hello\n", "the image's own command"
    assert store.run(work, ["hostname"], hostname="oak", stdout=subprocess.PIPE).stdout == b"oak\n"
    seen = work.run(["cat", "/seen/f"], volumes=[f"{work.path}:/seen:ro"], capture_output=True)
    assert seen.returncode == 1 and b"No such file" in seen.stderr
    with pytest.raises(treering.InvalidArgumentError):
        work.run(["true"], network="maybe")
    with pytest.raises(treering.InvalidArgumentError):
        work.run(["true"], rung="ladder")
    with pytest.raises(treering.NotFoundError):
        store.run(work.path.parent, ["true"])


def test_a_container_lives(store: treering.Store, image: treering.Image, tmp_path: pathlib.Path) -> None:
    with store.create(image, name="box", env={"A": "1"}, labels={"tier": "web"}, cwd="/bin", hostname="h") as box:
        assert (box.name, box.image, box.status, box.labels) == ("box", "bb:1", "created", {"tier": "web"})
        assert store.containers() == [box] == [store.container("box")] and len(box.id) == 64
        assert (box.tree / "bin/busybox").exists()
        done = box.run(["sh", "-c", "echo $A$(hostname)$(pwd); echo y >&2; touch /made"], capture_output=True, text=True)
        assert done.stdout == "1h/bin\n"
        assert (box.status, box.exit_code) == ("exited", 0)
        assert [str(change) for change in box.diff()] == ["A /made"]
        lines: list[tuple[str, bytes]] = []
        box.logs(lambda stream, line: lines.append((stream, line)))
        assert sorted(lines) == [("stderr", b"y\n"), ("stdout", b"1h/bin\n")] and b"1h" in box.logs()
        made = box.commit("made:1", changes=["LABEL more=yes"])
        config = made.config["config"]
        assert config["Labels"] == {"tier": "web", "more": "yes"} and "A=1" in config["Env"]
        assert box.checkout(image).removed == 1
        box.rename("other")
        assert box.name == "other"
        assert box.inspect()["Name"] == "/other"
        with pytest.raises(treering.NotFoundError):
            store.container("box")
    assert store.containers() == []
    with pytest.raises(treering.NotFoundError):
        box.run(["true"])


def test_a_container_runs_by_itself(store: treering.Store, image: treering.Image) -> None:
    with store.create(image, ["sh", "-c", "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done"]) as box:
        box.start()
        assert box.status == "running"
        for busy in (box.start, box.commit, box.remove):
            with pytest.raises(treering.BusyError):
                busy()
        with pytest.raises(treering.CommandTimeoutError):
            box.wait(0.05)
        while box.logs() != b"up\n":
            time.sleep(0.01)
        box.stop()
        assert (box.status, box.wait(), box.exit_code) == ("exited", 5, 5)
        box.start()
        box.kill(signal.SIGKILL)
        assert box.wait(20) == 137
        with pytest.raises(treering.InvalidArgumentError):
            box.kill("TERM")
        with pytest.raises(treering.InvalidArgumentError):
            box.exec(["true"])
    with store.create(image, ["true"], remove=True) as gone:
        gone.run()
        assert store.containers() == []


def test_files_go_into_a_container_and_come_out(
    store: treering.Store, image: treering.Image, tmp_path: pathlib.Path
) -> None:
    host = tmp_path / "host"
    (host / "sub").mkdir(parents=True)
    (host / "sub/f").write_text("in\n")
    (host / "sub/f").chmod(0o640)
    with store.create(image, ["sleep", "1000"]) as box:
        copied = box.copy_in(host, "/bin")
        assert copied.unkept == 0 and not copied.losses
        done = box.run(["sh", "-c", "cat /bin/host/sub/f; stat -c %u:%g:%a /bin/host/sub/f"], capture_output=True)
        assert done.stdout == b"in\n0:0:640\n"
        box.copy_out("/bin/host", tmp_path / "out")
        assert (tmp_path / "out/sub/f").read_text() == "in\n"
        with pytest.raises(treering.NotFoundError):
            box.copy_out(b"/none", tmp_path)
        box.start()
        box.copy_in(host, "/beside", keep_owners=True)
        box.copy_out("/beside", tmp_path / "beside")
        assert (tmp_path / "beside/sub/f").read_text() == "in\n"
        box.copy_out("/bin/host/sub/f", tmp_path)
        assert (tmp_path / "f").read_text() == "in\n"


def test_many_commands_run_at_once_and_nothing_is_left(
    store: treering.Store, image: treering.Image, tmp_path: pathlib.Path
) -> None:
    trees = [store.unpack(image, tmp_path / f"tree{number}") for number in range(4)]
    trees[0].run(["true"])
    # What earlier tests left to the collector.
    gc.collect()

    def traces() -> tuple[int, str, object]:
        children = "".join(path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/children"))
        return len(os.listdir("/proc/self/fd")), children, signal.getsignal(signal.SIGCHLD)

    before = traces()
    namespaces = [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid")]
    found: dict[int, bytes] = {}

    def work(number: int) -> None:
        for _ in range(3):
            found[number] = trees[number].run(["sh", "-c", f"echo {number}; exit {number}"], capture_output=True).stdout

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: f"{number}\n".encode() for number in range(4)}
    gc.collect()
    assert traces() == before
    assert [os.readlink(f"/proc/self/ns/{name}") for name in ("user", "mnt", "pid")] == namespaces
    assert "TracerPid:\t0" in pathlib.Path("/proc/self/status").read_text()


class Screen:
    """What a command writes, and what it is to read."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.shown = b""

    def __call__(self, data: bytes) -> None:
        self.shown += data

    def type(self, keys: bytes) -> None:
        os.write(self.write, keys)

    def wait(self, wanted: bytes) -> None:
        end = time.monotonic() + 30
        while wanted not in self.shown:
            assert time.monotonic() < end, self.shown
            time.sleep(0.005)

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


def test_a_terminal_has_a_size_and_takes_keys(run: Run) -> None:
    screen, size = Screen(), [(99, 33)]
    script = "tty; stty size; read x; echo \"got $x\" >&2; until stty size | grep '7 8'; do sleep 0.01; done; exit 3"

    def person() -> None:
        screen.wait(b"33 99\r\n")
        screen.type(b"yes\n")
        screen.wait(b"got yes\r\n")
        size[0] = (8, 7)

    helper = threading.Thread(target=person)
    helper.start()
    try:
        done = run(["sh", "-c", script], tty=True, size=lambda: size[0], stdin=screen.read, stdout=screen)
    finally:
        helper.join()
        screen.close()
    assert done.returncode == 3
    assert b"/dev/pts/" in screen.shown and b"\r\n7 8\r\n" in screen.shown
    # The end of the input is one for what reads lines.
    done = run(["cat"], tty=True, size=os.terminal_size((80, 25)), input=b"line\n", capture_output=True)
    assert (done.stdout, done.stderr) == (b"line\r\nline\r\n", b"")


def test_a_size_that_cannot_be_had_ends_the_command(run: Run) -> None:
    sizes = iter([(80, 25)])
    with pytest.raises(treering.CallbackError) as raised:
        run(["sleep", "1000"], tty=True, size=lambda: next(sizes), stdout=subprocess.DEVNULL)
    assert isinstance(raised.value.__cause__, StopIteration)


def test_a_container_is_joined_left_and_joined_again(store: treering.Store, image: treering.Image) -> None:
    script = "while read x; do echo \"got $x $(stty size)\"; [ $x = end ] && exit 5; done"
    with store.create(image, ["sh", "-c", script], tty=True, interactive=True) as box:
        with pytest.raises(treering.InvalidArgumentError):
            box.attach()
        box.start(size=(99, 33))
        with pytest.raises(ValueError):
            box.attach(stdout=subprocess.PIPE)
        open_before = len(os.listdir("/proc/self/fd"))
        for way in ("keys", "timeout", "end"):
            screen = Screen()
            left: list[Any] = []

            def person(screen: Screen = screen, way: str = way) -> None:
                screen.type(way.encode() + b"1\n")
                screen.wait(b"got " + way.encode() + b"1 33 99\r\n")
                if way != "timeout":
                    screen.type({"keys": b"\x10\x11", "end": b"end\n"}[way])

            helper = threading.Thread(target=person)
            helper.start()
            try:
                timeout = 2 if way == "timeout" else None
                left.append(box.attach(stdin=screen.read, stdout=screen, timeout=timeout))
            except treering.CommandTimeoutError:
                left.append("timeout")
            finally:
                helper.join()
                screen.close()
            assert left == [{"keys": None, "timeout": "timeout", "end": 5}[way]]
            assert (box.status, box.exit_code) == (("exited", 5) if way == "end" else ("running", 0))
        assert len(os.listdir("/proc/self/fd")) == open_before


def test_one_without_a_terminal_is_joined_by_bytes(store: treering.Store, image: treering.Image) -> None:
    screen = Screen()
    with store.create(image, ["sh", "-c", "cat; echo over; exit 6"], interactive=True) as box:
        box.start()
        assert box.attach(input=b"a\x10\x11b\n", stdout=screen) == 6
    screen.close()
    assert screen.shown == b"a\x10\x11b\nover\n"

"""Commands in directories and containers, in the shape of ``subprocess.run``."""

from __future__ import annotations

import io
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from ._errors import CalledCommandError, CommandTimeoutError
from ._types import Environment, Labels, Path, Size, Words

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._treering import Store
    from ._types import RunOptions

#: The destination of output: as for ``subprocess.run``, or a function that is called with bytes.
Output = Union[None, int, Callable[[bytes], object], Any]

_NULL, _FUNCTION = -1, -2


@dataclass
class _Command:
    """A command for the native part."""

    words: list[str]
    variables: list[str]
    user: str | None
    directory: str | None
    stdin: int
    stdout: int
    stderr: int
    merge: bool
    rung: str | None
    tty: bool = False
    interactive: bool = False
    #: Columns and lines of the terminal, and a function that gives them.
    size: tuple[int, int] | None = None
    ask_size: Callable[[], tuple[int, int]] | None = None


class _Said:
    """The settings of a container, for the native part."""

    def __init__(
        self,
        *,
        command: Words | None = None,
        entrypoint: str | None = None,
        env: Environment | None = None,
        user: str | None = None,
        cwd: str | None = None,
        hostname: str | None = None,
        volumes: Sequence[str] | None = None,
        tmpfs: Sequence[str] | None = None,
        network: str = "host",
        links: Sequence[str] | None = None,
        labels: Labels | None = None,
        read_only: bool = False,
        remove: bool = False,
        stop_signal: str | None = None,
        rung: str | None = None,
        tty: bool = False,
        interactive: bool = False,
    ) -> None:
        self.command = _words(command)
        self.entrypoint, self.user, self.directory, self.hostname = entrypoint, user, cwd, hostname
        self.environment = _variables(env)
        self.volumes, self.tmpfs, self.links = list(volumes or ()), list(tmpfs or ()), list(links or ())
        self.network, self.read_only, self.remove = network, read_only, remove
        self.labels = list(dict(labels or {}).items())
        self.stop_signal, self.rung = stop_signal, rung
        self.tty, self.interactive = tty, interactive


def _words(args: Words | None) -> list[str]:
    """A command; one text is a program without arguments, as for ``subprocess.run``."""
    if args is None:
        return []
    return [args] if isinstance(args, str) else [_word(one) for one in args]


def _word(one: object) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, os.PathLike):
        path = os.fspath(one)
        if isinstance(path, str):
            return path
    raise TypeError(f"a command is made of str, not {type(one).__name__}")


def _variables(env: Environment | None) -> list[str]:
    return [name if value is None else f"{name}={value}" for name, value in dict(env or {}).items()]


def _sides(size: tuple[int, int]) -> tuple[int, int]:
    columns, lines = size
    return columns, lines


def _size(size: Size | None) -> tuple[tuple[int, int] | None, Callable[[], tuple[int, int]] | None]:
    """The size of a terminal at first, and a function that gives the one of the moment."""
    if size is None:
        return None, None
    if callable(size):
        ask = size
        return _sides(ask()), lambda: _sides(ask())
    return _sides(size), None


@dataclass
class _Streams:
    """The destinations of the three streams of a command, and what was captured."""

    command: _Command
    functions: dict[int, Callable[[bytes], object]] = field(default_factory=dict)
    captured: dict[int, list[bytes]] = field(default_factory=dict)
    files: list[io.IOBase] = field(default_factory=list)

    def output(self, number: int, to: Output) -> int:
        if to is None:
            return number
        if to == subprocess.DEVNULL:
            return _NULL
        if to == subprocess.PIPE:
            pieces: list[bytes] = []
            self.captured[number], self.functions[number] = pieces, pieces.append
            return _FUNCTION
        if isinstance(to, int):
            return to
        file: Any = to
        try:
            fd = file.fileno()
        except (AttributeError, OSError):
            function = to if callable(to) else getattr(to, "write", None)
            if function is None:
                message = "output goes to None, PIPE, DEVNULL, a descriptor, a file or a function, not "
                raise TypeError(message + type(to).__name__) from None
            self.functions[number] = function
            return _FUNCTION
        if not isinstance(fd, int):
            raise TypeError("fileno() gave no number")
        return fd

    def input(self, given: bytes | None, stdin: Any) -> int:
        if given is not None:
            if stdin is not None:
                raise ValueError("stdin and input may not both be used")
            return self.file(given)
        if stdin is None or stdin == subprocess.DEVNULL:
            return _NULL
        if stdin == subprocess.PIPE:
            raise ValueError("nothing would write to stdin: use input")
        return stdin if isinstance(stdin, int) else int(stdin.fileno())

    def file(self, content: bytes) -> int:
        # Closed by `close`, when the command has ended. In memory where Python can (glibc 2.27).
        memory = hasattr(os, "memfd_create")
        unnamed = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        fd = os.memfd_create("stdin") if memory else os.open(tempfile.gettempdir(), unnamed, 0o600)
        file = os.fdopen(fd, "w+b")
        self.files.append(file)
        file.write(content)
        file.seek(0)
        return file.fileno()

    def pass_on(self, number: int, data: bytes) -> None:
        self.functions[number](data)

    def close(self) -> None:
        for file in self.files:
            file.close()


#: Runs a command, with a function for output and a time limit; None when the time was over.
_Start = Callable[[_Command, Callable[[int, bytes], None], "float | None"], "int | None"]


def _run(
    start: _Start,
    args: Words | None,
    *,
    stdin: Any = None,
    input: bytes | str | None = None,
    stdout: Output = None,
    stderr: Output = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    env: Environment | None = None,
    cwd: str | None = None,
    user: str | None = None,
    rung: str | None = None,
    tty: bool = False,
    size: Size | None = None,
) -> subprocess.CompletedProcess[Any]:
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output")
        stdout = stderr = subprocess.PIPE
    is_text = bool(text or encoding or errors)
    encoding, errors = encoding or "utf-8", errors or "strict"
    if isinstance(input, str):
        if not is_text:
            raise TypeError("input is bytes unless text, encoding or errors is given")
        input = input.encode(encoding, errors)
    merge = isinstance(stderr, int) and stderr == subprocess.STDOUT
    directory = None if cwd is None else _word(cwd)
    command = _Command(_words(args), _variables(env), user, directory, _NULL, _NULL, _NULL, merge, rung, tty)
    command.size, command.ask_size = _size(size)
    streams = _Streams(command)
    try:
        command.stdin = streams.input(None if input is None else bytes(input), stdin)
        command.stdout = streams.output(1, stdout)
        if not merge:
            command.stderr = streams.output(2, stderr)
        code = start(command, streams.pass_on, timeout)
    finally:
        streams.close()
    shown = command.words if args is None or not isinstance(args, str) else args
    bytes_out, bytes_err = (
        b"".join(streams.captured[number]) if number in streams.captured else None for number in (1, 2)
    )
    if code is None:
        # As subprocess has it: bytes, whatever was asked for.
        assert timeout is not None
        raise CommandTimeoutError(shown, timeout, bytes_out, bytes_err)

    def shape(data: bytes | None) -> bytes | str | None:
        if data is None or not is_text:
            return data
        return data.decode(encoding, errors).replace("\r\n", "\n").replace("\r", "\n")

    out, err = shape(bytes_out), shape(bytes_err)
    if check and code != 0:
        raise CalledCommandError(code, shown, out, err)
    return subprocess.CompletedProcess(shown, code, out, err)


def _attach(
    join: Callable[[_Command, Callable[[int, bytes], None], float | None], tuple[int, bool] | None],
    name: str,
    *,
    stdin: Any,
    input: bytes | None,
    stdout: Output,
    stderr: Output,
    timeout: float | None,
    size: Size | None,
) -> int | None:
    for to in (stdout, stderr):
        if isinstance(to, int) and to == subprocess.PIPE:
            raise ValueError("nothing would read from PIPE: give a function")
    merge = isinstance(stderr, int) and stderr == subprocess.STDOUT
    command = _Command([], [], None, None, _NULL, _NULL, _NULL, merge, None)
    command.size, command.ask_size = _size(size)
    streams = _Streams(command)
    try:
        command.stdin = streams.input(None if input is None else bytes(input), stdin)
        command.stdout = streams.output(1, stdout)
        if not merge:
            command.stderr = streams.output(2, stderr)
        ended = join(command, streams.pass_on, timeout)
    finally:
        streams.close()
    if ended is None:
        assert timeout is not None
        raise CommandTimeoutError(name, timeout)
    code, detached = ended
    return None if detached else code


def _in_tree(
    store: Store,
    tree: Path,
    args: Words | None = None,
    *,
    entrypoint: str | None = None,
    hostname: str | None = None,
    volumes: Sequence[str] | None = None,
    tmpfs: Sequence[str] | None = None,
    network: str = "host",
    read_only: bool = False,
    **options: Unpack[RunOptions],
) -> subprocess.CompletedProcess[Any]:
    said = _Said(
        entrypoint=entrypoint,
        hostname=hostname,
        volumes=volumes,
        tmpfs=tmpfs,
        network=network,
        read_only=read_only,
    )
    return _run(lambda *command: store._run(tree, said, *command), args, **options)

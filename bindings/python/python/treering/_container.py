"""Containers: trees with a name, settings and a state."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ._errors import CommandTimeoutError, NotFoundError
from ._run import Output, _attach, _Command, _run, _size, _variables, _words
from ._types import CheckedOut, CommitOptions, CopiedFiles, DiffOptions, Environment, ImageLike, Path, RunOptions, Size, Words

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._treering import Diff, Image, Store, _Container


class Container:
    """A container: a tree made of an image, with a name, settings and a state. ``Store.create`` makes one.

    No daemon keeps it: it is a directory of the store, and whatever started its command supervises it. In a ``with``
    statement it is removed at the end, with whatever runs in it.
    """

    def __init__(self, store: Store, inner: _Container) -> None:
        #: The store it is in.
        self.store: Store = store
        self._inner = inner

    def __repr__(self) -> str:
        return f"<treering.Container {self.id[:12]}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def id(self) -> str:
        """Its id, 64 hexadecimal digits."""
        return self._inner.id

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._inner.facts()["name"])

    @property
    def image(self) -> str:
        """The image it was made from, as it was named."""
        return str(self._inner.facts()["image"])

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self._inner.facts()["labels"])

    @property
    def status(self) -> str:
        """``"created"``, ``"running"`` or ``"exited"``."""
        return str(self._inner.facts()["status"])

    @property
    def exit_code(self) -> int:
        """The end of its command: the exit code, or 128 and the number of a signal."""
        return int(self._inner.facts()["exit_code"])

    @property
    def tree(self) -> pathlib.Path:
        """The path of its tree."""
        return pathlib.Path(self._inner.tree())

    def inspect(self) -> dict[str, Any]:
        """The JSON that ``docker inspect`` prints of a container."""
        return self._inner.inspect()

    def run(self, args: Words | None = None, **options: Unpack[RunOptions]) -> subprocess.CompletedProcess[Any]:
        """Run its command, or another one, and wait for its end: ``subprocess.run`` for a container.

        ``args`` are arguments of the entry point, where the container has one. ``stdout`` and ``stderr`` take what they take
        there, or a function that is called with bytes; without them the output is that of this process. Standard input is
        empty unless ``stdin`` or ``input`` is given. ``env`` adds to the variables of the container, or takes those away that
        are None. The return code is 128 and the signal's number for a command that a signal ended; ``check`` raises
        ``CalledCommandError``, ``timeout`` ``CommandTimeoutError``. After either, and after Ctrl-C, nothing of the command is left.

        ``tty`` gives it a terminal of its own for all three streams: what it writes there is standard output, and ``stdin`` and
        ``input`` are passed on to it; a container that was made with one has it anyway. ``size`` is that of the terminal:
        columns and lines, as ``os.get_terminal_size`` returns them, or such a function, which is asked while the command runs.
        The terminal of this process stays as it is: for every key to be passed on, put it into raw mode (``tty.setraw``).
        """
        return _run(self._inner.run, args, **options)

    def exec(self, args: Words, **options: Unpack[RunOptions]) -> subprocess.CompletedProcess[Any]:
        """Run one more command beside the one that runs, and wait for its end. It takes what ``run`` takes, but no ``rung``."""
        return _run(self._inner.exec, args, **options)

    def start(
        self,
        args: Words | None = None,
        *,
        env: Environment | None = None,
        cwd: str | None = None,
        user: str | None = None,
        rung: str | None = None,
        tty: bool = False,
        interactive: bool = False,
        size: Size | None = None,
    ) -> None:
        """Start its command, or another one, with a supervisor of its own: it goes on when this process ends.

        ``tty`` gives it a terminal, of a ``size`` as ``run`` takes it, and ``interactive`` keeps its standard input open for
        ``attach``; without them that is as the container was made.
        """
        command = _Command(_words(args), _variables(env), user, cwd, -1, -1, -1, False, rung, tty, interactive)
        command.size, _ = _size(size)
        self._inner.start(command)

    def attach(
        self,
        *,
        stdin: Any = None,
        input: bytes | None = None,
        stdout: Output = None,
        stderr: Output = None,
        timeout: float | None = None,
        size: Size | None = None,
    ) -> int | None:
        """Join in with its command, which ``start`` or someone else started, until it ends or is left.

        The streams are what ``run`` takes, but for ``PIPE``: output from now on, and input, for which the container has to be
        ``interactive`` or to have a terminal. ``size`` is that of its terminal. Returns the exit code, or None when it was left
        by Ctrl-P Ctrl-Q in the input for a terminal. Then, after a ``timeout`` (``CommandTimeoutError``) and after Ctrl-C the
        command goes on.
        """
        return _attach(
            self._inner.attach,
            self.name,
            stdin=stdin,
            input=input,
            stdout=stdout,
            stderr=stderr,
            timeout=timeout,
            size=size,
        )

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of its command, and return its exit code; that of the last one where none runs."""
        code = self._inner.wait(timeout)
        if code is None:
            assert timeout is not None
            raise CommandTimeoutError(self.name, timeout)
        return code

    def stop(self, timeout: float = 10) -> None:
        """Ask its command to stop, and kill it when it has not ended after so many seconds."""
        self._inner.stop(timeout)

    def kill(self, signal: int | str = "KILL") -> None:
        """Send its command a signal: a name or a number."""
        self._inner.kill(str(int(signal)) if isinstance(signal, int) else signal)

    def logs(
        self,
        output: Callable[[str, bytes], object] | None = None,
        *,
        follow: bool = False,
        tail: int | None = None,
    ) -> bytes:
        """The output of its command, oldest first.

        With a function, that is called with ``"stdout"`` or ``"stderr"`` and a line, and nothing is returned; ``follow`` goes on
        until the command ends. ``tail`` gives the last so many lines.
        """
        pieces: list[bytes] = []
        names = {1: "stdout", 2: "stderr"}
        if output is None:
            self._inner.logs(lambda _, data: pieces.append(data), follow, tail)
        else:
            self._inner.logs(lambda number, data: output(names[number], data), follow, tail)
        return b"".join(pieces)

    def rename(self, name: str) -> None:
        """Give it another name. It may run."""
        self._inner.rename(name)

    def remove(self, *, force: bool = False) -> None:
        """Remove it, with its tree; with ``force`` its command is killed first."""
        self._inner.remove(force)

    def copy_in(self, source: Path, path: Path, *, keep_owners: bool = False) -> CopiedFiles:
        """Copy a file or directory of the host into it, as ``docker cp`` does; its command may run.

        A directory that is there at ``path`` gets it under its own name; a source that ends in ``/.`` is copied without its
        name. Files become root's, unless ``keep_owners`` is set.
        """
        return self._inner.copy_in(source, path, keep_owners)

    def copy_out(self, path: Path, target: Path) -> CopiedFiles:
        """Copy a file or directory of it to the host, as ``docker cp`` does. Its command may run."""
        return self._inner.copy_out(path, target)

    def diff(self, base: ImageLike | None = None, **options: Unpack[DiffOptions]) -> Diff:
        """The changes since it was made or committed; see ``Store.diff``. It may run."""
        return self.store.diff(self.tree, base=base, **options)

    def commit(
        self, name: str | None = None, *, base: ImageLike | None = None, **options: Unpack[CommitOptions]
    ) -> Image:
        """Add what changed as a layer, with what was said of the container in the configuration; see ``Store.commit``."""
        held = self._inner.hold()
        try:
            options["changes"] = [*self._inner.instructions(), *(options.get("changes") or ())]
            return self.store.commit(self.tree, name, base=base, **options)
        finally:
            held.release()

    def checkout(self, image: ImageLike, *, discard: bool = False, dry_run: bool = False) -> CheckedOut:
        """Make its tree what an image says, in place; ``"-"`` is the one before. See ``Store.checkout``."""
        held = self._inner.hold()
        try:
            return self.store.checkout(image, self.tree, discard=discard, dry_run=dry_run)
        finally:
            held.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # It may have gone with its command.
        with contextlib.suppress(NotFoundError):
            self.remove(force=True)

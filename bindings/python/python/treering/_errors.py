"""The exceptions. All of them are :class:`Error`."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Sequence
from typing import Any, ClassVar

from ._types import Location


class Error(Exception):
    """An error: what went wrong, during which operation, where, and what can be done about it.

    ``str(error)`` is one line for people. ``__cause__`` is the system's own error where there is one (an ``OSError``
    with its ``errno``), or what the caller's own function raised.
    """

    #: The number of this kind of error, the same in C, Go and Rust, never reused.
    code: int = 15
    #: The name of this kind, such as ``"not-found"``.
    kind: str = "internal"
    #: The operation, a short verb phrase.
    operation: str
    #: The place: a path (undecodable bytes as ``os.fsdecode`` has them), or the name of an image.
    path: str | None
    #: The message: what is wrong, without operation and path.
    message: str
    #: The hint: what the caller can do about it.
    hint: str | None
    #: The exit code of the command that failed: 128 and the number of the signal for one that a signal ended.
    exit_code: int | None
    #: The place in a text that is at fault.
    location: Location | None

    _kinds: ClassVar[dict[str, type[Error]]] = {}

    def __init__(
        self,
        message: str,
        *,
        code: int | None = None,
        kind: str | None = None,
        operation: str = "",
        path: str | None = None,
        hint: str | None = None,
        exit_code: int | None = None,
        location: Location | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        # The class has them; only the base class stands for kinds that are newer than this file.
        if code is not None:
            self.code = code
        if kind is not None:
            self.kind = kind
        self.operation = operation
        self.path = path
        self.hint = hint
        self.exit_code = exit_code
        self.location = location

    def __str__(self) -> str:
        # Surrogates stand for bytes that are not UTF-8, and cannot be printed.
        path = None if self.path is None else self.path.encode("utf-8", "backslashreplace").decode()
        text = ": ".join(part for part in (self.operation, path, self.message) if part)
        return f"{text} (hint: {self.hint})" if self.hint else text

    def __repr__(self) -> str:
        details = {"operation": self.operation, "path": self.path, "hint": self.hint}
        parts = [repr(self.message), *(f"{name}={value!r}" for name, value in details.items() if value)]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[object, ...]:
        details: dict[str, object] = {
            "code": self.code,
            "kind": self.kind,
            "operation": self.operation,
            "path": self.path,
            "hint": self.hint,
            "exit_code": self.exit_code,
            "location": self.location,
        }
        if isinstance(self, OSError):
            details["errno"] = self.errno
        return (_rebuild, (type(self), self.message, details))


class InvalidArgumentError(Error, ValueError):
    """An argument, option, name or reference is not usable as given."""

    code = 1
    kind = "invalid-argument"


class NotFoundError(Error, KeyError):
    """The named file, image, reference or blob does not exist."""

    code = 2
    kind = "not-found"


class MissingFileError(NotFoundError, FileNotFoundError):
    """A file or directory does not exist. Has ``errno`` and ``filename`` as every ``OSError``."""


class AlreadyExistsError(Error):
    """Something by that name is already there."""

    code = 3
    kind = "already-exists"


class ExistingFileError(AlreadyExistsError, FileExistsError):
    """A file or directory is already there. Has ``errno`` and ``filename`` as every ``OSError``."""


class PermissionDeniedError(Error, PermissionError):
    """The system refused: permissions, ownership, or a security policy."""

    code = 4
    kind = "permission-denied"


class InputOutputError(Error):
    """An input or output operation failed for another reason."""

    code = 5
    kind = "io"


class NoSpaceError(Error):
    """No space or quota is left."""

    code = 6
    kind = "no-space"


class ChangedError(Error):
    """A file changed, grew, shrank or vanished while it was being read."""

    code = 7
    kind = "changed"


class CorruptError(Error):
    """Data does not match its digest, its size, or its format."""

    code = 8
    kind = "corrupt"


class LimitError(Error):
    """An input asked for more than a cap allows."""

    code = 9
    kind = "limit"


class UnsupportedError(Error):
    """This machine, filesystem or format cannot do what was asked."""

    code = 10
    kind = "unsupported"


class BusyError(Error):
    """Another process holds the lock."""

    code = 11
    kind = "busy"


class InUseError(Error):
    """The object is still needed by another one."""

    code = 12
    kind = "in-use"


class CancelledError(Error):
    """The operation was cancelled: by its progress function, or by a ``progress.Cancel``."""

    code = 13
    kind = "cancelled"


class CallbackError(Error):
    """The caller's own function or file object raised; ``__cause__`` is what it raised."""

    code = 14
    kind = "callback"


class InternalError(Error):
    """A defect in treering itself."""

    code = 15
    kind = "internal"


class LossError(Error):
    """An attribute cannot be kept, and the caller asked that nothing be lost."""

    code = 16
    kind = "loss"


class CommandFailedError(Error):
    """A command that was run failed; ``exit_code`` says how."""

    code = 17
    kind = "command-failed"


class NetworkError(Error):
    """A server could not be reached, or the connection to it broke."""

    code = 18
    kind = "network"


class UnauthorizedError(Error):
    """A registry refused the credentials, or asks for some."""

    code = 19
    kind = "unauthorized"


class InvalidSyntaxError(Error):
    """A Dockerfile or another text is not well formed; ``location`` says where."""

    code = 20
    kind = "syntax"


Error._kinds = {made.kind: made for made in Error.__subclasses__()}


class CalledCommandError(subprocess.CalledProcessError, CommandFailedError):
    """A command failed that ``check`` was asked for.

    Has ``returncode``, ``cmd``, ``stdout`` and ``stderr`` as ``subprocess`` has them.
    """

    def __init__(self, returncode: int, cmd: str | Sequence[str], output: Any = None, stderr: Any = None) -> None:
        subprocess.CalledProcessError.__init__(self, returncode, cmd, output, stderr)
        message = f"the command returned {returncode}"
        CommandFailedError.__init__(self, message, operation="run command", exit_code=returncode)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.returncode, self.cmd, self.output, self.stderr))


class CommandTimeoutError(subprocess.TimeoutExpired, CancelledError):
    """A command took longer than ``timeout`` and was ended.

    Has ``cmd``, ``timeout``, ``stdout`` and ``stderr`` as ``subprocess`` has them.
    """

    def __init__(self, cmd: str | Sequence[str], timeout: float, output: Any = None, stderr: Any = None) -> None:
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output, stderr)
        CancelledError.__init__(self, f"the command took longer than {timeout} seconds", operation="run command")

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.cmd, self.timeout, self.output, self.stderr))


#: The errors of the system about a file, and the class that is an ``OSError`` as well.
_FILES: dict[int, type[Error]] = {
    errno.ENOENT: MissingFileError,
    errno.EEXIST: ExistingFileError,
    errno.ENOTEMPTY: ExistingFileError,
}


def _make(
    message: str,
    *,
    code: int,
    kind: str,
    operation: str,
    path: str | None,
    hint: str | None,
    exit_code: int | None,
    location: Location | None,
    system: int | None = None,
) -> Error:
    """The exception of a kind; the base class for a kind that is newer than this file."""
    made = Error._kinds.get(kind, Error)
    of_file = _FILES.get(system or 0)
    if of_file is not None and issubclass(of_file, made):
        made = of_file
    error = made(
        message,
        code=code,
        kind=kind,
        operation=operation,
        path=path,
        hint=hint,
        exit_code=exit_code,
        location=location,
    )
    if isinstance(error, OSError):
        error.errno, error.strerror, error.filename = system, message, path
    return error


def _rebuild(made: type[Error], message: str, details: dict[str, object]) -> Error:
    error = made(message)
    system = details.pop("errno", None)
    error.__dict__.update(details)
    if isinstance(error, OSError) and isinstance(system, int):
        error.errno, error.strerror, error.filename = system, message, error.path
    return error

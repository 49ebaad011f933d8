"""The exceptions. All of them are :class:`Error`."""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """What went wrong, during which operation, where, and what can be done about it.

    ``str(error)`` is one line for people. ``__cause__`` is the system's own error where there is one (an ``OSError``
    with its ``errno``), or what the caller's own function raised.
    """

    #: The number of this kind of error, the same in C, Go and Rust, never reused.
    code: int
    #: The name of this kind, such as ``"not-found"``.
    kind: str
    #: What was being done, a short verb phrase.
    operation: str
    #: Where: a path (undecodable bytes as ``os.fsdecode`` has them), or the name of an image.
    path: str | None
    #: What is wrong, without operation and path.
    message: str
    #: What the caller can do about it.
    hint: str | None

    _kinds: ClassVar[dict[str, type[Error]]] = {}

    def __init__(
        self,
        message: str,
        *,
        code: int = 15,
        kind: str = "internal",
        operation: str = "",
        path: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.operation = operation
        self.path = path
        self.hint = hint

    def __str__(self) -> str:
        # Surrogates stand for bytes that are not UTF-8, and cannot be printed.
        path = None if self.path is None else self.path.encode("utf-8", "backslashreplace").decode()
        text = ": ".join(part for part in (self.operation, path, self.message) if part)
        return f"{text} (hint: {self.hint})" if self.hint else text

    def __reduce__(self) -> tuple[object, ...]:
        details = {
            "code": self.code,
            "kind": self.kind,
            "operation": self.operation,
            "path": self.path,
            "hint": self.hint,
        }
        return (_rebuild, (type(self), self.message, details))


class InvalidArgumentError(Error, ValueError):
    """An argument, option, name or reference is not usable as given."""


class NotFoundError(Error, LookupError):
    """The named file, image, reference or blob does not exist."""


class AlreadyExistsError(Error):
    """Something by that name is already there."""


class PermissionDeniedError(Error):
    """The system refused: permissions, ownership, or a security policy."""


class InputOutputError(Error):
    """An input or output operation failed for another reason."""


class NoSpaceError(Error):
    """No space or quota is left."""


class ChangedError(Error):
    """A file changed, grew, shrank or vanished while it was being read."""


class CorruptError(Error):
    """Data does not match its digest, its size, or its format."""


class LimitError(Error):
    """An input asked for more than a cap allows."""


class UnsupportedError(Error):
    """This machine, filesystem or format cannot do what was asked."""


class BusyError(Error):
    """Another process holds the lock."""


class InUseError(Error):
    """The object is still needed by another one."""


class CancelledError(Error):
    """The progress function asked to stop."""


class CallbackError(Error):
    """The caller's own function or file object raised; ``__cause__`` is what it raised."""


class InternalError(Error):
    """A defect in treering itself."""


class LossError(Error):
    """An attribute cannot be kept, and the caller asked that nothing be lost."""


Error._kinds = {
    "invalid-argument": InvalidArgumentError,
    "not-found": NotFoundError,
    "already-exists": AlreadyExistsError,
    "permission-denied": PermissionDeniedError,
    "io": InputOutputError,
    "no-space": NoSpaceError,
    "changed": ChangedError,
    "corrupt": CorruptError,
    "limit": LimitError,
    "unsupported": UnsupportedError,
    "busy": BusyError,
    "in-use": InUseError,
    "cancelled": CancelledError,
    "callback": CallbackError,
    "internal": InternalError,
    "loss": LossError,
}


def _make(message: str, *, code: int, kind: str, operation: str, path: str | None, hint: str | None) -> Error:
    """The exception of a kind; the base class for a kind that is newer than this file."""
    made = Error._kinds.get(kind, Error)
    return made(message, code=code, kind=kind, operation=operation, path=path, hint=hint)


def _rebuild(made: type[Error], message: str, details: dict[str, object]) -> Error:
    error = made(message)
    error.__dict__.update(details)
    return error

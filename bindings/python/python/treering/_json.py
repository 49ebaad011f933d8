"""Results as the command prints them with ``--json``."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import _types
from ._treering import Change, Diff, Image

#: The command's spelling of what Python spells with a blank.
_KINDS = {"character device": "char-device", "block device": "block-device"}


def _path(name: str, path: str, before: bytes = b"") -> dict[str, Any]:
    data = before + os.fsencode(path)
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
        shown = "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else _printable(c) for c in text)
        return {name: shown, f"{name}_base64": base64.b64encode(data).decode()}


def _printable(c: str) -> str:
    if c in "\t\r\n":
        return {"\t": "\\t", "\r": "\\r", "\n": "\\n"}[c]
    return f"\\u{{{ord(c):x}}}" if ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F else c


def _change(change: Change) -> dict[str, Any]:
    entry = change.new or change.old
    assert entry is not None
    made: dict[str, Any] = {"kind": change.kind, **_path("path", change.path, b"/"), "type": entry.kind}
    if change.reasons:
        made["reasons"] = change.reasons
    if change.new is not None:
        made["size"] = change.new.size
    return made


def _entry(entry: _types.LayerEntry) -> dict[str, Any]:
    made: dict[str, Any] = _path("path", entry.path or ".")
    made["type"] = _KINDS.get(entry.kind, entry.kind)
    made["mode"] = f"{entry.mode & 0o7777:04o}"
    made |= {"uid": entry.uid, "gid": entry.gid, "size": entry.size, "mtime": _time(entry.mtime_ns)}
    if entry.link is not None:
        made |= _path("link", entry.link)
    if entry.device is not None:
        made["device"] = list(entry.device)
    if entry.xattrs:
        made["xattrs"] = [
            _path("name", name) | {"value_base64": base64.b64encode(value).decode()} for name, value in entry.xattrs.items()
        ]
    return made


def _time(nanoseconds: int) -> object:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    except OverflowError:
        return seconds
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{moment.isoformat()}{fraction}Z"


def _written(layer: _types.WrittenLayer) -> dict[str, Any]:
    return {
        "diff_id": layer.diff_id,
        "diff_size": layer.diff_size,
        "digest": layer.digest,
        "size": layer.size,
    }


def _image(image: Image) -> dict[str, Any]:
    tag = None if image.name is None or ":" not in image.name.rpartition("/")[2] else image.name.rpartition(":")[2]
    repository = image.name if tag is None else image.name.rpartition(":")[0] if image.name else None
    return {
        "id": image.id,
        "name": image.name,
        "repository": repository,
        "tag": tag,
        "digest": image.digest,
        "media_type": image.manifest.get("mediaType"),
        "created": image.created,
        "platform": image.platform,
        "layers": len(image.layers),
        "size": image.size,
    }


#: The classes that the command spells in another way than by the names of their fields.
_SPELLED: dict[type, Callable[[Any], object]] = {
    Change: _change,
    Image: _image,
    _types.LayerEntry: _entry,
    _types.WrittenLayer: _written,
    _types.Skipped: lambda one: _path("path", one.path, b"/") | {"reason": one.reason},
    _types.Loss: lambda one: _path("path", one.path, b"/") | _path("attribute", one.attribute) | {"reason": one.reason},
    _types.Loaded: lambda one: {"name": one.name, "id": one.id, "manifest": one.digest},
    _types.Committed: lambda one: {
        "layer": as_json(one.layer),
        "changes": as_json(one.stat),
        "owners_replaced": one.owners_replaced,
        "skipped": as_json(one.skipped),
    },
    _types.Applied: lambda one: {
        "entries": len(one.snapshot) - 1,
        "unkept": len(one.ledger),
        "losses": as_json(one.losses),
    },
    _types.CheckedOut: lambda one: {
        "manifest": one.image.digest,
        **{name: getattr(one, name) for name in ("written", "updated", "removed", "kept", "in_ledger")},
        "losses": as_json(one.losses),
        "changes": [{"kind": kind, **_path("path", path, b"/")} for kind, path in one.changes],
    },
}


def as_json(value: object) -> Any:
    """A result as the command prints it with ``--json``: dicts, lists, texts and numbers, for ``json.dumps``.

    Takes the dataclasses of this package, images, changes and comparisons, and lists of any of them.
    """
    spelled = _SPELLED.get(type(value))
    if spelled is not None:
        return spelled(value)
    if isinstance(value, Diff):
        return [_change(change) for change in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: as_json(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, str) or value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, Iterable):
        return [as_json(one) for one in value]
    raise TypeError(f"{type(value).__name__} is no result of treering")

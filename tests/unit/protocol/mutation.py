"""Changes one thing in a message that is otherwise valid."""

from __future__ import annotations

from protocol.canonical import Value, decode, encode

Path = tuple[int, ...]
"""Keys and positions that lead to a field."""


def with_field(payload: bytes, path: Path, value: Value) -> bytes:
    """The message with another value at `path`."""
    fields = decode(payload, size_max=len(payload))
    _parent(fields, path)[path[-1]] = value
    return encode(fields)


def without_field(payload: bytes, path: Path) -> bytes:
    """The message without the field at `path`."""
    fields = decode(payload, size_max=len(payload))
    del _parent(fields, path)[path[-1]]
    return encode(fields)


def paths_in(payload: bytes) -> list[Path]:
    """The way to every field of the message."""
    return _paths(decode(payload, size_max=len(payload)), ())


def _parent(fields: Value, path: Path) -> Value:
    for key in path[:-1]:
        fields = fields[key]
    return fields


def _paths(value: Value, path: Path) -> list[Path]:
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    else:
        return []
    return [found for key, item in children for found in ((*path, key), *_paths(item, (*path, key)))]

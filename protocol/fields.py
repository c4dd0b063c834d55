"""Readers for one field of a decoded message: its type, its bound, and a clear error.

Every message builds its `decode` from these, so that a wrong type can never travel past the door.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from protocol.canonical import Value
from protocol.errors import EncodingError

T = TypeVar("T")

UINT_MAX: Final = 2**63 - 1
"""Non-negative integers stay within what SQLite and every CPU hold."""

DIGEST_BYTES: Final = 32
"""A SHA-256 digest."""

NAME_MAX: Final = 64
"""Longest name of a region, gateway, participant, meter, node or branch."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")


def uint(value: Value, what: str, high: int = UINT_MAX) -> int:
    """An integer from 0 to `high`."""
    if type(value) is not int or not 0 <= value <= high:
        raise EncodingError(f"{what}: expected an integer from 0 to {high}, got {value!r:.40}")
    return value


def integer(value: Value, what: str) -> int:
    """A signed integer of at most 64 bits."""
    if type(value) is not int or not -UINT_MAX <= value <= UINT_MAX:
        raise EncodingError(f"{what}: expected an integer of at most 64 bits, got {value!r:.40}")
    return value


def flag(value: Value, what: str) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise EncodingError(f"{what}: expected true or false, got {value!r:.40}")
    return value


def name(value: Value, what: str) -> str:
    """A name: letters, digits, and ``_ . -`` inside, at most 64 characters, safe in topics and files."""
    if type(value) is not str or not is_name(value):
        raise EncodingError(f"{what}: expected a name of letters, digits, '_', '.', '-', got {value!r:.40}")
    return value


def is_name(text: str) -> bool:
    """Whether `text` may name something in este."""
    return _NAME.fullmatch(text) is not None


def text(value: Value, what: str, length_max: int) -> str:
    """Any text of at most `length_max` characters."""
    if type(value) is not str or len(value) > length_max:
        raise EncodingError(f"{what}: expected text of at most {length_max} characters, got {value!r:.40}")
    return value


def octets(value: Value, what: str, length: int) -> bytes:
    """Exactly `length` bytes."""
    if type(value) is not bytes or len(value) != length:
        raise EncodingError(f"{what}: expected {length} bytes, got {value!r:.40}")
    return value


def digest(value: Value, what: str) -> bytes:
    """A SHA-256 digest."""
    return octets(value, what, DIGEST_BYTES)


def items(value: Value, what: str, count_max: int) -> list[Value]:
    """An array of at most `count_max` items."""
    if type(value) is not list or len(value) > count_max:
        raise EncodingError(f"{what}: expected an array of at most {count_max} items, got {value!r:.40}")
    return value


def row(value: Value, what: str, length: int) -> list[Value]:
    """An array of exactly `length` items."""
    if type(value) is not list or len(value) != length:
        raise EncodingError(f"{what}: expected an array of {length} items, got {value!r:.40}")
    return value


def optional(value: Value, read: Callable[[Value, str], T], what: str) -> T | None:
    """Null, or what `read` reads."""
    return None if value is None else read(value, what)

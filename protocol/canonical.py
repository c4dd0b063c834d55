"""One value, one spelling: deterministic CBOR (RFC 8949 §4.2.1), narrowed to what este needs.

Integers of 64 bits, byte strings, text, arrays, maps with small integer keys in rising order, null, booleans and
RFC 8746 typed arrays of signed 32-bit little-endian integers. No floats, no indefinite lengths, no other tags.

`decode` reads this one spelling and no other, head by head, so that a second spelling is never a matter of
comparing: it has no way in. `encode` writes through `cbor2`, which is also the second opinion in the tests.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import cbor2

from protocol.errors import EncodingError, OversizedError, SpellingError, TruncatedError

Value = Any
"""A decoded value: int, bytes, str, bool, None, `array` of integers, list of them, or dict with small integer keys."""

DEPTH_MAX: Final = 16
"""Deeper nesting than any este message has."""

KEY_MAX: Final = 23
"""Map keys lie in 0..23, so that one byte spells each of them."""

_INTEGER_MAX: Final = (1 << 64) - 1
"""What the longest head can say; and its complement, the lowest integer."""

_INTEGERS_TAG: Final = 78
"""RFC 8746 table 1: sint32, little endian."""

INTEGERS_TYPECODE: Final = "i"
"""The typecode of the `array` that a typed array is read into and written from."""

_LITTLE_ENDIAN: Final = sys.byteorder == "little"

# The major types of RFC 8949 §3.1, and the lowest of the bytes that hold the last, type 7: simple values and floats.
_UNSIGNED, _NEGATIVE, _OCTETS, _TEXT, _ARRAY, _MAP, _TAG = range(7)
_SIMPLE_FROM: Final = 0xE0
_SIMPLE: Final = {0xF4: False, 0xF5: True, 0xF6: None}


def encode(value: Value) -> bytes:
    """Spell `value`, which holds only what the module's first paragraph allows.

    Raises:
        TypeError: the value holds something that has no spelling here, such as a float.
    """
    has_arrays = _check(value, 0)
    return cbor2.dumps(value, encoders=_ENCODERS) if has_arrays else cbor2.dumps(value)


def decode(data: bytes, *, size_max: int) -> Value:
    """Read the one value that `data` spells.

    Raises:
        OversizedError: more than `size_max` bytes; nothing was parsed.
        TruncatedError: the bytes end early.
        SpellingError: a longer or unordered spelling of a value that has a better one, or bytes behind its end.
        EncodingError: not a value that este speaks.
    """
    if len(data) > size_max:
        raise OversizedError(f"{len(data)} bytes where at most {size_max} are allowed")
    value, end = _read_one(data, 0)
    if end != len(data):
        raise SpellingError(f"{len(data) - end} bytes behind the end of the value")
    return value


def read_octets(data: bytes, at: int) -> tuple[bytes, int]:
    """Read the byte string that begins at `at`; anything else is refused at its first byte.

    Returns:
        The string, and where its bytes end.

    Raises:
        EncodingError: as `decode` does.
    """
    if at < len(data) and data[at] >> 5 != _OCTETS:
        raise EncodingError("expected a byte string")
    return _read_one(data, at)


def _read_one(data: bytes, at: int) -> tuple[Value, int]:
    try:
        return _read(data, at, 0)
    except IndexError as error:
        raise TruncatedError("the bytes end before the value does") from error
    except UnicodeDecodeError as error:
        raise EncodingError("text that is not UTF-8") from error


def _read(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    """One item and where it ends. A byte that is not there raises IndexError, which `_read_one` explains."""
    first = data[at]
    at += 1
    if first >= _SIMPLE_FROM:
        return _read_simple(first), at
    argument = first & 0x1F
    if argument >= 24:
        if argument == 24 and data[at] >= 24:
            argument, at = data[at], at + 1
        else:
            argument, at = _read_long_argument(data, at, argument)
    major = first >> 5
    if major <= _NEGATIVE:
        return ~argument if major else argument, at
    if major <= _TEXT:
        end = at + argument
        if end > len(data):
            raise TruncatedError(f"a string of {argument} bytes ends early")
        return data[at:end] if major == _OCTETS else data[at:end].decode(), end
    if major == _TAG:
        return _read_typed_array(data, at, argument)
    if depth >= DEPTH_MAX:
        raise EncodingError(f"nested deeper than {DEPTH_MAX}")
    if major == _MAP:
        return _read_map(data, at, argument, depth + 1)
    items = []
    for _ in range(argument):
        item, at = _read(data, at, depth + 1)
        items.append(item)
    return items, at


def _read_map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[int, Value], int]:
    items: dict[int, Value] = {}
    last = -1
    for _ in range(count):
        key = data[at]
        if not last < key <= KEY_MAX:
            _refuse_key(data, at, last)
        items[key], at = _read(data, at + 1, depth)
        last = key
    return items, at


def _read_long_argument(data: bytes, at: int, follows: int) -> tuple[int, int]:
    """The argument of a head of more than two bytes (RFC 8949 §3), which no shorter head could hold."""
    if follows == 24:
        argument = data[at]
    elif follows == 25:
        argument = data[at] << 8 | data[at + 1]
        if argument >= 1 << 8:
            return argument, at + 2
    elif follows in {26, 27}:
        end = at + (4 if follows == 26 else 8)
        if end > len(data):
            raise TruncatedError("a head ends early")
        argument = int.from_bytes(data[at:end])
        if argument >= 1 << (16 if follows == 26 else 32):
            return argument, end
    elif follows == 31:
        raise SpellingError("an indefinite length where a definite one says the same")
    else:
        raise EncodingError(f"no head of CBOR ends with {follows}")
    raise SpellingError(f"{argument} in a longer head than it needs")


def _read_simple(first: int) -> bool | None:
    try:
        return _SIMPLE[first]
    except KeyError as error:
        raise EncodingError(f"a float or simple value ({first:#04x}) where este has none") from error


def _read_typed_array(data: bytes, at: int, tag: int) -> tuple[array[int], int]:
    if tag != _INTEGERS_TAG:
        raise EncodingError(f"tag {tag} is not an array of 32-bit integers")
    packed, end = _read(data, at, DEPTH_MAX)
    if type(packed) is not bytes:
        raise EncodingError("a typed array is a byte string")
    try:
        values: array[int] = array(INTEGERS_TYPECODE, packed)
    except ValueError as error:
        raise EncodingError(f"{len(packed)} bytes are no whole number of 32-bit integers") from error
    if not _LITTLE_ENDIAN:
        values.byteswap()
    return values, end


def _refuse_key(data: bytes, at: int, last: int) -> NoReturn:
    key, _ = _read(data, at, DEPTH_MAX)
    if type(key) is int and 0 <= key < last:
        raise SpellingError(f"map key {key} behind {last}")
    raise EncodingError(f"map keys are different integers from 0 to {KEY_MAX}, found {key!r:.40} behind {last}")


def _check(value: Value, depth: int) -> bool:
    """Refuse to write what `_read` would not read.

    Returns:
        Whether there are typed arrays in it, which `cbor2` has to be told how to write.
    """
    kind = type(value)
    if kind is int:
        if not ~_INTEGER_MAX <= value <= _INTEGER_MAX:
            raise TypeError("an integer of more than 64 bits has no spelling in this protocol")
        return False
    if kind is dict or kind is list or kind is tuple:
        if depth >= DEPTH_MAX:
            raise TypeError(f"nested deeper than {DEPTH_MAX}")
        if kind is dict:
            _check_keys(value)
        has_arrays = False
        for item in value.values() if kind is dict else value:
            has_arrays |= _check(item, depth + 1)
        return has_arrays
    if kind is array:
        if value.typecode != INTEGERS_TYPECODE:
            raise TypeError("a typed array holds integers of 32 bits")
        return True
    if kind not in _LEAVES:
        raise TypeError(f"{kind.__name__} has no spelling in this protocol")
    return False


def _check_keys(keys: Iterable[object]) -> None:
    last = -1
    for key in keys:
        if type(key) is not int or not last < key <= KEY_MAX:
            raise TypeError(f"map keys must be integers rising from 0 to {KEY_MAX}, found {key!r}")
        last = key


_LEAVES: Final = frozenset((bytes, str, bool, type(None)))


def _spell_typed_array(encoder: cbor2.CBOREncoder, values: array[int]) -> None:
    packed = values
    if not _LITTLE_ENDIAN:
        packed = packed[:]
        packed.byteswap()
    encoder.encode_length(_TAG, _INTEGERS_TAG)
    encoder.encode_bytes(packed.tobytes())


_ENCODERS: Final[Mapping[type, Callable[[cbor2.CBOREncoder, Any], None]]] = {array: _spell_typed_array}


def fields_of(value: Value, keys: tuple[int, ...], what: str, *, optional: tuple[int, ...] = ()) -> Mapping[int, Value]:
    """Hand back the map `value`, having seen that it has exactly `keys`, and beside them at most the `optional` ones.

    Raises:
        EncodingError: not a map, or other keys.
    """
    if type(value) is not dict or (tuple(value) != keys and tuple(k for k in value if k not in optional) != keys):
        raise EncodingError(f"{what}: expected a map with the keys {keys}")
    return value

"""One value, one spelling: deterministic CBOR (RFC 8949 §4.2.1), narrowed to what este needs.

Integers, byte strings, text, arrays, maps with small integer keys in rising order, null, booleans and
RFC 8746 typed arrays of signed little-endian integers. No floats, no indefinite lengths, no duplicate
keys, no trailing bytes.

What is hashed or verified is always the bytes *received*; `decode` proves that they are the bytes that
`encode` would have written.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Mapping
from typing import Any, Final

import cbor2
from cbor2 import CBORTag

from protocol.errors import EncodingError, OversizedError, SpellingError, TruncatedError

Value = Any
"""A decoded value: int, bytes, str, bool, None, array, list of them, or dict with small integer keys."""

DEPTH_MAX: Final = 16
"""Deeper nesting than any este message has."""

KEY_MAX: Final = 23
"""Map keys lie in 0..23, so that one byte spells each of them."""

_TAG_OF_TYPECODE: Final = {"h": 77, "i": 78, "q": 79}
"""RFC 8746 table 1: sint16, sint32, sint64, little endian."""

_TYPECODE_OF_TAG: Final = {tag: code for code, tag in _TAG_OF_TYPECODE.items()}

_LITTLE_ENDIAN: Final = sys.byteorder == "little"


def encode(value: Value) -> bytes:
    """Spell `value`, which holds only what the module's first paragraph allows.

    Raises:
        TypeError: the value holds something that has no spelling here, such as a float.
    """
    _check(value, 0)
    return cbor2.dumps(value)


def decode(data: bytes, *, size_max: int) -> Value:
    """Read the one value that `data` spells.

    Raises:
        OversizedError: more than `size_max` bytes; nothing was parsed.
        TruncatedError: the bytes end early.
        SpellingError: a longer or unordered spelling of a value that has a better one.
        EncodingError: not a value that este speaks.
    """
    if len(data) > size_max:
        raise OversizedError(f"{len(data)} bytes where at most {size_max} are allowed")
    try:
        value = cbor2.loads(data, max_depth=DEPTH_MAX, allow_indefinite=False, allow_duplicate_keys=False)
        _check(value, 0)
        spelled = cbor2.dumps(value)
    except cbor2.CBORDecodeEOF as error:
        raise TruncatedError("the bytes end before the value does") from error
    except (cbor2.CBORError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodingError(f"not a value of this protocol: {error}") from error
    if spelled != data:
        raise SpellingError("a second spelling of a value that has one, or bytes behind its end")
    return value


def _check(value: Value, depth: int) -> None:
    """Refuse what has no spelling here. Runs before encoding and after decoding."""
    kind = type(value)
    if kind in _LEAVES:
        return
    if depth >= DEPTH_MAX:
        raise TypeError(f"nested deeper than {DEPTH_MAX}")
    if kind is dict:
        last = -1
        for key, item in value.items():
            if type(key) is not int or not last < key <= KEY_MAX:
                raise TypeError(f"map keys must be integers rising from 0 to {KEY_MAX}, found {key!r}")
            last = key
            if type(item) not in _LEAVES:
                _check(item, depth + 1)
    elif kind is list or kind is tuple:
        for item in value:
            if type(item) not in _LEAVES:
                _check(item, depth + 1)
    elif kind is CBORTag:
        if value.tag not in _TYPECODE_OF_TAG or type(value.value) is not bytes:
            raise TypeError(f"tag {value.tag} is not a typed array of signed integers")
    else:
        raise TypeError(f"{kind.__name__} has no spelling in this protocol")


_LEAVES: Final = frozenset((int, bytes, str, bool, type(None)))


def typed_array(values: Iterable[int]) -> CBORTag:
    """Pack integers into the narrowest RFC 8746 array of 16, 32 or 64 bits that holds them all.

    Raises:
        OverflowError: a value needs more than 64 bits.
    """
    wide = array("q", values)
    low, high = (min(wide), max(wide)) if wide else (0, 0)
    code = _narrowest(low, high)
    packed = wide if code == "q" else array(code, wide)
    if not _LITTLE_ENDIAN:
        packed.byteswap()
    return CBORTag(_TAG_OF_TYPECODE[code], packed.tobytes())


def integers_in(value: Value) -> array[int]:
    """Unpack a typed array.

    Raises:
        EncodingError: not a typed array, or its bytes are no multiple of the width.
        SpellingError: a narrower width would have held the same integers.
    """
    if type(value) is not CBORTag or value.tag not in _TYPECODE_OF_TAG or type(value.value) is not bytes:
        raise EncodingError("expected a typed array of signed integers")
    code = _TYPECODE_OF_TAG[value.tag]
    unpacked: array[int] = array(code)
    if len(value.value) % unpacked.itemsize:
        raise EncodingError(f"{len(value.value)} bytes are no multiple of {unpacked.itemsize}")
    unpacked.frombytes(value.value)
    if not _LITTLE_ENDIAN:
        unpacked.byteswap()
    if code != "h" and (not unpacked or _narrowest(min(unpacked), max(unpacked)) != code):
        raise SpellingError("a narrower typed array holds the same integers")
    return unpacked


def _narrowest(low: int, high: int) -> str:
    if low >= -0x8000 and high <= 0x7FFF:
        return "h"
    if low >= -0x8000_0000 and high <= 0x7FFF_FFFF:
        return "i"
    return "q"


def fields_of(value: Value, keys: tuple[int, ...], what: str) -> Mapping[int, Value]:
    """Hand back the map `value`, having seen that it has exactly `keys`.

    Raises:
        EncodingError: not a map, or other keys.
    """
    if type(value) is not dict or tuple(value) != keys:
        raise EncodingError(f"{what}: expected a map with the keys {keys}")
    return value

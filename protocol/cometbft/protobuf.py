"""The few bytes of protobuf that CometBFT hashes and signs: written, never read.

Fields in the order of their numbers, and those that are zero or empty left out, as proto3 does: one spelling.
"""

from __future__ import annotations

from typing import Final

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
"""Wire types."""

_U64: Final = (1 << 64) - 1
_NS_PER_S: Final = 1_000_000_000


def uvarint(value: int) -> bytes:
    """An integer in groups of seven bits, lowest first; a negative one as its two's complement of 64 bits."""
    value &= _U64
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def varint_field(number: int, value: int) -> bytes:
    """A field of type int64, uint64, uint32 or enum."""
    return _tag(number, _VARINT) + uvarint(value) if value else b""


def sfixed64_field(number: int, value: int) -> bytes:
    """A field of type sfixed64: eight bytes, so that what is signed has one length."""
    return _tag(number, _FIXED64) + value.to_bytes(8, "little", signed=True) if value else b""


def bytes_field(number: int, value: bytes) -> bytes:
    """A field of type bytes or string."""
    return message_field(number, value) if value else b""


def message_field(number: int, message: bytes) -> bytes:
    """A message inside a message, which is written also when it is empty."""
    return _tag(number, _LENGTH) + delimited(message)


def delimited(message: bytes) -> bytes:
    """A message behind its length."""
    return uvarint(len(message)) + message


def timestamp(time_ns: int) -> bytes:
    """A google.protobuf.Timestamp of nanoseconds since 1970, UTC."""
    seconds, nanos = divmod(time_ns, _NS_PER_S)
    return varint_field(1, seconds) + varint_field(2, nanos)


def _tag(number: int, wire_type: int) -> bytes:
    return uvarint(number << 3 | wire_type)

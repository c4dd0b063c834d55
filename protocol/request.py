"""The request to be admitted: PKCS #10 (RFC 2986), signed with the key that it asks for.

Made by hand in DER, so that any `SigningKey` can sign it, a chip's too, and so that a gateway need not load a library
for certificates. The other side reads and verifies it with one: see `protocol.certificates`.
"""

from __future__ import annotations

import base64
import textwrap
from typing import Final

from protocol.crypto import SigningKey

_SEQUENCE, _SET, _INTEGER, _BIT_STRING, _UTF8, _NO_ATTRIBUTES = 0x30, 0x31, 0x02, 0x03, 0x0C, 0xA0

_ORGANIZATION: Final = bytes.fromhex("060355040a")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
"""Object identifiers of X.520, 2.5.4.10 and 2.5.4.3."""

_P256: Final = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
"""id-ecPublicKey with secp256r1 (RFC 5480 §2.1.1)."""

_ES256: Final = bytes.fromhex("300a06082a8648ce3d040302")
"""ecdsa-with-SHA256 (RFC 5758 §3.2)."""


def request_for(key: SigningKey, *, region: str, gateway: str) -> bytes:
    """A certification request in PEM: O is the region, CN the gateway's name."""
    subject = _tlv(_SEQUENCE, _attribute(_ORGANIZATION, region), _attribute(_COMMON_NAME, gateway))
    point = _tlv(_SEQUENCE, _P256, _tlv(_BIT_STRING, b"\x00", key.public_key.point))
    info = _tlv(_SEQUENCE, _tlv(_INTEGER, b"\x00"), subject, point, _tlv(_NO_ATTRIBUTES))
    signature = key.sign(info)
    halves = _tlv(_SEQUENCE, _integer(signature[:32]), _integer(signature[32:]))
    der = _tlv(_SEQUENCE, info, _ES256, _tlv(_BIT_STRING, b"\x00", halves))
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join(["-----BEGIN CERTIFICATE REQUEST-----", *lines, "-----END CERTIFICATE REQUEST-----", ""]).encode()


def _attribute(kind: bytes, text: str) -> bytes:
    return _tlv(_SET, _tlv(_SEQUENCE, kind, _tlv(_UTF8, text.encode())))


def _integer(digits: bytes) -> bytes:
    """A positive integer: no zeros in front, but one where the first bit would make it negative."""
    number = int.from_bytes(digits)
    return _tlv(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))


def _tlv(tag: int, *parts: bytes) -> bytes:
    """Tag, length and value (X.690 §8.1)."""
    value = b"".join(parts)
    size = len(value)
    length = bytes([size]) if size < 128 else bytes([128 + (size.bit_length() + 7) // 8]) + _big(size)
    return bytes([tag]) + length + value


def _big(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)

"""The signed envelope around every message: COSE_Sign1 (RFC 9052 §4.2) with ES256.

Order of trust, kept by whoever opens one:

1. its size is bounded, before anything is parsed (`Envelope.parse`);
2. it has exactly one spelling, and its signature is low-S (`Envelope.parse`);
3. its key id names a key that the asset chain admits, for this type of message (the caller);
4. the signature fits the region, the type and the payload (`Envelope.verify`);
5. only then is the payload decoded.

The region is external data of the signature: what is signed in one region verifies in no other. The type
is in the protected header (RFC 9596), so that no message can pass for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocol.canonical import decode, encode, fields_of, read_octets
from protocol.crypto import SIGNATURE_BYTES, PublicKey, SigningKey, digest_of, is_low_s
from protocol.errors import EncodingError, OversizedError, SpellingError, TruncatedError
from protocol.fields import digest, name, octets

ENVELOPE_BYTES_MAX: Final = 1 << 20
"""No message is larger than 1 MiB; the broker is told the same."""

HEADER_BYTES_MAX: Final = 128
"""Of a protected header: a name is the longest thing in it."""

HEADERS_KEPT_MAX: Final = 1 << 14
"""Protected headers that need not be read again: one per gateway and type of message."""

TYPE_PREFIX: Final = "este."

_ALG, _KID, _TYP, _ES256 = 1, 4, 16, -7
_HEAD: Final = b"\xd2\x84"
"""Tag 18, array of four: how every COSE_Sign1 begins (RFC 9052 §4.2)."""
_EMPTY_MAP: Final = b"\xa0"


@dataclass(frozen=True)
class Envelope:
    """One signed message, as received."""

    data: bytes
    """The whole envelope; its SHA-256 is its identity."""
    protected: bytes
    key_id: bytes
    """Thumbprint of the key that claims to have signed."""
    type: str
    """What the payload is: ``batch``, ``receipt``, …"""
    payload: bytes
    signature: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of the envelope as received."""
        # No cached_property: until Python 3.12 it has one lock for all envelopes, on which threads wait for each other.
        known: bytes | None = self.__dict__.get("_digest")
        if known is None:
            known = self.__dict__["_digest"] = digest_of(self.data)
        return known

    @classmethod
    def parse(cls, data: bytes, *, size_max: int = ENVELOPE_BYTES_MAX) -> Envelope:
        """Take an envelope apart. Nothing in it is trusted afterwards.

        Raises:
            OversizedError: more than `size_max` bytes.
            TruncatedError: the bytes end early.
            SpellingError: a second spelling, or a high-S signature.
            EncodingError: not a COSE_Sign1 of este.
        """
        if len(data) > size_max:
            raise OversizedError(f"envelope of {len(data)} bytes where at most {size_max} are allowed")
        if not data.startswith(_HEAD):
            raise _other_head(data)
        protected, at = read_octets(data, len(_HEAD))
        if data[at : at + 1] not in (_EMPTY_MAP, b""):
            raise EncodingError("the unprotected header must be empty")
        payload, at = read_octets(data, at + 1)
        signature, at = read_octets(data, at)
        if at != len(data):
            raise SpellingError(f"{len(data) - at} bytes behind the end of the envelope")
        octets(signature, "signature", SIGNATURE_BYTES)
        key_id, type_ = _read_protected(protected)
        if not is_low_s(signature):
            raise SpellingError("the signature is the high-S twin of the one to send")
        return cls(data, protected, key_id, type_, payload, signature)

    def verify(self, key: PublicKey, region: str) -> None:
        """See that `key` signed this message for `region`.

        Raises:
            SignatureError: it did not.
        """
        key.verify(self.signature, signed_bytes(self.protected, region.encode(), self.payload))


def seal(key: SigningKey, *, region: str, type_: str, payload: bytes) -> bytes:
    """Sign `payload` as a message of `type_`, good for `region` only.

    Returns:
        The envelope's bytes.
    """
    protected = protected_header(key.public_key.thumbprint, type_)
    signature = key.sign(signed_bytes(protected, region.encode(), payload))
    return _assemble(protected, payload, signature)


def protected_header(key_id: bytes, type_: str) -> bytes:
    """Spell the protected header: algorithm, key id, type."""
    return encode({_ALG: _ES256, _KID: key_id, _TYP: TYPE_PREFIX + type_})


def signed_bytes(protected: bytes, external: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 §4.4, which is what gets signed."""
    return encode(["Signature1", protected, external, payload])


def _assemble(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    return _HEAD[:1] + encode([protected, {}, payload, signature])


@lru_cache(maxsize=HEADERS_KEPT_MAX)
def _read_protected(protected: bytes) -> tuple[bytes, str]:
    """Key id and type. A gateway's header is the same in all its messages of one type."""
    header = fields_of(decode(protected, size_max=HEADER_BYTES_MAX), (_ALG, _KID, _TYP), "protected header")
    if header[_ALG] != _ES256:
        raise EncodingError(f"algorithm {header[_ALG]!r:.20} where ES256 (-7) is required")
    type_ = header[_TYP]
    if type(type_) is not str or not type_.startswith(TYPE_PREFIX):
        raise EncodingError(f"type {type_!r:.40} is none of este's")
    return digest(header[_KID], "key id"), name(type_.removeprefix(TYPE_PREFIX), "type")


def _other_head(data: bytes) -> EncodingError:
    if _HEAD.startswith(data):
        return TruncatedError("the envelope ends early")
    return EncodingError("not a tagged COSE_Sign1 of four parts")

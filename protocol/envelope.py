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
from functools import cached_property
from typing import Final

import cbor2

from protocol.canonical import encode
from protocol.crypto import SIGNATURE_BYTES, PublicKey, SigningKey, digest_of, is_low_s
from protocol.errors import EncodingError, OversizedError, SpellingError, TruncatedError

ENVELOPE_BYTES_MAX: Final = 1 << 20
"""No message is larger than 1 MiB; the broker is told the same."""

TYPE_PREFIX: Final = "este."

_SIGN1_TAG: Final = 18
_ALG, _KID, _TYP, _ES256 = 1, 4, 16, -7
_HEAD: Final = b"\xd2\x84"
"""Tag 18, array of four: how every COSE_Sign1 begins (RFC 9052 §4.2)."""


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

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the envelope as received."""
        return digest_of(self.data)

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
        tagged = _loads(data)
        if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != _SIGN1_TAG:
            raise EncodingError("not a tagged COSE_Sign1")
        body = tagged.value
        if not isinstance(body, (list, tuple)) or len(body) != 4:
            raise EncodingError("a COSE_Sign1 has four parts")
        protected, unprotected, payload, signature = body
        if unprotected != {}:
            raise EncodingError("the unprotected header must be empty")
        if not (type(protected) is type(payload) is type(signature) is bytes):
            raise EncodingError("header, payload and signature must be byte strings")
        if len(signature) != SIGNATURE_BYTES:
            raise EncodingError(f"a signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
        key_id, type_ = _read_protected(protected)
        if _assemble(protected, payload, signature) != data:
            raise SpellingError("a second spelling of an envelope, or bytes behind its end")
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
    return b"\xa3" + encode(_ALG) + b"\x26" + encode(_KID) + encode(key_id) + encode(_TYP) + encode(TYPE_PREFIX + type_)


def signed_bytes(protected: bytes, external: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 §4.4, which is what gets signed."""
    return b"\x84" + encode("Signature1") + encode(protected) + encode(external) + encode(payload)


def _assemble(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    return _HEAD + encode(protected) + b"\xa0" + encode(payload) + encode(signature)


def _read_protected(protected: bytes) -> tuple[bytes, str]:
    header = _loads(protected)
    if not isinstance(header, dict) or tuple(header) != (_ALG, _KID, _TYP):
        raise EncodingError("the protected header holds algorithm, key id and type, and nothing else")
    key_id, type_ = header[_KID], header[_TYP]
    if header[_ALG] != _ES256:
        raise EncodingError(f"algorithm {header[_ALG]!r:.20} where ES256 (-7) is required")
    if type(key_id) is not bytes or len(key_id) != 32:
        raise EncodingError("a key id is the 32 bytes of a SHA-256 thumbprint")
    if type(type_) is not str or not type_.startswith(TYPE_PREFIX):
        raise EncodingError(f"type {type_!r:.40} is none of este's")
    short = type_.removeprefix(TYPE_PREFIX)
    if protected != protected_header(key_id, short):
        raise SpellingError("a second spelling of the protected header")
    return key_id, short


def _loads(data: bytes) -> object:
    try:
        value: object = cbor2.loads(data, max_depth=4, allow_indefinite=False, allow_duplicate_keys=False)
    except cbor2.CBORDecodeEOF as error:
        raise TruncatedError("the envelope ends early") from error
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise EncodingError(f"not CBOR: {error}") from error
    return value

"""A letter that one gateway alone can read: HPKE (RFC 9180) with P-256, sealed to the key that it has published.

Single-shot encryption in base mode, with DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-128-GCM: each letter has a key
of its own. Sender, receiver, region and expiry go into the key schedule, so that a letter with another name on it does
not open. Who wrote it, what is inside says by its own signature: the sealing hides, and proves nothing. Every letter is
as long as every other one, so that an acceptance cannot be told from an offer. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from protocol.canonical import decode, encode, fields_of
from protocol.crypto import PublicKey, SoftwareKey
from protocol.errors import EncodingError, UnreadableError
from protocol.fields import digest, name, octets, uint

INFO: Final = "este.sealed"
"""What the info of RFC 9180 §5.1 begins with here: a letter of another protocol does not open."""

MESSAGE_BYTES_MAX: Final = 2046
"""Of what is put into a letter."""

_LENGTH_BYTES: Final = 2
_PADDED_BYTES: Final = _LENGTH_BYTES + MESSAGE_BYTES_MAX
_KEM_BYTES: Final = 65
"""Encapsulated key: an uncompressed point (RFC 9180 §7.1.1)."""
_TAG_BYTES: Final = 16
BOX_BYTES: Final = _KEM_BYTES + _PADDED_BYTES + _TAG_BYTES

SEALED_BYTES_MAX: Final = 3072
"""Of a letter with what is written on it."""

_SUITE: Final = Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM)


@dataclass(frozen=True)
class SealingKey:
    """A private key that opens letters. It signs nothing: a key is for one purpose."""

    _held: SoftwareKey

    @classmethod
    def generate(cls) -> SealingKey:
        """Make a new key from the operating system's randomness."""
        return cls(SoftwareKey.generate())

    @property
    def public_key(self) -> PublicKey:
        """The other half, for whoever writes."""
        return self._held.public_key

    def open(self, sealed: Sealed) -> bytes:
        """What was put into a letter.

        Raises:
            UnreadableError: it was sealed to another key, or what is written on it was changed.
        """
        if sealed.key_id != self.public_key.thumbprint:
            raise UnreadableError("sealed to another key than this gateway's")
        try:
            padded = _SUITE.decrypt(sealed.box, self._held._private, sealed.info)
        except (InvalidTag, ValueError) as error:
            raise UnreadableError("what is in it, or on it, was changed") from error
        length = int.from_bytes(padded[:_LENGTH_BYTES])
        message, padding = padded[_LENGTH_BYTES:][:length], padded[_LENGTH_BYTES + length :]
        if len(padded) != _PADDED_BYTES or len(message) != length or any(padding):
            raise UnreadableError("not filled up as a letter is")
        return message

    def __repr__(self) -> str:
        return f"SealingKey({self.public_key.thumbprint.hex()[:16]}…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A letter, as whoever passes it on sees it."""

    region: str
    sender: str
    """Gateway."""
    receiver: str
    """Gateway."""
    key_id: bytes
    """Thumbprint of the sealing key that opens it."""
    expires_ms: int
    """After this instant nobody passes it on, UTC."""
    box: bytes
    """Encapsulated key and ciphertext (RFC 9180 §6.1)."""

    @property
    def info(self) -> bytes:
        """What goes into the key schedule."""
        return _info(self.region, self.sender, self.receiver, self.expires_ms)

    def encode(self) -> bytes:
        """Spell the letter."""
        return encode(
            {1: self.region, 2: self.sender, 3: self.receiver, 4: self.key_id, 5: self.expires_ms, 6: self.box}
        )

    @classmethod
    def decode(cls, payload: bytes) -> Sealed:
        """Read what is written on a letter.

        Raises:
            EncodingError: not the one spelling of a letter.
        """
        fields = fields_of(decode(payload, size_max=SEALED_BYTES_MAX), (1, 2, 3, 4, 5, 6), "letter")
        return cls(
            region=name(fields[1], "region"),
            sender=name(fields[2], "sender"),
            receiver=name(fields[3], "receiver"),
            key_id=digest(fields[4], "key id"),
            expires_ms=uint(fields[5], "expiry"),
            box=octets(fields[6], "box", BOX_BYTES),
        )


def seal_to(key: PublicKey, message: bytes, *, region: str, sender: str, receiver: str, expires_ms: int) -> Sealed:
    """Seal `message` to the published key of `receiver`. Twice the same message makes two different letters.

    Raises:
        EncodingError: the message is too long for a letter.
    """
    if len(message) > MESSAGE_BYTES_MAX:
        raise EncodingError(f"{len(message)} bytes where a letter takes {MESSAGE_BYTES_MAX}")
    padded = (len(message).to_bytes(_LENGTH_BYTES) + message).ljust(_PADDED_BYTES, b"\0")
    info = _info(region, sender, receiver, expires_ms)
    return Sealed(
        region=region,
        sender=sender,
        receiver=receiver,
        key_id=key.thumbprint,
        expires_ms=expires_ms,
        box=_SUITE.encrypt(padded, key._loaded, info),
    )


def _info(region: str, sender: str, receiver: str, expires_ms: int) -> bytes:
    return encode([INFO, region, sender, receiver, expires_ms])

"""The record by which a gateway goes over to a new key, and the proof that it holds that key.

Signed with the present key, in the gateway's own sequence, it names the next one. Whoever wants to be somebody's next
key has to show that it can sign: else a gateway could claim a key that another one holds. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import decode, encode, fields_of
from protocol.crypto import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, PublicKey, SigningKey, is_low_s
from protocol.errors import EncodingError, SignatureError, SpellingError
from protocol.fields import octets
from protocol.link import Link

ROTATION_BYTES_MAX: Final = 1024

ROTATIONS_MAX: Final = 64
"""Of one gateway between two admissions: once a month for five years. Rows of keys are for ever, and a gateway makes
these by its own word; after that the regulator, who can ask who is behind it, has to admit it anew."""

POSSESSION: Final = "este.possession"
"""What a new key signs is an array that begins so: no envelope, whose array begins with "Signature1", is one."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """From the next block on, this gateway signs with another key."""

    link: Link
    key: PublicKey
    """The next one."""
    possession: bytes
    """Signature of the next key over `possession_bytes`."""

    def encode(self) -> bytes:
        """Spell the rotation."""
        return encode(self.link.to_fields() | {5: self.key.point, 6: self.possession})

    @classmethod
    def decode(cls, payload: bytes) -> Rotation:
        """Read a rotation.

        Raises:
            EncodingError: not the one spelling of a rotation, or what it names is no key.
        """
        fields = fields_of(decode(payload, size_max=ROTATION_BYTES_MAX), (1, 2, 3, 4, 5, 6), "rotation")
        possession = octets(fields[6], "proof of possession", SIGNATURE_BYTES)
        if not is_low_s(possession):
            raise SpellingError("the proof of possession is the high-S twin of the one to send")
        return cls(Link.from_fields(fields), read_key(fields[5]), possession)

    def verify_possession(self, old_key_id: bytes) -> None:
        """See that the new key vouches for going over to it.

        Raises:
            SignatureError: it does not, or for another step.
        """
        link = self.link
        self.key.verify(self.possession, possession_bytes(link.region, link.author, old_key_id, self.key))


def rotate(link: Link, old_key_id: bytes, new: SigningKey) -> Rotation:
    """The step from an old key to a new one, with the new one's word for it."""
    statement = possession_bytes(link.region, link.author, old_key_id, new.public_key)
    return Rotation(link, new.public_key, new.sign(statement))


def possession_bytes(region: str, name: str, old_key_id: bytes, new: PublicKey) -> bytes:
    """What the new key signs: that it follows this key, of this name, in this region, and nothing else."""
    return encode([POSSESSION, region, name, old_key_id, new.point])


def read_key(value: object) -> PublicKey:
    """Read a public key in a message.

    Raises:
        EncodingError: not an uncompressed point on P-256.
    """
    try:
        return PublicKey(octets(value, "public key", PUBLIC_KEY_BYTES))
    except SignatureError as error:
        raise EncodingError(f"public key: {error}") from error

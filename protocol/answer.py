"""What one gateway answers to another's offer, sealed as the offer was.

It tells where things stand and binds nobody: what binds is the agreement on the chain, which holds both signatures.
Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.canonical import decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import digest, name, text, uint

REASON_MAX: Final = 200
"""Characters that a letter has room for, whatever language they are of."""

_ANSWER_BYTES_MAX: Final = 1600


class Reply(IntEnum):
    """What has become of an offer at whoever got it."""

    RECEIVED = 1
    """It waits for somebody's decision."""
    DECLINED = 2
    ACCEPTED = 3
    """The agreement is signed, and on its way to the chain."""
    REFUSED = 4
    """It is no offer that this gateway may accept; `number` is the refusal's code."""
    RECORDED = 5
    """The agreement is on the chain, in the block of height `number`."""
    REJECTED = 6
    """The chain has refused the agreement; `number` is the refusal's code."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a gateway says of an offer that it got."""

    region: str
    gateway: str
    """Who answers."""
    offer: bytes
    """Digest of the terms."""
    reply: Reply
    number: int = 0
    reason: str = ""
    """For people."""

    def encode(self) -> bytes:
        """Spell the answer."""
        reason = self.reason[:REASON_MAX]
        return encode({1: self.region, 2: self.gateway, 3: self.offer, 4: self.reply.value, 5: self.number, 6: reason})

    @classmethod
    def decode(cls, payload: bytes) -> Answer:
        """Read an answer.

        Raises:
            EncodingError: not the one spelling of an answer.
        """
        fields = fields_of(decode(payload, size_max=_ANSWER_BYTES_MAX), (1, 2, 3, 4, 5, 6), "answer")
        try:
            reply = Reply(uint(fields[4], "reply"))
        except ValueError as error:
            raise EncodingError(f"no reply has the number {fields[4]}") from error
        return cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            offer=digest(fields[3], "offer"),
            reply=reply,
            number=uint(fields[5], "number"),
            reason=text(fields[6], "reason", REASON_MAX),
        )

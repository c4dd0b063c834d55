"""A record: a signed envelope that changes the ledger, opened in the order of trust.

`open_record` keeps that order, for every node and for the audit:

1. bounded and well spelled, else counted only;
2. signed by a key that the asset chain admits, for this region, else counted only;
3. of a type that this author may sign, in the author's own name, else told to the author;
4. decoded.

It needs no state but the admitted keys, so it runs in threads; the sequence is judged later, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from protocol.canonical import decode
from protocol.crypto import PublicKey
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope
from protocol.errors import EncodingError, OversizedError, SignatureError, SpellingError, TruncatedError
from protocol.link import Link
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused


class Role(IntEnum):
    """What an admitted key may speak for."""

    REGULATOR = 1
    AGGREGATOR = 2
    GATEWAY = 3

    @property
    def said(self) -> str:
        """As a sentence names one of them."""
        return f"{'an' if self is Role.AGGREGATOR else 'a'} {self.name.lower()}"


MAY_SIGN: Final[Mapping[Role, frozenset[MessageType]]] = {
    Role.REGULATOR: frozenset(
        {
            MessageType.GENESIS,
            MessageType.AMENDMENT,
            MessageType.ADMISSION,
            MessageType.REVOCATION,
            MessageType.VALIDATOR,
            MessageType.EVIDENCE,
            MessageType.CORRECTION,
            MessageType.RATE,
            MessageType.PAYOUT,
            MessageType.EVENT,
            MessageType.CANCELLATION,
            MessageType.ARBITRATION,
            MessageType.FREEZE,
            MessageType.APPROVAL,
        }
    ),
    Role.AGGREGATOR: frozenset(
        {
            MessageType.INTERVAL,
            MessageType.FACTORS,
            MessageType.SETTLEMENT,
            MessageType.RESTATEMENT,
            MessageType.ADJUSTMENT,
            MessageType.EVIDENCE,
            MessageType.EVENT,
            MessageType.CANCELLATION,
            MessageType.CLEARING,
        }
    ),
    Role.GATEWAY: frozenset(
        {
            MessageType.BATCH,
            MessageType.PURCHASE,
            MessageType.TRANSFER,
            MessageType.CHANNEL,
            MessageType.EXCHANGE,
            MessageType.ROTATION,
            MessageType.AGREEMENT,
            MessageType.TERMINATION,
            MessageType.DISPUTE,
            MessageType.SEALING_KEY,
            MessageType.QUOTE,
            MessageType.QUOTE_CANCEL,
        }
    ),
}


ONE_PER_NUMBER: Final[Mapping[Role, frozenset[MessageType]]] = {
    Role.REGULATOR: MAY_SIGN[Role.REGULATOR],
    Role.AGGREGATOR: frozenset(),
    Role.GATEWAY: MAY_SIGN[Role.GATEWAY],
}
"""The records of which a key signs one under each number, and two with other words are equivocation. A node's are not
among them: they travel in its proposals, each for the chains as they stand. A proposal that is not decided leaves its
number free, and at the next turn something else may be due. Others reckon them again, so nobody is deceived."""


RECORD_BYTES_MAX: Final = 65 << 20
"""A genesis, or an interval, of a million participants, in its envelope."""

BYTES_MAX: Final[Mapping[Role, int]] = {
    Role.REGULATOR: RECORD_BYTES_MAX,
    Role.AGGREGATOR: RECORD_BYTES_MAX,
    Role.GATEWAY: ENVELOPE_BYTES_MAX,
}
"""The largest record of each role. The broker passes nothing above `ENVELOPE_BYTES_MAX`."""


@dataclass(frozen=True, slots=True)
class Author:
    """Somebody whose records count."""

    name: str
    role: Role
    key: PublicKey


AuthorOf = Callable[[bytes], Author | None]
"""Who holds the key with this thumbprint, if anybody is admitted with it."""

Decoders = Mapping[MessageType, Callable[[bytes], Any]]
"""How to read the payload of each type of record."""


@dataclass(frozen=True, slots=True)
class Record:
    """An envelope that has been verified, with its payload decoded."""

    envelope: Envelope
    type: MessageType
    author: Author
    link: Link
    message: Any
    """What the decoder of its type made of the payload; the chain of that type knows it."""


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope that has been taken apart, and whose signature was found good for a key and a region."""

    envelope: Envelope
    key: PublicKey
    region: str


def open_record(
    data: bytes, *, region: str, author_of: AuthorOf, decoders: Decoders, known: Verified | None = None
) -> Record:
    """Open one envelope, in the order of trust. What is `known` about the same bytes is not worked out again.

    Raises:
        Refused: with the first rule that it breaks.
    """
    envelope = known.envelope if known is not None else _parse(data)
    author = author_of(envelope.key_id)
    if author is None:
        raise Refused(RefusalCode.UNKNOWN_KEY, f"no admitted key has the thumbprint {envelope.key_id.hex()[:16]}…")
    if len(data) > BYTES_MAX[author.role]:
        detail = f"{len(data)} bytes where {author.role.said} may send {BYTES_MAX[author.role]}"
        raise Refused(RefusalCode.OVERSIZED, detail)
    if known is not None and (known.key, known.region) == (author.key, region):
        return _decode(envelope, author, region, decoders)
    try:
        envelope.verify(author.key, region)
    except SignatureError as error:
        claimed = _claimed_region(envelope.payload)
        if claimed is not None and claimed != region:
            detail = f"signed for region {claimed!r:.40}, this is {region!r}"
            raise Refused(RefusalCode.OTHER_REGION, detail) from error
        raise Refused(RefusalCode.BAD_SIGNATURE, str(error)) from error
    return _decode(envelope, author, region, decoders)


def _parse(data: bytes) -> Envelope:
    try:
        return Envelope.parse(data, size_max=RECORD_BYTES_MAX)
    except OversizedError as error:
        raise Refused(RefusalCode.OVERSIZED, str(error)) from error
    except TruncatedError as error:
        raise Refused(RefusalCode.TRUNCATED, str(error)) from error
    except SpellingError as error:
        raise Refused(RefusalCode.SECOND_SPELLING, str(error)) from error
    except EncodingError as error:
        raise Refused(RefusalCode.MALFORMED, str(error)) from error


def _decode(envelope: Envelope, author: Author, region: str, decoders: Decoders) -> Record:
    try:
        type_ = MessageType(envelope.type)
    except ValueError as error:
        raise Refused(RefusalCode.NOT_THEIR_TYPE, f"no record is of type {envelope.type!r:.40}") from error
    if type_ not in MAY_SIGN[author.role] or type_ not in decoders:
        raise Refused(RefusalCode.NOT_THEIR_TYPE, f"{author.role.said} may not sign {type_}")
    try:
        message = decoders[type_](envelope.payload)
    except SpellingError as error:
        raise Refused(RefusalCode.PAYLOAD_SPELLING, str(error)) from error
    except EncodingError as error:
        raise Refused(RefusalCode.PAYLOAD_MALFORMED, str(error)) from error
    link: Link = message.link
    if link.author != author.name or link.region != region:
        raise Refused(RefusalCode.NOT_THEIR_NAME, f"{author.name} in {region} signed as {link.author} in {link.region}")
    return Record(envelope, type_, author, link, message)


def _claimed_region(payload: bytes) -> str | None:
    """What region a payload says it is for. Good for a better refusal, and for nothing else."""
    try:
        fields = decode(payload, size_max=ENVELOPE_BYTES_MAX)
    except EncodingError:
        return None
    claimed = fields.get(1) if isinstance(fields, dict) else None
    return claimed if isinstance(claimed, str) else None

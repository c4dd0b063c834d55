"""Evidence: two envelopes of one key that cannot both be honest. Their own signatures prove it, and nobody's word.

Whoever signs keeps one past: a sequence of records in which every number stands once, and heads of blocks that belong
to one history. Two signatures under two pasts are *equivocation*. The same words signed twice are not: a chip's
signatures differ although what they say does not. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from protocol.canonical import decode, encode, fields_of
from protocol.checkpoint import BlockHead, contradicts
from protocol.envelope import Envelope
from protocol.errors import EncodingError, SpellingError
from protocol.link import Link
from protocol.messages import MessageType

EVIDENCE_BYTES_MAX: Final = 65 << 20
"""As much as the largest record: two batches, or two results of a region of half a million participants."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Somebody signed both of these."""

    link: Link
    first: Envelope
    second: Envelope
    """In rising order of digest, so that the same evidence has one spelling whoever brings it."""

    def encode(self) -> bytes:
        """Spell the evidence."""
        return encode(self.link.to_fields() | {5: self.first.data, 6: self.second.data})

    @classmethod
    def decode(cls, payload: bytes) -> Evidence:
        """Read evidence. Whether it proves anything is not looked at.

        Raises:
            EncodingError: not the one spelling of evidence, or what it shows are no envelopes.
        """
        fields = fields_of(decode(payload, size_max=EVIDENCE_BYTES_MAX), (1, 2, 3, 4, 5, 6), "evidence")
        first, second = _read_envelope(fields[5]), _read_envelope(fields[6])
        if first.digest >= second.digest:
            raise SpellingError("evidence: two envelopes, the one with the lower digest first")
        return cls(Link.from_fields(fields), first, second)


def evidence_of(ours: bytes, theirs: bytes) -> tuple[Envelope, Envelope] | None:
    """Two envelopes as evidence shows them; None where they could not contradict each other.

    That is where one is no envelope, they are of two keys, or they say the same.
    """
    try:
        first, second = sorted((Envelope.parse(ours), Envelope.parse(theirs)), key=lambda envelope: envelope.digest)
    except EncodingError:
        return None
    return None if first.key_id != second.key_id or _says(first) == _says(second) else (first, second)


def contradiction(one: Envelope, other: Envelope, *, region: str, name: str, records: Container[str]) -> str | None:
    """How two envelopes of the key of `name` contradict each other, in words; None if both can be honest.

    `records` are the types of which this key signs one under each number. Whoever calls has verified the signatures.
    """
    if _says(one) == _says(other):
        return None
    if one.type == other.type == MessageType.CHECKPOINT:
        head, other_head = _head_in(one, region), _head_in(other, region)
        return contradicts(head, other_head) if head and other_head else None
    if one.type not in records or other.type not in records:
        return None
    link, other_link = _link_in(one, region, name), _link_in(other, region, name)
    if link is None or other_link is None or link.sequence != other_link.sequence:
        return None
    return f"{name} signed two records with number {link.sequence}"


def _says(envelope: Envelope) -> tuple[bytes, bytes]:
    """What was signed, whatever the signature."""
    return envelope.protected, envelope.payload


def _link_in(envelope: Envelope, region: str, name: str) -> Link | None:
    """The link of a record, if it belongs to `name`'s sequence in `region`."""
    try:
        link = Link.from_fields(decode(envelope.payload, size_max=EVIDENCE_BYTES_MAX))
    except EncodingError:
        return None
    return link if (link.region, link.author) == (region, name) else None


def _head_in(envelope: Envelope, region: str) -> BlockHead | None:
    try:
        head = BlockHead.decode(envelope.payload)
    except EncodingError:
        return None
    return head if head.region == region else None


def _read_envelope(value: object) -> Envelope:
    if type(value) is not bytes:
        raise EncodingError(f"evidence: expected the bytes of an envelope, got {value!r:.40}")
    return Envelope.parse(value, size_max=EVIDENCE_BYTES_MAX)

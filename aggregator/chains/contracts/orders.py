"""What the regulator signs about contracts: approvals, what counts of a disputed one, who makes none for now.

Format: docs/spec/este.cddl. What parties sign stands in `protocol.agreement`.
"""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.economy.contracts.bill import Party
from protocol.agreement import AGREEMENT_BYTES_MAX, REASON_MAX
from protocol.canonical import decode, encode, fields_of
from protocol.fields import digest, flag, name, optional, text, uint
from protocol.link import Link


@dataclass(frozen=True, slots=True)
class Arbitration:
    """What counts as delivered of a disputed contract, and who answers for the rest."""

    link: Link
    contract: bytes
    """Digest of its terms."""
    delivered_wh: int
    responsible: Party
    reason: str
    """For people."""
    evidence: bytes | None = None
    """SHA-256 of the file of evidence that it rests on, as `este-aggregator prove --contract` writes it."""

    def encode(self) -> bytes:
        """Spell the record."""
        responsible = self.responsible.value
        body = {5: self.contract, 6: self.delivered_wh, 7: responsible, 8: self.reason, 9: self.evidence}
        return encode(self.link.to_fields() | body)

    @classmethod
    def decode(cls, payload: bytes) -> Arbitration:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=AGREEMENT_BYTES_MAX), tuple(range(1, 10)), "arbitration")
        return cls(
            link=Link.from_fields(fields),
            contract=digest(fields[5], "contract"),
            delivered_wh=uint(fields[6], "delivered"),
            responsible=Party(uint(fields[7], "responsible", max(Party))),
            reason=text(fields[8], "reason", REASON_MAX),
            evidence=optional(fields[9], digest, "evidence"),
        )


@dataclass(frozen=True, slots=True)
class Approval:
    """A contract that can be, and needs the regulator's approval, has it."""

    link: Link
    contract: bytes
    """Digest of its terms."""
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.contract, 6: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Approval:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=AGREEMENT_BYTES_MAX), tuple(range(1, 7)), "approval")
        return cls(Link.from_fields(fields), digest(fields[5], "contract"), text(fields[6], "reason", REASON_MAX))


@dataclass(frozen=True, slots=True)
class Freeze:
    """A participant makes no more contracts, or does so again."""

    link: Link
    participant: str
    is_frozen: bool
    """From now on."""
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.participant, 6: self.is_frozen, 7: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Freeze:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=AGREEMENT_BYTES_MAX), tuple(range(1, 8)), "freeze")
        return cls(
            link=Link.from_fields(fields),
            participant=name(fields[5], "participant"),
            is_frozen=flag(fields[6], "frozen"),
            reason=text(fields[7], "reason", REASON_MAX),
        )

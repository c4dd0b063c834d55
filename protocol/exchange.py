"""An exchange: a participant changes tokens for money, or money for tokens, in what is owed. Format: este.cddl."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.canonical import Value, decode, encode
from protocol.errors import EncodingError
from protocol.fee import fields_and_fee, spell_fee
from protocol.fields import name, uint
from protocol.link import Link
from protocol.messages import MESSAGE_BYTES_MAX


class ExchangeKind(IntEnum):
    """What is changed for what."""

    BILL_CREDIT = 1
    """Tokens for money, against what the participant owes in money."""
    FINE = 2
    """Money for tokens, against what the participant owes in tokens."""
    BUY = 3
    """Money for tokens of the region's reserve."""
    SELL = 4
    """Tokens for money."""

    @property
    def gives_tokens(self) -> bool:
        """Whether the participant gives tokens and gets money."""
        return self in {ExchangeKind.BILL_CREDIT, ExchangeKind.SELL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A participant changes tokens and money at the rate in force."""

    link: Link
    participant: str
    kind: ExchangeKind
    tokens: int
    """At least 1."""
    money_limit: int
    """Minor units: the least that it must bring, or the most that it may cost."""
    fee: int = 0
    """Tokens for the region's reserve, on top: what the participant pays to go first."""

    def encode(self) -> bytes:
        """Spell the exchange."""
        fields: dict[int, Value] = {5: self.participant, 6: self.kind.value, 7: self.tokens}
        return encode(self.link.to_fields() | fields | spell_fee(self.fee) | {9: self.money_limit})

    @classmethod
    def decode(cls, payload: bytes) -> Exchange:
        """Read the exchange.

        Raises:
            EncodingError: not the one spelling of one, or of nothing.
        """
        value = decode(payload, size_max=MESSAGE_BYTES_MAX)
        fields, fee = fields_and_fee(value, (1, 2, 3, 4, 5, 6, 7, 9), "exchange")
        tokens = uint(fields[7], "tokens")
        if not tokens:
            raise EncodingError("exchange: 0 tokens change nothing")
        return cls(
            link=Link.from_fields(fields),
            participant=name(fields[5], "participant"),
            kind=_read_kind(fields[6]),
            tokens=tokens,
            money_limit=uint(fields[9], "money limit"),
            fee=fee,
        )


def _read_kind(value: Value) -> ExchangeKind:
    try:
        return ExchangeKind(uint(value, "exchange kind"))
    except ValueError as error:
        raise EncodingError(f"no exchange has the number {value}") from error

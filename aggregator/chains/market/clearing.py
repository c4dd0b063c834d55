"""The clearing of a call auction, as a compute node signs it: the dispatch record of an interval. Format: este.cddl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aggregator.economy.market.clearing import Clearing
from protocol.canonical import decode, encode, fields_of
from protocol.fields import integer, items, uint
from protocol.link import Link

ROWS_MAX: Final = 1_000_000
BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class ClearingResult:
    """Who trades how much in an interval, what flows, and what it is worth at every node."""

    link: Link
    start_ms: int
    """Of the interval of delivery."""
    clearing: Clearing

    def encode(self) -> bytes:
        """Spell the record."""
        result = self.clearing
        parts = (result.fills_wh, result.flows_mwh, result.prices, result.loop_prices, result.premiums)
        return encode(self.link.to_fields() | {5: self.start_ms} | {6 + n: list(part) for n, part in enumerate(parts)})

    @classmethod
    def decode(cls, payload: bytes) -> ClearingResult:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 11)), "clearing")
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            clearing=Clearing(
                fills_wh=tuple(uint(one, "fill") for one in items(fields[6], "fills", ROWS_MAX)),
                flows_mwh=tuple(integer(one, "flow") for one in items(fields[7], "flows", ROWS_MAX)),
                prices=tuple(integer(one, "price") for one in items(fields[8], "prices", ROWS_MAX)),
                loop_prices=tuple(integer(one, "loop price") for one in items(fields[9], "loop prices", ROWS_MAX)),
                premiums=tuple(uint(one, "premium") for one in items(fields[10], "premiums", ROWS_MAX)),
            ),
        )

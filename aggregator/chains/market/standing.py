"""What stands, counted in every way in which rules ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

from aggregator.economy.market.quotes import OpenQuote
from protocol.quote import Side

K = TypeVar("K")
NOTHING: Final[Mapping[int, int]] = {}


class Standing:
    """Counts of quotes, and of what is left of them."""

    def __init__(self) -> None:
        """Nobody has quoted."""
        self._numbers: dict[str, int] = {}
        self._by_meter: dict[tuple[str, Side, int], int] = {}
        self._by_site: dict[tuple[str, str, Side], dict[int, int]] = {}
        """And by interval of delivery."""
        self._clean: dict[tuple[str, str, int], int] = {}
        self._costs: dict[str, int] = {}

    def count(self, quote: OpenQuote, sign: int) -> None:
        """Count a quote that stands with 1, one that does so no longer with −1."""
        quantity_wh = sign * quote.quantity_wh
        _add(self._numbers, quote.participant, sign)
        _add(self._by_meter, (quote.meter, quote.side, quote.start_ms), quantity_wh)
        intervals = self._by_site.setdefault((quote.participant, quote.carrier, quote.side), {})
        _add(intervals, quote.start_ms, quantity_wh)
        if not intervals:
            del self._by_site[quote.participant, quote.carrier, quote.side]
        if quote.side is Side.BUY:
            _add(self._costs, quote.participant, sign * quote.cost_max)
        if quote.is_clean:
            _add(self._clean, (quote.participant, quote.carrier, quote.start_ms), quantity_wh)

    @contextmanager
    def without(self, quote: OpenQuote) -> Iterator[None]:
        """Leave a quote that stands out for a while."""
        self.count(quote, -1)
        try:
            yield
        finally:
            self.count(quote, 1)

    def number_of(self, participant: str) -> int:
        """How many quotes of a participant stand."""
        return self._numbers.get(participant, 0)

    def through_wh(self, quote: OpenQuote) -> int:
        """What is quoted through the same meter, on the same side, for the same interval."""
        return self._by_meter.get((quote.meter, quote.side, quote.start_ms), 0)

    def beside_wh(self, quote: OpenQuote) -> int:
        """What the same participant quotes of the carrier, on the same side, for the same interval."""
        return self.of(quote.participant, quote.carrier, quote.side).get(quote.start_ms, 0)

    def of(self, participant: str, carrier: str, side: Side) -> Mapping[int, int]:
        """What a participant quotes of a carrier on one side, by interval of delivery."""
        return self._by_site.get((participant, carrier, side), NOTHING)

    def clean_wh(self, quote: OpenQuote) -> int:
        """What of that counts as clean."""
        return self._clean.get((quote.participant, quote.carrier, quote.start_ms), 0)

    def costs_of(self, participant: str) -> int:
        """What a participant's quotes cost if all of them are filled, in millionths of a minor unit."""
        return self._costs.get(participant, 0)

    def is_opposite(self, quote: OpenQuote) -> bool:
        """Whether the same participant is on the other side of the same market."""
        return quote.start_ms in self.of(quote.participant, quote.carrier, quote.side.other)


def _add(counts: dict[K, int], key: K, more: int) -> None:
    """Change a count; what comes to nothing is left out."""
    if (left := counts.get(key, 0) + more) != 0:
        counts[key] = left
    else:
        counts.pop(key, None)

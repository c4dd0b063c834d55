"""What everybody's contracts come to from a block's time on: they are gone through once, for all who are asked about.

It looks ahead until the end of the next hour, and no further: what is said stays the same from block to block unless
contracts change, so that nobody is told the same thing again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from aggregator.chains.contracts.book import ContractBook
from aggregator.economy.contracts.feasibility import power_w
from protocol.contract import CARRIERS
from protocol.duty import Duty

_HOUR_MS: Final = 3_600_000

_Changes = dict[int, tuple[int, int]]
"""By instant: by how much what is to be fed in, and to be taken, rises then."""

_NOTHING: Final = (0, 0)


class Duties:
    """What is due from an instant on."""

    def __init__(self, contracts: ContractBook, time_ms: int) -> None:
        self._time_ms = time_ms
        self._changes: dict[tuple[str, str], _Changes] = defaultdict(dict)
        """By participant and carrier."""
        horizon_ms = (time_ms // _HOUR_MS + 2) * _HOUR_MS
        for contract in contracts.due_between(time_ms, horizon_ms):
            terms = contract.terms
            watts = power_w(terms.quantity_wh, terms.end_ms - terms.start_ms)
            begin_ms, end_ms = max(terms.start_ms, time_ms), min(contract.ended_ms, horizon_ms)
            for party, feed_in_w, take_w in ((terms.seller, watts, 0), (terms.buyer, 0, watts)):
                changes = self._changes[party, terms.carrier]
                fed_in_w, taken_w = changes.get(begin_ms, _NOTHING)
                changes[begin_ms] = fed_in_w + feed_in_w, taken_w + take_w
                fed_in_w, taken_w = changes.get(end_ms, _NOTHING)
                changes[end_ms] = fed_in_w - feed_in_w, taken_w - take_w

    def of(self, participant: str, count: int) -> tuple[Duty, ...]:
        """What is due of somebody, by carrier; so many for each at most, the first ones."""
        return tuple(duty for carrier in CARRIERS for duty in islice(self._steps(participant, carrier), count))

    def _steps(self, participant: str, carrier: str) -> Iterator[Duty]:
        """From one instant at which the sums change to the next one."""
        feed_in_w, take_w = 0, 0
        for at_ms, change in sorted(self._changes.get((participant, carrier), {}).items()):
            if change == _NOTHING:
                continue
            if at_ms > self._time_ms:
                yield Duty(carrier, feed_in_w, take_w, at_ms)
            feed_in_w, take_w = feed_in_w + change[0], take_w + change[1]

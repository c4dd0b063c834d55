"""What everybody's relief of congested branches has added up to, and what is due for it when a period is settled.

Part of the state of the payment chain. The rule is `aggregator.economy.congestion`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.economy.congestion import accumulate
from aggregator.ledger.table import Journal, Table, flat
from config.rules import CongestionRule
from protocol.canonical import encode

RELIEF_TABLE: Final = 56


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """Factors that wait for the threshold."""

    relief_ppm: int


@dataclass(frozen=True, slots=True)
class DueRelief:
    """One participant's relief when a period is settled."""

    participant: str
    before_ppm: int
    relief_ppm: int
    """Of the period; below 0 where more was taken back than came."""
    awards: int
    tokens: int
    """For the awards, before the cap of the period."""
    after_ppm: int

    @property
    def is_news(self) -> bool:
        """Whether there is anything to state."""
        return bool(self.relief_ppm or self.awards)

    def leaf(self, period_start_ms: int) -> bytes:
        """The leaf that states it."""
        amounts = (self.before_ppm, self.relief_ppm, self.awards, self.tokens, self.after_ppm)
        return encode(["relief", self.participant, period_start_ms, *amounts])


class Relief:
    """What was carried over from period to period."""

    def __init__(self, journal: Journal) -> None:
        """Nobody has relieved anything."""
        spell, read = flat(CarriedOver)
        self._carried: Table[str, CarriedOver] = Table(RELIEF_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {RELIEF_TABLE: self._carried}

    def carried_ppm(self, participant: str) -> int:
        """What waits for the threshold."""
        return (self._carried.get(participant) or CarriedOver(0)).relief_ppm

    def due(self, participant: str, relief_ppm: int, rule: CongestionRule | None) -> DueRelief:
        """What a period's relief brings to somebody."""
        before_ppm = self.carried_ppm(participant)
        total = accumulate(before_ppm, relief_ppm, rule)
        tokens = total.tokens(rule) if rule else 0
        return DueRelief(participant, before_ppm, relief_ppm, total.awards, tokens, total.carried_ppm)

    def carry(self, settled: Iterable[DueRelief]) -> None:
        """Keep what was not awarded."""
        for due in settled:
            self._carried.put_or_drop(due.participant, CarriedOver(due.after_ppm), is_kept=due.after_ppm != 0)

"""Everybody's carbon factors: of the last settlement period, and of those before it that may still be restated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aggregator.chains.periods.carbon import FactorRow, PeriodSums
from aggregator.ledger.table import Journal, Table, flat
from protocol.units import Interval

FACTORS_TABLE: Final = 32
PERIODS_TABLE: Final = 34
PAST_TABLE: Final = 35


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """A settlement period whose factors are drawn up and may be restated."""

    end_ms: int
    restatements: int = 0
    """Of its intervals, since then, that changed somebody's sums."""


class FactorRows:
    """Factors by period and participant. Who did nothing at all has none."""

    def __init__(self, journal: Journal) -> None:
        """No period is over yet."""
        spell_row, read_row = flat(FactorRow)
        self.last: Table[str, FactorRow] = Table(FACTORS_TABLE, journal, spell=spell_row, read=read_row)
        """Of the last period, by participant: what statements tell."""
        self._past: Table[tuple[int, str], FactorRow] = Table(PAST_TABLE, journal, spell=spell_row, read=read_row)
        spell_period, read_period = flat(ClosedPeriod)
        self.periods: Table[int, ClosedPeriod] = Table(PERIODS_TABLE, journal, spell=spell_period, read=read_period)
        """Periods that may be restated, by their start."""
        self.tables: Mapping[int, Table[Any, Any]] = {
            FACTORS_TABLE: self.last,
            PERIODS_TABLE: self.periods,
            PAST_TABLE: self._past,
        }

    def of(self, period_start_ms: int) -> list[FactorRow]:
        """Everybody's factors of a period that may be restated, in the order of their names."""
        if self._is_last(period_start_ms):
            return [row for _, row in self.last.items()]
        return [row for (start, _), row in self._past.items() if start == period_start_ms]

    def row(self, period_start_ms: int, participant: str) -> FactorRow | None:
        """One participant's factors of a period that may be restated."""
        if self._is_last(period_start_ms):
            return self.last.get(participant)
        return self._past.get((period_start_ms, participant))

    def restate(self, row: FactorRow) -> None:
        """Put other factors in the place of one participant's of a period that may be restated."""
        is_kept = row.sums != PeriodSums()
        if self._is_last(row.start_ms):
            self.last.put_or_drop(row.participant, row, is_kept=is_kept)
        else:
            self._past.put_or_drop((row.start_ms, row.participant), row, is_kept=is_kept)

    def count_restatement(self, period_start_ms: int) -> None:
        """Note that factors of a period have changed, so that tokens follow."""
        period = self.periods[period_start_ms]
        self.periods.put(period_start_ms, replace(period, restatements=period.restatements + 1))

    def draw_up(self, span: Interval, rows: Iterable[FactorRow], horizon_ms: int) -> None:
        """Take the factors of a period that is over, and forget what nobody may restate any more."""
        for start in [start for start in self.periods if start < horizon_ms]:
            self.periods.remove(start)
        for key in [key for key in self._past if key[0] < horizon_ms]:
            self._past.remove(key)
        for participant, row in self.last.items():
            self.last.remove(participant)
            if row.start_ms >= horizon_ms:
                self._past.put((row.start_ms, participant), row)
        for row in rows:
            self.last.put(row.participant, row)
        if span.start_ms >= horizon_ms:
            self.periods.put(span.start_ms, ClosedPeriod(span.end_ms))

    def _is_last(self, period_start_ms: int) -> bool:
        return all(start <= period_start_ms for start in self.periods)

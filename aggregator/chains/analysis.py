"""The analysis chain: power flow, whose energy was clean, and carbon factors.

Kinds of record: *interval* (one per metering interval, in order, none left out) and *factors* (one per settlement
period). State: which comes next, everybody's sums of the running period, and everybody's factors of the last one.
Feeds: payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from aggregator.chains.asset import Region
from aggregator.chains.carbon import FactorRow, PeriodSums, factor_leaf, with_factors
from aggregator.chains.data import DataChain
from aggregator.chains.origin import Energies, clean_sources, first_difference, participant_energy
from aggregator.chains.results import Flows, IntervalResult, ParticipantFlow, PeriodFactors
from aggregator.economy.periods import Period
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Journal, Table, flat
from config.grid_model import Source
from protocol.checkpoint import ChainName
from protocol.merkle import root_of
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval, UnixMs

CURSOR_TABLE: Final = 30
SUMS_TABLE: Final = 31
FACTORS_TABLE: Final = 32

Recompute = Callable[[Region, Interval, Energies], Flows]
"""The physics of an interval, as this node reckons it."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What analysis has closed so far."""

    next_interval_ms: int
    period_start_ms: int
    """Start of the period whose factors are due next."""
    intervals: int = 0
    periods: int = 0
    factors_root: bytes = b""
    """Root over the last period's factors; payment rests on it."""
    factors_start_ms: int = 0
    factors_end_ms: int = 0


class AnalysisChain:
    """What the readings mean."""

    name = ChainName.ANALYSIS
    decoders: ClassVar[Decoders] = {
        MessageType.INTERVAL: IntervalResult.decode,
        MessageType.FACTORS: PeriodFactors.decode,
    }

    def __init__(
        self,
        journal: Journal,
        region: Callable[[], Region],
        data: DataChain,
        *,
        recompute: Recompute,
        settled_periods: Callable[[], int],
    ) -> None:
        """`recompute` does this node's own physics; only `vet` calls it.

        `settled_periods` looks downstream, but only at what payment has closed before: no period's factors are drawn
        up until the tokens of the one before are settled.
        """
        self._settled_periods = settled_periods
        self._region = region
        self._data = data
        self._recompute = recompute
        spell_cursor, read_cursor = flat(Cursor)
        self._cursor: Table[int, Cursor] = Table(CURSOR_TABLE, journal, spell=spell_cursor, read=read_cursor)
        spell_sums, read_sums = flat(PeriodSums)
        self.sums: Table[str, PeriodSums] = Table(SUMS_TABLE, journal, spell=spell_sums, read=read_sums)
        spell_row, read_row = flat(FactorRow)
        self.factors: Table[str, FactorRow] = Table(FACTORS_TABLE, journal, spell=spell_row, read=read_row)
        self.tables: Mapping[int, Table[Any, Any]] = {
            CURSOR_TABLE: self._cursor,
            SUMS_TABLE: self.sums,
            FACTORS_TABLE: self.factors,
        }

    @property
    def cursor(self) -> Cursor:
        """What has been closed so far."""
        stored = self._cursor.get(0)
        if stored is not None:
            return stored
        begin_ms = self._region().begin_ms
        return Cursor(next_interval_ms=begin_ms, period_start_ms=begin_ms)

    @property
    def period(self) -> Period:
        """The settlement period whose factors are due next."""
        return self._region().period_of(self.cursor.period_start_ms)

    def due_interval(self) -> Interval | None:
        """The interval to be closed next, once it is frozen; not before its period's turn."""
        start = self.cursor.next_interval_ms
        end = start + self._region().rules.time.interval_ms
        if end > self._data.totals.frozen_until_ms or start >= self.period.span.end_ms:
            return None
        return Interval(start_ms=UnixMs(start), end_ms=UnixMs(end))

    def due_period(self) -> Interval | None:
        """The settlement period whose factors can be drawn up now."""
        span = self.period.span
        is_over = self.cursor.next_interval_ms >= span.end_ms
        return span if is_over and self._settled_periods() == self.cursor.periods else None

    def begin_block(self, block: BlockTime) -> None:
        """Time alone changes nothing here."""

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Close an interval, or draw up the factors of a period.

        Raises:
            Refused: out of turn, or not what follows from the data chain.
        """
        match record.message:
            case IntervalResult() as result:
                return self._close_interval(result)
            case PeriodFactors() as factors:
                return self._close_period(factors)
        raise AssertionError(f"no rule for {record.type}")

    def vet(self, record: Record) -> None:
        """Do the physics of an interval again, and compare within one quantum.

        Raises:
            Refused: this node reckons otherwise.
        """
        result = record.message
        if not isinstance(result, IntervalResult):
            return
        interval = Interval(start_ms=UnixMs(result.start_ms), end_ms=UnixMs(result.end_ms))
        ours = self._recompute(self._region(), interval, self._data.energy_of(result.start_ms))
        difference = first_difference(result.flows, ours)
        if difference:
            raise Refused(RefusalCode.RESULT_DIFFERS, difference)

    def factor_rows(self) -> list[FactorRow]:
        """The factors of the period that is due, as they follow from everybody's sums."""
        region, period = self._region(), self.period
        return [
            with_factors(
                FactorRow(
                    participant=participant,
                    start_ms=period.span.start_ms,
                    emitted_mg=sums.emitted_mg,
                    permitted_mg=period.part_of(region.permits_mg.get(participant, 0)),
                    fed_in_wh=sums.fed_in_wh,
                    used_wh=sums.used_wh,
                    clean_wh=sums.clean_wh,
                ),
                region.rules.carbon,
            )
            for participant, sums in self.sums.items()
        ]

    def broken_invariants(self) -> Iterable[str]:
        """Nobody used more clean energy than energy."""
        for participant, sums in self.sums.items():
            if not 0 <= sums.clean_wh <= sums.used_wh:
                yield f"{participant} used {sums.clean_wh} Wh of clean energy out of {sums.used_wh} Wh"

    def _close_interval(self, result: IntervalResult) -> Iterable[bytes]:
        due = self.due_interval()
        if due is None or (due.start_ms, due.end_ms) != (result.start_ms, result.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval due is {due}, not the one from {result.start_ms}")
        expected = participant_energy(self._region(), self._data.energy_of(due.start_ms))
        given = {flow.participant: replace(flow, origin_wh=()) for flow in result.flows.participants}
        if len(given) != len(result.flows.participants) or given != expected:
            raise Refused(RefusalCode.RESULT_DIFFERS, "energy other than the data chain's")
        clean = clean_sources(self._region())
        for flow in result.flows.participants:
            if sum(energy for _, energy in flow.origin_wh) != flow.imported_wh:
                raise Refused(RefusalCode.RESULT_DIFFERS, f"{flow.participant}: the origins do not sum to the import")
            self._add(flow, clean)
        self._data.close_interval(due.start_ms)
        cursor = self.cursor
        self._cursor.put(0, replace(cursor, next_interval_ms=due.end_ms, intervals=cursor.intervals + 1))
        return ()

    def _add(self, flow: ParticipantFlow, clean: frozenset[Source]) -> None:
        sums = self.sums.get(flow.participant) or PeriodSums()
        used = () if flow.participant in self._region().outside else flow.origin_wh
        clean_wh = sum(energy for source, energy in used if source in clean)
        self.sums.put(
            flow.participant,
            PeriodSums(
                used_wh=sums.used_wh + sum(energy for _, energy in used),
                clean_wh=sums.clean_wh + clean_wh,
                fed_in_wh=sums.fed_in_wh + flow.exported_wh,
                emitted_mg=sums.emitted_mg + flow.emitted_mg,
            ),
        )

    def _close_period(self, factors: PeriodFactors) -> Iterable[bytes]:
        due = self.due_period()
        if due is None or (due.start_ms, due.end_ms) != (factors.start_ms, factors.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the period due is {due}, not the one from {factors.start_ms}")
        rows = self.factor_rows()
        leaves = [factor_leaf(row) for row in rows]
        if root_of(leaves) != factors.rows_root:
            raise Refused(RefusalCode.RESULT_DIFFERS, "factors other than those that follow from the data")
        for participant in [name for name in self.factors if name not in self.sums]:
            self.factors.remove(participant)
        for row in rows:
            self.factors.put(row.participant, row)
            self.sums.remove(row.participant)
        cursor = self.cursor
        self._cursor.put(
            0,
            replace(
                cursor,
                period_start_ms=due.end_ms,
                periods=cursor.periods + 1,
                factors_root=factors.rows_root,
                factors_start_ms=due.start_ms,
                factors_end_ms=due.end_ms,
            ),
        )
        return leaves

"""The analysis chain: power flow, whose energy was clean, and carbon factors.

Kinds of record: *interval* (one per metering interval, in order, none left out), *factors* (one per settlement period)
and *restatement* (of an interval that more became known of). State: which comes next, everybody's sums of the running
period, everybody's factors of the last one, and of the ones before it that may still be restated. Feeds: payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from aggregator.chains.congestion.baselines import Baselines
from aggregator.chains.congestion.curtailing import Curtailments
from aggregator.chains.data import DataChain
from aggregator.chains.intervals.comparing import first_difference
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.intervals.known import Known, inherited_leaf
from aggregator.chains.intervals.origin import false_energy
from aggregator.chains.intervals.progress import AnalysisTotals, Cursor
from aggregator.chains.intervals.restatement import Restatement, StatedFlows, deeds_digest, differences, horizon_after
from aggregator.chains.intervals.results import IntervalResult, PeriodFactors
from aggregator.chains.intervals.stores import Stores
from aggregator.chains.metering.interval_energy import energies_root
from aggregator.chains.operation import OperationChain
from aggregator.chains.periods.carbon import FactorRow, PeriodSums, RestatedDeeds, factor_leaf, row_of
from aggregator.chains.periods.deeds import deeds_of, not_measured
from aggregator.chains.periods.factor_rows import FactorRows
from aggregator.chains.region import Region
from aggregator.economy.periods import Period
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Journal, Table, flat
from protocol.checkpoint import ChainName
from protocol.merkle import root_of
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval, UnixMs

CURSOR_TABLE: Final = 30
SUMS_TABLE: Final = 31
STATED_TABLE: Final = 33
TOTALS_TABLE: Final = 36

Recompute = Callable[[Region, Interval, Known], Flows]
"""The physics of an interval, as this node reckons it."""


class AnalysisChain:
    """What the readings mean."""

    name = ChainName.ANALYSIS
    decoders: ClassVar[Decoders] = {
        MessageType.INTERVAL: IntervalResult.decode,
        MessageType.FACTORS: PeriodFactors.decode,
        MessageType.RESTATEMENT: Restatement.decode,
    }

    def __init__(
        self,
        journal: Journal,
        region: Callable[[], Region],
        data: DataChain,
        operation: OperationChain,
        *,
        recompute: Recompute,
        curtailments: Curtailments,
        settled_periods: Callable[[], int],
        to_adjust: Callable[[], int | None],
    ) -> None:
        """`recompute` does this node's own physics; only `vet` calls it.

        `settled_periods` and `to_adjust` look downstream, but only at what payment has closed before: no period's
        factors are drawn up until the tokens of the one before are settled, and made up for in those left behind.
        """
        self._to_adjust = to_adjust
        self._settled_periods = settled_periods
        self._region = region
        self._data = data
        self._operation = operation
        self._recompute = recompute
        self.curtailments = curtailments
        spell_cursor, read_cursor = flat(Cursor)
        self._cursor: Table[int, Cursor] = Table(CURSOR_TABLE, journal, spell=spell_cursor, read=read_cursor)
        spell_sums, read_sums = flat(PeriodSums)
        self.sums: Table[str, PeriodSums] = Table(SUMS_TABLE, journal, spell=spell_sums, read=read_sums)
        spell_stated, read_stated = flat(StatedFlows)
        self.stated: Table[int, StatedFlows] = Table(STATED_TABLE, journal, spell=spell_stated, read=read_stated)
        spell_totals, read_totals = flat(AnalysisTotals)
        self._totals: Table[int, AnalysisTotals] = Table(TOTALS_TABLE, journal, spell=spell_totals, read=read_totals)
        self.rows = FactorRows(journal)
        self._stores, self._baselines = Stores(journal), Baselines(journal)
        self.factors = self.rows.last
        self.tables: Mapping[int, Table[Any, Any]] = {
            CURSOR_TABLE: self._cursor,
            SUMS_TABLE: self.sums,
            STATED_TABLE: self.stated,
            TOTALS_TABLE: self._totals,
            **self.rows.tables,
            **self._stores.tables,
            **self._baselines.tables,
            **curtailments.tables,
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
    def totals(self) -> AnalysisTotals:
        """Counts since genesis. Not in the cursor, whose change is told to everybody."""
        return self._totals.get(0) or AnalysisTotals()

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
        is_over = self.cursor.next_interval_ms >= span.end_ms and not self._is_settlement_due()
        return span if is_over and not self.is_leaving_unstated() and not self.is_leaving_unadjusted() else None

    def is_leaving_unstated(self) -> bool:
        """Whether intervals of periods that are to be left behind have yet to be restated."""
        return self._data.late.waits_before(self._data.horizon_ms)

    def is_leaving_unadjusted(self) -> bool:
        """Whether tokens of periods that are to be left behind have yet to be made up for."""
        start_ms = self._to_adjust()
        return start_ms is not None and start_ms < self._data.horizon_ms

    def due_restatement(self) -> Interval | None:
        """The interval that is to be restated next; not while tokens wait to be settled."""
        start = None if self._is_settlement_due() else self._data.due_restatement()
        if start is None:
            return None
        end = start + self._region().rules_at(start).time.interval_ms
        return Interval(start_ms=UnixMs(start), end_ms=UnixMs(end))

    def begin_block(self, block: BlockTime) -> None:
        """Time alone changes nothing here."""

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Close an interval, state it once more, or draw up the factors of a period.

        Raises:
            Refused: out of turn, or not what follows from the data chain.
        """
        match record.message:
            case IntervalResult() as result:
                return self._close_interval(result, block, record.envelope.digest)
            case Restatement() as restatement:
                return self._restate(restatement, block, record.envelope.digest)
            case PeriodFactors() as factors:
                return self._close_period(factors)
        raise AssertionError(f"no rule for {record.type}")

    def vet(self, record: Record) -> None:
        """See that an interval is due, do its physics again, and compare within one quantum.

        Raises:
            Refused: it is not due, or this node reckons otherwise.
        """
        match record.message:
            case IntervalResult() as result:
                due = self.due_interval()
            case Restatement() as result:
                due = self.due_restatement()
            case _:
                return
        if due is None or (due.start_ms, due.end_ms) != (result.start_ms, result.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval due is {due}, not the one from {result.start_ms}")
        known = self._known_now(result) if isinstance(result, Restatement) else self.known(due)
        difference = first_difference(result.flows, self._recompute(self._region(), due, known))
        if difference:
            raise Refused(RefusalCode.RESULT_DIFFERS, difference)

    def known(self, interval: Interval) -> Known:
        """All that the physics of the interval that is closed next rests on."""
        region = self._region()
        return Known(
            self._data.energy_of(interval.start_ms),
            self._stores.carried(region.grid, interval),
            self._baselines.called(region, interval, self._operation.on(interval)),
        )

    def factor_rows(self) -> list[FactorRow]:
        """The factors of the period that is due, as they follow from everybody's sums."""
        return [self._row(participant, sums, self.period) for participant, sums in self.sums.items()]

    def _is_settlement_due(self) -> bool:
        return self._settled_periods() != self.cursor.periods

    def broken_invariants(self) -> Iterable[str]:
        """Nobody used more clean energy than energy, or less than none; limits are within what they limit."""
        yield from self.curtailments.broken_invariants()
        for participant, sums in self.sums.items():
            if not 0 <= sums.clean_wh <= sums.used_wh:
                yield f"{participant} used {sums.clean_wh} Wh of clean energy out of {sums.used_wh} Wh"
            if not 0 <= sums.clean_heat_wh <= sums.heat_wh:
                yield f"{participant} used {sums.clean_heat_wh} Wh of clean heat out of {sums.heat_wh} Wh"
            if min(replace(sums, response_wh=0, relief_ppm=0).amounts) < 0:
                yield f"{participant} did less than nothing in the running period"

    def _close_interval(self, result: IntervalResult, block: BlockTime, about: bytes) -> Iterable[bytes]:
        due = self.due_interval()
        if due is None or (due.start_ms, due.end_ms) != (result.start_ms, result.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval due is {due}, not the one from {result.start_ms}")
        region, known = self._region(), self.known(due)
        if wrong := false_energy(region, result.flows, known.energies):
            raise Refused(RefusalCode.RESULT_DIFFERS, wrong)
        done = deeds_of(region, due, result.flows, known)
        for participant, deeds in done.sums.items():
            self._put_sums(participant, (self.sums.get(participant) or PeriodSums()).plus(deeds))
        leaves = self._data.close_interval(due.start_ms, block.height)
        self._stores.close(region.grid, due, result.flows)
        called = {name for _, event in self._operation.on(due) for name in event.participants or region.responding}
        self._baselines.close(region, due, known.energies, called | not_measured(region, result.flows, known.energies))
        leaves += self._operation.close_interval(due, (known.energies, done.sums), about)
        leaves += done.leaves
        if region.can_restate:
            leaves += inherited_leaf(due.start_ms, known)
            self.stated.put(due.start_ms, StatedFlows(deeds_digest(done.sums), known.inherited_digest))
        leaves += self.curtailments.close_interval(due, result.flows, block.time_ms)
        cursor = self.cursor
        self._cursor.put(0, replace(cursor, next_interval_ms=due.end_ms, intervals=cursor.intervals + 1))
        if due.end_ms >= self.period.span.end_ms:
            self._data.move_horizon(horizon_after(self.period, region))
        return leaves

    def _known_now(self, restatement: Restatement) -> Known:
        """What a restatement is about, having seen that it continues what was stated last."""
        start = restatement.start_ms
        energies = self._data.restated(start, restatement.former_energies)
        stated = self.stated[start]
        if stated.deeds != deeds_digest(restatement.former_deeds):
            raise Refused(RefusalCode.OTHER_PAST, f"other deeds were stated last for the interval from {start}")
        if stated.inherited != restatement.inherited.inherited_digest:
            raise Refused(RefusalCode.OTHER_PAST, f"the interval from {start} inherited something else")
        if energies_root(energies) != restatement.energies_root:
            raise Refused(RefusalCode.RESULT_DIFFERS, f"more, or less, is known of the interval from {start}")
        return replace(restatement.inherited, energies=energies)

    def _restate(self, restatement: Restatement, block: BlockTime, about: bytes) -> Iterable[bytes]:
        due, start = self.due_restatement(), restatement.start_ms
        if due is None or (due.start_ms, due.end_ms) != (start, restatement.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval to restate is {due}, not the one from {start}")
        known, region = self._known_now(restatement), self._region()
        if wrong := false_energy(region, restatement.flows, known.energies):
            raise Refused(RefusalCode.RESULT_DIFFERS, wrong)
        done = deeds_of(region, due, restatement.flows, known)
        leaves = self._data.restate_interval(start, known.energies, block.height)
        leaves += inherited_leaf(start, known) + done.leaves
        former = (restatement.former_energies, restatement.former_deeds)
        leaves += self._operation.contracts.restate_interval(due, (known.energies, done.sums), former, about)
        leaves += self._change_period(start, differences(restatement.former_deeds, done.sums))
        self.stated.put(start, replace(self.stated[start], deeds=deeds_digest(done.sums)))
        self._totals.put(0, AnalysisTotals(self.totals.restatements + 1))
        return leaves

    def _change_period(self, interval_ms: int, deltas: Mapping[str, PeriodSums]) -> list[bytes]:
        """Let the restatement of an interval change its period's sums, and the factors, if there are any yet.

        Relief is not settled by period: what changes of it counts in the running one.
        """
        period, nothing = self._region().period_of(interval_ms), PeriodSums()
        start = period.span.start_ms
        if start not in self.rows.periods:
            return [self._change_sums(interval_ms, *changed) for changed in deltas.items()]
        leaves, is_changed = [], False
        for participant, delta in deltas.items():
            kept, relief = replace(delta, relief_ppm=0), PeriodSums(relief_ppm=delta.relief_ppm)
            if kept != nothing:
                row = self.rows.row(start, participant)
                before = row.sums if row else nothing
                after = self._row(participant, before.plus(kept), period)
                leaves.append(RestatedDeeds(participant, interval_ms, start, before, kept, row, after).leaf)
                self.rows.restate(after)
                is_changed = True
            if relief != nothing:
                leaves.append(self._change_sums(interval_ms, participant, relief))
        if is_changed:
            self.rows.count_restatement(start)
        return leaves

    def _change_sums(self, interval_ms: int, participant: str, delta: PeriodSums) -> bytes:
        """Change somebody's sums of the running period; the leaf says so."""
        before = self.sums.get(participant) or PeriodSums()
        restated = RestatedDeeds(participant, interval_ms, self.cursor.period_start_ms, before, delta)
        self._put_sums(participant, restated.after)
        return restated.leaf

    def _row(self, participant: str, sums: PeriodSums, period: Period) -> FactorRow:
        return row_of(participant, sums, period, self._region().laws_at(period.span.start_ms))

    def _put_sums(self, participant: str, sums: PeriodSums) -> None:
        """Keep what somebody did so far; of somebody who did nothing at all there is no row."""
        self.sums.put_or_drop(participant, sums, is_kept=sums != PeriodSums())

    def _close_period(self, factors: PeriodFactors) -> Iterable[bytes]:
        due = self.due_period()
        if due is None or (due.start_ms, due.end_ms) != (factors.start_ms, factors.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the period due is {due}, not the one from {factors.start_ms}")
        rows = self.factor_rows()
        leaves = [factor_leaf(row) for row in rows]
        if root_of(leaves) != factors.rows_root:
            raise Refused(RefusalCode.RESULT_DIFFERS, "factors other than those that follow from the data")
        for row in rows:
            self.sums.remove(row.participant)
        horizon_ms = self._data.horizon_ms
        self.rows.draw_up(due, rows, horizon_ms)
        self._data.late.forget_before(horizon_ms)
        self._operation.contracts.forget_before(horizon_ms)
        for start in [start for start in self.stated if start < horizon_ms]:
            self.stated.remove(start)
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

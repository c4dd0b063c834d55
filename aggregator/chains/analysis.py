"""The analysis chain: power flow, whose energy was clean, and carbon factors.

Kinds of record: *interval* (one per metering interval, in order, none left out), *factors* (one per settlement period)
and *restatement* (of an interval that more became known of). State: which comes next, everybody's sums of the running
period, everybody's factors of the last one, and of the ones before it that may still be restated. Feeds: payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from aggregator.chains.asset import Region
from aggregator.chains.carbon import FactorRow, PeriodSums, RestatedDeeds, factor_leaf, row_of
from aggregator.chains.data import DataChain
from aggregator.chains.factor_rows import FactorRows
from aggregator.chains.flows import Flows
from aggregator.chains.interval_energy import Energies, energies_root
from aggregator.chains.origin import first_difference, participant_energy
from aggregator.chains.restatement import (
    Restatement,
    StatedFlows,
    deeds_of,
    differences,
    flows_digest,
    horizon_after,
)
from aggregator.chains.results import IntervalResult, PeriodFactors
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


@dataclass(frozen=True, slots=True)
class AnalysisTotals:
    """Counts since genesis."""

    restatements: int = 0


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
        *,
        recompute: Recompute,
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
        self._recompute = recompute
        spell_cursor, read_cursor = flat(Cursor)
        self._cursor: Table[int, Cursor] = Table(CURSOR_TABLE, journal, spell=spell_cursor, read=read_cursor)
        spell_sums, read_sums = flat(PeriodSums)
        self.sums: Table[str, PeriodSums] = Table(SUMS_TABLE, journal, spell=spell_sums, read=read_sums)
        spell_stated, read_stated = flat(StatedFlows)
        self.stated: Table[int, StatedFlows] = Table(STATED_TABLE, journal, spell=spell_stated, read=read_stated)
        spell_totals, read_totals = flat(AnalysisTotals)
        self._totals: Table[int, AnalysisTotals] = Table(TOTALS_TABLE, journal, spell=spell_totals, read=read_totals)
        self.rows = FactorRows(journal)
        self.factors = self.rows.last
        self.tables: Mapping[int, Table[Any, Any]] = {
            CURSOR_TABLE: self._cursor,
            SUMS_TABLE: self.sums,
            STATED_TABLE: self.stated,
            TOTALS_TABLE: self._totals,
            **self.rows.tables,
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
                return self._close_interval(result, block)
            case Restatement() as restatement:
                return self._restate(restatement, block)
            case PeriodFactors() as factors:
                return self._close_period(factors)
        raise AssertionError(f"no rule for {record.type}")

    def vet(self, record: Record) -> None:
        """See that an interval is due, do its physics again, and compare within one quantum.

        Raises:
            Refused: it is not due, or this node reckons otherwise.
        """
        energies: Energies
        match record.message:
            case IntervalResult() as result:
                due, energies = self.due_interval(), self._data.energy_of(result.start_ms)
            case Restatement() as result:
                due, energies = self.due_restatement(), self._known_now(result)
            case _:
                return
        if due is None or (due.start_ms, due.end_ms) != (result.start_ms, result.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval due is {due}, not the one from {result.start_ms}")
        difference = first_difference(result.flows, self._recompute(self._region(), due, energies))
        if difference:
            raise Refused(RefusalCode.RESULT_DIFFERS, difference)

    def factor_rows(self) -> list[FactorRow]:
        """The factors of the period that is due, as they follow from everybody's sums."""
        return [self._row(participant, sums, self.period) for participant, sums in self.sums.items()]

    def _is_settlement_due(self) -> bool:
        return self._settled_periods() != self.cursor.periods

    def broken_invariants(self) -> Iterable[str]:
        """Nobody used more clean energy than energy, or less than none."""
        for participant, sums in self.sums.items():
            if not 0 <= sums.clean_wh <= sums.used_wh:
                yield f"{participant} used {sums.clean_wh} Wh of clean energy out of {sums.used_wh} Wh"
            if min(sums.amounts) < 0:
                yield f"{participant} did less than nothing in the running period"

    def _close_interval(self, result: IntervalResult, block: BlockTime) -> Iterable[bytes]:
        due = self.due_interval()
        if due is None or (due.start_ms, due.end_ms) != (result.start_ms, result.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval due is {due}, not the one from {result.start_ms}")
        region = self._region()
        self._check_energy(result.flows, self._data.energy_of(due.start_ms))
        for participant, deeds in deeds_of(result.flows.participants, region).items():
            self._put_sums(participant, (self.sums.get(participant) or PeriodSums()).plus(deeds))
        leaves = self._data.close_interval(due.start_ms, block.height)
        if region.can_restate:
            self.stated.put(due.start_ms, StatedFlows(flows_digest(result.flows.participants)))
        cursor = self.cursor
        self._cursor.put(0, replace(cursor, next_interval_ms=due.end_ms, intervals=cursor.intervals + 1))
        if due.end_ms >= self.period.span.end_ms:
            self._data.move_horizon(horizon_after(self.period, region))
        return leaves

    def _check_energy(self, flows: Flows, energies: Energies) -> None:
        """See that a result says of energy what the data chain says, and gives every watt-hour an origin."""
        expected = participant_energy(self._region(), energies)
        given = {
            (flow.participant, flow.carrier): replace(flow, origin_wh=(), carbon_mg=0) for flow in flows.participants
        }
        if len(given) != len(flows.participants) or given != expected:
            raise Refused(RefusalCode.RESULT_DIFFERS, "energy other than the data chain's")
        for flow in flows.participants:
            if sum(energy for _, energy in flow.origin_wh) != flow.imported_wh:
                raise Refused(RefusalCode.RESULT_DIFFERS, f"{flow.participant}: the origins do not sum to the import")

    def _known_now(self, restatement: Restatement) -> Energies:
        """The energy that a restatement is about, having seen that it continues what was stated last."""
        start = restatement.start_ms
        energies = self._data.restated(start, restatement.former_energies)
        if self.stated[start].digest != flows_digest(restatement.former_participants):
            raise Refused(RefusalCode.OTHER_PAST, f"other flows were stated last for the interval from {start}")
        if energies_root(energies) != restatement.energies_root:
            raise Refused(RefusalCode.RESULT_DIFFERS, f"more, or less, is known of the interval from {start}")
        return energies

    def _restate(self, restatement: Restatement, block: BlockTime) -> Iterable[bytes]:
        due, start = self.due_restatement(), restatement.start_ms
        if due is None or (due.start_ms, due.end_ms) != (start, restatement.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, f"the interval to restate is {due}, not the one from {start}")
        energies = self._known_now(restatement)
        self._check_energy(restatement.flows, energies)
        region = self._region()
        before, after = (
            deeds_of(flows, region) for flows in (restatement.former_participants, restatement.flows.participants)
        )
        leaves = self._data.restate_interval(start, energies, block.height)
        leaves += self._change_period(start, differences(before, after))
        self.stated.put(start, StatedFlows(flows_digest(restatement.flows.participants)))
        self._totals.put(0, AnalysisTotals(self.totals.restatements + 1))
        return leaves

    def _change_period(self, interval_ms: int, deltas: Mapping[str, PeriodSums]) -> list[bytes]:
        """Let the restatement of an interval change its period's sums, and the factors, if there are any yet."""
        period = self._region().period_of(interval_ms)
        start = period.span.start_ms
        is_drawn_up = start in self.rows.periods
        if is_drawn_up and deltas:
            self.rows.count_restatement(start)
        leaves = []
        for participant, delta in deltas.items():
            if not is_drawn_up:
                restated = RestatedDeeds(
                    participant, interval_ms, start, self.sums.get(participant) or PeriodSums(), delta
                )
                self._put_sums(participant, restated.after)
            else:
                row = self.rows.row(start, participant)
                before = row.sums if row else PeriodSums()
                after = self._row(participant, before.plus(delta), period)
                restated = RestatedDeeds(participant, interval_ms, start, before, delta, row, after)
                self.rows.restate(after)
            leaves.append(restated.leaf)
        return leaves

    def _row(self, participant: str, sums: PeriodSums, period: Period) -> FactorRow:
        region = self._region()
        permit_mg, rule = region.permits_mg.get(participant, 0), region.rules_at(period.span.start_ms).carbon
        return row_of(participant, sums, period, permit_mg, rule)

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

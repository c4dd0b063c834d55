"""The data chain: signed meter readings, and the energy they are.

Kinds of record: *batch*, *correction*. State: where each meter's registers stand, the energy of every interval that
analysis has not closed yet, what became known late (`aggregator.chains.metering.late`), and totals. Feeds: analysis.

An interval is *frozen* by the first block whose time is its end plus the grace time. Energy that becomes known later
waits for a restatement of its own interval, as long as that lies within the horizon; what comes later still is booked
to the oldest interval that is open, and counted: no watt-hour is ever lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from aggregator.chains.metering.correction import Correction
from aggregator.chains.metering.interval_energy import FIELDS, Energies, IntervalEnergy, together
from aggregator.chains.metering.late import LateEnergy
from aggregator.chains.metering.meter_state import MeterState, read_meter, spell_meter
from aggregator.chains.metering.registers import Curve, credit, per_interval, power_sums
from aggregator.chains.metering.voltage import voltage_sums
from aggregator.chains.region import MeterAsset, Region
from aggregator.economy.periods import interval_start
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Journal, Table, flat
from config.carriers import Carrier
from protocol.batch import Batch, MeterBlock
from protocol.checkpoint import ChainName
from protocol.energy_register import EnergyRegister
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.registers import RegisterCodec
from protocol.units import Quantity

METERS_TABLE: Final = 20
ENERGY_TABLE: Final = 21
TOTALS_TABLE: Final = 22


@dataclass(frozen=True, slots=True)
class DataTotals:
    """Counts since genesis."""

    batches: int = 0
    readings: int = 0
    frozen_until_ms: int = 0
    """Intervals that end here or before are frozen."""
    horizon_ms: int = 0
    """Intervals from here on may be restated."""
    corrections: int = 0


class DataChain:
    """What the meters said."""

    name = ChainName.DATA
    decoders: ClassVar[Decoders] = {MessageType.BATCH: Batch.decode, MessageType.CORRECTION: Correction.decode}

    def __init__(self, journal: Journal, region: Callable[[], Region]) -> None:
        """`region` gives the region as the asset chain has it."""
        self._region = region
        self.meters: Table[str, MeterState] = Table(METERS_TABLE, journal, spell=spell_meter, read=read_meter)
        spell, read = flat(IntervalEnergy)
        self.energy: Table[tuple[int, str], IntervalEnergy] = Table(ENERGY_TABLE, journal, spell=spell, read=read)
        spell_totals, read_totals = flat(DataTotals)
        self._totals: Table[int, DataTotals] = Table(TOTALS_TABLE, journal, spell=spell_totals, read=read_totals)
        self.late = LateEnergy(journal)
        self.tables: Mapping[int, Table[Any, Any]] = {
            METERS_TABLE: self.meters,
            ENERGY_TABLE: self.energy,
            TOTALS_TABLE: self._totals,
            **self.late.tables,
        }

    @property
    def totals(self) -> DataTotals:
        """Counts since genesis."""
        return self._totals.get(0) or DataTotals()

    @property
    def horizon_ms(self) -> int:
        """Start of the oldest interval that may be restated."""
        return max(self.totals.horizon_ms, self._region().begin_ms)

    def begin_block(self, block: BlockTime) -> None:
        """Freeze the intervals whose grace time is over."""
        if block.height == 1:
            return
        region, totals = self._region(), self.totals
        rule = region.rules.time
        until = max(interval_start(block.time_ms - rule.grace_ms, rule), region.begin_ms)
        if until > totals.frozen_until_ms:
            self._totals.put(0, replace(totals, frozen_until_ms=until))

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Take a batch or a correction in.

        Raises:
            Refused: see the codes 30 to 39, and 72 to 74.
        """
        match record.message:
            case Batch() as batch:
                self._take_all(batch, record, block)
            case Correction() as correction:
                self._correct(correction)
        return ()

    def close_interval(self, start_ms: int, height: int) -> list[bytes]:
        """Forget the energy of an interval that analysis has closed: it stands in the analysis record now.

        Returns:
            The leaf that states it, where the interval may be restated.
        """
        energies = self.energy_of(start_ms)
        for meter in energies:
            self.energy.remove((start_ms, meter))
        return self.late.close(start_ms, energies, height) if self._region().can_restate else []

    def restated(self, start_ms: int, former: Energies) -> dict[str, IntervalEnergy]:
        """What is known now about a closed interval.

        Raises:
            Refused: it was not closed with `former`.
        """
        self.late.check_former(start_ms, former)
        return together(former, self.late.of(start_ms, self._region().meters))

    def restate_interval(self, start_ms: int, energies: Energies, height: int) -> list[bytes]:
        """Forget what waited for an interval that analysis has restated with all that is known.

        Returns:
            The leaf that states it.
        """
        self.late.take_up(start_ms, self._region().meters)
        return self.late.close(start_ms, energies, height)

    def due_restatement(self) -> int | None:
        """Start of the interval that is to be restated next, if any waited long enough."""
        totals, rule = self.totals, self._region().rules.time
        return self.late.due(totals.frozen_until_ms, self.horizon_ms, rule.restate_after_ms)

    def move_horizon(self, horizon_ms: int) -> None:
        """Let the horizon move on: what comes from now on for earlier intervals is booked as if it flowed now."""
        if horizon_ms > self.horizon_ms:
            self._totals.put(0, replace(self.totals, horizon_ms=horizon_ms))

    def energy_of(self, start_ms: int) -> dict[str, IntervalEnergy]:
        """What every meter did in one interval, in the order of their names."""
        return {meter: row for (start, meter), row in self.energy.items() if start == start_ms}

    def vet(self, record: Record) -> None:
        """The rule says it all; there is no physics here."""

    def broken_invariants(self) -> Iterable[str]:
        """Energy is never negative, and nothing is booked to a frozen interval that analysis has closed."""
        for (start, meter), row in self.energy.items():
            if min(row.imported_wh, row.exported_wh, row.late_wh, row.readings) < 0:
                yield f"{meter} has negative energy in the interval from {start}"

    def _take_all(self, batch: Batch, record: Record, block: BlockTime) -> None:
        region = self._region()
        assets = [_asset_for(meter_block, record, region) for meter_block in batch.meters]
        for asset, meter_block in zip(assets, batch.meters, strict=True):
            self._take(asset, meter_block, batch, block.time_ms + region.rules.time.future_max_ms)
        totals = self.totals
        self._totals.put(0, replace(totals, batches=totals.batches + 1, readings=totals.readings + batch.readings))

    def _correct(self, correction: Correction) -> None:
        region, totals, meter = self._region(), self.totals, correction.meter
        if meter not in region.meters:
            raise Refused(RefusalCode.UNKNOWN_METER, f"no meter {meter} on the asset chain")
        for delta in correction.deltas:
            start = delta.start_ms
            is_within = region.can_restate and self.horizon_ms <= start < totals.frozen_until_ms
            if not is_within or start != interval_start(start, region.rules.time):
                detail = f"{start} starts no interval from {self.horizon_ms} until {totals.frozen_until_ms}"
                raise Refused(RefusalCode.BEYOND_HORIZON, detail)
            self.late.check_correction(meter, delta, self.energy.get((start, meter)))
            row = IntervalEnergy(delta.imported_wh, delta.exported_wh, corrections=1)
            self.late.add(start, meter, row.amounts, totals.frozen_until_ms)
        self._totals.put(0, replace(totals, corrections=totals.corrections + 1))

    def _take(self, asset: MeterAsset, block: MeterBlock, batch: Batch, future_ms: int) -> None:
        state = self.meters.get(asset.meter.id)
        epoch, starts, slow = batch.clock.epoch_ms + block.first_ms, block.starts_ms, block.slow
        if batch.clock.epoch_ms + block.latest_ms > future_ms:
            raise Refused(RefusalCode.FROM_THE_FUTURE, f"{asset.meter.id}: a reading from after {future_ms} ms")
        same_boot = state is not None and state.boot_id == batch.boot_id
        if state is not None and same_boot and block.first_ms <= state.last_boot_ms:
            raise Refused(RefusalCode.DISORDERED, f"{asset.meter.id}: a reading from before the last one")
        if state is not None and same_boot and slow and slow.first_ms < state.last_boot_ms:
            raise Refused(RefusalCode.DISORDERED, f"{asset.meter.id}: a slow reading from before the last reading")
        instants = [epoch + start for start in starts]
        is_replaced = state is not None and _is_other_serial(state.serial, block.serial)
        believed: dict[bool, EnergyRegister] = {}
        curves = []
        for quantity, codec, limit in asset.energy_registers:
            values = _decode(codec, block.words[quantity])
            if values is None or len(values) != len(instants):
                raise Refused(RefusalCode.WORDS_UNREADABLE, f"{asset.meter.id}: the words of {quantity.name.lower()}")
            before, is_export = None, asset.counts_export(quantity)
            if state is not None and not is_replaced:
                before = state.exported if is_export else state.imported
            believed[is_export], curve = credit(before, instants, values, limit)
            curves.append((is_export, curve))
        if asset.is_at_home:
            self._book(asset, instants, epoch - block.first_ms, block, curves)
        self.meters.put(
            asset.meter.id,
            MeterState(
                boot_id=batch.boot_id,
                last_boot_ms=block.first_ms + starts[-1],
                last_ms=max(instants[-1], state.last_ms) if state else instants[-1],
                serial=block.serial or (state.serial if state else ""),
                readings=(state.readings if state else 0) + len(instants),
                unexplained=(state.unexplained if state else 0)
                + sum(curve.unexplained for _, curve in curves)
                + is_replaced,
                imported=believed.get(False),
                exported=believed.get(True),
            ),
        )

    def _book(
        self,
        asset: MeterAsset,
        instants: Sequence[int],
        epoch_ms: int,
        block: MeterBlock,
        curves: Iterable[tuple[bool, Curve]],
    ) -> None:
        """Add a batch's energy, power and voltage to their intervals; a curve comes with whether it is of exports."""
        region, meter, power_w = self._region(), asset.meter, _power_w(asset, block)
        interval_ms, open_from = region.rules.time.interval_ms, self.totals.frozen_until_ms
        kept_from = min(self.horizon_ms, open_from) if region.can_restate else open_from
        booked: dict[int, list[int]] = {}
        for is_export, curve in curves:
            for start, energy_wh in per_interval(curve, interval_ms, kept_from):
                if energy_wh:
                    is_too_late = start < kept_from
                    row = booked.setdefault(open_from if is_too_late else start, [0] * FIELDS)
                    row[is_export] += energy_wh
                    row[2] += energy_wh if is_too_late else 0
        if power_w is not None and -meter.power_max_w <= min(power_w) and max(power_w) <= meter.power_max_w:
            for start, readings, import_sum_w, export_sum_w in power_sums(instants, power_w, interval_ms, kept_from):
                row = booked.setdefault(start, [0] * FIELDS)
                row[3:6] = readings, import_sum_w, export_sum_w
        if region.carriers[meter.node] is Carrier.ELECTRICITY:
            for start, sum_mv, readings in voltage_sums(block, epoch_ms, interval_ms, kept_from):
                booked.setdefault(start, [0] * FIELDS)[7:9] = sum_mv, readings
        for start, row in booked.items():
            if start < open_from:
                self.late.add(start, meter.id, row, open_from)
                continue
            known = self.energy.get((start, meter.id))
            self.energy.put((start, meter.id), known.plus(row) if known else IntervalEnergy(*row))


def _power_w(asset: MeterAsset, block: MeterBlock) -> Sequence[int] | None:
    """The power that every reading tells, below 0 where it is fed in; None where the meter tells none."""
    power_w = block.column(Quantity.ACTIVE_POWER_W)
    if power_w is None and (power_w := block.column(Quantity.HEAT_POWER_W)) is not None and asset.meter.feeds_in:
        return [-watts for watts in power_w]
    return power_w


def _asset_for(block: MeterBlock, record: Record, region: Region) -> MeterAsset:
    """The meter that a block claims to be from, if it may be.

    Raises:
        Refused: unknown, of another gateway, read by another profile, or without its energy registers.
    """
    asset = region.meters.get(block.meter)
    if asset is None:
        raise Refused(RefusalCode.UNKNOWN_METER, f"no meter {block.meter} on the asset chain")
    if asset.meter.gateway != record.author.name:
        raise Refused(RefusalCode.NOT_THEIR_METER, f"{block.meter} hangs on gateway {asset.meter.gateway}")
    if asset.profile_digest != block.profile:
        raise Refused(RefusalCode.PROFILE_DIFFERS, f"{block.meter}: the asset chain has another {asset.meter.profile}")
    expected = tuple(quantity for quantity, _, _ in asset.energy_registers)
    if tuple(block.words) != expected:
        raise Refused(RefusalCode.MISSING_ENERGY, f"{block.meter}: {', '.join(q.name.lower() for q in expected)}")
    return asset


def _is_other_serial(before: str, now: str) -> bool:
    """Whether another meter hangs there now: its registers have nothing to do with those of the one before."""
    return bool(before and now) and before != now


def _decode(codec: RegisterCodec, words: bytes) -> list[int] | None:
    """What the words of an energy register say, or None where they say no number."""
    try:
        return codec.decode_column(words)
    except EncodingError:
        return None

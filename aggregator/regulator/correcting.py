"""What a correction has to say: by how much a meter's energy changes, interval by interval.

A wrong transformer ratio, or a meter that was proven to lie, is a factor between what was counted and what flowed. The
differences are exact: the corrected energy is rounded down to a watt-hour.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

from aggregator.chains.metering.correction import INTERVALS_MAX, Delta
from aggregator.chains.metering.interval_energy import IntervalEnergy, ProvenRow, prove_row
from aggregator.service.query import LedgerFile
from aggregator.service.stated import energies_of
from protocol.errors import EsteError


class CorrectionError(EsteError):
    """There is nothing to correct there, or too much at once."""


def deltas_of(ledger: LedgerFile, meter: str, from_ms: int, until_ms: int, times: Decimal) -> tuple[Delta, ...]:
    """What multiplying a meter's energy takes, in every interval that begins from `from_ms` until `until_ms`.

    Raises:
        CorrectionError: no such meter, no interval that may be corrected, or more than one record holds.
    """
    region, data = ledger.five.asset.region, ledger.five.data
    if meter not in region.meters:
        raise CorrectionError(f"no meter {meter} on the asset chain: see este-aggregator devices")
    length = region.rules.time.interval_ms
    earliest, latest = data.horizon_ms, data.totals.frozen_until_ms
    starts = range(-(-max(from_ms, earliest) // length) * length, min(until_ms, latest), length)
    if not starts or not region.can_restate:
        may = f"those that begin from {_instant(earliest)} on and before {_instant(latest)} may"
        raise CorrectionError(f"no interval there may be corrected; {may}")
    found = [delta for start in starts if (delta := _delta(ledger, meter, start, Fraction(times)))]
    if not found:
        raise CorrectionError(f"that changes nothing: {meter} counted nothing there, or the factor is 1")
    if len(found) > INTERVALS_MAX:
        raise CorrectionError(
            f"{len(found)} intervals where one record holds {INTERVALS_MAX}: correct a part at a time"
        )
    return tuple(found)


def _instant(at_ms: int) -> str:
    """As --from and --until take it."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _delta(ledger: LedgerFile, meter: str, start_ms: int, times: Fraction) -> Delta | None:
    known, row = _known(ledger, meter, start_ms)
    imported_wh, exported_wh = (
        int(energy_wh * times // 1) - energy_wh for energy_wh in (known.imported_wh, known.exported_wh)
    )
    if not imported_wh and not exported_wh:
        return None
    return Delta(start_ms, imported_wh, exported_wh, row if min(imported_wh, exported_wh) < 0 else None)


def _known(ledger: LedgerFile, meter: str, start_ms: int) -> tuple[IntervalEnergy, ProvenRow | None]:
    """What is known of a meter in an interval, with what waits, and the row of it that a closed interval has."""
    data = ledger.five.data
    known, row = data.energy.get((start_ms, meter)) or IntervalEnergy(), None
    if start_ms in data.late.closed:
        energies = energies_of(ledger.store, data, start_ms)
        if energies is None:
            raise CorrectionError(
                f"this ledger does not reach back to the interval from {_instant(start_ms)}: ask another node's"
            )
        if meter in energies:
            row = prove_row(energies, meter)
            known = row.energy
    waiting = data.late.rows.get((start_ms, meter)) or IntervalEnergy()
    return known.plus(waiting.amounts), row

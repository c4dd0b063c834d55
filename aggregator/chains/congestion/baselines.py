"""The values that baselines are means of: what participants who take part in demand response used on like days.

Part of the state of the analysis chain. The rule is `aggregator.economy.baseline`. A restatement does not change what
an event was called with, nor what later ones are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

from aggregator.chains.intervals.flows import CalledEvent
from aggregator.chains.intervals.origin import net_electricity_wh
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.operation import CalledFor
from aggregator.chains.region import Region
from aggregator.economy.baseline import Values, baseline_wh, slot_of, with_value
from aggregator.ledger.table import Journal, Table
from protocol.energy_register import MS_PER_HOUR
from protocol.units import Interval

LIKE_DAYS_TABLE: Final = 39


class Baselines:
    """What everybody who responds used on the last like days, interval by interval of the day."""

    def __init__(self, journal: Journal) -> None:
        """No day is over yet."""
        self._values: Table[tuple[str, int], Values] = Table(LIKE_DAYS_TABLE, journal, spell=list, read=tuple)
        self.tables: Mapping[int, Table[Any, Any]] = {LIKE_DAYS_TABLE: self._values}

    def called(self, region: Region, interval: Interval, events: Iterable[CalledFor]) -> tuple[CalledEvent, ...]:
        """The events that are on in an interval, with the baselines of those whom they call."""
        slot = slot_of(interval.start_ms, region.rules_at(interval.start_ms).time)
        called = []
        for number, event in events:
            known = ((name, self._of(name, slot)) for name in event.participants or region.responding)
            called.append(CalledEvent(number, event.branch, {name: mean for name, mean in known if mean is not None}))
        return tuple(called)

    def close(self, region: Region, interval: Interval, energies: Energies, without: Set[str]) -> None:
        """Let an interval count from its next like day on, but not for those in `without`."""
        names = [name for name in region.responding if name not in without]
        if not names:
            return
        slot = slot_of(interval.start_ms, region.rules_at(interval.start_ms).time)
        net_wh = net_electricity_wh(region, energies)
        for name in names:
            power_max_w = sum(meter.power_max_w for meter in region.electric_meters[name])
            bound_wh = power_max_w * interval.length_ms // MS_PER_HOUR
            before = self._values.get((name, slot)) or ()
            self._values.put((name, slot), with_value(before, net_wh.get(name, 0), bound_wh))

    def _of(self, participant: str, slot: int) -> int | None:
        return baseline_wh(self._values.get((participant, slot)) or ())

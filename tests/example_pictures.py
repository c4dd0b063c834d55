"""The pictures in docs/images, drawn from the example days by the physics of the day:

    .venv/bin/python -m tests.example_pictures docs/images

Two days are reckoned, one after the other, and the second is drawn: so storages hold what was made, and not what they
began with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.stores import Stores
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.table import Journal
from aggregator.service.past import Place, StatedInterval
from aggregator.views.pictures.branch import draw_branch
from aggregator.views.pictures.network import draw_network
from aggregator.views.pictures.origin import draw_origin
from aggregator.views.pictures.sankey import draw_sankey
from aggregator.views.pictures.style import save, use_look
from protocol.units import Interval, UnixMs
from tests.example_days import DAY_START_MS, INTERVAL_MS, INTERVALS, example_region, feeder_day, system_day

NOON = 52
"""Number of the interval from 13:00 in Berlin."""
EVENING = 77
"""Number of the interval from 19:15 in Berlin."""


def stated_day(region: Region, day: Callable[[Region, int], list[Energies]]) -> list[StatedInterval]:
    """The second of two equal days, as the chain would state it."""
    physics, stores = IntervalPhysics(), Stores(Journal())
    stated = []
    for number, energies in enumerate(day(region, 2)):
        start_ms = DAY_START_MS + (number - INTERVALS) * INTERVAL_MS
        interval = Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(start_ms + INTERVAL_MS))
        known = Known(energies, stores.carried(region.grid, interval))
        flows = physics(region, interval, known)
        stores.close(region.grid, interval, flows)
        place = Place("analysis", number, number)
        stated.append(StatedInterval(interval.start_ms, interval.end_ms, flows, place, 0, known))
    return stated[INTERVALS:]


def draw_all(folder: Path, suffix: str = ".svg") -> None:
    """Draw every picture of the documentation."""
    use_look()
    feeder, system = example_region("low-voltage-feeder"), example_region("regional-energy-system")
    street, town = stated_day(feeder, feeder_day), stated_day(system, system_day)
    save(draw_network(feeder, street[EVENING]), folder / f"network-feeder{suffix}")
    save(draw_origin(feeder, "house-09", street), folder / f"origin-house{suffix}")
    save(draw_branch("b-7", street), folder / f"branch{suffix}")
    save(draw_network(system, town[NOON]), folder / f"network-system{suffix}")
    save(draw_origin(system, "district-north", town), folder / f"origin-district{suffix}")
    save(draw_sankey(system, town), folder / f"sankey{suffix}")


if __name__ == "__main__":
    draw_all(Path(sys.argv[1]), *sys.argv[2:])

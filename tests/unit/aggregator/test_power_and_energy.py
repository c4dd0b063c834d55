"""Mean power tells how energy flowed, and the registers bound it: nobody shows more sun than their registers counted.

A street of one node behind the network outside: a house with a sun of its own, and a neighbour.
"""

from __future__ import annotations

import pytest

from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.grid.believing import as_metered
from aggregator.grid.estimation import estimated
from aggregator.grid.interval import IntervalPhysics
from config.grid_model import Source
from tests.energy_village import HOUR_MS, Days, a_branch, a_generator, a_meter, a_node, a_region, origin

READINGS = 60


def a_street(length_ms: int = HOUR_MS, *, is_estimated: bool = True) -> Days:
    region = a_region(
        meters=[a_meter(f"m-{name}", "e1") for name in ("house", "sun", "neighbour")] + [a_meter("m-grid", "e0")],
        nodes=[a_node("e0"), a_node("e1")],
        branches=[a_branch("b1", "e0", "e1")],
        generators=[a_generator("m-grid", Source.GRID, 400), a_generator("m-sun", Source.PV)],
    )
    return Days(region, length_ms=length_ms, physics=IntervalPhysics(estimated if is_estimated else as_metered))


def a_row(imported_wh: int, shown_w: int) -> IntervalEnergy:
    """What a meter counted, and what power its readings showed; below 0 fed in."""
    return IntervalEnergy(
        imported_wh=max(0, imported_wh),
        exported_wh=max(0, -imported_wh),
        readings=READINGS,
        import_sum_w=READINGS * max(0, shown_w),
        export_sum_w=READINGS * max(0, -shown_w),
    )


@pytest.mark.parametrize("is_estimated", [True, False], ids=["estimated", "as metered"])
def test_power_that_no_register_bears_out_is_not_believed(is_estimated: bool) -> None:
    """A gateway invents power; the registers, which others will read, say that hardly any sun was there."""
    flows = a_street(is_estimated=is_estimated).close_with(
        {
            "m-grid": a_row(-3900, -3900),
            "m-house": a_row(3000, 9000),
            "m-neighbour": a_row(1000, 1000),
            "m-sun": a_row(-100, -9000),
        }
    )
    sun = origin(flows, "house")[Source.PV] + origin(flows, "neighbour")[Source.PV]
    assert 95 <= sun <= 105


def test_in_a_short_interval_a_register_hardly_moves_and_power_tells_the_flow() -> None:
    """In five seconds 400 W are half a watt-hour."""
    flows = a_street(5000).close_with(
        {
            "m-house": a_row(10, 7200),
            "m-neighbour": a_row(0, 400),
            "m-sun": a_row(-1, -400),
        }
    )
    assert origin(flows, "house") == {Source.GRID: 9, Source.PV: 1}

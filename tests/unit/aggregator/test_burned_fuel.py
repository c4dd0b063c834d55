"""What a plant burns is emitted, whether or not its fuel was metered: else the dark would be the cleanest fuel.

The plant makes 0.4 of electricity and 0.5 of heat from its gas, and gas bears 200 mg for a watt-hour.
"""

from __future__ import annotations

from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.region import Region
from config.carriers import Carrier
from config.grid_model import Source
from tests.energy_village import (
    Days,
    a_meter,
    a_node,
    a_plant_and_a_heat_pump,
    a_region,
    kinds,
    origin,
    three_generators,
)


def a_region_with_a_plant() -> Region:
    return a_region(
        meters=[
            *(a_meter(f"m-{name}", "e0") for name in ("grid", "wind", "home", "chp-el", "hp-el")),
            *(a_meter(f"m-{name}", "g0") for name in ("gas", "chp-gas")),
            *(a_meter(f"m-{name}", "h0") for name in ("chp-heat", "hp-heat", "house")),
        ],
        nodes=[a_node("e0"), a_node("g0", Carrier.GAS), a_node("h0", Carrier.HEAT)],
        generators=three_generators(),
        converters=a_plant_and_a_heat_pump(),
    )


def burned_mg(flows: Flows) -> int:
    return next(row.burned_mg for row in flows.converters if row.converter == "chp")


RUNNING = {"m_chp_el": -400, "m_chp_heat": -500, "m_house": 500, "m_home": 400}


def test_a_plant_emits_what_its_gas_bears() -> None:
    flows = Days(a_region_with_a_plant()).close(m_gas=-1000, m_chp_gas=1000, **RUNNING)
    assert burned_mg(flows) == 1000 * 200


def test_gas_that_nobody_saw_come_in_is_burned_all_the_same() -> None:
    """Whoever unplugs the meter where gas comes in does not burn cleaner by that."""
    flows = Days(a_region_with_a_plant()).close(m_chp_gas=1000, **RUNNING)
    assert burned_mg(flows) == 1000 * 200
    assert origin(flows, "house", Carrier.HEAT) == {Source.OTHER: 500}


def test_gas_that_came_in_half_unseen_is_burned_all_the_same() -> None:
    flows = Days(a_region_with_a_plant()).close(m_gas=-500, m_chp_gas=1000, **RUNNING)
    assert burned_mg(flows) == 1000 * 200


def test_a_plant_burned_at_least_what_it_needs_for_what_it_gave() -> None:
    """Whoever bends the meter of their fuel is found, and emits no less by it."""
    flows = Days(a_region_with_a_plant()).close(m_gas=-300, m_chp_gas=300, **RUNNING)
    assert FindingKind.FROM_NOTHING in kinds(flows)
    assert burned_mg(flows) == 1000 * 200


def test_a_plant_whose_fuel_meter_is_silent_burned_what_it_needs() -> None:
    flows = Days(a_region_with_a_plant()).close(m_gas=-1000, **RUNNING)
    assert burned_mg(flows) == 1000 * 200


def test_what_meters_may_be_off_by_is_nobodys_fault() -> None:
    flows = Days(a_region_with_a_plant()).close(m_gas=-995, m_chp_gas=995, **RUNNING)
    assert FindingKind.FROM_NOTHING not in kinds(flows)
    assert burned_mg(flows) == 995 * 200

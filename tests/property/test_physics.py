"""What holds of any interval, whatever meters say: contradictions, silence and nonsense included."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.chains.intervals.flows import Flows
from aggregator.chains.intervals.origin import participant_energy
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.region import Region
from config.carriers import Carrier
from tests.energy_village import (
    HOUR_MS,
    Days,
    a_branch,
    a_meter,
    a_node,
    a_pipe,
    a_plant_and_a_heat_pump,
    a_region,
    three_generators,
)

HEAT, GAS = Carrier.HEAT, Carrier.GAS
PLACES = {
    **{"m-grid": "e0", "m-home": "e0", "m-wind": "e1", "m-chp-el": "e1", "m-hp-el": "e1", "m-battery": "e1"},
    **{"m-gas": "g0", "m-chp-gas": "g1"},
    **{"m-chp-heat": "h0", "m-hp-heat": "h0", "m-tank": "h1", "m-house": "h1", "m-barn": "h2"},
}


def a_region_of_everything() -> Region:
    """All carriers, a loop of heat pipes of which two delay, two converters and two storages."""
    return a_region(
        meters=[a_meter(name, node) for name, node in PLACES.items()],
        nodes=[
            *(a_node(name) for name in ("e0", "e1")),
            *(a_node(name, GAS) for name in ("g0", "g1")),
            *(a_node(name, HEAT) for name in ("h0", "h1", "h2")),
        ],
        branches=[a_branch("b", "e0", "e1")],
        pipes=[
            a_pipe("gas", "g0", "g1"),
            a_pipe("long", "h0", "h1", delay_ms=HOUR_MS * 3 // 2, loss_ppm=20_000),
            a_pipe("full", "h1", "h2", content_wh=700),
            a_pipe("back", "h2", "h0", rating_w=10_000, loss_ppm=100_000),
        ],
        generators=three_generators(),
        converters=a_plant_and_a_heat_pump(),
        storages=[
            {
                "id": "tank",
                "charge_meter": "m-tank",
                "discharge_meter": "m-tank",
                "capacity_wh": 5_000,
                "loss_ppm_per_day": 50_000,
                "initial_wh": 100,
            },
            {
                "id": "battery",
                "charge_meter": "m-battery",
                "discharge_meter": "m-battery",
                "capacity_wh": 5_000,
                "efficiency_ppm": 900_000,
            },
        ],
    )


REGION = a_region_of_everything()
amounts = st.sampled_from([0, 0, 1, 7, 500, 2_000, 10**9])
rows = st.builds(IntervalEnergy, imported_wh=amounts, exported_wh=amounts)
hours = st.lists(st.dictionaries(st.sampled_from(sorted(PLACES)), rows), min_size=1, max_size=4)


@given(hours)
@settings(max_examples=60)
def test_any_interval_closes_and_adds_up(days_rows: list[dict[str, IntervalEnergy]]) -> None:
    days = Days(REGION)
    for energies in days_rows:
        known = {name: energies[name] for name in sorted(energies)}
        flows = days.close_with(known)
        assert Flows.read(flows.spell(), 100) == flows
        assert [(flow.participant, flow.carrier) for flow in flows.participants] == list(
            participant_energy(REGION, known)
        )
        for flow in flows.participants:
            assert sum(wh for _, wh in flow.origin_wh) == flow.imported_wh
            assert flow.carbon_mg >= 0
        for balance in flows.balances:
            assert balance.fed_in_wh - balance.taken_wh - balance.losses_wh - balance.rest_wh == 0
            assert balance.losses_wh >= 0
        assert [row.converter for row in flows.converters] == ["chp", "hp"]
        assert [row.storage for row in flows.storages] == ["tank", "battery"]

"""Whether a line is relieved as the record says: held against the power flow of the village with a kilowatt less."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.intervals.flows import Flows
from protocol.messages import MessageType
from protocol.units import PPM
from tests.village import Village, a_grid, a_grid_document

LINE = {"resistance_uohm": 20_000, "reactance_uohm": 8_000, "rating_ma": 200_000}
LENGTHS = {("n0", "n1"): 1, ("n1", "n2"): 2, ("n0", "n2"): 4}
NARROW_MA = 5_000


def a_ring(**changes: Any) -> dict[str, Any]:
    """Three lines in a ring: what home takes at n2 comes two ways; the one over n1 is narrow."""
    document = a_grid_document()
    meters = [one | {"node": "n2"} if one["id"] == "m-home" else one for one in document["meters"]]
    branches = [
        LINE
        | {"id": f"{a}-{b}", "from_node": a, "to_node": b}
        | {key: LINE[key] * times for key in ("resistance_uohm", "reactance_uohm")}
        | ({"rating_ma": NARROW_MA} if b == "n1" or a == "n1" else {})
        for (a, b), times in LENGTHS.items()
    ]
    devices = [
        {"id": f"limit-{name}", "participant": name, "gateway": "gw", "rated_w": 50_000} for name in ("gas", "home")
    ]
    nodes = [{"id": name, "voltage_mv": 400_000} for name in ("n0", "n1", "n2")]
    rules = document["rules"] | {"curtailment": {}}
    parts = {"meters": meters, "branches": branches, "devices": devices, "nodes": nodes, "rules": rules}
    return document | parts | changes


def flows_of(power_w: dict[str, int], **changes: Any) -> Flows:
    """The physics of one interval."""
    village = Village(grid=a_grid(**a_ring(**changes)))
    village.live(10, {"m-gas": 0, "m-wind": 0, "m-grid": 0} | power_w)
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    found: Flows = next(one.message.flows for one in records if one.type is MessageType.INTERVAL)
    return found


@pytest.mark.parametrize("changed", ["home", "gas"])
def test_a_kilowatt_less_relieves_a_line_in_a_ring_as_its_factor_says(changed: str) -> None:
    power_w = {"m-home": 30_000, "m-gas": -4_000}
    less = power_w | {f"m-{changed}": power_w[f"m-{changed}"] - (1_000 if changed == "home" else -1_000)}
    before, after = flows_of(power_w), flows_of(less)
    assert [one.branch for one in before.congestions] == ["n0-n1", "n1-n2"]
    flow_after = {flow.branch: flow.flow_w for flow in after.branches}
    for congestion in before.congestions:
        (load,) = (one for one in congestion.loads if one.participant == changed)
        assert load.taken_w == power_w[f"m-{changed}"]
        flow_w = next(flow.flow_w for flow in before.branches if flow.branch == congestion.branch)
        relieved_w = abs(flow_w) - abs(flow_after[congestion.branch])
        assert relieved_w == pytest.approx(1_000 * load.relief_ppm / PPM, abs=15)


def test_whose_devices_cannot_be_limited_is_not_asked_about() -> None:
    congestions = flows_of({"m-home": 30_000, "m-wind": -3_000}).congestions
    assert {load.participant for one in congestions for load in one.loads} == {"home"}


def test_a_region_that_limits_nobody_records_nobody() -> None:
    rules = a_grid_document()["rules"]
    assert flows_of({"m-home": 30_000}, rules=rules).congestions == ()


def test_lines_within_their_rating_are_left_out() -> None:
    assert flows_of({"m-home": 1_000}).congestions == ()

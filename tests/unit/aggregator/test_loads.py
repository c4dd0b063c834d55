"""Whether a line is relieved as the record says: held against the power flow of the village with a kilowatt less."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.intervals.flows import Flows
from protocol.limits import Direction
from protocol.messages import MessageType
from protocol.units import PPM
from tests.village import A_LIMITER, Village, a_grid, a_grid_document

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
        A_LIMITER | {"id": "limit-gas", "participant": "gas"},
        A_LIMITER | {"id": "limit-home", "participant": "home", "direction": "takes"},
    ]
    nodes = [{"id": name, "voltage_mv": 400_000} for name in ("n0", "n1", "n2")]
    rules = document["rules"] | {"curtailment": {}}
    parts = {"meters": meters, "branches": branches, "devices": devices, "nodes": nodes, "rules": rules}
    return document | parts | changes


def at_n2() -> dict[str, Any]:
    """Engine and home at the far node, and a third line that is as narrow."""
    document = a_ring()
    meters = [one | ({"node": "n2"} if one["id"] == "m-gas" else {}) for one in document["meters"]]
    return {"meters": meters, "branches": [one | {"rating_ma": NARROW_MA} for one in document["branches"]]}


BOTH_AT_N2 = at_n2()


def flows_of(power_w: dict[str, int], **changes: Any) -> Flows:
    """The physics of one interval."""
    village = Village(grid=a_grid(**a_ring(**changes)))
    village.live(10, {"m-gas": 0, "m-wind": 0, "m-grid": 0} | power_w)
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    found: Flows = next(one.message.flows for one in records if one.type is MessageType.INTERVAL)
    return found


CASES = {
    "home": ({"m-home": 30_000, "m-gas": -4_000}, Direction.TAKE, 30_000),
    "gas": ({"m-gas": -30_000, "m-home": 2_000}, Direction.FEED_IN, 30_000),
}
"""Who takes or feeds in so much that the ring's narrow lines carry too much."""


@pytest.mark.parametrize("changed", CASES)
def test_a_kilowatt_less_relieves_a_line_in_a_ring_as_its_factor_says(changed: str) -> None:
    power_w, direction, used_w = CASES[changed]
    sign = 1 if direction is Direction.TAKE else -1
    before, after = flows_of(power_w), flows_of(power_w | {f"m-{changed}": sign * (used_w - 1_000)})
    assert "n1-n2" in [one.branch for one in before.congestions]
    flow_after = {flow.branch: flow.flow_w for flow in after.branches}
    for congestion in before.congestions:
        (load,) = (one for one in congestion.loads if one.participant == changed)
        assert (load.direction, load.power_w) == (direction, used_w)
        flow_w = next(flow.flow_w for flow in before.branches if flow.branch == congestion.branch)
        relieved_w = abs(flow_w) - abs(flow_after[congestion.branch])
        assert relieved_w == pytest.approx(1_000 * load.relief_ppm / PPM, abs=15)


def test_what_relieves_a_line_is_not_told_of_however_much_it_is() -> None:
    """Too much is taken: the engine that feeds in behind the same line helps. Too much is fed in: the home helps."""
    for power_w, told in (({"m-home": 30_000, "m-gas": -9_000}, "home"), ({"m-home": 9_000, "m-gas": -30_000}, "gas")):
        (line,) = (one for one in flows_of(power_w, **BOTH_AT_N2).congestions if one.branch == "n0-n2")
        assert {load.participant for load in line.loads} == {told}


def test_who_could_load_the_line_and_does_not_is_told_of_with_nothing() -> None:
    document = a_ring()
    devices = [*document["devices"], A_LIMITER | {"id": "limit-wind", "participant": "wind", "direction": "takes"}]
    (line, *_) = flows_of({"m-home": 30_000}, devices=devices).congestions
    assert [(one.participant, one.power_w) for one in line.loads] == [("home", 30_000), ("wind", 0)]


def test_whose_devices_cannot_be_limited_is_not_asked_about() -> None:
    congestions = flows_of({"m-home": 30_000, "m-wind": -3_000}).congestions
    assert {load.participant for one in congestions for load in one.loads} == {"gas", "home"}


def test_a_region_that_limits_nobody_records_nobody() -> None:
    rules = a_grid_document()["rules"]
    assert flows_of({"m-home": 30_000}, rules=rules).congestions == ()


def test_lines_within_their_rating_are_left_out() -> None:
    assert flows_of({"m-home": 1_000}).congestions == ()

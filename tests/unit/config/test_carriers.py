"""Networks of heat, gas and hydrogen in the grid file: what may be joined to what."""

from __future__ import annotations

from typing import Any

import pytest

from config.carriers import Carrier
from config.grid_model import Grid
from config.load import check
from tests.unit.config.documents import Document, a_grid_document, changed, mistakes_in

PIPE = {"id": "p1", "from_node": "h0", "to_node": "h1", "rating_w": 100_000}
PUMP = {
    "id": "pump",
    "kind": "heat_pump",
    "inputs": ["m-pump"],
    "outputs": [{"meter": "m-pump-heat", "efficiency_ppm": 3_500_000}],
}
TANK = {"id": "tank", "charge_meter": "m-in", "discharge_meter": "m-out", "capacity_wh": 50_000}


def a_warm_village() -> Document:
    """The village with a heat pump, a heat pipe and a tank."""
    document = a_grid_document()
    meter = document["meters"][0]
    places = {"m-pump": "n0", "m-pump-heat": "h0", "m-in": "h0", "m-out": "h0", "m-warm": "h1"}
    return document | {
        "nodes": [*document["nodes"], {"id": "h0", "carrier": "heat"}, {"id": "h1", "carrier": "heat"}],
        "meters": [*document["meters"], *(meter | {"id": name, "node": node} for name, node in places.items())],
        "pipes": [PIPE],
        "converters": [PUMP],
        "storages": [TANK],
    }


def test_a_region_of_several_networks_is_read() -> None:
    grid = check(a_warm_village(), Grid, "grid.yaml")
    assert {node.carrier for node in grid.nodes} == {Carrier.ELECTRICITY, Carrier.HEAT}
    assert grid.converters[0].meters == ("m-pump", "m-pump-heat")
    assert grid.storages[0].meters == ("m-in", "m-out")
    assert grid.storages[0].efficiency_ppm == 1_000_000


WRONG: dict[str, tuple[str, Any, str]] = {
    "a power node without voltage": ("nodes.0.voltage_mv", None, "a voltage_mv"),
    "a heat node with voltage": ("nodes.2", {"id": "h0", "carrier": "heat", "voltage_mv": 400_000}, "no voltage_mv"),
    "a carrier that is none": ("nodes.2.carrier", "steam", "'electricity'"),
    "a pipe to nowhere": ("pipes.0.to_node", "h9", "pipes.*.to_node to name something"),
    "a pipe to where it came from": ("pipes.0.to_node", "h0", "pipe p1 between two nodes of one network"),
    "a pipe between heat and power": ("pipes.0.to_node", "n0", "hydrogen, got h0 (heat) and n0 (electricity)"),
    "a pipe by a branch's name": ("pipes.0.id", "b1", "branches and pipes to stand once each"),
    "a pipe that loses all": ("pipes.0.loss_ppm", 1_000_000, "less than 1000000"),
    "a pipe that delays in two ways": ("pipes.0", PIPE | {"delay_ms": 1, "content_wh": 1}, "not both"),
    "a line in the heat network": ("branches.0.to_node", "h0", "branch b1 between nodes of electricity"),
    "a region that is heated only": ("reference_node", "h0", "reference_node in the electricity network"),
    "a converter without input": ("converters.0.inputs", [], "a converter with inputs and outputs"),
    "a converter without output": ("converters.0.outputs", [], "a converter with inputs and outputs"),
    "a converter of unknown meters": ("converters.0.inputs", ["m-9"], "meters of converters and storages to name"),
    "a converter that counts itself": ("converters.0.outputs.0.meter", "m-pump", "to stand once each"),
    "a converter by a storage's name": ("converters.0.id", "tank", "converters and storages to stand once each"),
    "a storage at a generator's meter": ("storages.0.charge_meter", "m-wind", "to stand once each"),
    "a storage between two networks": ("storages.0.charge_meter", "m-home", "in networks of one carrier"),
    "a storage that holds too much": ("storages.0.initial_wh", 50_001, "at most capacity_wh"),
    "a check meter elsewhere": ("meters.0.branch", "p1", "at an end of p1"),
    "a check meter in no branch": ("meters.0.branch", "b9", "meters.*.branch to name something"),
    "a meter of no class": ("meters.0.accuracy_ppm", 0, "greater than 0"),
}


@pytest.mark.parametrize(("place", "value", "expected"), WRONG.values(), ids=WRONG)
def test_networks_that_do_not_fit_are_named(place: str, value: Any, expected: str) -> None:
    mistakes = mistakes_in(changed(a_warm_village(), place, value), Grid)
    assert any(expected in mistake for mistake in mistakes.values()), mistakes

"""What a heat meter counts is energy of its network, and of no other; a meter with one register counts one way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from config.grid_model import Grid
from config.load import check, load_profiles
from protocol.batch import MeterBlock
from protocol.messages import MessageType
from protocol.readings import Readings
from protocol.refusals import RefusalCode
from protocol.units import Quantity
from tests.village import START_MS, Village, a_grid_document

HEAT_METER = load_profiles()["2flow_mag11"]
"""Counts watt-hours of heat in a register of 32 bits, and tells its power."""


def a_village(node: str = "h0", **meter: Any) -> Village:
    """A village with one heat meter, at a heat node unless a test says otherwise."""
    document = a_grid_document()
    document["nodes"] += [{"id": f"{carrier[0]}0", "carrier": carrier} for carrier in ("heat", "gas")]
    document["nodes"].append({"id": "x0", "carrier": "hydrogen"})
    place = {"id": "m-heat", "participant": "home", "node": node, "gateway": "gw", "profile": HEAT_METER.id}
    document["meters"].append(place | {"power_max_w": 50_000} | meter)
    return Village(grid=check(document, Grid, "grid.yaml"))


def a_heat_block(village: Village, *heat_wh: int, power_w: int = 18_000) -> MeterBlock:
    """A reading a second, with the register's words as the meter spells them."""
    codec, count = HEAT_METER.codecs[Quantity.HEAT_WH], len(heat_wh)
    words = [word for value in heat_wh for word in codec.encode(value)]
    return MeterBlock.around(
        Readings.of(
            first_ms=village.now_ms - START_MS + 1,
            starts_ms=range(0, 1000 * count, 1000),
            durations_ms=[5] * count,
            quality=[0] * count,
            columns={Quantity.HEAT_POWER_W: [power_w] * count},
        ),
        meter="m-heat",
        profile=HEAT_METER.digest,
        serial="4711",
        words={Quantity.HEAT_WH: b"".join(word.to_bytes(2) for word in words)},
    )


def take_in(village: Village, *blocks: MeterBlock) -> RefusalCode | None:
    record = village.record(village.sign(village.a_batch(meters=blocks), MessageType.BATCH))
    return village.close([record]).outcomes[0].refusal


def energy(village: Village) -> list[tuple[int, int, int, int]]:
    """Imported, exported, and both sums of power of the heat meter, interval by interval."""
    rows = [row for (_, meter), row in village.five.data.energy.items() if meter == "m-heat"]
    return [(row.imported_wh, row.exported_wh, row.import_sum_w, row.export_sum_w) for row in rows]


def test_heat_is_imported() -> None:
    village = a_village()
    assert take_in(village, a_heat_block(village, 1000, 1005, 1010)) is None
    assert energy(village) == [(10, 0, 3 * 18_000, 0)]


def test_heat_of_a_meter_that_feeds_in_is_exported() -> None:
    village = a_village(feeds_in=True)
    assert take_in(village, a_heat_block(village, 1000, 1005, 1010)) is None
    assert energy(village) == [(0, 10, 0, 3 * 18_000)]
    state = village.five.data.meters["m-heat"]
    assert state.imported is None and state.exported is not None and state.exported.trusted.value_wh == 1010


@pytest.mark.parametrize("node", ["g0", "x0"])
def test_a_heat_meter_stands_for_one_of_gas_or_hydrogen(node: str) -> None:
    """There is no profile of one yet, and the example region of several carriers lives on it."""
    village = a_village(node=node)
    assert take_in(village, a_heat_block(village, 1000, 1005, 1010)) is None
    assert energy(village) == [(10, 0, 3 * 18_000, 0)]


def test_a_heat_meter_in_the_electricity_network_is_kept_and_books_nothing() -> None:
    """Electricity must not be made of it."""
    village = a_village(node="n1")
    assert take_in(village, a_heat_block(village, 1000, 1005, 1010)) is None
    assert energy(village) == []
    assert village.five.data.meters["m-heat"].readings == 3


def test_a_counter_of_heat_is_judged_as_one_of_electricity_is() -> None:
    village = a_village()
    assert take_in(village, a_heat_block(village, 1000, 1005, 990_000, 1015)) is None
    assert energy(village)[0][0] == 15
    assert village.five.data.meters["m-heat"].unexplained == 1


@pytest.mark.parametrize("words", [{}, {Quantity.IMPORTED_WH: bytes(12)}], ids=["none", "those of electricity"])
def test_the_words_of_heat_have_to_be_there(words: dict[Quantity, bytes]) -> None:
    village = a_village()
    block = replace(a_heat_block(village, 1000, 1005, 1010), words=words)
    assert take_in(village, block) is RefusalCode.MISSING_ENERGY


def test_a_gas_meter_with_one_register_may_feed_in() -> None:
    """Its profile calls the energy of its gas imported; what it counts goes where the grid file says."""
    village = Village()
    asset = village.five.asset.region.meters["m-home"]
    one_way = replace(asset, energy_registers=asset.energy_registers[:1])
    feeding = replace(one_way, meter=one_way.meter.model_copy(update={"feeds_in": True}))
    assert not one_way.counts_export(Quantity.IMPORTED_WH)
    assert feeding.counts_export(Quantity.IMPORTED_WH)
    both = replace(asset, meter=feeding.meter)
    assert not both.counts_export(Quantity.IMPORTED_WH), "a meter that counts both ways says itself which way"

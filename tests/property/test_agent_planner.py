"""No plan with fewer requests exists: every smaller one is tried."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.bus.planner import ReadRequest, plan
from config.load import check
from config.meter_profile import MeterProfile, Register
from protocol.units import Quantity

WIDTH_OF = {"u16": 1, "u32": 2, "u64": 4}
UNIT_OF = {"W": "W", "var": "var", "VA": "VA", "Wh": "Wh", "mHz": "Hz", "mV": "V", "mA": "A", "ppm": "1"}


@st.composite
def profiles(draw: st.DrawFn) -> MeterProfile:
    """A meter with a few registers, in blocks that may touch and overlap."""
    types = draw(st.lists(st.sampled_from(list(WIDTH_OF)), min_size=1, max_size=7))
    quantities = [Quantity.IMPORTED_WH, *(q for q in Quantity if q is not Quantity.IMPORTED_WH)]
    registers: list[dict[str, Any]] = []
    address = draw(st.integers(0, 5))
    for quantity, type_ in zip(quantities, types, strict=False):
        registers.append(
            {"quantity": quantity.name.lower(), "address": address, "type": type_, "unit": UNIT_OF[quantity.base_unit]}
        )
        address += WIDTH_OF[type_] + draw(st.integers(0, 4))
    blocks = []
    for register in registers:
        first = max(0, register["address"] - draw(st.integers(0, 8)))
        last = register["address"] + WIDTH_OF[register["type"]] - 1 + draw(st.integers(0, 8))
        blocks.append({"first": first, "last": last})
    document = {
        "id": "drawn",
        "manufacturer": "nobody",
        "model": "drawn",
        "manual": "none",
        "grade": "simulated",
        "table": "input",
        "word_order": "high_first",
        "words_max": draw(st.integers(4, 12)),
        "blocks": blocks,
        "power_max_w": 1000,
        "registers": registers,
    }
    return check(document, MeterProfile, "drawn.yaml")


def all_requests(profile: MeterProfile) -> list[ReadRequest]:
    """Every request that the meter allows and that begins at a register: to begin earlier brings nothing."""
    starts = {register.address for register in profile.registers}
    return [
        ReadRequest(profile.table, start, min(profile.words_max, block.last - start + 1))
        for start, block in product(sorted(starts), profile.blocks)
        if block.first <= start <= block.last
    ]


def covers(requests: tuple[ReadRequest, ...], registers: list[Register]) -> bool:
    return all(any(request.holds(register) for request in requests) for register in registers)


@given(profiles(), st.sets(st.sampled_from(Quantity)))
def test_the_plan_brings_all_that_is_wanted_in_the_fewest_requests(
    profile: MeterProfile, wanted: set[Quantity]
) -> None:
    registers = [register for register in profile.registers if register.id in wanted]
    planned = plan(profile, wanted)
    assert covers(planned, registers)
    for request in planned:
        assert request.words <= profile.words_max
        assert any(block.first <= request.address and request.last <= block.last for block in profile.blocks)
    if planned:
        assert not any(covers(smaller, registers) for smaller in combinations(all_requests(profile), len(planned) - 1))

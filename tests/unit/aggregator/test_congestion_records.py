"""Who loads a congested line is spelled in one way, and what no physics says is no record."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.congestion.congestions import Congestion, LineLoad, read_congestions, spell_congestions
from protocol.errors import EncodingError
from protocol.limits import Direction

BATTERY = (LineLoad("home", Direction.TAKE, 0, 5), LineLoad("home", Direction.FEED_IN, 70, 7))
CONGESTIONS = (
    Congestion("b2", (LineLoad("gas", Direction.FEED_IN, 9_000, 1_000_000), *BATTERY)),
    Congestion("b1", ()),
)


def test_what_is_written_is_read_again() -> None:
    assert read_congestions(spell_congestions(CONGESTIONS), 3) == CONGESTIONS


WRONG: dict[str, Any] = {
    "a line twice": [["b1", []], ["b1", []]],
    "a line without name": [["", []]],
    "somebody twice in one direction": [["b1", [["gas", 2, 1, 1], ["gas", 2, 1, 1]]]],
    "another order": [["b1", [["home", 1, 1, 1], ["gas", 1, 1, 1]]]],
    "fed in before taken": [["b1", [["gas", 2, 1, 1], ["gas", 1, 1, 1]]]],
    "no direction": [["b1", [["gas", 3, 1, 1]]]],
    "more relief than there is": [["b1", [["gas", 1, 1, 1_000_001]]]],
    "no relief at all": [["b1", [["gas", 1, 1, 0]]]],
    "less relief than that": [["b1", [["gas", 1, 1, -1]]]],
    "power below 0": [["b1", [["gas", 1, -1, 1]]]],
    "power beyond 64 bits": [["b1", [["gas", 1, 2**63, 1]]]],
    "a load of three parts": [["b1", [["gas", 1, 1]]]],
    "too many": [["b1", []], ["b2", []], ["b3", []]],
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_no_physics_says_is_not_read(value: Any) -> None:
    with pytest.raises(EncodingError):
        read_congestions(value, 2)

"""The grid file: every name leads somewhere, and every rule is one that can be kept."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from config.grid_model import Grid, Source
from config.load import check
from protocol.limits import Direction
from protocol.messages import RightKind
from protocol.units import PPM
from tests.unit.config.documents import Document, a_grid_document, changed, mistakes_in


def a_grid(**changes: Any) -> Grid:
    return check(a_grid_document(**changes), Grid, "grid.yaml")


def test_a_grid_that_is_right_is_read() -> None:
    grid = a_grid()
    assert grid.gateways == ("gw",)
    assert grid.generators[0].source is Source.WIND
    assert grid.rules.tokens.factor_low == Decimal("0.2")
    assert grid.rules.rights[0].kind is RightKind.PRIORITY_PURCHASE


def test_gateways_are_those_that_something_hangs_on_once_each() -> None:
    device = {"id": "ev", "participant": "home", "gateway": "a-gw", "rated_w": 11_000}
    assert a_grid(devices=[device]).gateways == ("a-gw", "gw")


def test_a_device_takes_unless_the_file_says_that_it_feeds_in_or_does_both() -> None:
    ways = {"ev": None, "roof": "feeds_in", "battery": "both"}
    devices = [
        {"id": name, "participant": "home", "gateway": "gw", "rated_w": 10} | ({"direction": way} if way else {})
        for name, way in ways.items()
    ]
    grid = a_grid(devices=devices)
    take, feed_in = Direction.TAKE, Direction.FEED_IN
    assert [device.directions for device in grid.devices] == [(take,), (feed_in,), (take, feed_in)]
    assert grid.limitable_w() == {("home", take): 20, ("home", feed_in): 20}


@pytest.mark.parametrize(("grams", "clean_ppm"), [(0, PPM), (1, 0)])
def test_clean_generation_emits_nothing(grams: int, clean_ppm: int) -> None:
    document = changed(a_grid_document(), "generators.0.emission_g_per_kwh", grams)
    assert check(document, Grid, "grid.yaml").generators[0].clean_share_ppm == clean_ppm


def test_the_regulator_may_say_how_clean_a_source_is() -> None:
    document = changed(a_grid_document(), "generators.0.clean_ppm", 430_000)
    assert check(document, Grid, "grid.yaml").generators[0].clean_share_ppm == 430_000


def test_a_settlement_period_is_the_calendar_month_unless_the_file_says_otherwise() -> None:
    assert a_grid().rules.time.period_ms is None
    assert a_grid().rules.time.time_zone == "Etc/UTC"


TWICE = "to stand once each, got"

WRONG: dict[str, tuple[str, Any, str]] = {
    "a region without name": ("region", "", "a name of letters and digits"),
    "a reference node that is not there": ("reference_node", "n9", "reference_node to name something in this file"),
    "a line from nowhere": ("branches.0.from_node", "n9", "branches.*.from_node to name something"),
    "a line to nowhere": ("branches.0.to_node", "n9", "branches.*.to_node to name something"),
    "a line to where it came from": ("branches.0.to_node", "n0", "branch b1 to join two different nodes"),
    "a line without resistance": ("branches.0.resistance_uohm", 0, "greater than 0"),
    "a line with a negative reactance": ("branches.0.reactance_uohm", -1, "greater than or equal to 0"),
    "a line that carries nothing": ("branches.0.rating_ma", 0, "greater than 0"),
    "a node without voltage": ("nodes.0.voltage_mv", 0, "greater than 0"),
    "a voltage that is no integer": ("nodes.0.voltage_mv", 400.5, "a valid integer"),
    "a node that stands twice": ("nodes.1.id", "n0", TWICE),
    "a participant that stands twice": ("participants.1.id", "home", TWICE),
    "a participant by the reserve's name": (
        "participants",
        [{"id": "home"}, {"id": "wind"}, {"id": "reserve"}],
        "no participant by the reserved name",
    ),
    "a meter of nobody": ("meters.0.participant", "nobody", "meters.*.participant to name something"),
    "a meter at no node": ("meters.0.node", "n9", "meters.*.node to name something"),
    "a meter that stands twice": ("meters.1.id", "m-home", TWICE),
    "a meter at the aggregator": ("meters.0.gateway", "aggregator", "no gateway by the reserved name 'aggregator'"),
    "a meter without power": ("meters.0.power_max_w", 0, "greater than 0"),
    "a generator without meter": ("generators.0.meter", "m-9", "generators.*.meter to name something"),
    "a source that does not exist": ("generators.0.source", "coal", "'pv'"),
    "a source that no generator has": ("generators.0.source", "other", "a source other than"),
    "an emission beyond reason": ("generators.0.emission_g_per_kwh", 5001, "less than or equal to 5000"),
    "a device of nobody": ("devices.0.participant", "nobody", "devices.*.participant to name something"),
    "a permit for nobody": ("permits.0.participant", "nobody", "permits.*.participant to name something"),
    "a permit for nothing": ("permits.0.grams", 0, "greater than 0"),
    "an interval that does not divide the day": ("rules.time.interval_ms", 7000, "an interval that divides the day"),
    "an interval of less than a second": ("rules.time.interval_ms", 500, "greater than or equal to 1000"),
    "a period of half an interval": (
        "rules.time",
        {"interval_ms": 5000, "grace_ms": 0, "period_ms": 12_500},
        "a settlement period of whole intervals",
    ),
    "a time zone that does not exist": (
        "rules.time",
        {"interval_ms": 5000, "grace_ms": 0, "time_zone": "Europe/Atlantis"},
        "a time zone of the tz database",
    ),
    "a time zone that is a way out of the folder": (
        "rules.time",
        {"interval_ms": 5000, "grace_ms": 0, "time_zone": "../../etc/passwd"},
        "a time zone of the tz database",
    ),
    "a negative coefficient": ("rules.carbon.alpha", -1, "coefficients of 0 or more"),
    "demand response that falls": (
        "rules.carbon.demand_response",
        [[1000, 0], [0, 1]],
        "demand_response points with rising watt-hours",
    ),
    "demand response without points": ("rules.carbon.demand_response", [], "at least one"),
    "thresholds in the wrong order": ("rules.tokens.factor_low", 1.2, "0 ≤ factor_low < factor_high"),
    "a negative threshold": ("rules.tokens.factor_low", -0.1, "0 ≤ factor_low < factor_high"),
    "a threshold beyond e to the 20": ("rules.tokens.factor_high", 20.1, "factor_high up to 20"),
    "a negative penalty": ("rules.tokens.penalty", -1, "coefficients of 0 or more"),
    "a reward beyond reason": ("rules.tokens.reward", 10**9 + 1, "coefficients up to 1,000,000,000"),
    "an account that holds nothing": ("rules.accounts.ceiling", 0, "greater than 0"),
    "a restriction that is none": ("rules.accounts.restricted_ppm", 1_000_000, "less than 1000000"),
    "a right that does not exist": ("rules.rights.0.right", "free_lunch", "priority_generation, priority_purchase"),
    "a right for nothing": ("rules.rights.0.price", 0, "greater than 0"),
}


@pytest.mark.parametrize(("path", "value", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_grid_that_cannot_be_right_is_refused_and_told_why(path: str, value: Any, expected: str) -> None:
    mistakes = mistakes_in(changed(a_grid_document(), path, value), Grid)
    assert any(expected in mistake for mistake in mistakes.values()), mistakes


def test_whoever_names_what_is_not_there_is_told_with_the_nearest_name() -> None:
    (said,) = mistakes_in(changed(a_grid_document(), "meters.1.node", "n11"), Grid).values()
    meter = a_grid_document()["meters"][1]["id"]
    assert "meters.*.node to name something in this file (did you mean 'n1'?)" in said
    assert f"got n11 of {meter}, which is not in it" in said


def added(key: str, **changes: Any) -> Document:
    """The grid with one more of something, like the first but for `changes`."""
    document = a_grid_document()
    return document | {key: [*document[key], document[key][0] | changes]}


@pytest.mark.parametrize("key", ["participants", "nodes", "branches", "meters", "generators", "devices", "permits"])
def test_nothing_stands_twice(key: str) -> None:
    assert any(TWICE in mistake for mistake in mistakes_in(added(key), Grid).values())


def test_a_meter_counts_for_one_generator_only() -> None:
    mistakes = mistakes_in(added("generators", id="g2"), Grid)
    assert any("meters of generators" in mistake for mistake in mistakes.values())


def test_generators_of_one_source_are_equally_clean() -> None:
    mistakes = mistakes_in(added("generators", id="g2", meter="m-home", emission_g_per_kwh=1), Grid)
    assert any("to be equally clean" in mistake for mistake in mistakes.values())


def test_a_line_is_rated_in_watts_at_its_voltage_rounded_down() -> None:
    """√3 · 400 V · 200 A = 138,564.06… W."""
    line = {"from_node": "n0", "to_node": "n1", "resistance_uohm": 1, "reactance_uohm": 1, "rating_ma": 200_000}
    nodes = [{"id": name, "voltage_mv": 400_000} for name in ("n0", "n1")]
    assert a_grid(nodes=nodes, branches=[{"id": "b1", **line}]).ratings_w() == {"b1": 138_564}

"""What a called line would have carried, and who relieved it: silence, a lie or a second home help nobody.

A feeder of three nodes: the network outside at e0, a house called near at e1, one called far at e2, behind branch b2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aggregator.chains.intervals.flows import CalledEvent, EventFlow
from aggregator.chains.region import Region
from aggregator.grid.believing import AsMetered, Believe, as_metered
from aggregator.grid.interval import IntervalPhysics
from aggregator.grid.metering import MeterPlan
from aggregator.grid.network import Networks
from config.grid_model import Source
from tests.energy_village import Days, a_branch, a_generator, a_meter, a_node, a_region


def a_feeder(*extra: dict[str, Any], branches: Sequence[dict[str, Any]] = ()) -> Region:
    return a_region(
        meters=[a_meter("m-grid", "e0"), a_meter("m-near", "e1"), a_meter("m-far", "e2"), *extra],
        nodes=[a_node("e0"), a_node("e1"), a_node("e2")],
        branches=[a_branch("b1", "e0", "e1", rating_ma=100), a_branch("b2", "e1", "e2", rating_ma=100), *branches],
        generators=[a_generator("m-grid", Source.GRID, 400)],
    )


def loading_ppm(days: Days, branch: str, **energy_wh: int) -> int:
    """How a branch is loaded when nobody is called."""
    return next(row.loading_ppm for row in days.close(**energy_wh).branches if row.branch == branch)


def the_event(days: Days, *events: CalledEvent, **energy_wh: int) -> EventFlow:
    return days.close(events=events, **energy_wh).events[0]


def test_whoever_was_not_heard_does_not_make_a_line_seem_fuller() -> None:
    """Nobody knows what they took, so nobody knows by how much that is less than usual."""
    event = CalledEvent(1, "b2", {"far": 4_000, "near": 1_000})
    row = the_event(Days(a_feeder()), event, m_near=1_000)
    assert row.loading_ppm == loading_ppm(Days(a_feeder()), "b2", m_near=1_000)


def test_whoever_is_not_believed_does_not_make_a_line_seem_fuller() -> None:
    """What really flowed is in the estimate already."""

    def disbelieving(region: Region, networks: Networks, plan: MeterPlan) -> Believe:
        believe = as_metered(region, networks, plan)

        def but_not_far(*given: Any) -> AsMetered:
            said = believe(*given)
            assert isinstance(said, AsMetered)
            return AsMetered(said.flow, said.injection_w, said.findings, frozenset({"m-far"}))

        return but_not_far

    days = Days(a_feeder(), physics=IntervalPhysics(disbelieving))
    row = the_event(days, CalledEvent(1, "b2", {"far": 4_000}), m_near=1_000, m_far=500)
    assert row.loading_ppm == loading_ppm(Days(a_feeder()), "b2", m_near=1_000, m_far=500)


def test_two_events_for_one_line_are_one_question_what_had_nobody_responded() -> None:
    """Each group alone would not have overloaded it; both together would have."""
    apart = [CalledEvent(1, "b1", {"far": 4_000}), CalledEvent(2, "b1", {"near": 3_000})]
    flows = Days(a_feeder()).close(events=apart, m_near=1_000, m_far=1_000)
    without = loading_ppm(Days(a_feeder()), "b1", m_near=3_000, m_far=4_000)
    assert [row.loading_ppm for row in flows.events] == pytest.approx([without, without], abs=10)


def test_who_has_a_second_home_elsewhere_cannot_relieve_a_line_by_saving_there() -> None:
    """They use as much as ever behind the line, and less before it: a watt less of theirs may be none on the line."""
    region = a_feeder(a_meter("m-far-away", "e1"))
    row = the_event(Days(region), CalledEvent(1, "b2", {"far": 4_000}), m_far=1_000, m_far_away=0)
    assert row.relieving_ppm == ()
    assert row.loading_ppm < loading_ppm(Days(region), "b2", m_far=4_000), "nor do they make it seem fuller"


def test_several_meters_at_one_place_relieve_together() -> None:
    region = a_feeder(a_meter("m-far-car", "e2"))
    row = the_event(Days(region), CalledEvent(1, "b2", {"far": 4_000}), m_far=1_000, m_far_car=0)
    assert row.relieving_ppm == (("far", 1_000_000),)


def test_of_meters_in_several_places_the_one_counts_that_relieves_least() -> None:
    """In a ring the line feels both, one more than the other."""
    ring = a_branch("b3", "e0", "e2")
    region = a_feeder(a_meter("m-far-away", "e1"), branches=[ring])
    row = the_event(Days(region), CalledEvent(1, "b1", {"far": 4_000}), m_far=1_000, m_far_away=1_000)
    assert dict(row.relieving_ppm) == {"far": pytest.approx(333_333, abs=1)}


def test_a_branch_that_cannot_carry_takes_no_share_of_what_others_carry() -> None:
    """It joins two rated voltages, and is taken for open: what is behind the ring's other way is relieved alone."""
    region = a_region(
        meters=[a_meter("m-grid", "e0"), a_meter("m-far", "e2")],
        nodes=[a_node("e0"), {**a_node("e1"), "voltage_mv": 400_000}, a_node("e2")],
        branches=[a_branch("b1", "e0", "e1"), a_branch("b2", "e1", "e2"), a_branch("b3", "e0", "e2")],
        generators=[a_generator("m-grid", Source.GRID, 400)],
    )
    row = the_event(Days(region), CalledEvent(1, "b3", {"far": 4_000}), m_far=1_000)
    assert row.relieving_ppm == (("far", 1_000_000),)

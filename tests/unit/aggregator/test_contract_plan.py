"""What is promised adds up, lines share what flows in proportion to their conductance, and what is too much is not."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.economy.channels import Channel
from aggregator.economy.contracts import feasibility
from aggregator.economy.contracts.feasibility import Limits, Plan, Promise, Site, power_w
from aggregator.economy.contracts.profile import Peak, Profile
from aggregator.economy.contracts.sensitivity import Line, Sensitivity
from protocol.refusals import RefusalCode
from protocol.units import PPM

HOUR_MS = 3_600_000

# -- Profiles

WINDOWS = st.tuples(st.integers(0, 20), st.integers(1, 10), st.integers(-5, 5)).map(lambda w: (w[0], w[0] + w[1], w[2]))


@given(st.lists(WINDOWS, max_size=12), st.integers(0, 25), st.integers(1, 10))
def test_a_profile_says_what_adding_up_instant_by_instant_says(
    windows: list[tuple[int, int, int]], start: int, length: int
) -> None:
    profile = Profile()
    for window in windows:
        profile.add(*window)
    levels = [sum(amount for begin, end, amount in windows if begin <= at < end) for at in range(40)]
    asked = levels[start : start + length]
    assert profile.peak(start, start + length) == Peak(max(asked), start + asked.index(max(asked)))


@given(st.lists(WINDOWS, max_size=12))
def test_what_is_taken_back_leaves_nothing_behind(windows: list[tuple[int, int, int]]) -> None:
    profile = Profile()
    for begin, end, amount in windows:
        profile.add(begin, end, amount)
    for begin, end, amount in windows:
        profile.add(begin, end, -amount)
    assert len(profile) == 0


# -- Sensitivities


def test_in_a_row_of_lines_all_of_it_goes_through_each() -> None:
    row = Sensitivity([Line("a", "n0", "n1", 70), Line("b", "n2", "n1", 3)])
    assert row.carried({"n0": PPM}, {"n2": PPM}) == {"a": PPM, "b": -PPM}
    assert row.carried({"n0": PPM}, {"n0": PPM}) == {}


def test_in_a_ring_the_shorter_way_takes_more() -> None:
    ring = Sensitivity([Line("a", "n0", "n1", 100), Line("b", "n1", "n2", 100), Line("c", "n0", "n2", 200)])
    assert ring.carried({"n0": PPM}, {"n1": PPM}) == {"a": 750_000, "b": -250_000, "c": 250_000}


def test_islands_are_told_apart() -> None:
    apart = Sensitivity([Line("a", "n0", "n1", 1), Line("b", "n2", "n3", 1)]).island
    assert apart["n0"] == apart["n1"] != apart["n2"] == apart["n3"]


def test_what_is_fed_in_at_two_nodes_is_shared_by_both() -> None:
    row = Sensitivity([Line("a", "n0", "n1", 70), Line("b", "n1", "n2", 3)])
    assert row.carried({"n0": 250_000, "n1": 750_000}, {"n2": PPM}) == {"a": 250_000, "b": PPM}


NETWORKS = st.integers(2, 7).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes),
        st.lists(
            st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1), st.integers(1, 10_000)).filter(
                lambda line: line[0] != line[1]
            ),
            max_size=8,
        ),
        st.lists(st.integers(1, 10_000), min_size=nodes - 1, max_size=nodes - 1),
    )
)


@settings(max_examples=60)
@given(NETWORKS, st.data())
def test_shares_are_those_of_exact_arithmetic(network: Any, data: st.DataObject) -> None:
    """Kirchhoff's laws, solved in fractions: every line is right to a millionth."""
    nodes, more, tree = network
    ends = [(node, node + 1, resistance) for node, resistance in enumerate(tree)] + more
    lines = [Line(f"l{i}", f"n{a}", f"n{b}", resistance) for i, (a, b, resistance) in enumerate(ends)]
    giver, taker = data.draw(
        st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)).filter(lambda p: p[0] != p[1])
    )
    potential = solved(nodes, ends, giver, taker)
    found = Sensitivity(lines).carried({f"n{giver}": PPM}, {f"n{taker}": PPM})
    for (a, b, resistance), line in zip(ends, lines, strict=True):
        exact = (potential[a] - potential[b]) / resistance * PPM
        assert abs(found.get(line.name, 0) - exact) <= 1


def solved(nodes: int, ends: list[tuple[int, int, int]], giver: int, taker: int) -> list[Fraction]:
    """The potential of every node, by elimination."""
    rows = [[Fraction(0)] * (nodes + 1) for _ in range(nodes)]
    for a, b, resistance in ends:
        conductance = Fraction(1, resistance)
        for here, there in ((a, b), (b, a)):
            rows[here][here] += conductance
            rows[here][there] -= conductance
    rows[giver][nodes], rows[taker][nodes] = Fraction(1), Fraction(-1)
    rows[0] = [Fraction(1)] + [Fraction(0)] * nodes
    for pivot in range(nodes):
        swap = next(row for row in range(pivot, nodes) if rows[row][pivot])
        rows[pivot], rows[swap] = rows[swap], rows[pivot]
        rows[pivot] = [value / rows[pivot][pivot] for value in rows[pivot]]
        for row in range(nodes):
            if row != pivot and rows[row][pivot]:
                factor = rows[row][pivot]
                rows[row] = [x - factor * y for x, y in zip(rows[row], rows[pivot], strict=True)]
    return [row[nodes] for row in rows]


# -- Feasibility


def a_plan(rating_w: int = 10_000, **sites: Site) -> Plan:
    """A seller and another one at n0, a buyer behind a line at n1, and somebody whom no line reaches."""
    plain = {
        "seller": Site(feed_in_w=8_000, clean_w=5_000, gives_at={"n0": PPM}),
        "other": Site(feed_in_w=8_000, gives_at={"n0": PPM}),
        "buyer": Site(feed_in_w=2_000, take_w=12_000, gives_at={"n1": PPM}, takes_at={"n1": PPM}),
        "back": Site(take_w=12_000, takes_at={"n0": PPM}),
        "far": Site(take_w=12_000, takes_at={"n9": PPM}),
    }
    places = {(name, "electricity"): site for name, site in (plain | sites).items()}
    return Plan(Limits(places, Sensitivity([Line("line", "n1", "n0", 5)]), {"line": rating_w}))


def a_promise(**changes: Any) -> Promise:
    plain = Promise(seller="seller", buyer="buyer", carrier="electricity", start_ms=0, end_ms=HOUR_MS, power_w=4_000)
    return replace(plain, **changes)


def objection(plan: Plan, **changes: Any) -> tuple[RefusalCode, str, int, int] | None:
    found = plan.objection(a_promise(**changes))
    return None if found is None else (found.rule, found.subject, found.start_ms, found.excess_w)


def test_what_can_be_is_not_objected_to() -> None:
    assert objection(a_plan()) is None


ALONE: list[tuple[dict[str, Any], tuple[RefusalCode, str, int, int]]] = [
    ({"power_w": 8_001}, (RefusalCode.SELLER_CANNOT, "seller", 0, 1)),
    ({"seller": "back"}, (RefusalCode.SELLER_CANNOT, "back", 0, 4_000)),
    ({"carrier": "heat"}, (RefusalCode.SELLER_CANNOT, "seller", 0, 4_000)),
    ({"buyer": "other"}, (RefusalCode.BUYER_CANNOT, "other", 0, 4_000)),
    ({"clean_only": True, "power_w": 5_100}, (RefusalCode.NOT_CLEAN, "seller", 0, 100)),
    ({"clean_only": True, "seller": "other"}, (RefusalCode.NOT_CLEAN, "other", 0, 4_000)),
    ({"buyer": "far"}, (RefusalCode.NO_CONNECTION, "far", 0, 0)),
]


@pytest.mark.parametrize(("changes", "expected"), ALONE, ids=str)
def test_what_cannot_be_alone_is_told_with_by_how_much(changes: dict[str, Any], expected: Any) -> None:
    assert objection(a_plan(), **changes) == expected


def test_the_same_energy_is_not_sold_twice() -> None:
    plan = a_plan(rating_w=100_000)
    plan.take(a_promise(start_ms=HOUR_MS, end_ms=2 * HOUR_MS, power_w=5_000))
    assert objection(plan) is None  # the hour before
    beside = {"end_ms": 3 * HOUR_MS, "power_w": 3_001, "buyer": "back"}
    assert objection(plan, **beside) == (RefusalCode.SOLD_ALREADY, "seller", HOUR_MS, 1)
    assert objection(plan, **beside | {"power_w": 3_000}) is None


def test_nor_is_it_bought_twice() -> None:
    plan = a_plan(rating_w=100_000)
    plan.take(a_promise(power_w=8_000))
    assert objection(plan, seller="other", power_w=4_500) == (RefusalCode.BOUGHT_ALREADY, "buyer", 0, 500)


def test_nor_is_clean_energy_promised_twice() -> None:
    plan = a_plan(rating_w=100_000)
    plan.take(a_promise(clean_only=True))
    assert objection(plan, clean_only=True, power_w=2_000) == (RefusalCode.NOT_CLEAN, "seller", 0, 1_000)
    assert objection(plan, power_w=2_000) is None


def test_a_line_carries_no_more_than_it_is_rated_for() -> None:
    plan = a_plan(rating_w=10_000)
    plan.take(a_promise(power_w=6_000))
    assert objection(plan, seller="other", power_w=4_100) == (RefusalCode.LINE_FULL, "line", 0, 100)
    assert objection(plan, seller="other", power_w=4_000) is None


def test_opposite_directions_do_not_make_room_for_each_other() -> None:
    """Else the rest would not fit any more when one of the two is ended early."""
    plan = a_plan(rating_w=5_000)
    plan.take(a_promise(seller="buyer", buyer="back", power_w=2_000))
    assert objection(plan, power_w=5_001) == (RefusalCode.LINE_FULL, "line", 0, 1)
    assert objection(plan, power_w=5_000) is None


def test_what_is_asked_of_a_line_is_told_each_way() -> None:
    plan = a_plan(rating_w=10_000)
    plan.take(a_promise(power_w=3_000))
    plan.take(a_promise(seller="buyer", buyer="back", power_w=2_000))
    assert plan.used_w("line", 0, HOUR_MS) == (2_000, 3_000)
    assert plan.used_w("line", HOUR_MS, 2 * HOUR_MS) == (0, 0)
    sold = Plan(plan.limits, lambda line: [Channel("other", 0, HOUR_MS, 1_000)])
    assert sold.used_w("line", 0, HOUR_MS) == (1_000, 1_000)


def test_what_is_released_makes_room() -> None:
    plan = a_plan(rating_w=5_000)
    plan.take(a_promise(power_w=5_000))
    assert objection(plan) is not None
    plan.release(a_promise(power_w=5_000))
    assert objection(plan) is None


PROMISES = st.builds(
    lambda seller, buyer, start, length, watts, clean: a_promise(
        seller=seller, buyer=buyer, start_ms=start, end_ms=start + length, power_w=watts, clean_only=clean
    ),
    *(st.sampled_from(["seller", "other", "buyer"]), st.sampled_from(["buyer", "back"]), st.integers(0, 5)),
    *(st.integers(1, 5), st.integers(1, 6_000), st.booleans()),
)


@given(st.lists(PROMISES, max_size=15), st.randoms(use_true_random=False))
def test_of_a_set_that_fits_every_part_fits_in_any_order(promises: list[Promise], chance: Any) -> None:
    plan, kept = a_plan(), []
    for promise in promises:
        if plan.objection(promise) is None:
            plan.take(promise)
            kept.append(promise)
    part = chance.sample(kept, chance.randint(0, len(kept)))
    again = a_plan()
    for promise in part:
        assert again.objection(promise) is None
        again.take(promise)
    assert all(again.overload(promise) is None for promise in part)


def test_what_should_not_have_been_taken_is_seen() -> None:
    plan = a_plan(rating_w=5_000)
    for seller in ("seller", "other"):
        plan.take(a_promise(seller=seller))
    found = plan.overload(a_promise())
    assert found is not None and (found.rule, found.excess_w) == (RefusalCode.LINE_FULL, 3_000)
    assert plan.overload(a_promise(start_ms=HOUR_MS, end_ms=2 * HOUR_MS)) is None


def test_no_more_ways_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasibility, "WAYS_MAX", 2)
    plan = a_plan()
    for seller, buyer in (("seller", "buyer"), ("other", "buyer"), ("buyer", "back"), ("seller", "back")):
        plan.take(a_promise(seller=seller, buyer=buyer, power_w=1))
    assert len(plan._ways) == 2
    assert plan.used_w("line", 0, HOUR_MS) == (1, 2)


def test_power_is_rounded_up() -> None:
    assert power_w(1_000, HOUR_MS) == 1_000
    assert power_w(1_001, 2 * HOUR_MS) == 501

"""A congested line limits whoever loads it, in order, until it is congested no more; then all get back theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aggregator.chains.congestion.congestions import Congestion, LineLoad
from aggregator.chains.congestion.curtailing import Curtailed, Curtailments
from aggregator.chains.intervals.flows import BranchFlow, Flows
from aggregator.ledger.table import Journal
from aggregator.service.notify import summary
from protocol.canonical import decode
from protocol.channel import ChannelPurchase
from protocol.messages import Limit, MessageType, RightKind
from protocol.units import PPM, Interval, UnixMs
from tests.village import INTERVAL_MS, PERIOD_MS, START_MS, Village, a_grid, a_grid_document

RATING_W = 20_784
"""Of 30 A at 400 V."""


def a_narrow_document(**changes: Any) -> dict[str, Any]:
    """The village with a line of 30 A, in which everybody but the grid can be limited."""
    document = a_grid_document()
    rules = document["rules"] | {"curtailment": {}}
    rules["rights"] = [{"right": "priority_generation", "price": 40}, {"right": "channel_use", "price": 360}]
    devices = [
        {"id": f"limit-{name}", "participant": name, "gateway": "gw", "rated_w": 50_000}
        for name in ("gas", "home", "wind")
    ]
    branch = document["branches"][0] | {"rating_ma": 30_000}
    return document | {"rules": rules, "devices": devices, "branches": [branch]} | changes


# -- the state, beside books that a test writes


@dataclass
class Books:
    """Who owes what and holds what."""

    owing: set[str] = field(default_factory=set)
    holders: set[tuple[str, RightKind]] = field(default_factory=set)
    channels_w: dict[str, int] = field(default_factory=dict)

    def balance(self, participant: str) -> int:
        return -1 if participant in self.owing else 0

    def holds_at(self, participant: str, kind: RightKind, instant_ms: int) -> bool:
        return (participant, kind) in self.holders

    def channel_w(self, participant: str, branch: str, instant_ms: int) -> int:
        return self.channels_w.get(participant, 0)


class Line:
    """One line's limits, interval after interval."""

    def __init__(self, **changes: Any) -> None:
        region = Village(grid=a_grid(**a_narrow_document(**changes))).five.asset.region
        self.books = Books()
        self.curtailments = Curtailments(Journal(), lambda: region, lambda: self.books)
        self.number = 0

    def close(self, loading_ppm: int, *loads: LineLoad, decided: bool = True) -> list[Any]:
        """Close an interval; `decided` says whether it began after the last decision."""
        self.number += 2 if decided else 1
        start_ms = START_MS + self.number * INTERVAL_MS
        interval = Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(start_ms + INTERVAL_MS))
        flows = Flows(
            (),
            (BranchFlow("b1", RATING_W * loading_ppm // PPM, loading_ppm),),
            congestions=(Congestion("b1", loads),) if loading_ppm > PPM else (),
        )
        leaves = self.curtailments.close_interval(interval, flows, start_ms + INTERVAL_MS + 1)
        assert list(self.curtailments.broken_invariants()) == []
        return [decode(leaf, size_max=1 << 10)[1:] for leaf in leaves]

    @property
    def allowed_w(self) -> dict[str, int]:
        return {name: row.allowed_w for name, row in self.curtailments.curtailed.items()}


def feeding(participant: str, power_w: int = 10_000, relief_ppm: int = PPM) -> LineLoad:
    return LineLoad(participant, -power_w, relief_ppm)


THREE = tuple(feeding(name) for name in ("gas", "home", "wind"))
FIFTH_TOO_MUCH = 1_200_000
"""A loading: 4,157 W too much."""


def test_a_line_within_its_rating_limits_nobody() -> None:
    line = Line()
    assert line.close(PPM, *THREE) == []
    assert line.allowed_w == {}


def test_a_region_without_the_rule_limits_nobody() -> None:
    line = Line(rules=a_grid_document()["rules"])
    assert line.close(FIFTH_TOO_MUCH, *THREE) == []


def test_whoever_owes_tokens_goes_first_and_alone_where_that_is_enough() -> None:
    line = Line()
    line.books.owing = {"home"}
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"home": 10_000 - 4_157}


def test_whoever_holds_the_right_goes_last() -> None:
    line = Line()
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION), ("home", RightKind.PRIORITY_PURCHASE)}
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"gas": 10_000 - 2_079, "home": 10_000 - 2_078}
    line = Line()
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.close(2 * FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": 10_000 - (29_098 - 20_000)}


def test_a_debt_ends_the_protection_of_a_right() -> None:
    line = Line()
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.books.owing = {"wind"}
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"wind": 10_000 - 4_157}


def test_what_a_channel_covers_is_kept_to_the_end() -> None:
    line = Line()
    line.books.channels_w = {"gas": 10_000, "home": 9_000}
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"home": 10_000 - 378, "wind": 10_000 - 3_779}


def test_whoever_hardly_loads_the_line_or_relieves_it_is_left_alone() -> None:
    line = Line()
    loads = (feeding("gas", relief_ppm=49_999), feeding("home", relief_ppm=-PPM), feeding("wind", relief_ppm=500_000))
    line.close(1_100_000, *loads)
    assert line.allowed_w == {"wind": 10_000 - 2 * 2_079}


def test_nobody_is_limited_to_less_than_nothing() -> None:
    line = Line()
    line.close(9 * PPM, *THREE)
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": 0}


def test_an_interval_that_began_before_a_decision_says_nothing_about_it() -> None:
    line = Line()
    line.close(FIFTH_TOO_MUCH, feeding("gas"))
    before = line.allowed_w
    assert line.close(FIFTH_TOO_MUCH, feeding("gas"), decided=False) == []
    assert line.allowed_w == before
    line.close(1_100_000, feeding("gas", before["gas"]))
    assert line.allowed_w == {"gas": before["gas"] - 2_079}


def test_limits_are_given_back_as_far_as_there_is_room_holders_first() -> None:
    line = Line()
    line.close(9 * PPM, *THREE)
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.books.owing = {"gas"}
    line.close(960_000)
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": 0}
    leaves = line.close(0)
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": RATING_W * 95 // 100}
    assert leaves == [["wind", START_MS + line.number * INTERVAL_MS, "b1", 19_744, 19_744]]
    ends = [leaf[0] for _ in range(9) for leaf in line.close(0) if leaf[-1] is None]
    assert line.allowed_w == {}
    assert ends == ["wind", "home", "gas"]


def test_an_interval_without_a_power_flow_changes_nothing() -> None:
    line = Line()
    line.close(FIFTH_TOO_MUCH, *THREE)
    before = line.allowed_w
    row = line.curtailments.curtailed["gas"]
    assert row == Curtailed("b1", True, before["gas"], PPM, row.since_ms)
    interval = Interval(start_ms=UnixMs(START_MS + 10**6), end_ms=UnixMs(START_MS + 10**6 + INTERVAL_MS))
    assert line.curtailments.close_interval(interval, Flows((), ()), START_MS + 10**7) == []
    assert line.allowed_w == before


def test_somebody_who_gives_up_for_one_line_need_not_give_up_the_same_for_the_next() -> None:
    document = a_narrow_document()
    lines = [document["branches"][0] | {"id": name} for name in ("b1", "b2")]
    region = Village(grid=a_grid(**document | {"branches": lines})).five.asset.region
    curtailments = Curtailments(Journal(), lambda: region, Books)
    flows = Flows(
        (),
        tuple(BranchFlow(name, 22_000, 1_100_000) for name in ("b1", "b2")),
        congestions=tuple(Congestion(name, (feeding("gas"),)) for name in ("b1", "b2")),
    )
    interval = Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + INTERVAL_MS))
    assert len(curtailments.close_interval(interval, flows, START_MS + 10**6)) == 1
    assert curtailments.curtailed["gas"].allowed_w == 8_000


# -- the whole ledger, with physics


class Obedient(Village):
    """A village whose devices do what statements say."""

    loading_ppm: int = 0

    def live(self, seconds: int, power_w: dict[str, int] | None = None) -> None:
        """Let time pass; nobody takes or feeds in more than they may."""
        for _ in range(seconds // 5):
            wanted = {"m-gas": -20_000, "m-grid": 0, "m-home": 0, "m-wind": -10_000} | (power_w or {})
            super().live(5, {meter: self._obeyed(meter, power) for meter, power in wanted.items()})

    def _obeyed(self, meter: str, power_w: int) -> int:
        limits = {limit.device: limit.power_max_w for limit in self.limits()}
        most_w = limits.get(f"limit-{meter.removeprefix('m-')}", abs(power_w))
        return max(-most_w, min(most_w, power_w))

    def limits(self) -> tuple[Limit, ...]:
        return tuple(limit for standing in self.five.standings().behind("gw") for limit in standing.limits)

    def loadings_ppm(self) -> list[int]:
        """Of the line, interval by interval."""
        records = [outcome.record for block in self.blocks for outcome in block.outcomes]
        closed = [record.message for record in records if record.type is MessageType.INTERVAL]
        return [flow.loading_ppm for one in closed for flow in one.flows.branches]


@pytest.fixture
def village() -> Obedient:
    return Obedient(grid=a_grid(**a_narrow_document()))


def test_everybody_without_a_right_gives_the_same_share_and_the_line_is_congested_no_more(village: Obedient) -> None:
    village.live(40)
    gas, wind = village.limits()
    assert (gas.device, gas.branch, wind.device) == ("limit-gas", "b1", "limit-wind")
    assert abs(gas.power_max_w - 2 * wind.power_max_w) <= 6
    loadings = village.loadings_ppm()
    assert loadings[0] > 1_400_000
    assert 950_000 < loadings[-1] <= PPM + 1_000


def test_a_limit_that_is_not_needed_any_more_is_lifted(village: Obedient) -> None:
    village.live(20)
    village.live(80, {"m-home": 30_000})
    assert village.limits() == ()
    rows = [decode(leaf.body, size_max=1 << 16) for block in village.blocks for leaf in block.leaves]
    ends = [row for row in rows if row[0] == "limited" and row[-1] is None]
    assert sorted(row[1] for row in ends) == ["gas", "wind"]


def test_the_holder_of_a_right_feeds_in_while_whoever_owes_is_limited_first(village: Obedient) -> None:
    """The gas engine has emitted beyond its permit; the wind turbine has bought the right with what it earned."""
    village.live(PERIOD_MS // 1000 + 5, {"m-gas": -40_000, "m-home": 30_000})
    assert village.five.payment.balance("gas") < 0 < village.five.payment.balance("wind")
    purchase = replace(village.a_purchase("wind"), right=RightKind.PRIORITY_GENERATION)
    village.close([village.record(village.sign(purchase, MessageType.PURCHASE))])
    village.live(PERIOD_MS // 1000, {"m-home": 30_000})
    village.live(35, {"m-wind": -20_000})
    assert {limit.device: limit.branch for limit in village.limits()} == {"limit-gas": "b1"}
    assert village.limits()[0].power_max_w < 1_000
    assert village.loadings_ppm()[-1] <= PPM + 1_000  # what a line loses and how voltage falls is not in a factor


def test_who_has_bought_a_channel_feeds_in_on_it_while_a_neighbour_is_limited(village: Obedient) -> None:
    """Both feed in more than the line carries; neither owes tokens, and neither holds priority."""
    village.live(PERIOD_MS // 1000 + 5, {"m-gas": 0, "m-home": 10_000})
    start_ms = village.now_ms // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS
    channel = ChannelPurchase(
        link=village.link(),
        participant="wind",
        branch="b1",
        power_w=10_000,
        start_ms=start_ms,
        end_ms=start_ms + 10 * INTERVAL_MS,
        price_max=50,
    )
    block = village.close([village.record(village.sign(channel, MessageType.CHANNEL))])
    assert block.outcomes[0].refusal is None
    village.live(35, {"m-gas": 0, "m-home": -20_000})
    assert {limit.device: limit.branch for limit in village.limits()} == {"limit-home": "b1"}
    village.live(60, {"m-gas": 0, "m-home": -20_000, "m-wind": -20_000})
    assert {limit.device for limit in village.limits()} == {"limit-home", "limit-wind"}, "the channel is over"


def test_statements_tell_of_a_limit_and_of_the_line_for_whose_sake_it_is(village: Obedient) -> None:
    village.live(20)
    assert {made.gateway for made in village.five.statements.made} == {"gw"}
    standing = next(one for one in village.five.standings().behind("gw") if one.participant == "wind")
    assert not standing.is_restricted and standing.limits[0].branch == "b1"


def test_limits_do_not_come_and_go(village: Obedient) -> None:
    """Once limited, a line that everybody would overload stays between the release and its rating."""
    village.live(120)
    assert all(900_000 <= loading <= PPM + 1_000 for loading in village.loadings_ppm()[8:])


def test_dashboards_are_told_who_is_limited_for_which_line(village: Obedient) -> None:
    village.live(20)
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    result = [record.message for record in records if record.type is MessageType.INTERVAL][-1]
    people = json.loads(summary(result, village.five).payload)["participants"]
    assert people["wind"]["limited"] == {"branch": "b1", "power_max_w": village.limits()[1].power_max_w}
    assert people["home"]["limited"] is None

"""A congested line limits whoever loads it, in order, until it is congested no more; then all get back theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.chains.congestion.congestions import NEARLY_FULL_PPM, Congestion, LineLoad
from aggregator.chains.congestion.curtailing import LINES_MAX, Curtailed, Curtailments
from aggregator.chains.intervals.flows import BranchFlow, Flows
from aggregator.cli import app
from aggregator.ledger.table import Journal
from aggregator.service.notify import summary
from protocol.canonical import decode
from protocol.channel import ChannelPurchase
from protocol.limits import Direction, Limit, Tier, Why
from protocol.messages import MessageType, RightKind
from protocol.units import PPM, Interval, UnixMs
from tests.village import A_LIMITER, INTERVAL_MS, PERIOD_MS, START_MS, Village, a_grid, a_grid_document

RATING_W = 20_784
"""Of 30 A at 400 V."""


def a_narrow_document(**changes: Any) -> dict[str, Any]:
    """The village with a line of 30 A, in which everybody but the grid can be limited, home both ways."""
    document = a_grid_document()
    rules = document["rules"] | {"curtailment": {}}
    rules["rights"] = [{"right": "priority_generation", "price": 40}, {"right": "channel_use", "price": 360}]
    ways = {"gas": "feeds_in", "home": "both", "wind": "feeds_in"}
    devices = [A_LIMITER | {"id": f"limit-{who}", "participant": who, "direction": way} for who, way in ways.items()]
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
        self.region = Village(grid=a_grid(**a_narrow_document(**changes))).five.asset.region
        self.books = Books()
        self.curtailments = Curtailments(Journal(), lambda: self.region, lambda: self.books)
        self.number = 0

    def rule_ends(self) -> None:
        """The regulator has taken the rule back."""
        self.region = Village(grid=a_grid(**a_narrow_document(rules=a_grid_document()["rules"]))).five.asset.region

    def close(self, loading_ppm: int, *loads: LineLoad, decided: bool = True) -> list[Any]:
        """Close an interval; `decided` says whether it began after the last decision."""
        return self.close_lines({"b1": (loading_ppm, loads)}, decided=decided)

    def close_lines(self, lines: dict[str, tuple[int, tuple[LineLoad, ...]]], *, decided: bool = True) -> list[Any]:
        """The same for several lines."""
        self.number += 2 if decided else 1
        start_ms = START_MS + self.number * INTERVAL_MS
        interval = Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(start_ms + INTERVAL_MS))
        flows = Flows(
            (),
            tuple(BranchFlow(line, RATING_W * loading // PPM, loading) for line, (loading, _) in lines.items()),
            congestions=tuple(
                Congestion(line, loads) for line, (loading, loads) in lines.items() if loading > NEARLY_FULL_PPM
            ),
        )
        leaves = self.curtailments.close_interval(interval, flows, start_ms + INTERVAL_MS + 1)
        assert list(self.curtailments.broken_invariants()) == []
        return [decode(leaf, size_max=1 << 10)[1:] for leaf in leaves]

    @property
    def allowed_w(self) -> dict[str, int]:
        return {name: row.allowed_w for (_, name, _), row in self.curtailments.curtailed.items()}


def feeding(participant: str, power_w: int = 10_000, relief_ppm: int = PPM) -> LineLoad:
    return LineLoad(participant, Direction.FEED_IN, power_w, relief_ppm)


def taking(participant: str, power_w: int = 10_000, relief_ppm: int = PPM) -> LineLoad:
    return LineLoad(participant, Direction.TAKE, power_w, relief_ppm)


THREE = tuple(feeding(name) for name in ("gas", "home", "wind"))
FIFTH_TOO_MUCH = 1_200_000
"""A loading: 4,157 W too much."""
ALL_W = 50_000
"""What each of their devices is rated for."""


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


def test_whoever_holds_the_right_in_this_direction_goes_last() -> None:
    line = Line()
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION), ("home", RightKind.PRIORITY_PURCHASE)}
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"gas": 7_922, "home": 7_921}
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
    """Of 30 kW, 25,843 W are left; 19 kW of it are covered, and 6,843 W are for what is not, where wind is alone."""
    line = Line()
    line.books.channels_w = {"gas": 10_000, "home": 9_000}
    line.close(FIFTH_TOO_MUCH, *THREE)
    level = 5_843 / 50_000
    assert line.allowed_w["wind"] == 5_843
    assert line.allowed_w["home"] == pytest.approx(9_000 + level * 41_000, abs=2)
    assert line.allowed_w["gas"] == pytest.approx(10_000 + level * 40_000, abs=2)


def test_whoever_hardly_loads_the_line_is_left_alone() -> None:
    line = Line()
    line.close(1_100_000, feeding("gas", relief_ppm=49_999), feeding("wind", relief_ppm=500_000))
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


# -- which way


def test_too_much_sun_limits_what_is_fed_in_and_never_what_the_same_participant_takes() -> None:
    """The physics tells of feed-in only, and home can do both: its roof is held, its car is not."""
    line = Line()
    line.close(FIFTH_TOO_MUCH, feeding("home"))
    assert list(line.curtailments.curtailed) == [("b1", "home", Direction.FEED_IN)]
    line = Line()
    line.close(FIFTH_TOO_MUCH, taking("home"))
    assert list(line.curtailments.curtailed) == [("b1", "home", Direction.TAKE)]


def test_a_line_that_turned_round_gives_back_what_helps_it_now() -> None:
    line = Line()
    line.close(9 * PPM, feeding("home"))
    line.close(FIFTH_TOO_MUCH, taking("home"))
    rows = {way: row.allowed_w for (_, _, way), row in line.curtailments.curtailed.items()}
    assert rows == {Direction.FEED_IN: ALL_W // 4, Direction.TAKE: 10_000 - 4_157}


# -- by what everybody shares


def test_who_waits_with_nothing_until_the_line_is_full_gets_no_more_than_the_others() -> None:
    """Wind uses nothing just now. It is held to the same share: it may not take what the others have given up."""
    line = Line()
    line.close(FIFTH_TOO_MUCH, feeding("gas", 20_000), feeding("wind", 0))
    assert line.allowed_w["gas"] == 20_000 - 4_157
    assert abs(line.allowed_w["wind"] - line.allowed_w["gas"]) <= 1


def test_who_takes_all_that_they_can_when_it_counts_is_left_no_more_than_the_others() -> None:
    line = Line()
    line.close(2 * PPM, feeding("gas", 10_000), feeding("wind", 40_000))
    assert line.allowed_w["wind"] - line.allowed_w["gas"] in (0, -1)
    line = Line()
    line.close(2 * PPM, feeding("gas", 10_000), feeding("wind", 50_000))
    assert line.allowed_w["wind"] - line.allowed_w["gas"] in (0, -1)


def test_who_feeds_in_more_than_is_left_to_them_is_held_to_less_until_the_line_is_relieved() -> None:
    """What their devices cannot hold back stands in the way; the limit goes down to nothing, if need be."""
    line = Line()
    allowed = []
    for _ in range(3):
        line.close(FIFTH_TOO_MUCH, feeding("gas"))
        allowed.append(line.allowed_w["gas"])
    assert allowed == [10_000 - 4_157, 10_000 - 2 * 4_157, 0]


# -- rights are asked again


def test_a_right_that_is_bought_after_the_limit_changes_it() -> None:
    """The line is neither too full nor has it room: what the holder gets back, the others give up."""
    line = Line()
    line.close(FIFTH_TOO_MUCH, *THREE)
    assert set(line.allowed_w.values()) <= {8_614, 8_615}
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.close(990_000, *(feeding(name, 8_614) for name in ("gas", "home", "wind")))
    assert line.allowed_w["wind"] == 8_614 + ALL_W // 4
    assert line.allowed_w["gas"] + line.allowed_w["home"] == 3 * 8_614 - line.allowed_w["wind"]
    assert abs(line.allowed_w["gas"] - line.allowed_w["home"]) <= 1


def test_a_debt_that_is_paid_after_the_limit_changes_it_and_one_that_is_made_as_well() -> None:
    line = Line()
    line.books.owing = {"gas"}
    line.close(2 * FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w["gas"] == 0
    assert line.allowed_w == {"gas": 0, "home": 451, "wind": 451}
    line.books.owing = {"wind"}
    line.close(990_000, feeding("gas", 0), feeding("home", 451), feeding("wind", 451))
    assert line.allowed_w == {"gas": 451, "home": 451, "wind": 0}


def test_whose_right_has_run_out_is_one_of_all_again() -> None:
    line = Line()
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.close(2 * FIFTH_TOO_MUCH, *THREE)
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": 902}
    line.books.holders = set()
    line.close(990_000, feeding("gas", 0), feeding("home", 0), feeding("wind", 902))
    assert sorted(line.allowed_w.values()) == [300, 301, 301]


# -- how limits end


def test_limits_are_given_back_in_steps_as_far_as_there_is_room_holders_first() -> None:
    line = Line()
    line.close(9 * PPM, *THREE)
    line.books.holders = {("wind", RightKind.PRIORITY_GENERATION)}
    line.books.owing = {"gas"}
    line.close(960_000, *(feeding(name, 0) for name in ("gas", "home", "wind")))
    assert line.allowed_w == {"gas": 0, "home": 0, "wind": 0}
    leaves = line.close(0)
    room_w = RATING_W * 95 // 100
    assert line.allowed_w == {"gas": 0, "home": room_w - ALL_W // 4, "wind": ALL_W // 4}
    begin_ms = START_MS + line.number * INTERVAL_MS
    assert leaves == [
        ["home", begin_ms, "b1", Direction.FEED_IN, Tier.COMMON, 0, 7_244, 7_244],
        ["wind", begin_ms, "b1", Direction.FEED_IN, Tier.PRIORITY, 0, 12_500, 12_500],
    ]
    ends = [leaf[0] for _ in range(9) for leaf in line.close(0) if leaf[-1] is None]
    assert line.allowed_w == {}
    assert ends == ["wind", "home", "gas"]


def test_an_interval_without_a_power_flow_changes_nothing() -> None:
    line = Line()
    line.close(FIFTH_TOO_MUCH, feeding("gas"))
    before = line.allowed_w
    row = line.curtailments.curtailed["b1", "gas", Direction.FEED_IN]
    assert row == Curtailed(before["gas"], PPM, Tier.COMMON, FIFTH_TOO_MUCH, row.since_ms)
    interval = Interval(start_ms=UnixMs(START_MS + 10**6), end_ms=UnixMs(START_MS + 10**6 + INTERVAL_MS))
    assert line.curtailments.close_interval(interval, Flows((), ()), START_MS + 10**7) == []
    assert line.allowed_w == before


def test_a_region_that_gives_up_the_rule_gives_everybody_everything_back() -> None:
    line = Line()
    line.close(9 * PPM, feeding("gas"), feeding("wind"))
    line.rule_ends()
    assert [(leaf[0], leaf[-2:]) for leaf in line.close(9 * PPM, *THREE)] == [
        ("gas", [ALL_W, None]),
        ("wind", [ALL_W, None]),
    ]
    assert line.allowed_w == {}


def test_whose_device_the_grid_file_does_not_know_is_left_alone_whatever_a_record_says() -> None:
    line = Line()
    assert line.close(2 * PPM, feeding("grid"), taking("gas")) == []


# -- several lines


def two_lines() -> Line:
    document = a_narrow_document()
    lines = [document["branches"][0] | {"id": name} for name in ("b1", "b2")]
    return Line(branches=lines)


def test_somebody_who_gives_up_for_one_line_need_not_give_up_the_same_for_the_next() -> None:
    lines = two_lines()
    loaded = (1_100_000, (feeding("gas"),))
    assert len(lines.close_lines({"b1": loaded, "b2": loaded})) == 1
    assert lines.allowed_w == {"gas": 10_000 - 2_079}


def test_who_is_limited_for_two_lines_is_limited_until_both_have_room() -> None:
    """One limit each: that one line gives back leaves the other's as it is."""
    lines = two_lines()
    lines.close_lines({"b1": (1_100_000, (feeding("gas"),)), "b2": (1_200_000, (feeding("gas"),))})
    rows = {line: row.allowed_w for (line, _, _), row in lines.curtailments.curtailed.items()}
    assert rows == {"b1": 10_000 - 2_079, "b2": 10_000 - 4_157}
    for _ in range(9):
        lines.close_lines({"b1": (0, ()), "b2": (990_000, (feeding("gas", 5_843),))})
    rows = {line: row.allowed_w for (line, _, _), row in lines.curtailments.curtailed.items()}
    assert rows == {"b2": 10_000 - 4_157}


def test_nobody_is_limited_for_more_lines_than_the_state_has_room_for() -> None:
    document = a_narrow_document()
    names = [f"b{number}" for number in range(1, LINES_MAX + 3)]
    lines = Line(branches=[document["branches"][0] | {"id": name} for name in names])
    loads = {name: (1_100_000 + 10_000 * place, (feeding("gas"),)) for place, name in enumerate(names)}
    lines.close_lines(loads)
    assert len(lines.curtailments.curtailed) == LINES_MAX


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


def test_everybody_without_a_right_keeps_the_same_share_and_the_line_is_congested_no_more(village: Obedient) -> None:
    """The engine feeds in 20 kW and the turbine 10: each may keep 10.4, as much as the home, which feeds in nothing."""
    village.live(40)
    gas, home, wind = village.limits()
    assert [limit.device for limit in (gas, home, wind)] == ["limit-gas", "limit-home", "limit-wind"]
    assert {(limit.branch, limit.direction) for limit in (gas, home, wind)} == {("b1", Direction.FEED_IN)}
    assert max(limit.power_max_w for limit in (gas, home, wind)) - 1 <= gas.power_max_w < 10_500
    loadings = village.loadings_ppm()
    assert loadings[0] > 1_400_000
    assert 950_000 < loadings[-1] <= PPM + 1_000


def test_a_limit_that_is_not_needed_any_more_is_lifted(village: Obedient) -> None:
    village.live(20)
    village.live(120, {"m-home": 30_000})
    assert village.limits() == ()
    rows = [decode(leaf.body, size_max=1 << 16) for block in village.blocks for leaf in block.leaves]
    ends = [row for row in rows if row[0] == "limited" and row[-1] is None]
    assert sorted(row[1] for row in ends) == ["gas", "home", "wind"]


def test_the_holder_of_a_right_feeds_in_while_whoever_owes_is_limited_first(village: Obedient) -> None:
    """The gas engine has emitted beyond its permit; the wind turbine has bought the right with what it earned."""
    village.live(PERIOD_MS // 1000 + 5, {"m-gas": -40_000, "m-home": 30_000})
    assert village.five.payment.balance("gas") < 0 < village.five.payment.balance("wind")
    purchase = replace(village.a_purchase("wind"), right=RightKind.PRIORITY_GENERATION)
    village.close([village.record(village.sign(purchase, MessageType.PURCHASE))])
    village.live(PERIOD_MS // 1000, {"m-home": 30_000})
    village.live(25, {"m-wind": -20_000})
    assert {limit.device: limit.branch for limit in village.limits()} == {"limit-gas": "b1", "limit-home": "b1"}
    assert village.limits()[0].power_max_w < 1_000
    assert village.loadings_ppm()[-1] <= PPM + 10_000  # what a line loses and how voltage falls is not in a factor


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
    left_w = {limit.device: limit.power_max_w for limit in village.limits()}
    assert left_w["limit-home"] < 11_000 and left_w["limit-wind"] > 10_000
    village.live(60, {"m-gas": 0, "m-home": -20_000, "m-wind": -20_000})
    left_w = {limit.device: limit.power_max_w for limit in village.limits()}
    assert abs(left_w["limit-home"] - left_w["limit-wind"]) <= 1, "the channel is over"


def test_statements_tell_of_a_limit_and_of_the_line_for_whose_sake_it_is(village: Obedient) -> None:
    village.live(20)
    assert {made.gateway for made in village.five.statements.made} == {"gw"}
    standing = next(one for one in village.five.standings().behind("gw") if one.participant == "wind")
    (limit,) = standing.limits
    assert not standing.is_restricted and limit.branch == "b1"
    share_ppm = limit.power_max_w * PPM // 50_000
    assert limit.direction is Direction.FEED_IN
    assert limit.why == Why(village.loadings_ppm()[-1], Tier.COMMON, share_ppm)


def test_limits_do_not_come_and_go(village: Obedient) -> None:
    """Once limited, a line that everybody would overload stays between the release and its rating."""
    village.live(120)
    assert all(900_000 <= loading <= PPM + 1_000 for loading in village.loadings_ppm()[8:])


def test_dashboards_are_told_who_is_limited_for_which_line(village: Obedient) -> None:
    village.live(20)
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    result = [record.message for record in records if record.type is MessageType.INTERVAL][-1]
    people = json.loads(summary(result, village.five).payload)["participants"]
    left_w = village.limits()[2].power_max_w
    assert people["wind"]["limited"] == {"branch": "b1", "direction": "feed_in", "power_max_w": left_w}
    assert people["grid"]["limited"] is None


def test_people_see_who_is_limited_for_which_line_which_way_and_why(
    village: Obedient, monkeypatch: pytest.MonkeyPatch
) -> None:
    village.live(20)
    monkeypatch.setattr("aggregator.cli._open", lambda data: SimpleNamespace(five=village.five))
    (gas, *_) = village.limits()
    assert gas.why is not None
    row = json.loads(CliRunner().invoke(app, ["limits", "--json"]).stdout)[0]
    told = {"participant": "gas", "branch": "b1", "direction": "feed_in", "tier": "common"}
    assert row.items() >= told.items()
    assert (row["loading_ppm"], row["share_ppm"]) == (gas.why.loading_ppm, gas.why.share_ppm)
    text = CliRunner().invoke(app, ["limits"], env={"COLUMNS": "120"}).stdout
    assert f"{gas.why.share_ppm / 1e4:.1f} %" in text

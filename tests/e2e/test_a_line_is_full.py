"""A line that is too thin, by commands, on one node and on four validators: an auction clears within what it carries,
and whoever loads it beyond that is limited by the signed statement, the gateway, and the device itself.

It is night, and four homes with heat pumps lie behind the line: they take 21 to 25 kW together, and it carries 18 kW.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from aggregator.chains.intervals.results import IntervalResult
from protocol.checkpoint import ChainName
from protocol.messages import MessageType
from protocol.units import PPM
from tests.e2e.region import wait_until
from tests.e2e.trading import ENGINES, Place, a_place, on_chain, window

pytestmark = pytest.mark.mosquitto

LINE: Final = "b-2-2"
BEHIND: Final = ("l-home-1", "l-home-3", "l-home-5", "l-home-7")
CARRIES_WH: Final = 20
"""In an interval of four seconds."""
GATE_MS: Final = 48_000
"""Long before the interval, so that the auction's prices can be looked at until it is closed."""
AHEAD_S: Final = 72


def laid(grid: dict[str, Any]) -> None:
    """The line gets a rating of 26 A, and the region rules for auctions, contracts, and limits."""
    next(branch for branch in grid["branches"] if branch["id"] == LINE)["rating_ma"] = 26_000
    grid["rules"]["curtailment"] = {}
    grid["rules"]["contracts"] = {"imbalance_per_mwh": 300_000, "dispute_ms": 4_000}
    grid["rules"]["market"] = {"mechanism": "call", "gate_ms": GATE_MS}
    grid["rules"]["tokens"]["penalty"] = 0  # so that nobody is kept from trading


@pytest.fixture(scope="module", params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The region; the network outside has sold to two homes behind the line, as much as each of them wants."""
    folder = tmp_path_factory.mktemp("line")
    with a_place(folder, request.param, laid=laid, speed=1, begin_h=0) as made:
        start, _ = window(round(AHEAD_S * made.slowness))
        for gateway, side, who, meter, wh, limit in (
            ("gw-1", "sell", "grid-operator", "m-grid", 100, 200_000),
            ("gw-2", "buy", "home-3", "m-home-3", 15, 500_000),
            ("gw-2", "buy", "home-7", "m-home-7", 15, 300_000),
        ):
            terms = (f"--for={who}", f"--meter={meter}", f"--limit={limit}", f"--start={start}")
            made.agent(gateway, "quote", side, str(wh), *terms)
        yield made


def loadings_ppm(place: Place) -> list[int]:
    """What the line carried, interval by interval, as the analysis chain has it."""
    closed = on_chain(place.region, ChainName.ANALYSIS, MessageType.INTERVAL)
    flows = [IntervalResult.decode(envelope.payload).flows for envelope in closed]
    return [flow.loading_ppm for one in flows for flow in one.branches if flow.branch == LINE]


def limited(place: Place) -> set[str]:
    """The devices that gateways hold to a limit for the sake of the line, by what the gateways say."""
    statuses = [place.region.agent(gateway) for gateway in place.region.gateways]
    standings = [standing for status in statuses for standing in status["standings"] or ()]
    return {limit["device"] for one in standings for limit in one["limits"] if limit["branch"] == LINE}


def test_an_auction_fills_the_line_and_no_more_and_energy_costs_more_behind_it(place: Place) -> None:
    (traded,) = place.until("the auction is cleared", bool, "market", "prices")
    assert traded["quantity_wh"] == CARRIES_WH
    assert traded["full"] == [LINE]
    assert traded["nodes"]["n-0"] == traded["nodes"]["n-2-1"] == 200_000
    assert traded["nodes"]["n-2-3"] == traded["nodes"]["n-2-5"] == 300_000
    quotes = [place.until("what a quote got", bool, "market", "quote", number) for number in ("1", "2", "3")]
    by_limit = {one["price_per_mwh"]: sum(match["quantity_wh"] for match in one["matches"]) for one in quotes}
    assert by_limit == {200_000: CARRIES_WH, 500_000: 15, 300_000: CARRIES_WH - 15}
    contracts = place.until("the contracts", lambda told: len(told) == 2, "contracts")
    assert {one["state"] for one in contracts} <= {"confirmed", "delivering", "fulfilled", "breached", "settled"}


def test_a_line_that_carries_too_much_is_relieved_by_signed_limits_that_devices_obey(place: Place) -> None:
    wait_until("the line is congested", lambda: max(loadings_ppm(place), default=0) > PPM, place.log)
    wait_until("homes behind it are limited", lambda: bool(limited(place)), place.log)
    assert limited(place) <= set(BEHIND)
    wait_until("a device has taken it over", lambda: place.region.agent("gw-2")["rights_applied"] > 0, place.log)
    wait_until("the line carries no more than it may", lambda: loadings_ppm(place)[-1] <= PPM, place.log)
    rows = place.until("every node has the limits", bool, "limits")
    assert all(row["branch"] == LINE and row["direction"] == "take" for row in rows)


def test_every_node_tells_one_story_and_an_audit_derives_all_of_it_again(place: Place) -> None:
    for node in place.nodes:
        place.region.stop(node)
    assert place.agree() > 1
    place.audit()

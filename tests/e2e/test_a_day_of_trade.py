"""What participants agree on, and what becomes of it, by commands: one region on one node, and one on four validators.

All deals are struck at the beginning, for windows that are yet to come; each story looks at what became of one of them.
It is night, so the solar field cannot deliver, and the turbine can. Prices are a minor unit for a watt-hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from aggregator.service.store import Store
from protocol.agreement import Agreement
from protocol.checkpoint import ChainName
from protocol.contract import price_of
from protocol.envelope import Envelope
from protocol.messages import MessageType
from protocol.money import millionths_of
from protocol.transfer import Transfer
from tests.e2e.region import run, wait_until
from tests.e2e.trading import (
    ENGINES,
    Place,
    a_place,
    offers,
    on_chain,
    published,
    soon,
    stage,
    trade,
    wait_for_stage,
    window,
)

pytestmark = pytest.mark.mosquitto

TRIES: Final = 3
"""How often something is begun anew whose deadline has passed, on a machine that is slow just then."""
PER_WH: Final = 1_000_000
"""A price per MWh at which a watt-hour costs one minor unit."""
PRICE: Final = 1
ASKED, BID = 100_000, 300_000
"""What the quotes say, in minor units per MWh."""
COSTS_OF_ONE: Final = price_of(1, PRICE * PER_WH)
"""What a watt-hour costs."""
NARROW: Final = "b-2-5"
"""The line to `home-7` alone."""
AHEAD_S: Final = 36
"""How far ahead contracts begin on a quiet machine: far longer than a letter, its answer and a block take."""
LATE_S: Final = 900
"""How far ahead a contract begins that is ended before."""
DISPUTE_MS: Final = 30_000
COSTS: Final = (f"--price={PRICE * PER_WH}", "--penalty-ppm=200000", "--termination-ppm=100000")
AGREED: Final = {
    "delivered": ("wind", "home-3", 2, AHEAD_S),
    "fallen short": ("pv-1", "home-6", 4, AHEAD_S),
    "disputed": ("pv-1", "home-8", 4, AHEAD_S),
    "too much": ("wind", "home-7", 21, AHEAD_S),
    "frozen": ("wind", "home-5", 2, AHEAD_S),
    "large": ("wind", "home-3", 20, LATE_S),
}
"""What each contract is to show; its seller and buyer, watt-hours in two intervals, and how far ahead it begins."""


def laid(grid: dict[str, Any]) -> None:
    """A region with everything that trade needs; contracts of 20 Wh and more want the regulator's word."""
    rules = grid["rules"]
    rules["time"]["restate_periods"] = 24  # so that no contract is forgotten while somebody looks
    rules["contracts"] = {"imbalance_per_mwh": 300_000, "dispute_ms": DISPUTE_MS, "approval_from_wh": 20}
    rules["contracts"]["dispute_deposit"] = 0  # pv-1 has no tokens
    rules["market"] = {}
    rules["exchange"] = {"bought_per_day": 50, "sold_per_day": 50}
    rules["rights"].append({"right": "channel_use", "price": 60})
    next(branch for branch in grid["branches"] if branch["id"] == NARROW)["rating_ma"] = 13_000  # 9 kW


@dataclass
class Day:
    """A region in which everybody has agreed with somebody."""

    place: Place
    deals: dict[str, str] = field(default_factory=dict)
    """What each is to show, and the contract's number."""

    def agree(self, *shown: str) -> None:
        """Have `gw-1` write offers and `gw-2` accept them; anew, and further ahead, where that came too late."""
        wanted, slowness = set(shown), self.place.slowness
        for _ in range(TRIES):
            self._agree({shows: terms for shows, terms in AGREED.items() if shows in wanted}, slowness)
            wanted = {shows for shows in wanted if stage(self.place.region, "gw-1", self.deals[shows]) == "rejected"}
            slowness *= 3
        assert not wanted, f"{TRIES} times too late: {wanted}"

    def _agree(self, wanted: dict[str, tuple[str, str, int, int]], slowness: float) -> None:
        region = self.place.region
        for seller, buyer, wh, ahead_s in wanted.values():
            start, end = window(round(ahead_s * slowness))
            terms = (f"--seller={seller}", f"--buyer={buyer}", f"--wh={wh}", f"--start={start}", f"--end={end}")
            trade(region, "gw-1", "offer", *terms, *COSTS)
        wait_until("the offers are there", lambda: len(offers(region, "gw-2", "inbox")) == len(wanted), self.place.log)
        by_terms = {
            (one["terms"]["seller"], one["terms"]["buyer"], one["terms"]["quantity_wh"]): one["number"]
            for one in offers(region, "gw-2", "inbox")
        }
        made = {shows: by_terms[terms[:3]] for shows, terms in wanted.items()}
        for number in made.values():
            trade(region, "gw-2", "accept", number)
        for number in made.values():
            wait_for_stage(region, "gw-1", number, "recorded", "rejected")
        self.deals |= made

    def told(self, gateway: str, number: str) -> dict[str, Any]:
        """What a gateway's statement says of a contract, once it says something that is final."""
        found: list[dict[str, Any]] = []

        def is_told() -> bool:
            found[:] = [one for one in offers(self.place.region, gateway) if one["number"] == number]
            return bool(found and found[0]["contract"])

        wait_until(f"{gateway} is told of {number[:12]}", is_told, self.place.log)
        contract: dict[str, Any] = found[0]["contract"]
        return contract


@pytest.fixture(scope="module", params=ENGINES)
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """Everybody has agreed with somebody, by letters; two have quoted."""
    folder = tmp_path_factory.mktemp("trade")
    with a_place(folder, request.param, laid=laid, speed=1, begin_h=0) as place:
        made = Day(place)
        region = place.region
        for gateway in region.gateways:
            trade(region, gateway, "open")
        wait_until("the sealing keys are published", lambda: published(region) == 2, place.log)
        assert "home-5 is frozen" in place.regulator("freeze", "home-5", "--reason=an inquiry")
        desk = place.regulator("rate", f"--from={soon(20).isoformat()}", "--brings=2000", "--costs=2500")
        assert "bring 2000 and cost 2500" in desk
        start, _ = window(round(AHEAD_S * place.slowness))
        for gateway, side, wh, who, limit in (("gw-1", "sell", 4, "wind", ASKED), ("gw-2", "buy", 3, "home-4", BID)):
            terms = (f"--for={who}", f"--meter=m-{who}", f"--limit={limit}", f"--start={start}")
            place.agent(gateway, "quote", side, str(wh), *terms)
        made.agree(*AGREED)
        yield made


def test_quotes_that_meet_are_a_contract_at_the_price_of_the_one_that_stood(day: Day) -> None:
    place = day.place
    sold = place.until("the seller's quote", lambda told: told["matches"], "market", "quote", "1")
    bought = place.until("the buyer's quote", lambda told: told["matches"], "market", "quote", "2")
    assert {sold["side"], bought["side"]} == {"sell", "buy"}
    (match,) = sold["matches"]
    assert match["quantity_wh"] == 3
    assert match["price_per_mwh"] == (ASKED if sold["side"] == "sell" else BID)  # number 1 stood
    assert match["contract"] == bought["matches"][0]["contract"]
    day.deals["quoted"] = match["contract"]
    contract = place.contract(match["contract"], "confirmed")
    assert (contract["seller"], contract["buyer"], contract["price_per_mwh"]) == (
        "wind",
        "home-4",
        match["price_per_mwh"],
    )
    place.agree()


def test_what_two_have_agreed_on_by_letter_stands_on_the_chain_with_both_signatures(day: Day) -> None:
    agreements = on_chain(day.place.region, ChainName.OPERATION, MessageType.AGREEMENT)
    terms = {Agreement.decode(one.payload).terms.digest.hex() for one in agreements}
    assert set(day.deals.values()) - {day.deals.get("quoted")} == terms
    contract = day.place.contract(day.deals["delivered"], "confirmed")
    assert [state for state, _ in contract["history"]][:3] == ["agreed", "verified", "confirmed"]


def test_what_a_line_cannot_carry_is_rejected_and_both_sides_are_told_by_how_much(day: Day) -> None:
    number = day.deals["too much"]
    contract = day.place.contract(number, "rejected")
    assert contract["rejected_because"].startswith(f"LINE_FULL: {NARROW}, in the interval from ")
    for gateway in day.place.region.gateways:
        told = day.told(gateway, number)
        assert (told["state"], told["rule"]) == ("rejected", "LINE_FULL")
        assert NARROW in told["why"] and told["why"].endswith(" W")


def test_whoever_is_frozen_makes_no_contract_until_the_regulator_lifts_it(day: Day) -> None:
    contract = day.place.contract(day.deals["frozen"], "rejected")
    assert contract["rejected_because"].startswith("PARTY_FROZEN: home-5")
    assert "makes contracts again" in day.place.regulator("freeze", "home-5", "--lift", "--reason=it is over")
    again = day.place.regulator("freeze", "home-5", "--lift", "--reason=it is over", status=1)
    assert "FROZEN_OR_NOT_ALREADY" in again


def test_a_large_contract_waits_for_the_regulator_and_may_be_ended_for_what_was_agreed(day: Day) -> None:
    place, number = day.place, day.deals["large"]
    contract = place.contract(number, "verified")
    assert contract["history"][-1][0] == "verified"
    assert "approve by the regulator" in contract["next_steps"]
    assert "confirmed" in place.regulator("approve", number, "--reason=a large one")
    place.contract(number, "confirmed")
    trade(place.region, "gw-2", "end", number, "--reason=on holiday")
    ended = place.contract(number, "terminated")
    assert ended["ended_by"] == "buyer"


def test_a_dispute_is_decided_by_the_regulator_on_evidence_that_anybody_can_check(day: Day, tmp_path: Path) -> None:
    place = day.place
    for _ in range(TRIES):
        number = day.deals["disputed"]
        place.first_has(number, "breached", "settled")
        trade(place.region, "gw-1", "dispute", number, "--reason=the meter was off")
        if place.first_has(number, "disputed", "settled") == "disputed":
            break
        day.agree("disputed")  # the time for disputes is short, and this machine slow: once more
    place.contract(number, "disputed")
    file = tmp_path / "evidence.json"
    run(
        "este-aggregator",
        "prove",
        f"--contract={number}",
        f"--data={place.ledgers[0]}",
        "--wait-s=120",
        "-o",
        str(file),
    )
    shown = run("este-aggregator", "verify", str(file), *map(str, place.region.stage.trusts())).stdout
    assert number in shown and "dispute by gw-1" in shown
    ruling = ("--delivered-wh=3", "--responsible=seller", "--reason=the meter was tested", f"--evidence={file}")
    decided = place.regulator("arbitrate", number, *ruling)
    assert "3 Wh count as delivered" in decided
    contract = place.contract(number, "arbitrated")
    assert contract["ruling"] == {"delivered_wh": 3, "responsible": "seller"}


def test_tokens_buy_a_channel_that_is_not_sold_twice_and_money_that_a_bank_moves(day: Day) -> None:
    place = day.place
    place.until("the turbine has earned tokens", lambda rows: _of(rows, "wind")["balance"] > 60, "balances")
    start, end = window(LATE_S, intervals=15)
    bought = ("channel", "b-1-1", "120000", f"--from={start}", f"--until={end}", "--price-max=400")
    place.agent("gw-1", *bought, "--for=wind")
    place.until("the channel is theirs", lambda rows: _channels(rows, "wind"), "balances")
    place.agent("gw-2", *bought, "--for=home-4")
    wait_until(
        "the second sale is refused",
        lambda: "CHANNEL_SOLD" in str(place.region.agent("gw-2")["records_set_aside"]),
        place.log,
    )
    place.until("the rate is in force", lambda told: told["rates"][-1]["is_in_force"], "money")
    place.agent("gw-1", "exchange", "sell", "10", "--for=wind", "--money=20")
    place.until(
        "money is owed for tokens", lambda told: told["owed_millionths"].get("wind", 0) >= millionths_of(20), "money"
    )


def test_what_is_delivered_is_paid_to_the_unit_and_what_is_not_costs_the_penalty(day: Day) -> None:
    delivered = day.place.contract(day.deals["delivered"], "settled")
    states = [state for state, _ in delivered["history"]]
    assert states == ["agreed", "verified", "confirmed", "delivering", "fulfilled", "settled"]
    assert delivered["measured"]["delivered_wh"] == 2
    assert _booked(delivered) == (2 * COSTS_OF_ONE, 0)
    missed = day.place.contract(day.deals["fallen short"], "settled")
    assert "breached" in [state for state, _ in missed["history"]]
    assert (missed["measured"]["delivered_wh"], missed["measured"]["seller_short_wh"]) == (0, 4)
    assert _booked(missed) == (0, 4 * COSTS_OF_ONE // 5)
    decided = day.place.contract(day.deals["disputed"], "settled")
    assert _booked(decided) == (3 * COSTS_OF_ONE, COSTS_OF_ONE // 5)


def test_whoever_offers_a_fee_goes_first_in_the_block_and_the_fee_is_paid(day: Day) -> None:
    place, region = day.place, day.place.region
    region.kill("fleet")
    for gateway in region.gateways:
        wait_until(f"{gateway} has nothing to send", lambda: not _waiting(place, gateway), place.log)  # noqa: B023
    fees = place.until("what was paid", bool, "status")["fees"]

    def is_together() -> bool:
        """Two transfers wait while no node looks; both may be in the block that comes then."""
        with place.paused():
            for gateway, gives, fee in (("gw-1", "wind", 0), ("gw-2", "home-4", 1)):
                place.agent(gateway, "transfer", "home-1", "1", f"--from={gives}", f"--fee={fee}")
                wait_until(f"{gateway} has signed it", lambda: _waiting(place, gateway) > 0, place.log)  # noqa: B023
        for gateway in region.gateways:
            wait_until(f"{gateway} has its receipt", lambda: not _waiting(place, gateway), place.log)  # noqa: B023
        return _last_transfers(place) == ["gw-2", "gw-1"]

    wait_until("the fee goes before what came first", is_together, place.log)
    place.until("the fee is the reserve's", lambda told: told["fees"] > fees, "status")


def test_every_node_tells_one_story_and_an_audit_derives_all_of_it_again(day: Day) -> None:
    place = day.place
    states = place.until("contracts", bool, "contracts")
    assert {one["state"] for one in states} >= {"settled", "terminated"}  # what is rejected is forgotten
    for node in place.nodes:
        place.region.stop(node)
    assert place.agree() > len(day.deals)
    place.audit()


def _booked(contract: dict[str, Any]) -> tuple[int, int]:
    """The price and the penalty that are in the books for a contract."""
    lines = contract["booked_millionths"]
    return lines["price"], lines["penalty"]


def _waiting(place: Place, gateway: str) -> int:
    """Records that a gateway has no receipt for yet."""
    waiting: int = place.region.agent(gateway)["records_waiting"]
    return waiting


def _last_transfers(place: Place) -> list[str]:
    """Who signed the transfers in the last block that has any, in their order."""
    with closing(Store.open_read_only(place.ledgers[0])) as store:
        last = store.last_block()
        assert last is not None
        for height in range(last.height, 0, -1):
            envelopes = [Envelope.parse(entry.envelope) for entry in store.entries(height) if not entry.code]
            if transfers := [one for one in envelopes if one.type == MessageType.TRANSFER]:
                return [Transfer.decode(one.payload).link.author for one in transfers]
    return []


def _of(rows: list[dict[str, Any]], participant: str) -> dict[str, Any]:
    """One participant's row."""
    return next(row for row in rows if row["participant"] == participant)


def _channels(rows: list[dict[str, Any]], participant: str) -> list[dict[str, Any]]:
    """Capacity of lines that somebody holds."""
    return [right for right in _of(rows, participant)["rights"] if right["branch"]]

"""Beside tokens, an explanation tells what somebody traded, was limited to, and changed for money."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from protocol.exchange import ExchangeKind
from protocol.money import millionths_of, said
from protocol.units import PPM
from tests.contract_village import EVEN_W, PER_WH, Market
from tests.explaining import explained, run
from tests.integration.test_explained_relief import on_disk
from tests.unit.aggregator.test_curtailing import Obedient, a_narrow_document
from tests.unit.aggregator.test_exchange import a_village, exchange
from tests.village import Village, a_grid

NOW = "now"


def dealings(folder: Path, participant: str) -> dict[str, Any]:
    found: dict[str, Any] = explained(folder, participant, NOW)["dealings"]
    return found


def told(folder: Path, participant: str) -> str:
    """The text, without line breaks."""
    return " ".join(run(folder, participant, NOW).stdout.split())


def test_both_parties_of_a_contract_are_told_of_it_each_from_their_side(tmp_path: Path) -> None:
    market = Market()
    market.live_even(2)
    digest = market.made()
    market.made(nonce=bytes([1] * 16))
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(6)
    folder, contract = on_disk(market, tmp_path), market.contract(digest)
    (sold, refused), (bought, _) = (dealings(folder, name)["contracts"] for name in ("wind", "home"))
    assert (sold["sells"], sold["partner"], bought["sells"], bought["partner"]) == (True, "home", False, "wind")
    assert sold["contract"] == bought["contract"] == digest.hex()
    assert (sold["delivered_wh"], sold["missing_wh"]) == (contract.amounts.delivered_wh, contract.amounts.missing_wh)
    assert (sold["gets_millionths"], bought["gets_millionths"]) == (contract.booked.seller, contract.booked.buyer)
    assert (refused["state"], refused["why"].partition(":")[0]) == ("rejected", "SOLD_ALREADY")
    home = told(folder, "home")
    assert f"buys 100 Wh of electricity from wind at {PER_WH:,} per MWh: settled" in home
    assert f"pays {said(-contract.booked.buyer)}; contract {digest.hex()[:12]}" in home
    assert f"owes {said(-market.five.payment.money.owed_to('home'))} minor units of money" in home
    assert dealings(folder, "gas")["contracts"] == []


def test_whoever_was_limited_is_told_for_which_line_s_sake(tmp_path: Path) -> None:
    village = Obedient(grid=a_grid(**a_narrow_document()))
    village.live(25)
    folder = on_disk(village, tmp_path)
    limited = {name: dealings(folder, name)["limits"] for name in ("gas", "wind", "grid")}
    (first, *_) = limited["gas"]
    assert (first["branch"], first["change_w"] < 0) == ("b1", True)
    assert first["place"]["chain"] == "analysis"
    assert (first["direction"], first["tier"], first["loading_ppm"] > PPM) == ("feed_in", "common", True)
    assert f"b1: {-first['change_w']:,} W less, {first['allowed_w']:,} W at most (loaded to" in told(folder, "gas")
    assert limited["grid"] == []


def test_whoever_changed_tokens_for_money_is_told_what_it_brought(tmp_path: Path) -> None:
    village = a_village()
    assert exchange(village, ExchangeKind.SELL, "wind", 50, fee=2) is None
    village.live(10)
    folder = on_disk(village, tmp_path)
    (sold,) = dealings(folder, "wind")["exchanges"]
    assert (sold["kind"], sold["tokens"], sold["fee"], sold["gets_millionths"]) == ("sell", 50, 2, millionths_of(100))
    assert "sold 50 tokens, with a fee of 2: gets 100; block" in told(folder, "wind")
    assert dealings(folder, "home") == {"contracts": [], "limits": [], "exchanges": [], "owed_millionths": 0}


def test_whoever_has_done_nothing_else_is_told_nothing_more(tmp_path: Path) -> None:
    village = Village()
    village.live(20)
    folder = on_disk(village, tmp_path)
    home = told(folder, "home")
    assert "Contracts" not in home and "Limited" not in home and "money" not in home

"""A reward for relieving a line is followed to event, baseline and loading; heat, to what is in store."""

from __future__ import annotations

from pathlib import Path

from aggregator.service.store import Store
from tests import heat_village
from tests.explaining import explained, run
from tests.unit.aggregator.test_responses import SAVING, USUAL, a_village, call, live
from tests.village import INTERVAL_MS, START_MS, Village


def on_disk(village: Village, folder: Path) -> Path:
    """The ledger file that a node would have written."""
    store = Store.create(folder)
    for block in village.blocks:
        store.write(block, b"", ())
    store.close()
    return folder


def test_relief_is_followed_from_the_award_to_the_event(tmp_path: Path) -> None:
    village = a_village()
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, 22, SAVING)
    folder = on_disk(village, tmp_path)
    found = explained(folder, "home")
    relief = found["relief"]
    assert (relief["relief_ppm"], relief["awards"], relief["tokens"], relief["after_ppm"]) == (
        1_200_000,
        1,
        20,
        200_000,
    )
    assert found["sums"]["relief_ppm"] == found["added"]["relief_ppm"] == 1_200_000
    called = [interval for interval in found["intervals"] if interval["responses"]]
    assert [interval["start_ms"] for interval in called] == [START_MS + n * INTERVAL_MS for n in (6, 7, 8)]
    assert called[0]["responses"][0]["baseline_wh"] == 49
    told = " ".join(run(folder, "home").stdout.split())
    assert "the threshold was reached 1 time: 20 tokens, and 0.2 is carried on" in told
    assert "event 1: 24 Wh less than on like days, b1 relieved by 17,280 W" in told
    closely = run(folder, "home", "--interval", "2026-09-21T14:13:50Z").stdout
    (asked,) = explained(folder, "home", "--interval", "2026-09-21T14:13:50Z")["intervals"]
    like = [day["used_wh"] for day in asked["like_days"]]
    assert sum(like) // len(like) == asked["responses"][0]["baseline_wh"]
    assert closely.count("    like day 2026-09-21") == len(like) >= 3
    assert "its loading 60 %, had nobody responded 118 %" in closely
    assert "relieved by 17,280 W (1.000 W of it for each watt less): factor 0.4" in closely


def test_heat_is_followed_to_what_is_in_store(tmp_path: Path) -> None:
    village = heat_village.a_heat_village()
    heat_village.live(village, 2, heat_village.WINDY, heat_village.PUMP)
    heat_village.live(village, 8, heat_village.CALM, heat_village.WARM)
    folder = on_disk(village, tmp_path)
    found = explained(folder, "works")
    assert found["adds_up"] is True
    stored = found["intervals"][0]["storages"][0]
    assert (stored["storage"], stored["charged_wh"] > 0) == ("tank", True)
    home = explained(folder, "home")
    assert home["adds_up"] is True
    assert home["sums"]["heat_wh"] > 0
    closely = run(folder, "works", "--interval", "2026-09-21T14:13:21Z").stdout
    assert "pump: took" in closely
    assert "tank: in" in closely


def test_what_is_in_store_is_followed_to_when_it_was_charged_and_to_the_meters_of_the_works(tmp_path: Path) -> None:
    village = heat_village.a_heat_village()
    heat_village.live(village, 2, heat_village.WINDY, heat_village.PUMP)
    heat_village.live(village, 8, heat_village.CALM, heat_village.WARM)
    folder = on_disk(village, tmp_path)
    (asked,) = explained(folder, "home", "--interval", "2026-09-21T14:13:31Z")["intervals"]
    charged = asked["charges"]
    assert charged and all(one["start_ms"] <= asked["start_ms"] for one in charged)
    assert all(sum(one["origin_wh"].values()) == one["charged_wh"] for one in charged)
    assert any(one["origin_wh"].get("wind") for one in charged)
    works = ["m-pump", "m-pump-heat", "m-tank-in", "m-tank-out"]
    assert sorted(meter["meter"] for meter in asked["witnesses"]) == works
    told = run(folder, "home", "--interval", "2026-09-21T14:13:31Z").stdout
    assert "What is in store ← when it was charged" in told
    assert "Interval ← meters of others that it rests on ← signed readings" in told

"""The regulator changes rules and permits: ahead of time, in public, and never for what is over."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.admission.amendments import Amendment
from aggregator.chains.admission.laws import Laws
from aggregator.chains.five import wire
from aggregator.chains.periods.carbon import FactorRow
from aggregator.ledger.block import Block
from aggregator.ledger.table import flat
from config.grid_model import Permit
from config.load import check
from config.rules import MarketRule
from protocol.canonical import decode
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.builders import a_link
from tests.contract_village import BOOKED
from tests.market_village import BUY, SELL, a_market, quote, standing
from tests.unit.protocol.mutation import paths_in, with_field, without_field
from tests.village import INTERVAL_MS, PERIOD_MS, START_MS, Village, a_grid, a_grid_document

NEXT_MS = START_MS + PERIOD_MS
"""When the second settlement period begins."""


def laws(permits: tuple[Permit, ...] | None = None, **sections: dict[str, Any]) -> Laws:
    """The village's rules, with some values of some sections changed."""
    document = a_grid_document()["rules"]
    grid = a_grid(rules=document | {name: document.get(name, {}) | values for name, values in sections.items()})
    return Laws(grid.rules, grid.permits if permits is None else permits)


def amend(village: Village, changed: Laws, from_ms: int = NEXT_MS) -> RefusalCode | None:
    record = Amendment(village.link("regulator"), from_ms, changed)
    return outcome(village.close([village.record(village.sign(record, MessageType.AMENDMENT, "regulator"))]))


def outcome(block: Block) -> RefusalCode | None:
    return block.outcomes[0].refusal


def rewards(village: Village) -> str:
    return str(village.five.asset.region.rules.tokens.reward)


def permitted_mg(village: Village, participant: str) -> list[int]:
    """As stated in the factors of one settled period after the other."""
    _, read = flat(FactorRow)
    leaves = [
        decode(leaf.body, size_max=1 << 20)
        for block in village.blocks
        for leaf in block.leaves
        if b"factors" in leaf.body[:10]
    ]
    rows = [read(values) for kind, *values in leaves if kind == "factors" and values[0] == participant]
    return [row.permitted_mg for row in rows]


def test_rules_hold_from_the_beginning_of_their_period_on_and_not_before() -> None:
    village = Village()
    assert amend(village, laws(tokens={"reward": 10})) is None
    assert rewards(village) == "100"
    village.live(25)
    assert village.now_ms < NEXT_MS
    assert rewards(village) == "100"
    village.live(10)
    assert rewards(village) == "10"
    region = village.five.asset.region
    assert [str(region.rules_at(at).tokens.reward) for at in (NEXT_MS - 1, NEXT_MS)] == ["100", "10"]


def test_a_period_that_was_over_when_rules_changed_is_settled_by_its_own() -> None:
    amended, plain = Village(), Village()
    assert amend(amended, laws(tokens={"reward": 0})) is None
    plain.close([])
    for village in (amended, plain):
        village.live(40)
    first = [village.five.payment.accounts["wind"].balance for village in (amended, plain)]
    assert first[0] == first[1] > 0
    for village in (amended, plain):
        village.live(30)
    second = [village.five.payment.accounts["wind"].balance for village in (amended, plain)]
    assert second[0] == first[0]
    assert second[1] > first[1]


def test_a_permit_counts_for_the_periods_it_was_given_for() -> None:
    village = Village()
    assert amend(village, laws(permits=(Permit(participant="gas", grams=50),))) is None
    village.live(70)
    assert permitted_mg(village, "gas") == [100_000, 50_000]
    region = village.five.asset.region
    assert [region.laws_at(at).permits_mg["gas"] for at in (START_MS, NEXT_MS)] == [100_000, 50_000]


def test_the_last_word_counts_until_rules_hold() -> None:
    village = Village()
    later_ms = NEXT_MS + PERIOD_MS
    assert amend(village, laws(tokens={"reward": 10}), NEXT_MS) is None
    assert amend(village, laws(tokens={"reward": 20}), later_ms) is None
    assert amend(village, laws(tokens={"reward": 30}), NEXT_MS) is None
    region = village.five.asset.region
    assert [str(region.rules_at(at).tokens.reward) for at in (NEXT_MS, later_ms)] == ["30", "30"]


@pytest.mark.parametrize(
    "from_ms",
    [
        pytest.param(NEXT_MS - PERIOD_MS, id="the period that runs"),
        pytest.param(NEXT_MS + 1, id="within a period"),
        pytest.param(0, id="the year 1970"),
        pytest.param(START_MS + 10**6 * PERIOD_MS * 400, id="a lifetime ahead"),
        pytest.param(2**62, id="when no calendar goes so far"),
        pytest.param(START_MS, id="now"),
    ],
)
def test_rules_hold_from_the_beginning_of_a_period_that_is_yet_to_come(from_ms: int) -> None:
    assert amend(Village(), laws(tokens={"reward": 10}), from_ms) is RefusalCode.RULES_NOT_AHEAD


def test_nobody_is_permitted_who_is_not_here() -> None:
    stranger = (Permit(participant="coal", grams=1),)
    assert amend(Village(), laws(permits=stranger)) is RefusalCode.PERMIT_OF_NOBODY


@pytest.mark.parametrize(
    ("section", "values"),
    [
        pytest.param("time", {"interval_ms": 10_000}, id="longer intervals"),
        pytest.param("time", {"restate_periods": 1}, id="fewer periods to restate"),
        pytest.param("accounts", {"ceiling": 499}, id="a lower ceiling"),
        pytest.param("accounts", {"ceiling": 501}, id="a higher ceiling"),
        pytest.param("contracts", BOOKED | {"lines_ppm": 999_999}, id="less of each line than channels have"),
    ],
)
def test_what_is_counted_or_held_by_a_rule_keeps_it(section: str, values: dict[str, int]) -> None:
    assert amend(Village(), laws(**{section: values})) is RefusalCode.LAW_STAYS


def test_contracts_that_are_made_keep_a_rule_and_their_lines() -> None:
    village = Village(grid=a_grid(rules=a_grid_document()["rules"] | {"contracts": BOOKED | {"lines_ppm": 900_000}}))
    assert amend(village, laws()) is RefusalCode.LAW_STAYS
    assert amend(village, laws(contracts=BOOKED | {"lines_ppm": 800_000})) is RefusalCode.LAW_STAYS
    assert amend(village, laws(contracts=BOOKED)) is None


def test_nobody_but_the_regulator_amends() -> None:
    village = Village()
    record = Amendment(village.link("node"), NEXT_MS, laws())
    with pytest.raises(Exception, match="may not"):
        village.record(village.sign(record, MessageType.AMENDMENT, "node"))


def test_an_amendment_that_is_refused_leaves_the_region_as_it_was() -> None:
    village = Village()
    before = village.five.asset.region.rules
    assert amend(village, laws(accounts={"ceiling": 1}, tokens={"reward": 10})) is RefusalCode.LAW_STAYS
    assert village.five.asset.region.rules == before
    village.live(40)
    assert village.five.asset.region.rules == before


AMENDMENT = Amendment(a_link(author="regulator"), 5, laws())


def test_an_amendment_survives_being_written_and_read() -> None:
    assert Amendment.decode(AMENDMENT.encode()) == AMENDMENT


def test_rules_that_are_none_are_no_amendment() -> None:
    twice = Amendment(AMENDMENT.link, 5, laws(permits=(Permit(participant="gas", grams=1),) * 2))
    with pytest.raises(EncodingError, match="one for each participant"):
        Amendment.decode(twice.encode())
    for path in paths_in(AMENDMENT.encode()):
        for other in (True, {}, b"", "no rule of any kind"):
            with pytest.raises(EncodingError):
                Amendment.decode(with_field(AMENDMENT.encode(), path, other))
    for field in (5, 6, 7):
        with pytest.raises(EncodingError):
            Amendment.decode(without_field(AMENDMENT.encode(), (field,)))


def test_a_region_that_is_restored_has_its_amendments() -> None:
    village = Village()
    assert amend(village, laws(tokens={"reward": 10})) is None
    village.live(40)
    ledger, restored = village.five.ledger, wire(village.grid.region, village.physics)
    restored.ledger.restore(ledger.head, ledger.logs, [(row.key, row.value or b"") for row in ledger.rows()])
    assert restored.asset.region.rules_at(NEXT_MS - 1) == village.five.asset.region.rules_at(NEXT_MS - 1)
    assert restored.asset.region.rules == village.five.asset.region.rules


@pytest.mark.parametrize(
    "market",
    [
        pytest.param(None, id="none any more"),
        pytest.param({"mechanism": "call", "gate_ms": 5_000}, id="auctions"),
    ],
)
def test_quotes_lapse_when_the_market_that_they_were_made_for_ends(market: dict[str, Any] | None) -> None:
    village = a_market()
    here = village.five.asset.region.laws_at(0)
    rule = None if market is None else check(market, MarketRule, "market")
    changed = Laws(here.rules.model_copy(update={"market": rule}), here.permits)
    assert amend(village, changed) is None
    assert quote(village, "wind", SELL, start_ms=NEXT_MS + 2 * INTERVAL_MS) is None
    village.now_ms = NEXT_MS - 1
    village.close([])
    assert len(standing(village)) == 1
    village.now_ms = NEXT_MS
    village.close([])
    assert standing(village) == []


def test_quotes_above_a_lowered_cap_lapse_and_the_others_stand() -> None:
    village = a_market()
    here = village.five.asset.region.laws_at(0)
    assert here.rules.market is not None
    lowered = here.rules.market.model_copy(update={"price_max": 1_000})
    assert amend(village, Laws(here.rules.model_copy(update={"market": lowered}), here.permits)) is None
    start_ms = NEXT_MS + 2 * INTERVAL_MS
    for price in (1_000, 1_001):
        assert quote(village, "home", BUY, price_per_mwh=price, start_ms=start_ms) is None
    village.now_ms = NEXT_MS
    village.close([])
    assert standing(village) == [("home", BUY, 10, 1_000)]
    assert quote(village, "wind", SELL, price_per_mwh=1_000, start_ms=start_ms) is None
    assert standing(village) == []

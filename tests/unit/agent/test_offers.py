"""Where an offer may go from where it stands, and which offers are none that anybody may accept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.trade.offers import (
    LIVE,
    NEXT_STAGE,
    OPEN_FROM_ONE_MAX,
    OPEN_MAX,
    REPLY_OF,
    SEND_AGAIN_MS,
    STEP_OF,
    Offer,
    Stage,
    Step,
    judge,
    other_side,
)
from agent.trade.telling import document_of, line_of, news_of
from protocol.answer import Reply
from protocol.contract import Terms
from protocol.contract_news import ContractNews, ContractState
from protocol.partners import Partner
from protocol.refusals import RefusalCode, Refused
from tests.builders import EPOCH_MS, REGION, a_digest, a_key, a_standing, a_statement

HOUR_MS = 3_600_000
OURS = ("annia", "bert")
SENDER = Partner("gw-2", a_key(2).public_key, a_key(52).public_key, ("carla", "dora"))


def some_terms(**changes: Any) -> Terms:
    """Carla offers annia energy in an hour."""
    default = Terms(
        region=REGION,
        seller="carla",
        buyer="annia",
        carrier="electricity",
        quantity_wh=5000,
        price_per_mwh=250_000,
        start_ms=EPOCH_MS + HOUR_MS,
        end_ms=EPOCH_MS + 2 * HOUR_MS,
        expires_ms=EPOCH_MS + HOUR_MS,
        nonce=bytes(16),
    )
    return replace(default, **changes)


def an_offer(**changes: Any) -> Offer:
    """An offer of ours to carla, who has it."""
    default = Offer(
        terms=some_terms(seller="annia", buyer="carla"),
        envelope=b"",
        is_ours=True,
        stage=Stage.DELIVERED,
        partner="carla",
        gateway="gw-2",
    )
    return replace(default, **changes)


def code_of(terms: Terms, **changes: Any) -> RefusalCode | None:
    arguments = {"ours": OURS, "answered": None, "waiting": (), "unix_ms": EPOCH_MS} | changes
    try:
        judge(terms, arguments.pop("sender", SENDER), **arguments)
    except Refused as refused:
        return refused.code
    return None


class TestStages:
    """The whole law is one table."""

    def test_what_is_over_stays_over_but_for_an_answer_that_came_late(self) -> None:
        ends = set(Stage) - LIVE - {Stage.AGREED}
        late = {(Stage.EXPIRED, step) for step in (Step.ACCEPT, Step.RECORD, Step.REJECT)}
        assert {(stage, step) for stage, step in NEXT_STAGE if stage in ends and step is not Step.STATE} == late

    def test_a_statement_of_the_nodes_has_the_last_word(self) -> None:
        assert {stage for stage, step in NEXT_STAGE if step is Step.STATE} == set(Stage) - {Stage.RECORDED}
        assert {NEXT_STAGE[place] for place in NEXT_STAGE if place[1] is Step.STATE} == {Stage.RECORDED}

    def test_every_offer_that_is_live_expires(self) -> None:
        assert {stage for stage, step in NEXT_STAGE if step is Step.EXPIRE} == LIVE

    def test_an_agreement_never_becomes_undone_here(self) -> None:
        after = {next_ for (stage, step), next_ in NEXT_STAGE.items() if stage is Stage.AGREED}
        assert after == {Stage.RECORDED, Stage.REJECTED}

    def test_every_reply_does_something_to_an_offer_that_was_sent(self) -> None:
        assert set(STEP_OF) == set(Reply)
        assert all((Stage.SENT, step) in NEXT_STAGE for step in STEP_OF.values())

    def test_what_is_told_of_a_stage_leads_whoever_hears_it_to_the_same_one(self) -> None:
        same = REPLY_OF.keys() - {Stage.OPEN}
        assert {stage: NEXT_STAGE[Stage.SENT, STEP_OF[REPLY_OF[stage]]] for stage in same} == {s: s for s in same}
        assert NEXT_STAGE[Stage.SENT, STEP_OF[REPLY_OF[Stage.OPEN]]] is Stage.DELIVERED

    def test_whoever_may_decide_is_the_one_who_got_it(self) -> None:
        decisions = {step for stage, step in NEXT_STAGE if stage is Stage.OPEN} - {Step.STATE}
        assert decisions == {Step.ACCEPT, Step.DECLINE, Step.COUNTER, Step.EXPIRE}


class TestSendingAgain:
    """What nobody answers goes out again, more and more rarely."""

    def test_a_letter_is_due_at_once_and_then_after_twice_as_long_each_time(self) -> None:
        offer = an_offer(stage=Stage.SENT)
        assert offer.is_due(EPOCH_MS)
        for times, wait_ms in enumerate((1, 2, 4, 8, 16, 32, 64, 64, 64), 1):
            sent = replace(offer, times=times, sent_ms=EPOCH_MS)
            assert not sent.is_due(EPOCH_MS + wait_ms * SEND_AGAIN_MS - 1)
            assert sent.is_due(EPOCH_MS + wait_ms * SEND_AGAIN_MS)

    @pytest.mark.parametrize("stage", set(Stage) - {Stage.WANTED, Stage.SENT, Stage.DELIVERED})
    def test_what_waits_for_no_answer_is_never_due(self, stage: Stage) -> None:
        assert not an_offer(stage=stage).is_due(EPOCH_MS)
        assert not an_offer(is_ours=False).is_due(EPOCH_MS)


class TestJudging:
    """An offer of somebody else that our participants may accept, with one thing broken."""

    def test_an_offer_between_one_of_theirs_and_one_of_ours_may_be_accepted(self) -> None:
        assert code_of(some_terms()) is None
        assert code_of(some_terms(seller="bert", buyer="dora")) is None

    @pytest.mark.parametrize(
        "sides",
        [
            ("carla", "dora"),
            ("annia", "bert"),
            ("annia", "annia"),
            ("emil", "annia"),
            ("annia", "emil"),
            ("emil", "frida"),
        ],
    )
    def test_an_offer_between_others_is_refused(self, sides: tuple[str, str]) -> None:
        assert code_of(some_terms(seller=sides[0], buyer=sides[1])) is RefusalCode.NOT_THEIR_OFFER

    @pytest.mark.parametrize(
        "change",
        [
            {"expires_ms": EPOCH_MS},
            {"expires_ms": 0},
            {"start_ms": EPOCH_MS - HOUR_MS, "end_ms": EPOCH_MS},
        ],
        ids=str,
    )
    def test_an_offer_that_is_over_is_refused(self, change: dict[str, int]) -> None:
        assert code_of(some_terms(**change)) is RefusalCode.OFFER_EXPIRED

    def test_no_more_offers_wait_than_their_bound(self) -> None:
        others = [f"gw-{number}" for number in range(10, 10 + OPEN_MAX)]
        assert code_of(some_terms(), waiting=others[1:]) is None
        assert code_of(some_terms(), waiting=others) is RefusalCode.TOO_MANY_OFFERS

    def test_no_gateway_can_shut_out_the_others(self) -> None:
        theirs = [SENDER.gateway] * OPEN_FROM_ONE_MAX
        assert code_of(some_terms(), waiting=theirs[1:]) is None
        assert code_of(some_terms(), waiting=theirs) is RefusalCode.TOO_MANY_OFFERS


class TestCounters:
    """A counter-offer answers what was offered to its sender, and what is still open."""

    COUNTER = some_terms(seller="annia", buyer="carla", price_per_mwh=1, answers=an_offer().number)

    def test_a_counter_offer_may_change_how_much_when_and_for_what(self) -> None:
        changed = replace(self.COUNTER, quantity_wh=1, start_ms=EPOCH_MS, clean_only=True, fee=3)
        for terms in (self.COUNTER, changed):
            assert code_of(terms, answered=an_offer()) is None
            assert code_of(terms, answered=an_offer(stage=Stage.SENT)) is None

    def test_a_counter_offer_to_something_unknown_is_refused(self) -> None:
        assert code_of(self.COUNTER) is RefusalCode.COUNTERS_NOTHING

    @pytest.mark.parametrize(
        "answered",
        [
            an_offer(gateway="gw-3"),
            an_offer(is_ours=False, stage=Stage.OPEN),
            *(an_offer(stage=stage) for stage in set(Stage) - {Stage.SENT, Stage.DELIVERED}),
        ],
        ids=lambda offer: f"{offer.gateway} {offer.stage.name}",
    )
    def test_a_counter_offer_to_what_was_not_offered_to_them_or_is_not_open_is_refused(self, answered: Offer) -> None:
        assert code_of(self.COUNTER, answered=answered) is RefusalCode.COUNTERS_NOTHING

    @pytest.mark.parametrize(
        "change",
        [{"seller": "carla", "buyer": "annia"}, {"seller": "bert"}, {"buyer": "dora"}, {"carrier": "heat"}],
        ids=str,
    )
    def test_a_counter_offer_between_others_or_of_something_else_is_refused(self, change: dict[str, str]) -> None:
        assert code_of(replace(self.COUNTER, **change), answered=an_offer()) is RefusalCode.COUNTER_CHANGED


def test_one_side_is_ours_and_one_is_not_or_there_are_no_sides() -> None:
    assert other_side(some_terms(), OURS) == ("annia", "carla")
    assert other_side(some_terms(seller="bert", buyer="carla"), OURS) == ("bert", "carla")
    assert other_side(some_terms(seller="annia", buyer="bert"), OURS) is None
    assert other_side(some_terms(), ()) is None


def test_people_are_told_an_offer_in_one_line() -> None:
    offer = an_offer()
    assert line_of(offer) == (
        f"offer {offer.number.hex()[:12]} to carla: annia delivers 5000 Wh of electricity to carla from 2025-06-15"
        " 16:06:40Z until 2025-06-15 17:06:40Z for 1250 (250000 per MWh): delivered; good until 2025-06-15 16:06:40Z"
    )
    refused = an_offer(is_ours=False, stage=Stage.REJECTED, detail=RefusalCode.SELF_TRADE, reason="both are carla")
    assert line_of(refused).endswith(": rejected (SELF_TRADE: both are carla)")
    assert line_of(replace(refused, detail=9999)).endswith(": rejected (9999: both are carla)")
    assert line_of(an_offer(stage=Stage.RECORDED, detail=17)).endswith(": recorded (block 17)")
    assert line_of(an_offer(stage=Stage.DECLINED, reason="too dear")).endswith(": declined (too dear)")
    clean = an_offer(terms=some_terms(clean_only=True), is_ours=False, stage=Stage.OPEN)
    assert ", clean only: open;" in line_of(clean)


def test_what_somebody_else_wrote_moves_no_cursor() -> None:
    offer = an_offer(stage=Stage.DECLINED, reason="\x1b[2Jtoo dear\n\u202egone")
    assert line_of(offer).endswith(": declined (�[2Jtoo dear��gone)")


def test_people_are_told_what_has_become_of_the_contract() -> None:
    offer = an_offer(stage=Stage.RECORDED, detail=17)
    news = ContractNews(offer.number, ContractState.DELIVERING, EPOCH_MS, 5000, EPOCH_MS, EPOCH_MS + HOUR_MS)
    told = line_of(offer, news)
    assert told.endswith(": recorded (block 17); contract delivering since 2025-06-15 15:06:40Z, 5000 W to feed in")
    assert line_of(offer, replace(news, power_w=-5000)).endswith(", 5000 W to take")
    full = replace(news, state=ContractState.REJECTED, rule=RefusalCode.LINE_FULL, why="b1 by 70 W")
    assert line_of(offer, full).endswith("rejected since 2025-06-15 15:06:40Z by LINE_FULL: b1 by 70 W")
    document = document_of(offer, full)["contract"]
    assert (document["state"], document["rule"], document["why"]) == ("rejected", "LINE_FULL", "b1 by 70 W")


def test_what_a_statement_tells_of_contracts_is_found_by_their_numbers() -> None:
    news = ContractNews(a_digest(), ContractState.CONFIRMED, EPOCH_MS, 5000, EPOCH_MS, EPOCH_MS + HOUR_MS)
    taken = replace(news, power_w=-5000)
    standings = (a_standing(contracts=(news,)), a_standing(participant="bert", contracts=(taken,)))
    assert news_of(a_statement(standings=standings)) == {a_digest(): news}
    assert news_of(None) == {}


def test_programs_are_told_an_offer_with_a_stable_set_of_keys() -> None:
    document = document_of(an_offer(terms=some_terms(answers=a_digest())))
    keys = "number stage ours partner gateway sequence detail reason price_millionths terms contract"
    assert (list(document), document["contract"]) == (keys.split(), None)
    assert (document["terms"]["answers"], document["terms"]["nonce"]) == (a_digest().hex(), bytes(16).hex())

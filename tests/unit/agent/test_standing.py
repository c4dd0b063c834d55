"""Which statement is believed, and what is bought after it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.standing import REST_AFTER_REFUSAL_MS, Believed, Placed, Verdict, judge, orders_due
from config.settings.agent import StandingOrder
from protocol.messages import Right, RightKind, Statement
from tests.builders import EPOCH_MS, a_digest, a_standing, a_statement

LAST = Believed(a_statement(number=4, height=20), a_digest("statement 4"))
NEXT = a_statement(number=5, height=21, previous=LAST.digest)


class TestJudge:
    """Statements are numbered and linked; whatever does not follow is not believed."""

    @pytest.mark.parametrize(
        ("statement", "verdict"),
        [
            (NEXT, Verdict.NEWER),
            (a_statement(number=5, height=20, previous=LAST.digest), Verdict.NEWER),
            (a_statement(number=9, height=30, previous=a_digest("never seen")), Verdict.NEWER),
            (a_statement(number=3, height=19), Verdict.OLDER),
            (a_statement(number=4, height=20), Verdict.CONTRADICTS),
            (a_statement(number=5, height=21, previous=a_digest("another")), Verdict.CONTRADICTS),
            (a_statement(number=5, height=19, previous=LAST.digest), Verdict.CONTRADICTS),
            (a_statement(number=9, height=19), Verdict.CONTRADICTS),
        ],
        ids=[
            "the next",
            "the next of the same block",
            "one after a gap",
            "an older one",
            "another one by the same number",
            "the next of another history",
            "the next, of an older block",
            "a later one of an older block",
        ],
    )
    def test_beside_the_last_one(self, statement: Statement, verdict: Verdict) -> None:
        assert judge(LAST, statement, a_digest("its envelope")) is verdict

    def test_the_first_one_is_believed_whatever_its_number(self) -> None:
        assert judge(None, a_statement(number=17), a_digest("its envelope")) is Verdict.NEWER

    def test_the_same_again_is_known(self) -> None:
        assert judge(LAST, LAST.statement, LAST.digest) is Verdict.KNOWN


def an_order(**changes: Any) -> StandingOrder:
    order = {"participant": "annia", "right": "priority_purchase", "price_max": 50, "balance_min": 30}
    return StandingOrder.model_validate(order | changes)


def a_placed(**changes: Any) -> Placed:
    return Placed(**{"participant": "annia", "right": RightKind.PRIORITY_PURCHASE, "sequence": 7} | changes)


def due(statement: Statement, *placed: Placed, order: StandingOrder | None = None) -> bool:
    return bool(orders_due([order or an_order()], {p.key: p for p in placed}, statement))


def with_annia(height: int = 2, time_ms: int = EPOCH_MS, **changes: Any) -> Statement:
    """A statement in which annia has 120 tokens and holds nothing."""
    standing = a_standing(**{"rights": ()} | changes)
    return a_statement(standings=(standing,), height=height, time_ms=time_ms)


class TestOrders:
    """A standing order buys the right for the period to come, once, while the balance allows."""

    def test_one_that_can_be_afforded_buys(self) -> None:
        assert due(with_annia())

    def test_what_must_be_left_stays(self) -> None:
        assert due(with_annia(balance=80))
        assert not due(with_annia(balance=79))

    def test_nobody_buys_for_whom_the_statement_does_not_know(self) -> None:
        assert not due(with_annia(participant="borja"))

    def test_while_a_right_runs_the_next_one_is_bought(self) -> None:
        running = Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS - 1000, EPOCH_MS + 1)
        assert due(with_annia(rights=(running,)))

    def test_so_it_is_in_the_moment_when_one_begins(self) -> None:
        beginning = Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS, EPOCH_MS + 1000)
        assert due(with_annia(rights=(beginning,)))

    def test_who_holds_the_one_to_come_buys_no_other(self) -> None:
        running = Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS - 1000, EPOCH_MS + 1)
        to_come = Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS + 1, EPOCH_MS + 1000)
        assert not due(with_annia(rights=(running, to_come)))

    def test_one_that_has_run_out_does_not_count(self) -> None:
        right = Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS - 2, EPOCH_MS)
        assert due(with_annia(rights=(right,)))

    def test_nor_does_one_of_another_kind(self) -> None:
        right = Right(RightKind.PRIORITY_GENERATION, EPOCH_MS + 1, EPOCH_MS + 1000)
        assert due(with_annia(rights=(right,)))

    def test_nothing_is_bought_twice_before_the_first_has_its_receipt(self) -> None:
        assert not due(with_annia(height=10_000), a_placed())

    def test_nor_before_a_statement_is_newer_than_the_receipt(self) -> None:
        received = a_placed().received(height=5)
        assert not due(with_annia(height=5), received)
        assert due(with_annia(height=6), received)

    def test_one_that_was_refused_rests_for_a_day(self) -> None:
        refused = a_placed().refused(EPOCH_MS)
        assert not due(with_annia(height=99, time_ms=EPOCH_MS + REST_AFTER_REFUSAL_MS - 1), refused)
        assert due(with_annia(height=99, time_ms=EPOCH_MS + REST_AFTER_REFUSAL_MS), refused)

    def test_two_orders_of_one_participant_do_not_wait_for_each_other(self) -> None:
        assert due(with_annia(), a_placed(), order=an_order(right="priority_generation"))

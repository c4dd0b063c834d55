"""A transfer is ordered by a command and signed by the agent: once, whether it runs or not."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.outbox import wishes
from agent.outbox.books import Books
from agent.outbox.file import FILE_NAME
from agent.outbox.schema import VERSION
from agent.outbox.wishes import WISHES_MAX, SealAs, Wish, Wishes
from protocol.envelope import Envelope, seal
from protocol.errors import KeyUnavailable, OperatorError
from protocol.messages import MessageType
from protocol.transfer import Transfer
from tests.builders import REGION, a_key
from tests.integration.agent_world import Mosquitto, eventually, open_in
from tests.integration.test_agent_cli import este_agent
from tests.integration.test_agent_run import a_world

WISH = Wish("annia", "bert", 10, 2)


def a_seal() -> SealAs:
    return lambda type_, payload: seal(a_key(), region=REGION, type_=type_, payload=payload)


def signed(books: Books) -> list[Transfer]:
    """Everything in the outbox."""
    found = [books.envelope(entry.sequence) or b"" for entry in books.page(0, 1000)]
    return [Transfer.decode(Envelope.parse(data).payload) for data in found]


def test_a_wish_that_is_left_while_the_agent_runs_is_signed_once(tmp_path: Path, books: Books) -> None:
    wishes.leave(tmp_path, WISH)
    assert Wishes(books).sign_next(a_seal()) is not None
    assert Wishes(books).sign_next(a_seal()) is None
    assert [(t.sender, t.receiver, t.amount, t.fee) for t in signed(books)] == [("annia", "bert", 10, 2)]
    assert books.totals().records_signed == 1


def test_wishes_are_signed_in_the_order_in_which_they_were_left(tmp_path: Path, books: Books) -> None:
    for amount in (3, 1, 2):
        wishes.leave(tmp_path, Wish("annia", "bert", amount))
        Wishes(books)
    while Wishes(books).sign_next(a_seal()):
        pass
    assert [transfer.amount for transfer in signed(books)] == [3, 1, 2]


def test_a_wish_waits_while_the_key_does_not_sign(tmp_path: Path, books: Books) -> None:
    def broken(type_: MessageType, payload: bytes) -> bytes:
        raise KeyUnavailable("the chip does not answer")

    wishes.leave(tmp_path, WISH)
    with pytest.raises(KeyUnavailable):
        Wishes(books).sign_next(broken)
    assert books.last_signed() == 0
    assert Wishes(books).sign_next(a_seal()) is not None


def test_no_more_wishes_wait_than_their_bound(tmp_path: Path, books: Books) -> None:
    for _ in range(WISHES_MAX):
        wishes.leave(tmp_path, WISH)
    with pytest.raises(OperatorError, match="start the agent"):
        wishes.leave(tmp_path, WISH)


def test_where_no_agent_has_run_nothing_can_be_left(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="este-agent run"):
        wishes.leave(tmp_path, WISH)


def test_an_outbox_from_before_transfers_is_brought_up_to_date_by_its_agent(tmp_path: Path) -> None:
    open_in(tmp_path).file.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        for table in ("wish", "offer", "partner", "trade_wish", "ordered", "quote"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE device DROP COLUMN set_w")
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(OperatorError, match=f"version {VERSION}"):
        wishes.leave(tmp_path, WISH)
    books = open_in(tmp_path)
    wishes.leave(tmp_path, WISH)
    assert Wishes(books).sign_next(a_seal()) is not None
    books.file.close()


@pytest.mark.mosquitto
async def test_a_running_agent_signs_and_sends_what_a_command_orders(tmp_path: Path, broker: Mosquitto) -> None:
    async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
        await world.seen(records_received=1)
        order = ("transfer", "bert", "10", "--from", "annia", "--fee", "2", "--settings", world.home.settings)
        done = await asyncio.to_thread(este_agent, *order)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("10 tokens from annia to bert, with a fee of 2: the running agent signs it now\n")

        def sent() -> list[Transfer]:
            return [Transfer.decode(e.payload) for e in aggregator.chain if e.type == MessageType.TRANSFER]

        await eventually(lambda: bool(sent()), "the transfer")
        assert [(one.sender, one.receiver, one.amount, one.fee) for one in sent()] == [("annia", "bert", 10, 2)]


@pytest.mark.parametrize(
    "order",
    [
        ("bert", "0", "--from", "annia"),
        ("bert", "-5", "--from", "annia"),
        ("bert", "5"),
        ("annia", "5", "--from", "annia"),
    ],
)
def test_an_order_that_can_never_be_is_told_before_anything_is_left(tmp_path: Path, order: tuple[str, ...]) -> None:
    assert este_agent("transfer", *order, "--settings", tmp_path / "agent.yaml").returncode == 2

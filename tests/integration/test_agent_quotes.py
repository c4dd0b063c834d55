"""A quote is ordered by a command and signed by the agent: once, and taken back if somebody wants that."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.outbox import quotes
from agent.outbox.books import Books
from agent.outbox.file import FILE_NAME
from agent.outbox.quotes import QUOTES_MAX, Orders, unsigned
from agent.outbox.wishes import Wish
from agent.outbox.wishes import leave as leave_wish
from protocol.envelope import Envelope, seal
from protocol.errors import KeyUnavailable, OperatorError
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel, Side
from protocol.refusals import RefusalCode
from tests.builders import GATEWAY, REGION, a_key
from tests.integration.agent_world import Mosquitto, eventually, open_in
from tests.integration.test_agent_cli import este_agent
from tests.integration.test_agent_run import a_world

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def a_quote(**changes: Any) -> Quote:
    quote = Quote(
        link=unsigned(REGION, GATEWAY), participant="annia", meter="m-1", side=Side.SELL, start_ms=NOW_MS + HOUR_MS,
        quantity_wh=500, price_per_mwh=24_000,
    )  # fmt: skip
    return replace(quote, **changes)


def seal_of(type_: MessageType, payload: bytes) -> bytes:
    return seal(a_key(), region=REGION, type_=type_, payload=payload)


def sign_all(books: Books) -> list[Envelope]:
    """Let the agent sign all that was ordered; everything in the outbox."""
    while Orders(books).sign_next(seal_of) is not None:
        pass
    return [Envelope.parse(books.envelope(entry.sequence) or b"") for entry in books.page(0, 2000)]


def test_a_quote_that_is_left_is_signed_once_as_the_gateway_s_next_record(tmp_path: Path, books: Books) -> None:
    assert quotes.leave(tmp_path, a_quote(), NOW_MS) == 1
    (envelope,) = sign_all(books)
    signed = Quote.decode(envelope.payload)
    assert (envelope.type, signed.link.sequence, signed.link.author) == (MessageType.QUOTE, 1, GATEWAY)
    assert replace(signed, link=unsigned(REGION, GATEWAY)) == a_quote()
    assert len(sign_all(books)) == 1


def test_a_quote_that_was_signed_is_taken_back_by_its_digest_and_once(tmp_path: Path, books: Books) -> None:
    quotes.leave(tmp_path, a_quote(), NOW_MS)
    (envelope,) = sign_all(books)
    for _ in range(2):
        assert quotes.take_back(tmp_path, 1, NOW_MS).sequence == 1
        _, cancel = sign_all(books)
    assert cancel.type == MessageType.QUOTE_CANCEL
    assert QuoteCancel.decode(cancel.payload).quote == envelope.digest


def test_a_quote_that_was_not_signed_is_taken_back_without_a_word(tmp_path: Path, books: Books) -> None:
    quotes.leave(tmp_path, a_quote(), NOW_MS)
    assert quotes.take_back(tmp_path, 1, NOW_MS).sequence is None
    assert sign_all(books) == []
    with pytest.raises(OperatorError, match="number 1"):
        quotes.take_back(tmp_path, 1, NOW_MS)


def test_a_quote_waits_while_the_key_does_not_sign(tmp_path: Path, books: Books) -> None:
    def broken(type_: MessageType, payload: bytes) -> bytes:
        raise KeyUnavailable("the chip does not answer")

    quotes.leave(tmp_path, a_quote(), NOW_MS)
    with pytest.raises(KeyUnavailable):
        Orders(books).sign_next(broken)
    assert quotes.look(tmp_path, NOW_MS)[0].sequence is None
    assert len(sign_all(books)) == 1


def test_transfers_that_were_ordered_are_signed_first(tmp_path: Path, books: Books) -> None:
    quotes.leave(tmp_path, a_quote(), NOW_MS)
    leave_wish(tmp_path, Wish("annia", "bert", 10))
    assert [envelope.type for envelope in sign_all(books)] == [MessageType.TRANSFER, MessageType.QUOTE]


def test_quotes_are_forgotten_when_their_interval_begins_and_never_too_many(tmp_path: Path, books: Books) -> None:
    for _ in range(QUOTES_MAX):
        quotes.leave(tmp_path, a_quote(), NOW_MS)
    with pytest.raises(OperatorError, match="at most 1000 quotes"):
        quotes.leave(tmp_path, a_quote(), NOW_MS)
    later = a_quote(start_ms=NOW_MS + 2 * HOUR_MS)
    assert quotes.leave(tmp_path, later, NOW_MS + HOUR_MS) == QUOTES_MAX + 1
    assert [one.quote for one in quotes.look(tmp_path, NOW_MS + HOUR_MS)] == [later]


def test_a_quote_for_an_interval_that_has_begun_is_refused_at_home(tmp_path: Path, books: Books) -> None:
    with pytest.raises(OperatorError, match=r"--start: expected an instant to come \(it is 2026-09-21 14:13:20Z\)"):
        quotes.leave(tmp_path, a_quote(start_ms=NOW_MS), NOW_MS)
    assert sign_all(books) == []


def test_no_number_is_given_to_two_quotes(tmp_path: Path, books: Books) -> None:
    assert quotes.leave(tmp_path, a_quote(), NOW_MS) == 1
    quotes.take_back(tmp_path, 1, NOW_MS)
    assert quotes.leave(tmp_path, a_quote(), NOW_MS) == 2
    sign_all(books)
    with pytest.raises(OperatorError, match="number 2"):
        quotes.take_back(tmp_path, 2, NOW_MS + HOUR_MS)
    assert quotes.leave(tmp_path, a_quote(start_ms=NOW_MS + 2 * HOUR_MS), NOW_MS + HOUR_MS) == 3
    assert len(sign_all(books)) == 2


def test_a_quote_that_was_refused_is_told_as_refused(tmp_path: Path, books: Books) -> None:
    def told() -> tuple[str, RefusalCode | None]:
        (one,) = quotes.look(tmp_path, NOW_MS)
        return one.state, one.code

    quotes.leave(tmp_path, a_quote(), NOW_MS)
    assert told() == ("waiting", None)
    sign_all(books)
    assert told() == ("signed", None)
    books.set_aside(books.page(0, 1)[0], RefusalCode.UNKNOWN_METER, "m-1")
    assert told() == ("refused", RefusalCode.UNKNOWN_METER)


def test_an_outbox_from_before_quotes_is_brought_up_to_date_by_its_agent(tmp_path: Path) -> None:
    open_in(tmp_path).file.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db:
        for table in ("offer", "partner", "trade_wish", "ordered", "quote"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE device DROP COLUMN set_w")
        db.execute("PRAGMA user_version = 3")
    books = open_in(tmp_path)
    quotes.leave(tmp_path, a_quote(), NOW_MS)
    assert len(sign_all(books)) == 1
    books.file.close()


@pytest.mark.mosquitto
async def test_a_running_agent_signs_and_sends_what_commands_order(tmp_path: Path, broker: Mosquitto) -> None:
    begins = datetime.fromtimestamp(time.time() // 900 * 900 + 7200, tz=UTC).isoformat()
    async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
        await world.seen(records_received=1)

        async def order(*words: str) -> str:
            done = await asyncio.to_thread(este_agent, "quote", *words, "--settings", world.home.settings)
            assert done.returncode == 0, done.stderr
            return str(done.stdout)

        def sent(type_: MessageType) -> list[Envelope]:
            return [one for one in aggregator.chain if one.type == type_]

        sold = ("sell", "500", "--for", "annia", "--meter", "m-1", "--limit", "24000", "--start", begins)
        assert (await order(*sold)).startswith("quote 1 is ordered")
        await eventually(lambda: bool(sent(MessageType.QUOTE)), "the quote")
        (envelope,) = sent(MessageType.QUOTE)
        quote = Quote.decode(envelope.payload)
        assert (quote.participant, quote.side, quote.quantity_wh, quote.price_per_mwh) == (
            "annia",
            Side.SELL,
            500,
            24_000,
        )
        (row,) = json.loads(await order("list", "--json"))
        assert row["record"] == f"{quote.link.author}/{quote.link.sequence}"
        assert "annia sells 500 Wh at 24000" in await order("list")
        assert "is taken back" in await order("cancel", "1")
        await eventually(lambda: bool(sent(MessageType.QUOTE_CANCEL)), "the cancellation")
        assert QuoteCancel.decode(sent(MessageType.QUOTE_CANCEL)[0].payload).quote == envelope.digest


@pytest.mark.parametrize(
    "order",
    [
        ("sell", "0", "--for", "annia", "--meter", "m", "--limit", "1", "--start", "2027-01-01T12:00Z"),
        ("sell", "5", "--for", "an nia", "--meter", "m", "--limit", "1", "--start", "2027-01-01T12:00Z"),
        ("sell", "5", "--for", "annia", "--meter", "m", "--limit", "1", "--start", "2027-01-01T12:00"),
        ("sell", "5", "--for", "annia", "--meter", "m", "--limit", "1", "--start", "noon"),
        ("buy", "5", "--for", "annia", "--meter", "m", "--limit", "-1", "--start", "2027-01-01T12:00Z"),
        ("buy", "5", "--for", "annia", "--meter", "m", "--limit", "1", "--start", "2027-01-01T12:00Z",
         "--in-force", "never"),
        ("cancel", "0"),
    ],
    ids=["nothing", "no name", "no time zone", "no instant", "below nothing", "no time in force", "no number"],
)  # fmt: skip
def test_an_order_that_can_never_be_is_told_before_anything_is_left(tmp_path: Path, order: tuple[str, ...]) -> None:
    assert este_agent("quote", *order, "--settings", tmp_path / "agent.yaml").returncode == 2

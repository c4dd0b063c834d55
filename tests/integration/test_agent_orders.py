"""A channel and an exchange are ordered by a command and signed by the agent, once, behind the transfers that wait."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.outbox import wishes
from agent.outbox.books import Books
from agent.outbox.wishes import UNLINKED, WISHES_MAX, Wish, Wishes
from protocol.channel import ChannelPurchase
from protocol.envelope import Envelope
from protocol.errors import KeyUnavailable, OperatorError
from protocol.exchange import Exchange, ExchangeKind
from protocol.messages import MessageType
from tests.builders import GATEWAY, REGION, a_channel, an_exchange
from tests.integration.agent_world import Mosquitto, eventually
from tests.integration.test_agent_cli import este_agent
from tests.integration.test_agent_run import a_world
from tests.integration.test_agent_transfers import a_seal

CHANNEL = a_channel(link=UNLINKED)
EXCHANGE = an_exchange(link=UNLINKED, fee=2)


def test_orders_are_signed_once_each_as_they_were_left_with_the_gateway_s_own_links(
    tmp_path: Path, books: Books
) -> None:
    for wish in (CHANNEL, EXCHANGE, Wish("annia", "bert", 10)):
        wishes.leave(tmp_path, wish)
    while Wishes(books).sign_next(a_seal()):
        pass
    envelopes = [Envelope.parse(books.envelope(entry.sequence) or b"") for entry in books.page(0, 10)]
    assert [one.type for one in envelopes] == [MessageType.TRANSFER, MessageType.CHANNEL, MessageType.EXCHANGE]
    channel, exchange = ChannelPurchase.decode(envelopes[1].payload), Exchange.decode(envelopes[2].payload)
    assert (channel, exchange) == (replace(CHANNEL, link=channel.link), replace(EXCHANGE, link=exchange.link))
    assert (channel.link.region, channel.link.author, channel.link.sequence) == (REGION, GATEWAY, 2)
    assert exchange.link.previous == envelopes[1].digest


def test_an_order_waits_while_the_key_does_not_sign(tmp_path: Path, books: Books) -> None:
    def broken(type_: MessageType, payload: bytes) -> bytes:
        raise KeyUnavailable("the chip does not answer")

    wishes.leave(tmp_path, EXCHANGE)
    with pytest.raises(KeyUnavailable):
        Wishes(books).sign_next(broken)
    assert Wishes(books).sign_next(a_seal()) is not None
    assert Wishes(books).sign_next(a_seal()) is None


def test_orders_and_transfers_have_one_bound(tmp_path: Path, books: Books) -> None:
    for _ in range(WISHES_MAX - 1):
        wishes.leave(tmp_path, CHANNEL)
    wishes.leave(tmp_path, Wish("annia", "bert", 1))
    with pytest.raises(OperatorError, match="start the agent"):
        wishes.leave(tmp_path, EXCHANGE)


@pytest.mark.mosquitto
async def test_a_running_agent_signs_and_sends_what_the_commands_order(tmp_path: Path, broker: Mosquitto) -> None:
    window = ("--from", "2026-11-20T17:00:00Z", "--until", "2026-11-20T18:00:00+00:00")
    async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
        await world.seen(records_received=1)
        for order in (
            ("channel", "b1", "5000", "--for", "annia", *window, "--price-max", "50"),
            ("exchange", "sell", "10", "--for", "annia", "--money", "20", "--fee", "1"),
        ):
            done = await asyncio.to_thread(este_agent, *order, "--settings", world.home.settings)
            assert done.returncode == 0, done.stderr
            assert "the running agent signs it now\n" in done.stdout

        def sent() -> dict[str, Envelope]:
            return {e.type: e for e in aggregator.chain if e.type in ("channel", "exchange")}

        await eventually(lambda: len(sent()) == 2, "both orders")
        channel = ChannelPurchase.decode(sent()["channel"].payload)
        assert (channel.branch, channel.power_w, channel.end_ms - channel.start_ms) == ("b1", 5000, 3_600_000)
        exchange = Exchange.decode(sent()["exchange"].payload)
        assert (exchange.kind, exchange.tokens, exchange.money_limit, exchange.fee) == (ExchangeKind.SELL, 10, 20, 1)


WINDOW = ("--from=2026-11-20T17:00:00Z", "--until=2026-11-20T18:00:00Z", "--price-max=5")


@pytest.mark.parametrize(
    "order",
    [
        ("channel", "b1", "0", "--for=annia", *WINDOW),
        ("channel", "b/1", "5", "--for=annia", *WINDOW),
        ("channel", "b1", "5", "--for=annia", WINDOW[0], "--until=2026-11-20T17:00:00Z", WINDOW[2]),
        ("channel", "b1", "5", "--for=annia", WINDOW[0], "--until=2026-11-20T18:00:00", WINDOW[2]),
        ("channel", "b1", "5", "--for=annia", WINDOW[0], "--until=tonight", WINDOW[2]),
        ("exchange", "gamble", "5", "--for=annia", "--money=1"),
        ("exchange", "sell", "0", "--for=annia", "--money=1"),
        ("exchange", "sell", "5", "--for=an/nia", "--money=1"),
        ("exchange", "sell", "5", "--money=1"),
    ],
)
def test_an_order_that_can_never_be_is_told_before_anything_is_left(tmp_path: Path, order: tuple[str, ...]) -> None:
    assert este_agent(*order, "--settings", tmp_path / "agent.yaml").returncode == 2

"""What aggregator and gateway tell each other beside batches: receipts, refusals, statements, purchases; and heads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from protocol.canonical import Value, encode
from protocol.channel import ChannelPurchase
from protocol.checkpoint import HEAD_BYTES_MAX, BlockHead, ChainName, LogHead
from protocol.crypto import digest_of
from protocol.errors import EncodingError, OversizedError
from protocol.exchange import Exchange
from protocol.limits import LIMITS_MAX, Direction, Limit, Tier, Why
from protocol.link import NO_RECORD, Link
from protocol.messages import (
    DETAIL_MAX,
    MESSAGE_BYTES_MAX,
    PARTICIPANTS_PER_GATEWAY_MAX,
    RECORDS_PER_RECEIPT_MAX,
    MessageType,
    Receipt,
    Received,
    Refusal,
    Right,
    RightKind,
    Statement,
)
from protocol.purchase import Purchase
from protocol.refusals import RefusalCode
from protocol.transfer import Transfer
from tests.builders import (
    a_block_head,
    a_channel,
    a_digest,
    a_link,
    a_purchase,
    a_receipt,
    a_refusal,
    a_standing,
    a_statement,
    a_transfer,
    an_exchange,
)
from tests.unit.protocol.mutation import Path, paths_in, with_field, without_field

LIMITS = (
    Limit("heat-pump", 1000),
    Limit("car", 0, "b1"),
    Limit("roof", 500, direction=Direction.FEED_IN),
    Limit("battery", 400, "b1", Direction.TAKE, Why(1_100_000, Tier.COMMON, 50_000)),
)
"""The first two as statements said it before limits had a direction."""
RIGHTS = (Right(RightKind.PRIORITY_PURCHASE, 1, 2), Right(RightKind.CHANNEL_USE, 3, 4, "b1", 5))


@dataclass(frozen=True)
class Message:
    """One kind of message, and what is wrong with its fields."""

    value: Any
    decode: Callable[[bytes], Any]
    size_max: int
    wrong: dict[str, tuple[Path, Value]]
    may_be: tuple[tuple[Path, Value], ...] = ()
    """Where another type of value is right after all."""
    may_miss: tuple[Path, ...] = ()
    """What need not be there."""

    @property
    def spelled(self) -> bytes:
        spelled: bytes = self.value.encode()
        return spelled


MESSAGES = {
    "receipt": Message(
        value=a_receipt(),
        decode=Receipt.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "a region with a space": ((1,), "sun vale"),
            "a gateway with a plus": ((2,), "gw+1"),
            "a negative height": ((3,), -1),
            "a height beyond 63 bits": ((3,), 2**63),
            "records that are a map": ((4,), {}),
            "a record of two parts": ((4, 0), [1, bytes(32)]),
            "a digest of 31 bytes": ((4, 0, 1), bytes(31)),
            "a negative index": ((4, 0, 2), -1),
            "too many records": ((4,), [[1, bytes(32), 0]] * (RECORDS_PER_RECEIPT_MAX + 1)),
        },
        may_be=(((4,), []),),
        may_miss=((4, 0),),
    ),
    "refusal": Message(
        value=a_refusal(),
        decode=Refusal.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "no region": ((1,), ""),
            "a gateway of bytes": ((2,), b"gw-1"),
            "a digest of 33 bytes": ((3,), bytes(33)),
            "a negative sequence": ((4,), -1),
            "a code that does not exist": ((5,), 9999),
            "a code of 0": ((5,), 0),
            "a negative code": ((5,), -1),
            "a negative expectation": ((6,), -1),
            "a detail without end": ((7,), "x" * (DETAIL_MAX + 1)),
        },
        may_be=(((7,), ""),),
    ),
    "statement": Message(
        value=a_statement(standings=(a_standing(limits=LIMITS, rights=RIGHTS),)),
        decode=Statement.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "a region that ends with a dot": ((1,), "sunvale."),
            "a gateway without name": ((2,), ""),
            "a negative number": ((3,), -1),
            "a previous digest of text": ((4,), "p" * 32),
            "a negative height": ((5,), -1),
            "a time before 1970": ((6,), -1),
            "a time beyond 63 bits": ((6,), 2**63),
            "too many standings": ((7,), [{}] * (PARTICIPANTS_PER_GATEWAY_MAX + 1)),
            "a participant without name": ((7, 0, 1), ""),
            "a balance beyond 64 bits": ((7, 0, 2), -(2**63)),
            "a balance of null": ((7, 0, 2), None),
            "a factor of text": ((7, 0, 3), "0.5"),
            "a factor beyond 64 bits": ((7, 0, 4), 2**63),
            "a negative rank": ((7, 0, 5), -1),
            "a limit of one part": ((7, 0, 6, 0), ["heat-pump"]),
            "a device with a slash": ((7, 0, 6, 0, 0), "heat/pump"),
            "a negative limit": ((7, 0, 6, 0, 1), -1),
            "a limit of four parts": ((7, 0, 6, 1), ["car", 0, "b1", 1]),
            "a limit for the sake of no line": ((7, 0, 6, 1, 2), ""),
            "too many limits": ((7, 0, 6), [["d", 1]] * (LIMITS_MAX + 1)),
            "a limit that goes no way": ((7, 0, 6, 2, 2), 3),
            "a limit for a line and no reason": ((7, 0, 6, 2), ["roof", 500, 2, "b1"]),
            "a limit for no line with a reason": ((7, 0, 6, 3, 3), ""),
            "a limit in no tier": ((7, 0, 6, 3, 5), 5),
            "a limit that leaves more than all": ((7, 0, 6, 3, 6), 1_000_001),
            "a right that does not exist": ((7, 0, 7, 0, 0), 9),
            "a channel of no line": ((7, 0, 7, 0, 0), 3),
            "a channel of an unnamed line": ((7, 0, 7, 1, 3), ""),
            "a channel of negative power": ((7, 0, 7, 1, 4), -1),
            "a line for a right that needs none": ((7, 0, 7, 1, 0), 1),
            "a right of number 0": ((7, 0, 7, 0, 0), 0),
            "a right from before 1970": ((7, 0, 7, 0, 1), -1),
            "a right of two parts": ((7, 0, 7, 0), [1, 2]),
            "too many rights": ((7, 0, 7), [[1, 2, 3]] * 65),
        },
        may_be=(
            *(((7, 0, field), None) for field in (3, 4)),
            *(((7, 0, field), -(2**40)) for field in (2, 3, 4)),
            *((path, []) for path in ((7,), (7, 0, 6), (7, 0, 7))),
        ),
        may_miss=(
            (7, 0),
            *((7, 0, 6, place) for place in range(len(LIMITS))),
            *((7, 0, 6, 1, 2), (7, 0, 6, 2, 1), (7, 0, 6, 2, 2)),  # then it is a limit as they were before
            *((7, 0, 7, 0), (7, 0, 7, 1)),
        ),
    ),
    "purchase": Message(
        value=a_purchase(fee=3),
        decode=Purchase.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "a region of numbers": ((1,), 5),
            "an author with a hash sign": ((2,), "gw#1"),
            "a negative sequence": ((3,), -1),
            "a previous digest that is missing": ((4,), None),
            "a participant without name": ((5,), ""),
            "a right that does not exist": ((6,), 9),
            "a right by name": ((6,), "priority_purchase"),
            "a negative price": ((7,), -1),
            "a price beyond 63 bits": ((7,), 2**63),
            "a fee of nothing": ((8,), 0),
            "a negative fee": ((8,), -1),
            "a fee beyond 63 bits": ((8,), 2**63),
        },
        may_miss=((8,),),
    ),
    "transfer": Message(
        value=a_transfer(fee=3),
        decode=Transfer.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "a region of numbers": ((1,), 5),
            "an author with a hash sign": ((2,), "gw#1"),
            "a negative sequence": ((3,), -1),
            "a previous digest that is missing": ((4,), None),
            "a sender without name": ((5,), ""),
            "a receiver without name": ((6,), ""),
            "an amount of nothing": ((7,), 0),
            "a negative amount, which would take": ((7,), -1),
            "an amount beyond 63 bits": ((7,), 2**63),
            "a fee of nothing": ((8,), 0),
            "a negative fee": ((8,), -1),
        },
        may_miss=((8,),),
    ),
    "channel": Message(
        value=a_channel(fee=3),
        decode=ChannelPurchase.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "an author with a hash sign": ((2,), "gw#1"),
            "a participant without name": ((5,), ""),
            "a line with a slash": ((6,), "b/1"),
            "no power": ((7,), 0),
            "a negative power": ((7,), -1),
            "more power than there is": ((7,), 10**12 + 1),
            "a fee of nothing": ((8,), 0),
            "a window from before 1970": ((9,), -1),
            "a window beyond 63 bits": ((10,), 2**63),
            "a negative price": ((11,), -1),
        },
        may_miss=((8,),),
    ),
    "exchange": Message(
        value=an_exchange(fee=3),
        decode=Exchange.decode,
        size_max=MESSAGE_BYTES_MAX,
        wrong={
            "an author with a hash sign": ((2,), "gw#1"),
            "a participant without name": ((5,), ""),
            "a kind that does not exist": ((6,), 5),
            "a kind of number 0": ((6,), 0),
            "no tokens": ((7,), 0),
            "negative tokens": ((7,), -1),
            "tokens beyond 63 bits": ((7,), 2**63),
            "a fee of nothing": ((8,), 0),
            "a negative limit": ((9,), -1),
        },
        may_miss=((8,),),
    ),
    "block head": Message(
        value=a_block_head(),
        decode=BlockHead.decode,
        size_max=HEAD_BYTES_MAX,
        wrong={
            "a region without name": ((1,), ""),
            "a negative height": ((2,), -1),
            "a time before 1970": ((3,), -1),
            "a previous digest of 31 bytes": ((4,), bytes(31)),
            "four logs": ((5,), [[0, bytes(32)]] * 4),
            "six logs": ((5,), [[0, bytes(32)]] * 6),
            "no logs": ((5,), []),
            "a log of one part": ((5, 0), [0]),
            "a negative size": ((5, 0, 0), -1),
            "a root of 31 bytes": ((5, 4, 1), bytes(31)),
            "a state root of null": ((6,), None),
            "entries of text": ((7,), "e" * 32),
        },
    ),
}

WRONG = {
    f"{kind}: {about}": (message, *wrong)
    for kind, message in MESSAGES.items()
    for about, wrong in message.wrong.items()
}
PATHS = {f"{kind} {path}": (message, path) for kind, message in MESSAGES.items() for path in paths_in(message.spelled)}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_survives_being_written_and_read(message: Message) -> None:
    assert message.decode(message.spelled) == message.value
    assert message.decode(message.spelled).encode() == message.spelled


@pytest.mark.parametrize(("message", "path", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_message_out_of_its_bounds_is_refused(message: Message, path: Path, value: Value) -> None:
    with pytest.raises(EncodingError):
        message.decode(with_field(message.spelled, path, value))


@pytest.mark.parametrize(("message", "path"), PATHS.values(), ids=PATHS.keys())
def test_no_field_may_be_of_another_type(message: Message, path: Path) -> None:
    for other in (None, True, [], {}, "", b"", -(2**40)):
        if (path, other) not in message.may_be or type(other) is bool:
            with pytest.raises(EncodingError):
                message.decode(with_field(message.spelled, path, other))


@pytest.mark.parametrize(("message", "path"), PATHS.values(), ids=PATHS.keys())
def test_no_field_may_be_missing(message: Message, path: Path) -> None:
    if path not in message.may_miss:
        with pytest.raises(EncodingError):
            message.decode(without_field(message.spelled, path))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_no_field_may_be_added(message: Message) -> None:
    with pytest.raises(EncodingError):
        message.decode(with_field(message.spelled, (8,), 0))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_the_size_of_a_message_is_bounded(message: Message) -> None:
    with pytest.raises(OversizedError):
        message.decode(bytes(message.size_max + 1))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_of_another_kind_is_refused(message: Message) -> None:
    for other in MESSAGES.values():
        if other is not message:
            with pytest.raises(EncodingError):
                message.decode(other.spelled)


def test_a_receipt_may_name_as_many_records_as_its_bound_says() -> None:
    records = tuple(Received(n, a_digest(str(n)), n) for n in range(RECORDS_PER_RECEIPT_MAX))
    assert Receipt.decode(a_receipt(records=records).encode()).records == records


def test_a_long_detail_is_cut_and_not_refused() -> None:
    assert Refusal.decode(a_refusal(detail="x" * 1000).encode()).detail == "x" * DETAIL_MAX


@pytest.mark.parametrize("code", RefusalCode, ids=lambda code: code.name)
def test_every_refusal_code_travels(code: RefusalCode) -> None:
    assert Refusal.decode(a_refusal(code=code).encode()).code is code


@pytest.mark.parametrize("kind", RightKind, ids=lambda kind: kind.name)
def test_every_right_travels(kind: RightKind) -> None:
    assert Purchase.decode(a_purchase(right=kind).encode()).right is kind
    right = Right(kind, 1, 2, "b1", 5) if kind is RightKind.CHANNEL_USE else Right(kind, 1, 2)
    statement = a_statement(standings=(a_standing(rights=(right,)),))
    assert Statement.decode(statement.encode()).standings[0].rights == (right,)


@pytest.mark.parametrize(("balance", "restricted"), [(-1, True), (0, False), (1, False)])
def test_whoever_owes_tokens_is_restricted(balance: int, restricted: bool) -> None:
    assert a_standing(balance=balance).is_restricted is restricted


def test_a_right_has_the_number_that_it_has_on_the_wire() -> None:
    assert {kind.name: kind.value for kind in RightKind} == {
        "PRIORITY_GENERATION": 1,
        "PRIORITY_PURCHASE": 2,
        "CHANNEL_USE": 3,
    }


def test_a_chain_has_the_number_that_it_has_on_the_wire() -> None:
    assert [(chain.name, chain.value) for chain in ChainName] == [
        *(("DATA", 1), ("ASSET", 2), ("ANALYSIS", 3), ("OPERATION", 4), ("PAYMENT", 5)),
    ]


def test_a_message_type_is_a_word_that_an_envelope_can_carry() -> None:
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)?", type_.value) for type_ in MessageType)


def test_a_link_is_the_first_four_fields() -> None:
    link = a_link(sequence=5, previous=a_digest("record 4"))
    assert link.to_fields() == {1: link.region, 2: link.author, 3: 5, 4: link.previous}
    assert Link.from_fields(link.to_fields()) == link


@pytest.mark.parametrize("value", [[], "x", 7, None, {}, {1: "r", 2: "a", 3: 1}, {1: "r", 2: "a", 4: bytes(32)}])
def test_what_is_no_link_is_refused(value: object) -> None:
    with pytest.raises(EncodingError):
        Link.from_fields(value)
    assert not any(NO_RECORD) and len(NO_RECORD) == 32


def test_a_block_is_known_by_the_digest_of_its_head() -> None:
    assert a_block_head().digest == digest_of(a_block_head().encode())
    assert a_block_head().digest != a_block_head(height=3).digest


def test_a_head_tells_how_far_each_chain_has_grown() -> None:
    head = a_block_head()
    for chain in ChainName:
        assert head.log(chain) == LogHead(size=chain.value, root=a_digest(chain.name))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_message_is_a_map_and_nothing_else(message: Message) -> None:
    for other in (0, b"", "", [], None, {}):
        with pytest.raises(EncodingError):
            message.decode(encode(other))

"""Every message: what is written is read back, what is read has one spelling, and rubbish ends in one kind of error."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.batch import INSTANT_MAX, Batch, Clock, ClockState, MeterBlock
from protocol.canonical import decode
from protocol.channel import POWER_MAX_W, ChannelPurchase
from protocol.checkpoint import BlockHead, LogHead
from protocol.contract import CARRIERS
from protocol.duty import Duty
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError, EsteError
from protocol.exchange import Exchange, ExchangeKind
from protocol.fields import UINT_MAX
from protocol.limits import Direction, Limit, Tier, Why
from protocol.link import Link
from protocol.messages import Receipt, Received, Refusal, Right, RightKind, Standing, Statement
from protocol.purchase import Purchase
from protocol.readings import Readings
from protocol.refusals import RefusalCode
from protocol.topics import Kind, Topic, parse
from protocol.transfer import Transfer
from protocol.units import ENERGY_REGISTERS, PPM, Quantity
from tests.builders import (
    a_batch,
    a_block_head,
    a_channel,
    a_key,
    a_meter_block_in_parts,
    a_purchase,
    a_receipt,
    a_refusal,
    a_sealed,
    a_statement,
    a_transfer,
    an_exchange,
)

names = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?", fullmatch=True)
digests = st.binary(min_size=32, max_size=32)
uints = st.integers(0, 100) | st.integers(0, UINT_MAX)
signed = st.integers(-100, 100) | st.integers(-UINT_MAX, UINT_MAX)
uint31s = st.integers(0, 100) | st.integers(0, 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)
links = st.builds(Link, names, names, uints, digests)
clocks = st.builds(
    Clock, st.sampled_from(ClockState), st.integers(0, 86_400_000), st.text(max_size=32), st.integers(0, INSTANT_MAX)
)


ENERGY = set(ENERGY_REGISTERS)
energy = st.sampled_from(ENERGY_REGISTERS)


@st.composite
def parts_of(draw: st.DrawFn, told: int) -> bytes:
    """Which of a few requests brought each quantity; mostly one brought all."""
    requests = draw(st.integers(1, max(1, min(told, 3))))
    if requests == 1:
        return b""
    others = draw(st.lists(st.integers(0, requests - 1), min_size=told - requests, max_size=told - requests))
    return bytes(draw(st.permutations([*range(requests), *others])))


@st.composite
def some_readings(draw: st.DrawFn, quantities: Collection[Quantity], told: int, first_max_ms: int) -> Readings:
    """A table of up to five readings of so many quantities, energy registers among them."""
    count = draw(st.integers(1, 5))

    def column(elements: st.SearchStrategy[int]) -> list[int]:
        return draw(st.lists(elements, min_size=count, max_size=count))

    starts = sorted(draw(st.sets(st.integers(1, 2**31 - 1), min_size=count - 1, max_size=count - 1)))
    parts = draw(parts_of(told))
    cuts = 2 * max(parts, default=0)
    times = [sorted(draw(st.lists(uint31s, min_size=cuts + 1, max_size=cuts + 1))) for _ in range(count)]
    *gaps, durations = zip(*times, strict=True)
    return Readings.of(
        first_ms=draw(st.integers(0, first_max_ms)),
        starts_ms=[0, *starts],
        durations_ms=durations,
        quality=column(st.integers(0, 3)),
        columns={quantity: column(st.integers(-(2**31), 2**31 - 1)) for quantity in quantities},
        parts=parts,
        gaps_ms=gaps,
    )


@st.composite
def slow_readings(draw: st.DrawFn, block: MeterBlock) -> Readings | None:
    """Some of what the block does not tell, read before its last reading began."""
    others = sorted(set(Quantity) - ENERGY - set(block.quantities))
    quantities = draw(st.sets(st.sampled_from(others))) if others else set()
    last_ms = block.first_ms + block.starts_ms[-1]
    slow = draw(some_readings(quantities, len(quantities), INSTANT_MAX)) if quantities else None
    return slow if slow is not None and slow.first_ms + slow.starts_ms[-1] <= last_ms else None


@st.composite
def meter_blocks(draw: st.DrawFn) -> MeterBlock:
    quantities = draw(st.sets(st.sampled_from(sorted(set(Quantity) - ENERGY))))
    registers = draw(st.sets(energy))
    readings = draw(some_readings(quantities, len(quantities) + len(registers), INSTANT_MAX))
    register_bytes = 2 * len(readings) * draw(st.integers(1, 4))
    block = MeterBlock.around(
        readings,
        meter=draw(names),
        profile=draw(digests),
        serial=draw(st.text(max_size=32)),
        words={q: draw(st.binary(min_size=register_bytes, max_size=register_bytes)) for q in registers},
    )
    return replace(block, slow=draw(slow_readings(block)))


batches = st.builds(
    Batch,
    links,
    st.binary(min_size=16, max_size=16),
    clocks,
    st.lists(meter_blocks(), min_size=1, max_size=4, unique_by=lambda block: block.meter).map(
        lambda blocks: tuple(sorted(blocks, key=lambda block: block.meter))
    ),
)
receipts = st.builds(
    Receipt, names, names, uints, st.lists(st.builds(Received, uints, digests, uints), max_size=5).map(tuple)
)
refusals = st.builds(Refusal, names, names, digests, uints, st.sampled_from(RefusalCode), uints, st.text(max_size=300))
periods = st.sampled_from([RightKind.PRIORITY_GENERATION, RightKind.PRIORITY_PURCHASE])
rights = st.builds(Right, periods, uints, uints) | st.builds(
    Right, st.just(RightKind.CHANNEL_USE), uints, uints, names, uints
)
whys = st.builds(Why, uints, st.sampled_from(Tier), st.integers(0, PPM))
ways = st.sampled_from(Direction)
limits = (
    st.builds(Limit, names, uints, st.just("") | names)
    | st.builds(Limit, names, uints, st.just(""), ways)
    | st.builds(Limit, names, uints, names, ways, whys)
)
duties = st.lists(
    st.builds(Duty, st.sampled_from(CARRIERS), uints, uints, uints),
    max_size=8,
    unique_by=lambda duty: (duty.carrier, duty.until_ms),
).map(lambda found: tuple(sorted(found, key=lambda duty: (CARRIERS.index(duty.carrier), duty.until_ms))))
standings = st.builds(
    Standing,
    names,
    signed,
    st.none() | signed,
    st.none() | signed,
    uints,
    st.lists(limits, max_size=3).map(tuple),
    st.lists(rights, max_size=3).map(tuple),
    duties=duties,
)
statements = st.builds(
    Statement, names, names, uints, digests, uints, uints, st.lists(standings, max_size=4).map(tuple)
)
purchases = st.builds(Purchase, links, names, st.sampled_from(RightKind), uints, uints)
channels = st.builds(
    ChannelPurchase,
    link=links,
    participant=names,
    branch=names,
    power_w=st.integers(1, POWER_MAX_W),
    start_ms=uints,
    end_ms=uints,
    price_max=uints,
    fee=uints,
)
exchanges = st.builds(
    Exchange,
    link=links,
    participant=names,
    kind=st.sampled_from(ExchangeKind),
    tokens=uints.filter(bool),
    money_limit=uints,
    fee=uints,
)
transfers = st.builds(Transfer, links, names, names, uints.filter(bool), uints)
heads = st.builds(
    BlockHead,
    names,
    uints,
    uints,
    digests,
    st.lists(st.builds(LogHead, uints, digests), min_size=5, max_size=5).map(tuple),
    digests,
    digests,
)

MESSAGES = st.one_of(batches, receipts, refusals, statements, purchases, transfers, channels, exchanges, heads)

DECODERS: dict[str, Callable[[bytes], Any]] = {
    "canonical": lambda data: decode(data, size_max=1 << 20),
    "envelope": Envelope.parse,
    "batch": Batch.decode,
    "batch with parts": Batch.decode,
    "receipt": Receipt.decode,
    "refusal": Refusal.decode,
    "statement": Statement.decode,
    "purchase": Purchase.decode,
    "transfer": Transfer.decode,
    "channel": ChannelPurchase.decode,
    "exchange": Exchange.decode,
    "block head": BlockHead.decode,
}

VALID = {
    "canonical": a_statement().encode(),
    "envelope": a_sealed(),
    "batch": a_batch().encode(),
    "batch with parts": a_batch(meters=(a_meter_block_in_parts(),)).encode(),
    "receipt": a_receipt().encode(),
    "refusal": a_refusal().encode(),
    "statement": a_statement().encode(),
    "purchase": a_purchase(fee=3).encode(),
    "transfer": a_transfer(fee=3).encode(),
    "channel": a_channel(fee=3).encode(),
    "exchange": an_exchange(fee=3).encode(),
    "block head": a_block_head().encode(),
}


@given(MESSAGES)
def test_a_message_is_read_back_as_it_was_written(message: Any) -> None:
    read = type(message).decode(message.encode())
    assert read == message
    assert read.encode() == message.encode()


@pytest.mark.parametrize("kind", DECODERS)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(kind: str, data: bytes) -> None:
    try:
        DECODERS[kind](data)
    except EncodingError:
        return
    assert kind == "canonical", "nobody guesses a message"


@st.composite
def slipped(draw: st.DrawFn, spelled: bytes) -> bytes:
    """The bytes with one to three slips: a byte changed, left out, put in, or a stretch cut."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(spelled) - 1)))
        match draw(st.sampled_from(["change", "drop", "insert", "cut"])):
            case "change":
                spelled = spelled[:at] + bytes([draw(st.integers(0, 255))]) + spelled[at + 1 :]
            case "drop":
                spelled = spelled[:at] + spelled[at + 1 :]
            case "insert":
                spelled = spelled[:at] + draw(st.binary(min_size=1, max_size=3)) + spelled[at:]
            case _:
                spelled = spelled[:at] + spelled[at + draw(st.integers(0, 40)) :]
    return spelled


@pytest.mark.parametrize("kind", [kind for kind in DECODERS if kind not in ("canonical", "envelope")])
@given(data=st.data())
def test_a_message_with_a_slip_is_refused_or_is_the_one_spelling_of_what_it_says(
    kind: str, data: st.DataObject
) -> None:
    spelled = data.draw(slipped(VALID[kind]))
    try:
        message = DECODERS[kind](spelled)
    except EncodingError:
        return
    assert message.encode() == spelled


@given(st.data())
def test_an_envelope_with_a_slip_is_never_accepted(data: st.DataObject) -> None:
    spelled = data.draw(slipped(VALID["envelope"]).filter(lambda spelled: spelled != VALID["envelope"]))
    with pytest.raises(EsteError):
        Envelope.parse(spelled).verify(a_key().public_key, "sunvale")


@given(names, names, st.binary(max_size=500), st.integers(1, 50))
def test_whatever_is_sealed_opens_for_its_region_and_its_key(
    region: str, type_: str, payload: bytes, number: int
) -> None:
    key = a_key(number)
    envelope = Envelope.parse(seal(key, region=region, type_=type_, payload=payload))
    envelope.verify(key.public_key, region)
    assert (envelope.key_id, envelope.type, envelope.payload) == (key.public_key.thumbprint, type_, payload)


@given(names, names, st.sampled_from(Kind))
def test_a_topic_is_read_back_as_it_was_written(region: str, name: str, kind: Kind) -> None:
    assert parse(str(Topic(region, name, kind))) == Topic(region, name, kind)


@given(st.text(max_size=60) | st.text("este/1+#gw-record", max_size=40))
def test_any_text_is_a_topic_or_refused_in_one_way(text: str) -> None:
    try:
        topic = parse(text)
    except EncodingError:
        return
    assert str(topic) == text

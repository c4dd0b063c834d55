"""Things that are valid by default, so that a test says only what it breaks.

`a_batch()` is a batch that every decoder and every chain accepts; `a_batch(boot_id=bytes(16))` differs in one thing.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.channel import ChannelPurchase
from protocol.checkpoint import BlockHead, ChainName, LogHead
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import Envelope, seal
from protocol.exchange import Exchange, ExchangeKind
from protocol.limits import Limit
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType, Receipt, Received, Refusal, Right, RightKind, Standing, Statement
from protocol.purchase import Purchase
from protocol.readings import Readings
from protocol.refusals import RefusalCode
from protocol.transfer import Transfer
from protocol.units import Quantity

REGION = "sunvale"
GATEWAY = "gw-1"
METER = "m-1"
EPOCH_MS = 1_750_000_000_000
"""UTC at the zero of the boot's clock: 2025-06-15, 15:06:40."""


@cache
def a_key(number: int = 1) -> SoftwareKey:
    """The key with this secret number: the same in every run, different for every number."""
    return SoftwareKey.from_secret(number)


def a_digest(about: str = "something") -> bytes:
    """A digest that tells itself apart from others."""
    return digest_of(about.encode())


def a_link(**changes: Any) -> Link:
    """The first record of a gateway."""
    return replace(Link(region=REGION, author=GATEWAY, sequence=1, previous=NO_RECORD), **changes)


def a_clock(**changes: Any) -> Clock:
    """A clock that may be believed."""
    return replace(Clock(state=ClockState.SYNCHRONIZED, error_ms=4, source="kernel", epoch_ms=EPOCH_MS), **changes)


def float_words(kilowatt_hours: Sequence[float]) -> bytes:
    """Energy registers of a meter that counts kilowatt-hours in floats, as an Eastron does."""
    return struct.pack(f">{len(kilowatt_hours)}f", *kilowatt_hours)


COLUMNS = ("first_ms", "starts_ms", "durations_ms", "quality", "columns", "parts", "gaps_ms")
"""Of a meter block, what its table is built from."""


def a_meter_block(*, count: int = 3, **changes: Any) -> MeterBlock:
    """`count` readings, a second apart, of a house that uses 3,600 W: one watt-hour a second."""
    default: dict[str, Any] = {
        "meter": METER,
        "profile": a_digest("eastron_sdm630"),
        "serial": "17041234",
        "first_ms": 60_000,
        "starts_ms": range(0, count * 1000, 1000),
        "durations_ms": [40] * count,
        "quality": [0] * count,
        "columns": {
            Quantity.ACTIVE_POWER_W: [3600] * count,
            Quantity.VOLTAGE_L1_MV: [230_000 + n for n in range(count)],
        },
        "words": {
            Quantity.IMPORTED_WH: float_words([1 + n / 1000 for n in range(count)]),
            Quantity.EXPORTED_WH: bytes(4 * count),
        },
    } | changes
    columns = {key: default.pop(key) for key in COLUMNS if key in default}
    return MeterBlock.around(Readings.of(**columns), **default)


def a_meter_block_in_parts(**changes: Any) -> MeterBlock:
    """The same with energy in a request of its own, and slow readings in two requests."""
    slow = some_slow_readings(parts=bytes((1, 0)), gaps_ms=[[30], [35]])
    return a_meter_block(**{"parts": bytes((0, 0, 1, 1)), "gaps_ms": [[15] * 3, [22] * 3], "slow": slow} | changes)


def some_slow_readings(**changes: Any) -> Readings:
    """What was read once, half a second after the house's first reading began."""
    default: dict[str, Any] = {
        "first_ms": 60_500,
        "starts_ms": [0],
        "durations_ms": [70],
        "quality": [0],
        "columns": {Quantity.FREQUENCY_MHZ: [50_010], Quantity.CURRENT_L1_MA: [15_652]},
    }
    return Readings.of(**default | changes)


def a_batch(**changes: Any) -> Batch:
    """Three readings of one meter."""
    batch = Batch(link=a_link(), boot_id=a_digest("boot")[:16], clock=a_clock(), meters=(a_meter_block(),))
    return replace(batch, **changes)


def a_transfer(**changes: Any) -> Transfer:
    """Ten tokens for a neighbour."""
    return replace(Transfer(link=a_link(), sender="annia", receiver="bert", amount=10), **changes)


def a_channel(**changes: Any) -> ChannelPurchase:
    """Annia wants 5 kW of a line for an hour, for at most 50 tokens."""
    channel = ChannelPurchase(
        link=a_link(),
        participant="annia",
        branch="b1",
        power_w=5_000,
        start_ms=EPOCH_MS,
        end_ms=EPOCH_MS + 3_600_000,
        price_max=50,
    )
    return replace(channel, **changes)


def an_exchange(**changes: Any) -> Exchange:
    """Annia sells ten tokens, for at least 20 cents."""
    exchange = Exchange(link=a_link(), participant="annia", kind=ExchangeKind.SELL, tokens=10, money_limit=20)
    return replace(exchange, **changes)


def a_purchase(**changes: Any) -> Purchase:
    """Annia wants to be served first, for at most 50 tokens."""
    purchase = Purchase(link=a_link(), participant="annia", right=RightKind.PRIORITY_PURCHASE, price_max=50)
    return replace(purchase, **changes)


def a_receipt(**changes: Any) -> Receipt:
    """The gateway's first record is durable."""
    received = Received(sequence=1, digest=a_digest("record 1"), index=0)
    return replace(Receipt(region=REGION, gateway=GATEWAY, height=2, records=(received,)), **changes)


def a_refusal(**changes: Any) -> Refusal:
    """The gateway's third record came, but its second is missing."""
    refusal = Refusal(
        region=REGION,
        gateway=GATEWAY,
        digest=a_digest("record 3"),
        sequence=3,
        code=RefusalCode.SEQUENCE_SKIPPED,
        expected_sequence=2,
        detail="record 2 is missing",
    )
    return replace(refusal, **changes)


def a_standing(**changes: Any) -> Standing:
    """A participant who owes nothing and holds nothing."""
    standing = Standing(
        participant="annia",
        balance=120,
        supply_factor_ppm=None,
        demand_factor_ppm=412_000,
        rank=1,
        limits=(),
        rights=(Right(RightKind.PRIORITY_PURCHASE, EPOCH_MS, EPOCH_MS + 3_600_000),),
    )
    return replace(standing, **changes)


def a_statement(**changes: Any) -> Statement:
    """One participant in credit, and one who owes and is limited."""
    owing = a_standing(
        participant="borja",
        balance=-7,
        supply_factor_ppm=-50_000,
        rank=2,
        limits=(Limit("heat-pump", 1000),),
        rights=(),
    )
    statement = Statement(
        region=REGION,
        gateway=GATEWAY,
        number=1,
        previous=bytes(32),
        height=2,
        time_ms=EPOCH_MS,
        standings=(a_standing(), owing),
    )
    return replace(statement, **changes)


def a_block_head(**changes: Any) -> BlockHead:
    """The block above genesis."""
    logs = tuple(LogHead(size=chain.value, root=a_digest(chain.name)) for chain in ChainName)
    head = BlockHead(
        region=REGION,
        height=2,
        time_ms=EPOCH_MS,
        previous=a_digest("head 1"),
        logs=logs,
        state_root=a_digest("state"),
        entries=a_digest("entries"),
    )
    return replace(head, **changes)


def a_sealed(
    payload: bytes | None = None, *, key: int = 1, region: str = REGION, type_: str = MessageType.BATCH
) -> bytes:
    """The bytes of an envelope, by default around `a_batch`."""
    return seal(a_key(key), region=region, type_=type_, payload=a_batch().encode() if payload is None else payload)


def an_envelope(payload: bytes | None = None, **changes: Any) -> Envelope:
    """An envelope as it came in, by default around `a_batch`."""
    return Envelope.parse(a_sealed(payload, **changes))

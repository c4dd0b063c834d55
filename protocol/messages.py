"""What the aggregator and a gateway tell each other, beside batches.

Receipt, refusal and statement are the aggregator's signed word to a gateway. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of
from protocol.contract_news import NEWS_MAX, ContractNews
from protocol.duty import Duty, read_duties
from protocol.errors import EncodingError
from protocol.fields import digest, integer, items, name, optional, row, text, uint
from protocol.limits import LIMITS_MAX, Limit
from protocol.refusals import RefusalCode

MESSAGE_BYTES_MAX: Final = 256 * 1024
RECORDS_PER_RECEIPT_MAX: Final = 4096
PARTICIPANTS_PER_GATEWAY_MAX: Final = 1024
DETAIL_MAX: Final = 300


class MessageType(StrEnum):
    """The protected ``typ`` of an envelope. A signature for one type is worthless for another."""

    GENESIS = "genesis"
    AMENDMENT = "amendment"
    ADMISSION = "admission"
    REVOCATION = "revocation"
    ROTATION = "rotation"
    VALIDATOR = "validator"
    EVIDENCE = "evidence"
    BATCH = "batch"
    PURCHASE = "purchase"
    TRANSFER = "transfer"
    CHANNEL = "channel"
    EXCHANGE = "exchange"
    RATE = "rate"
    PAYOUT = "payout"
    INTERVAL = "interval"
    FACTORS = "factors"
    SETTLEMENT = "settlement"
    CORRECTION = "correction"
    RESTATEMENT = "restatement"
    ADJUSTMENT = "adjustment"
    EVENT = "event"
    CANCELLATION = "cancellation"
    QUOTE = "quote"
    QUOTE_CANCEL = "quote-cancel"
    CLEARING = "clearing"
    RECEIPT = "receipt"
    REFUSAL = "refusal"
    STATEMENT = "statement"
    CHECKPOINT = "checkpoint"
    SUMMARY = "summary"
    NODE_REQUEST = "node-request"
    OFFER = "offer"
    AGREEMENT = "agreement"
    TERMINATION = "termination"
    DISPUTE = "dispute"
    ARBITRATION = "arbitration"
    FREEZE = "freeze"
    APPROVAL = "approval"
    SEALING_KEY = "sealing-key"
    ASK = "ask"
    CARD = "card"
    SEALED = "sealed"
    DELIVERY = "delivery"
    ANSWER = "answer"


class RightKind(IntEnum):
    """What tokens buy (paper 1, §3.2): who goes first when there is not enough for all."""

    PRIORITY_GENERATION = 1
    PRIORITY_PURCHASE = 2
    CHANNEL_USE = 3
    """Capacity of a power line in a window, which `protocol.channel` buys."""


@dataclass(frozen=True, slots=True)
class Received:
    """One record of a gateway that is on a chain."""

    sequence: int
    digest: bytes
    index: int
    """Its leaf on the chain it went to."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """These records are durable; the gateway may forget them."""

    region: str
    gateway: str
    height: int
    records: tuple[Received, ...]

    def encode(self) -> bytes:
        """Spell the receipt."""
        rows = [[record.sequence, record.digest, record.index] for record in self.records]
        return encode({1: self.region, 2: self.gateway, 3: self.height, 4: rows})

    @classmethod
    def decode(cls, payload: bytes) -> Receipt:
        """Read a receipt.

        Raises:
            EncodingError: not the one spelling of a receipt.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4), "receipt")
        return cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            height=uint(fields[3], "height"),
            records=tuple(map(_read_received, items(fields[4], "records", RECORDS_PER_RECEIPT_MAX))),
        )


@dataclass(frozen=True, slots=True)
class Refusal:
    """This record is refused, for this reason."""

    region: str
    gateway: str
    digest: bytes
    sequence: int
    """What the refused record claims to be; 0 where that cannot be told."""
    code: RefusalCode
    expected_sequence: int
    """What the aggregator waits for next from this gateway."""
    detail: str

    def encode(self) -> bytes:
        """Spell the refusal."""
        return encode(
            {
                1: self.region,
                2: self.gateway,
                3: self.digest,
                4: self.sequence,
                5: self.code.value,
                6: self.expected_sequence,
                7: self.detail[:DETAIL_MAX],
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Refusal:
        """Read a refusal.

        Raises:
            EncodingError: not the one spelling of a refusal.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), "refusal")
        try:
            code = RefusalCode(uint(fields[5], "code"))
        except ValueError as error:
            raise EncodingError(f"no refusal has the number {fields[5]}") from error
        return cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            digest=digest(fields[3], "digest"),
            sequence=uint(fields[4], "sequence"),
            code=code,
            expected_sequence=uint(fields[6], "expected sequence"),
            detail=text(fields[7], "detail", DETAIL_MAX),
        )


@dataclass(frozen=True, slots=True)
class Right:
    """A right that a participant holds, in its window."""

    kind: RightKind
    start_ms: int
    end_ms: int
    branch: str = ""
    """The power line of a channel; empty for every other right."""
    power_w: int = 0
    """Capacity of a channel."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one participant stands."""

    participant: str
    balance: int
    """Tokens; below 0 is owed."""
    supply_factor_ppm: int | None
    """Carbon factor of the last settled period as a supplier, equation (1); none where they supplied nothing."""
    demand_factor_ppm: int | None
    """Carbon factor of the last settled period as a consumer, equation (2)."""
    rank: int
    """Place in the order of priority, 1 is first."""
    limits: tuple[Limit, ...]
    """Empty unless they owe tokens, or load a congested power line."""
    rights: tuple[Right, ...]
    contracts: tuple[ContractNews, ...] = ()
    """Those that something can still happen to, and what became of the last ones: for people, and not all of them."""
    duties: tuple[Duty, ...] = ()
    """What all of them come to, by carrier, one after another: for devices."""

    @property
    def is_restricted(self) -> bool:
        """Whether they owe tokens, so that their devices are limited."""
        return self.balance < 0


@dataclass(frozen=True, slots=True)
class Statement:
    """How the participants behind one gateway stand, as of one block."""

    region: str
    gateway: str
    number: int
    """1, 2, 3, … per gateway."""
    previous: bytes
    """Digest of the payload of the statement before it: the same whichever node signed it."""
    height: int
    time_ms: int
    """When the block was closed, UTC."""
    standings: tuple[Standing, ...]

    def encode(self) -> bytes:
        """Spell the statement."""
        return encode(
            {
                1: self.region,
                2: self.gateway,
                3: self.number,
                4: self.previous,
                5: self.height,
                6: self.time_ms,
                7: [_standing_fields(standing) for standing in self.standings],
            }
        )

    def spell_standings(self) -> bytes:
        """Spell what it says about everybody, without number, height and time."""
        return encode([_standing_fields(standing) for standing in self.standings])

    @classmethod
    def decode(cls, payload: bytes) -> Statement:
        """Read a statement.

        Raises:
            EncodingError: not the one spelling of a statement.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), "statement")
        return cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            number=uint(fields[3], "number"),
            previous=digest(fields[4], "previous"),
            height=uint(fields[5], "height"),
            time_ms=uint(fields[6], "time"),
            standings=tuple(map(_read_standing, items(fields[7], "standings", PARTICIPANTS_PER_GATEWAY_MAX))),
        )


def _read_received(value: Value) -> Received:
    sequence, digest_, index = row(value, "record", 3)
    return Received(uint(sequence, "sequence"), digest(digest_, "digest"), uint(index, "index"))


def _standing_fields(standing: Standing) -> dict[int, Value]:
    contracts = {8: [news.spell() for news in standing.contracts]} if standing.contracts else {}
    duties = {9: [duty.spell() for duty in standing.duties]} if standing.duties else {}
    return {
        1: standing.participant,
        2: standing.balance,
        3: standing.supply_factor_ppm,
        4: standing.demand_factor_ppm,
        5: standing.rank,
        6: [limit.spell() for limit in standing.limits],
        7: [_right_fields(right) for right in standing.rights],
        **contracts,
        **duties,
    }


def _read_standing(value: Value) -> Standing:
    fields = fields_of(value, (1, 2, 3, 4, 5, 6, 7), "standing", optional=(8, 9))
    contracts = items(fields[8], "contracts", NEWS_MAX) if 8 in fields else [None]
    if not contracts:
        raise EncodingError("standing: where there are no contracts, they are left out")
    return Standing(
        participant=name(fields[1], "participant"),
        balance=integer(fields[2], "balance"),
        supply_factor_ppm=optional(fields[3], integer, "supply factor"),
        demand_factor_ppm=optional(fields[4], integer, "demand factor"),
        rank=uint(fields[5], "rank"),
        limits=tuple(map(Limit.read, items(fields[6], "limits", LIMITS_MAX))),
        rights=tuple(map(_read_right, items(fields[7], "rights", 64))),
        contracts=tuple(map(ContractNews.read, contracts)) if 8 in fields else (),
        duties=read_duties(fields[9]) if 9 in fields else (),
    )


def _right_fields(right: Right) -> Value:
    channel = [right.branch, right.power_w] if right.kind is RightKind.CHANNEL_USE else []
    return [right.kind.value, right.start_ms, right.end_ms, *channel]


def _read_right(value: Value) -> Right:
    is_channel = type(value) is list and value[:1] == [RightKind.CHANNEL_USE]
    kind, start_ms, end_ms, *channel = row(value, "right", 5 if is_channel else 3)
    right = Right(read_right_kind(kind), uint(start_ms, "start"), uint(end_ms, "end"))
    if not is_channel:
        return right
    return Right(right.kind, right.start_ms, right.end_ms, name(channel[0], "branch"), uint(channel[1], "power"))


def read_right_kind(value: Value) -> RightKind:
    """Read what kind a right is of.

    Raises:
        EncodingError: there is none with this number.
    """
    try:
        return RightKind(uint(value, "right"))
    except ValueError as error:
        raise EncodingError(f"no right has the number {value}") from error

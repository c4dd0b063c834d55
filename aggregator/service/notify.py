"""What gateways and operators are told about a block: receipts, refusals, statements, and the region at a glance.

Receipts and refusals answer records, and are worked out again whenever a record comes again. Statements are numbered
and linked, so the last one to each gateway is kept with the block that it belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from aggregator.chains.factor_rows import FACTORS_TABLE
from aggregator.chains.five import Five
from aggregator.chains.payment import ACCOUNTS_TABLE, RANKS_TABLE, RIGHTS_TABLE
from aggregator.chains.results import IntervalResult
from aggregator.chains.standing import Standings
from aggregator.ledger.block import Block
from aggregator.ledger.record import Role
from protocol.canonical import decode
from protocol.crypto import SigningKey, digest_of
from protocol.envelope import Envelope, seal
from protocol.link import NO_RECORD
from protocol.messages import RECORDS_PER_RECEIPT_MAX, MessageType, Receipt, Received, Refusal, Standing, Statement
from protocol.topics import AGGREGATOR, Kind, Topic
from protocol.units import PPM, Interval

TELLING_TABLES: Final = frozenset((FACTORS_TABLE, ACCOUNTS_TABLE, RIGHTS_TABLE, RANKS_TABLE))
"""Tables whose change alters somebody's standing."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for the broker."""

    topic: Topic
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """The last statement to a gateway."""

    number: int
    digest: bytes
    standings: tuple[Standing, ...]


@dataclass(slots=True)
class Notifier:
    """Signs what one node has to say."""

    region: str
    key: SigningKey
    _told: dict[str, Told] = field(default_factory=dict)
    _staged: dict[str, Told] = field(default_factory=dict)

    def restore(self, statements: Iterable[tuple[str, int, bytes]]) -> None:
        """Take up where the store left off."""
        for gateway, number, envelope in statements:
            statement = Statement.decode(Envelope.parse(envelope).payload)
            self._told[gateway] = Told(number, digest_of(envelope), statement.standings)

    def statements(self, block: Block, five: Five) -> list[tuple[str, int, bytes]]:
        """The statements that a block calls for, as (gateway, number, envelope). Nothing is told until `sent`.

        Everybody gets one when an interval closes, so that a gateway can tell silence from contentment; and whoever's
        standing has changed.
        """
        closes = any(isinstance(outcome.record.message, IntervalResult) for outcome in block.outcomes)
        changes = any(decode(change.key, size_max=1 << 16)[0] in TELLING_TABLES for change in block.changes)
        self._staged = {}
        if not (closes or changes or block.head.height == 1):
            return []
        made, everybody = [], Standings(five)
        for member in five.asset.members(Role.GATEWAY):
            standings = everybody.behind(member.name)
            before = self._told.get(member.name)
            if not closes and before is not None and before.standings == standings:
                continue
            number, envelope = self._state(member.name, before, standings, block)
            made.append((member.name, number, envelope))
        return made

    def sent(self) -> None:
        """The block is durable, and so are its statements."""
        self._told.update(self._staged)
        self._staged = {}

    def receipts(self, received: Iterable[tuple[str, int, Received]]) -> list[Outgoing]:
        """One receipt per gateway and block, from (gateway, height, record)."""
        by_gateway: dict[tuple[str, int], list[Received]] = {}
        for gateway, height, record in received:
            by_gateway.setdefault((gateway, height), []).append(record)
        return [
            self._signed(gateway, Kind.RECEIPT, Receipt(self.region, gateway, height, tuple(part)).encode())
            for (gateway, height), records in by_gateway.items()
            for part in (
                records[i : i + RECORDS_PER_RECEIPT_MAX] for i in range(0, len(records), RECORDS_PER_RECEIPT_MAX)
            )
        ]

    def refusal(self, refusal: Refusal) -> Outgoing:
        """One refusal."""
        return self._signed(refusal.gateway, Kind.REFUSAL, refusal.encode())

    def statement(self, gateway: str, envelope: bytes) -> Outgoing:
        """A statement, as it was signed with its block; the broker keeps the last one."""
        return Outgoing(Topic(self.region, gateway, Kind.STATEMENT), envelope, retain=True)

    def _state(
        self, gateway: str, before: Told | None, standings: tuple[Standing, ...], block: Block
    ) -> tuple[int, bytes]:
        statement = Statement(
            region=self.region,
            gateway=gateway,
            number=before.number + 1 if before else 1,
            previous=before.digest if before else NO_RECORD,
            height=block.head.height,
            time_ms=block.head.time_ms,
            standings=standings,
        )
        envelope = seal(self.key, region=self.region, type_=MessageType.STATEMENT, payload=statement.encode())
        self._staged[gateway] = Told(statement.number, digest_of(envelope), standings)
        return statement.number, envelope

    def _signed(self, gateway: str, kind: Kind, payload: bytes) -> Outgoing:
        type_ = {Kind.RECEIPT: MessageType.RECEIPT, Kind.REFUSAL: MessageType.REFUSAL}[kind]
        return Outgoing(
            Topic(self.region, gateway, kind), seal(self.key, region=self.region, type_=type_, payload=payload)
        )


def summary(result: IntervalResult, five: Five) -> Outgoing:
    """The region at a glance, as JSON for dashboards. Not signed: who needs proof reads statements."""
    interval = Interval(start_ms=result.start_ms, end_ms=result.end_ms)  # type: ignore[arg-type]
    flows = {flow.participant: flow for flow in result.flows.participants}
    clean = {generator.source for generator in five.asset.region.grid.generators if generator.is_clean}
    participants, everybody = {}, Standings(five)
    for name in five.asset.region.participants:
        flow, standing = flows.get(name), everybody.of(name)
        used_wh = flow.imported_wh if flow else 0
        clean_wh = sum(energy for source, energy in flow.origin_wh if source in clean) if flow else 0
        net_wh = used_wh - (flow.exported_wh if flow else 0)
        participants[name] = {
            "power_w": net_wh * 3_600_000 // interval.length_ms,
            "clean_ppm": clean_wh * PPM // used_wh if used_wh else None,
            "balance": standing.balance,
            "restricted": standing.is_restricted,
            "rank": standing.rank,
            "supply_factor_ppm": standing.supply_factor_ppm,
            "demand_factor_ppm": standing.demand_factor_ppm,
            "rights": [
                {"kind": right.kind.name.lower(), "start_ms": right.start_ms, "end_ms": right.end_ms}
                for right in standing.rights
            ],
        }
    data, analysis, payment = five.data.totals, five.analysis.cursor, five.payment.totals
    document = {
        "region": five.ledger.region,
        "height": five.ledger.height,
        "interval": {"start_ms": result.start_ms, "end_ms": result.end_ms},
        "readings_on_chain": data.readings,
        "intervals_closed": analysis.intervals,
        "intervals_restated": five.analysis.totals.restatements,
        "periods_settled": payment.periods,
        "tokens": {"minted": payment.minted, "burned": payment.burned, "reserve": payment.reserve},
        "losses_w": result.flows.losses_w,
        "branches": {branch.branch: branch.loading_ppm for branch in result.flows.branches},
        "findings": list(result.flows.findings),
        "participants": participants,
    }
    topic = Topic(five.ledger.region, AGGREGATOR, Kind.SUMMARY)
    return Outgoing(topic, json.dumps(document, separators=(",", ":")).encode(), retain=True)

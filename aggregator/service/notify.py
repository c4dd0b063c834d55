"""What gateways and operators are told about a block: receipts, refusals, statements, and the region at a glance.

Receipts and refusals answer records, and are worked out again whenever a record comes again. What a statement says
follows from the chains (`aggregator.chains.statements.statements`); here it is signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aggregator.chains.congestion.curtailing import Curtailed
from aggregator.chains.five import Five
from aggregator.chains.intervals.origin import clean_wh
from aggregator.chains.intervals.results import IntervalResult
from aggregator.chains.statements.statements import Made
from config.carriers import Carrier
from protocol.crypto import SigningKey
from protocol.energy_register import MS_PER_HOUR
from protocol.envelope import seal
from protocol.limits import Direction
from protocol.messages import RECORDS_PER_RECEIPT_MAX, MessageType, Receipt, Received, Refusal
from protocol.topics import AGGREGATOR, Kind, Topic
from protocol.units import PPM, Interval


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for the broker."""

    topic: Topic
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Notifier:
    """Signs what one node has to say."""

    region: str
    key: SigningKey

    def statements(self, made: Iterable[Made]) -> list[tuple[str, int, bytes]]:
        """The statements that a block calls for, signed, as (gateway, number, envelope)."""
        return [
            (statement.gateway, statement.number, self._seal(MessageType.STATEMENT, statement.payload))
            for statement in made
        ]

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

    def _signed(self, gateway: str, kind: Kind, payload: bytes) -> Outgoing:
        type_ = {Kind.RECEIPT: MessageType.RECEIPT, Kind.REFUSAL: MessageType.REFUSAL}[kind]
        return Outgoing(Topic(self.region, gateway, kind), self._seal(type_, payload))

    def _seal(self, type_: MessageType, payload: bytes) -> bytes:
        return seal(self.key, region=self.region, type_=type_, payload=payload)


def summary(result: IntervalResult, five: Five) -> Outgoing:
    """The region at a glance, as JSON for dashboards. Not signed: who needs proof reads statements."""
    interval = Interval(start_ms=result.start_ms, end_ms=result.end_ms)  # type: ignore[arg-type]
    electricity = [flow for flow in result.flows.participants if flow.carrier is Carrier.ELECTRICITY]
    flows = {flow.participant: flow for flow in electricity}
    losses_wh = sum(balance.losses_wh for balance in result.flows.balances if balance.carrier is Carrier.ELECTRICITY)
    participants, everybody = {}, five.standings()
    limited = five.analysis.curtailments.by_participant()
    for name in five.asset.region.participants:
        flow, standing = flows.get(name), everybody.of(name)
        used_wh = flow.imported_wh if flow else 0
        used_clean_wh = clean_wh(flow.origin_wh, five.asset.region) if flow else 0
        net_wh = used_wh - (flow.exported_wh if flow else 0)
        participants[name] = {
            "power_w": net_wh * MS_PER_HOUR // interval.length_ms,
            "clean_ppm": used_clean_wh * PPM // used_wh if used_wh else None,
            "balance": standing.balance,
            "restricted": standing.is_restricted,
            "limited": _limited(limited.get(name, ())),
            "rank": standing.rank,
            "supply_factor_ppm": standing.supply_factor_ppm,
            "demand_factor_ppm": standing.demand_factor_ppm,
            "relief_ppm": sums.relief_ppm if (sums := five.analysis.sums.get(name)) else 0,
            "rights": [
                {"kind": right.kind.name.lower(), "start_ms": right.start_ms, "end_ms": right.end_ms}
                for right in standing.rights
            ],
        }
    heat = [flow for flow in result.flows.participants if flow.carrier is Carrier.HEAT]
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
        "losses_w": losses_wh * MS_PER_HOUR // interval.length_ms,
        "heat": {
            "used_wh": sum(flow.imported_wh for flow in heat),
            "clean_wh": sum(clean_wh(flow.origin_wh, five.asset.region) for flow in heat),
        },
        "storages": {
            storage.storage: {
                "energy_wh": storage.content.energy_wh,
                "clean_wh": clean_wh(storage.content.mix_wh, five.asset.region),
                "charged_wh": storage.charged_wh,
                "discharged_wh": storage.discharged_wh,
            }
            for storage in result.flows.storages
        },
        "branches": {branch.branch: branch.loading_ppm for branch in result.flows.branches},
        "findings": [[f.kind.name.lower(), f.subject, *f.amounts] for f in result.flows.findings],
        "participants": participants,
    }
    topic = Topic(five.ledger.region, AGGREGATOR, Kind.SUMMARY)
    return Outgoing(topic, json.dumps(document, separators=(",", ":")).encode(), retain=True)


def _limited(limits: Sequence[tuple[str, Direction, Curtailed]]) -> dict[str, object] | None:
    """What is left to somebody for the sake of a power line: of several, the least."""
    if not limits:
        return None
    branch, way, row = min(limits, key=lambda limit: limit[2].allowed_w)
    return {"branch": branch, "direction": way.name.lower(), "power_max_w": row.allowed_w}

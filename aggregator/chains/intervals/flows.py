"""What physics says about one interval, as integers: whose energy it was, how lines were loaded, what is in store.

Every row has its own spelling in records (docs/spec/este.cddl). Energy in watt-hours, power in watts, carbon in
milligrams of CO₂ equivalent, shares in millionths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from aggregator.chains.congestion.congestions import Congestion, read_congestions, spell_congestions
from aggregator.chains.intervals.findings import Finding, read_findings, spell_findings
from config.carriers import Carrier
from config.grid_model import Source
from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import flag, integer, items, name, row, uint
from protocol.units import PPM

SOURCES: Final = tuple(Source)
"""Numbered on the wire in this order; new ones are added at the end."""
CARRIERS: Final = tuple(Carrier)
EVENTS_MAX: Final = 1000
"""Events that may wait, or be on, at once."""

Mix = tuple[tuple[Source, int], ...]
"""Watt-hours by source, each above 0, in the order of `Source`."""


@dataclass(frozen=True, slots=True)
class ParticipantFlow:
    """What one participant took from one network and gave to it in an interval, and where what they took came from.

    What converters and storages take and give is told by their own rows.
    """

    participant: str
    carrier: Carrier
    imported_wh: int
    exported_wh: int
    emitted_mg: int
    """Of what they fed in."""
    origin_wh: Mix = ()
    """By source; sums to `imported_wh`."""
    carbon_mg: int = 0
    """What was emitted, wherever it was, for what they took."""


@dataclass(frozen=True, slots=True)
class BranchFlow:
    """How a branch or pipe was loaded in an interval, on average."""

    branch: str
    flow_w: int
    """From its from_node to its to_node; below 0 the other way."""
    loading_ppm: int
    """Of its rating; above 1,000,000 it is congested."""

    @property
    def is_congested(self) -> bool:
        """Whether it carried more than it is rated for."""
        return self.loading_ppm > PPM


@dataclass(frozen=True, slots=True)
class ConverterFlow:
    """What a converter took and gave in an interval."""

    converter: str
    input_wh: int
    output_wh: int
    burned_mg: int
    """Carbon of the gas or hydrogen that it took: it is emitted here."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Energy and its mix, as it was put into a storage or sent into a pipe."""

    mix_wh: Mix
    carbon_mg: int = 0

    @property
    def energy_wh(self) -> int:
        """All of it."""
        return sum(energy for _, energy in self.mix_wh)


@dataclass(frozen=True, slots=True)
class StorageContent:
    """What a storage took and gave in an interval, and holds after it."""

    storage: str
    charged_wh: int
    discharged_wh: int
    content: Parcel


@dataclass(frozen=True, slots=True)
class PipeParcel:
    """What was sent into a delaying pipe in an interval. A parcel is kept until all that it can bring has arrived."""

    pipe: str
    is_forward: bool
    """From its from_node to its to_node."""
    parcel: Parcel


@dataclass(frozen=True, slots=True)
class Balance:
    """One network's energy in an interval. Fed in − taken − losses − rest = 0."""

    carrier: Carrier
    fed_in_wh: int
    """By generators, converters and storages, and from outside."""
    taken_wh: int
    losses_wh: int
    """In lines and pipes, as reckoned."""
    rest_wh: int
    """What no meter has seen; below 0, more was taken than fed in."""


@dataclass(frozen=True, slots=True)
class EventFlow:
    """How a called event's branch would have been loaded, had nobody responded."""

    event: int
    loading_ppm: int
    """With everybody who was called at their baseline."""
    relieving_ppm: tuple[tuple[str, int], ...] = ()
    """By participant, in the order of their names: by how many millionths of a watt the branch carries less when they
    take a watt less; below 0, it carries more."""


@dataclass(frozen=True, slots=True)
class Flows:
    """The physics of an interval, quantized."""

    participants: tuple[ParticipantFlow, ...]
    """In the order of their names and carriers; those without energy are left out."""
    branches: tuple[BranchFlow, ...]
    """In the order of the grid file, pipes behind branches."""
    balances: tuple[Balance, ...] = ()
    """In the order of the carriers; those without energy are left out."""
    converters: tuple[ConverterFlow, ...] = ()
    """In the order of the grid file."""
    storages: tuple[StorageContent, ...] = ()
    """In the order of the grid file."""
    sent: tuple[PipeParcel, ...] = ()
    """In the order of the grid file; pipes without delay, or in which nothing flowed, are left out."""
    events: tuple[EventFlow, ...] = ()
    """In the order of their numbers."""
    findings: tuple[Finding, ...] = ()
    congestions: tuple[Congestion, ...] = ()
    """In the order of the grid file; empty in a region that limits nobody for the sake of a line."""

    def spell(self) -> list[Value]:
        """All fields, in their order, as records hold them."""
        return [
            spell_participants(self.participants),
            [[flow.branch, flow.flow_w, flow.loading_ppm] for flow in self.branches],
            [_balance_row(balance) for balance in self.balances],
            [[flow.converter, flow.input_wh, flow.output_wh, flow.burned_mg] for flow in self.converters],
            [_storage_row(storage) for storage in self.storages],
            [[sent.pipe, sent.is_forward, *spell_parcel(sent.parcel)] for sent in self.sent],
            [[flow.event, flow.loading_ppm, [list(share) for share in flow.relieving_ppm]] for flow in self.events],
            spell_findings(self.findings),
            spell_congestions(self.congestions),
        ]

    @classmethod
    def read(cls, values: Sequence[Value], rows_max: int) -> Flows:
        """Read what `spell` spells.

        Raises:
            EncodingError: it is not that.
        """
        participants, branches, balances, converters, storages, sent, events, findings, congestions = values
        return cls(
            participants=read_participants(participants, rows_max),
            branches=tuple(map(_read_branch, items(branches, "branches", rows_max))),
            balances=tuple(map(_read_balance, items(balances, "balances", len(CARRIERS)))),
            converters=tuple(map(_read_converter, items(converters, "converters", rows_max))),
            storages=tuple(map(_read_storage, items(storages, "storages", rows_max))),
            sent=tuple(map(_read_sent, items(sent, "sent", rows_max))),
            events=tuple(_read_event(event, rows_max) for event in items(events, "events", EVENTS_MAX)),
            findings=read_findings(findings),
            congestions=read_congestions(congestions, rows_max),
        )


FIELDS: Final = len(fields(Flows))


@dataclass(frozen=True, slots=True)
class Carried:
    """What an interval inherits from the ones before: what is in store, and what is on its way."""

    storages: Mapping[str, Parcel] = field(default_factory=dict)
    """By storage. One that is not here holds its initial content."""
    pipes: Mapping[str, Sequence[tuple[int, PipeParcel]]] = field(default_factory=dict)
    """By pipe: start of interval and what was sent then, oldest first."""


@dataclass(frozen=True, slots=True)
class CalledEvent:
    """A demand-response event that is on in an interval, with what everybody who was called would have taken."""

    event: int
    branch: str
    baseline_wh: Mapping[str, int]
    """By participant: electricity imported − exported in an interval like this one."""


def spell_participants(flows: Iterable[ParticipantFlow]) -> list[Value]:
    """Everybody's flows, as records hold them."""
    return [
        [
            flow.participant,
            CARRIERS.index(flow.carrier),
            flow.imported_wh,
            flow.exported_wh,
            flow.emitted_mg,
            _spell_mix(flow.origin_wh),
            flow.carbon_mg,
        ]
        for flow in flows
    ]


def read_participants(value: Value, rows_max: int) -> tuple[ParticipantFlow, ...]:
    """Read everybody's flows.

    Raises:
        EncodingError: they are none.
    """
    return tuple(map(_read_participant, items(value, "participants", rows_max)))


def _read_participant(value: Value) -> ParticipantFlow:
    participant, carrier, imported, exported, emitted, origin, carbon = row(value, "participant flow", 7)
    return ParticipantFlow(
        participant=name(participant, "participant"),
        carrier=_read_carrier(carrier),
        imported_wh=uint(imported, "imported"),
        exported_wh=uint(exported, "exported"),
        emitted_mg=uint(emitted, "emitted"),
        origin_wh=_read_mix(origin),
        carbon_mg=uint(carbon, "carbon"),
    )


def _read_carrier(value: Value) -> Carrier:
    return CARRIERS[uint(value, "carrier", len(CARRIERS) - 1)]


def _spell_mix(mix: Mix) -> Value:
    return [[SOURCES.index(source), energy_wh] for source, energy_wh in mix]


def _read_mix(value: Value) -> Mix:
    mix = tuple(map(_read_source, items(value, "mix", len(SOURCES))))
    if [source for source, _ in mix] != sorted({source for source, _ in mix}, key=SOURCES.index):
        raise EncodingError("mix: sources must stand once each, in their order")
    return mix


def _read_source(value: Value) -> tuple[Source, int]:
    number, energy_wh = row(value, "source", 2)
    if energy_wh == 0:
        raise EncodingError("mix: a source without energy is left out")
    return SOURCES[uint(number, "source", len(SOURCES) - 1)], uint(energy_wh, "energy")


def spell_parcel(parcel: Parcel) -> list[Value]:
    """A parcel's two fields."""
    return [_spell_mix(parcel.mix_wh), parcel.carbon_mg]


def read_parcel(mix: Value, carbon: Value) -> Parcel:
    """Read a parcel.

    Raises:
        EncodingError: it is none.
    """
    return Parcel(_read_mix(mix), uint(carbon, "carbon"))


def _read_branch(value: Value) -> BranchFlow:
    branch, flow_w, loading_ppm = row(value, "branch flow", 3)
    return BranchFlow(name(branch, "branch"), integer(flow_w, "flow"), uint(loading_ppm, "loading"))


def _balance_row(balance: Balance) -> Value:
    amounts = [balance.fed_in_wh, balance.taken_wh, balance.losses_wh, balance.rest_wh]
    return [CARRIERS.index(balance.carrier), *amounts]


def _read_balance(value: Value) -> Balance:
    carrier, fed_in, taken, losses, rest = row(value, "balance", 5)
    return Balance(
        _read_carrier(carrier), uint(fed_in, "fed in"), uint(taken, "taken"), uint(losses, "losses"),
        integer(rest, "rest"),
    )  # fmt: skip


def _read_converter(value: Value) -> ConverterFlow:
    converter, *amounts = row(value, "converter flow", 4)
    return ConverterFlow(name(converter, "converter"), *(uint(amount, "converter flow") for amount in amounts))


def _storage_row(storage: StorageContent) -> Value:
    return [storage.storage, storage.charged_wh, storage.discharged_wh, *spell_parcel(storage.content)]


def _read_storage(value: Value) -> StorageContent:
    storage, charged, discharged, mix, carbon = row(value, "storage", 5)
    return StorageContent(
        name(storage, "storage"),
        uint(charged, "charged"),
        uint(discharged, "discharged"),
        read_parcel(mix, carbon),
    )


def _read_sent(value: Value) -> PipeParcel:
    pipe, is_forward, mix, carbon = row(value, "sent", 4)
    return PipeParcel(name(pipe, "pipe"), flag(is_forward, "forward"), read_parcel(mix, carbon))


def _read_event(value: Value, rows_max: int) -> EventFlow:
    event, loading_ppm, shares = row(value, "event flow", 3)
    return EventFlow(
        uint(event, "event"),
        uint(loading_ppm, "loading"),
        tuple(map(_read_share, items(shares, "relieving", rows_max))),
    )


def _read_share(value: Value) -> tuple[str, int]:
    participant, share_ppm = row(value, "relieving", 2)
    return name(participant, "participant"), integer(share_ppm, "share")

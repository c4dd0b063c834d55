"""What the physics of an interval is given: what meters said, what is in store, and which events were on.

An interval can be restated long after the state has moved on. So what it *inherited* (contents, parcels, events with
their baselines) stands in a leaf behind it, as its meters' rows do, and the state keeps the digest: a restatement
brings it back, and nobody can bring anything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from aggregator.chains.intervals.flows import (
    EVENTS_MAX,
    CalledEvent,
    Carried,
    Parcel,
    PipeParcel,
    read_parcel,
    spell_parcel,
)
from aggregator.chains.metering.interval_energy import LEAF_BYTES_MAX, METERS_MAX, Energies
from protocol.canonical import Value, decode, encode
from protocol.crypto import digest_of
from protocol.errors import EncodingError
from protocol.fields import flag, integer, items, name, optional, row, uint


@dataclass(frozen=True, slots=True)
class Known:
    """All that the physics of one interval rests on, beside the region itself."""

    energies: Energies
    carried: Carried = field(default_factory=Carried)
    events: tuple[CalledEvent, ...] = ()
    """That are on, in the order of their numbers."""

    def inherited(self) -> list[Value]:
        """What comes from before the interval, as records and leaves hold it."""
        return [
            [[storage, *spell_parcel(parcel)] for storage, parcel in sorted(self.carried.storages.items())],
            [
                [pipe, start_ms, sent.is_forward, *spell_parcel(sent.parcel)]
                for pipe, parcels in sorted(self.carried.pipes.items())
                for start_ms, sent in parcels
            ],
            [
                [event.event, event.branch or None, [list(one) for one in sorted(event.baseline_wh.items())]]
                for event in self.events
            ],
        ]

    @property
    def inherited_digest(self) -> bytes:
        """What stays in the state of what the interval inherited."""
        return digest_of(encode(self.inherited()))


NOTHING_INHERITED: Final = Known({}).inherited_digest
"""Of an interval with nothing in store, nothing on its way, and no event."""


def read_inherited(value: Value, energies: Energies, rows_max: int = METERS_MAX) -> Known:
    """Read what `Known.inherited` spells, and put it beside the meters' rows.

    Raises:
        EncodingError: it is not that, in its one order.
    """
    storages, pipes, events = row(value, "inherited", 3)
    held = dict(_read_storage(line) for line in items(storages, "storages", rows_max))
    on_their_way: dict[str, list[tuple[int, PipeParcel]]] = {}
    for line in items(pipes, "parcels", rows_max):
        start_ms, sent = _read_pipe(line)
        on_their_way.setdefault(sent.pipe, []).append((start_ms, sent))
    called = tuple(_read_event(line, rows_max) for line in items(events, "events", EVENTS_MAX))
    known = Known(energies, Carried(held, on_their_way), called)
    numbers: list[int] = [event.event for event in called]
    starts = [[start_ms for start_ms, _ in parcels] for parcels in on_their_way.values()]
    is_in_order = all(given == sorted(set(given)) for given in (numbers, *starts))
    if not is_in_order or known.inherited() != value:
        raise EncodingError("inherited: each once, and in order")
    return known


def inherited_leaf(start_ms: int, known: Known) -> list[bytes]:
    """The leaf that states what an interval inherited; none where that is nothing."""
    if known.inherited_digest == NOTHING_INHERITED:
        return []
    return [encode(["inherited", start_ms, *known.inherited()])]


def read_inherited_leaf(body: bytes, start_ms: int, energies: Energies) -> Known | None:
    """What a leaf says about the interval that starts at `start_ms`, if it is the leaf that says it."""
    try:
        leaf: Any = decode(body, size_max=LEAF_BYTES_MAX)
    except EncodingError:
        return None
    if type(leaf) is not list or len(leaf) != 5 or leaf[:2] != ["inherited", start_ms]:
        return None
    return read_inherited(leaf[2:], energies)


def _read_storage(value: Value) -> tuple[str, Parcel]:
    storage, mix, carbon = row(value, "storage", 3)
    return name(storage, "storage"), read_parcel(mix, carbon)


def _read_pipe(value: Value) -> tuple[int, PipeParcel]:
    pipe, start_ms, is_forward, mix, carbon = row(value, "parcel", 5)
    sent = PipeParcel(name(pipe, "pipe"), flag(is_forward, "forward"), read_parcel(mix, carbon))
    return uint(start_ms, "start"), sent


def _read_event(value: Value, rows_max: int) -> CalledEvent:
    event, branch, baselines = row(value, "event", 3)
    return CalledEvent(
        uint(event, "event"),
        optional(branch, name, "branch") or "",
        dict(_read_baselines(items(baselines, "baselines", rows_max))),
    )


def _read_baselines(lines: Iterable[Value]) -> Iterable[tuple[str, int]]:
    for line in lines:
        participant, baseline_wh = row(line, "baseline", 2)
        yield name(participant, "participant"), integer(baseline_wh, "baseline")

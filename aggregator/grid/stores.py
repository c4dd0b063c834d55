"""What networks keep for later: the inventory of a storage, and energy on its way in a pipe. Pure, and in integers.

A storage is well mixed: what comes out has the mix of what it held when the interval began; only what it gives beyond
that has the mix of what it is charged with in the same interval. A pipe with a delay is a queue: what arrives was sent
earlier, and has the mix that it was sent with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import Parcel, PipeParcel, StorageContent
from aggregator.grid.network import Floats
from aggregator.grid.quantize import NUMBERS, contents_of, evenly, parcel_of
from config.carriers import Pipe, Storage
from config.grid_model import Source
from config.rules import DAY_MS
from protocol.units import PPM, Interval


@dataclass(frozen=True, slots=True)
class Discharge:
    """What a storage gives in an interval, by where it is from. They sum to what was metered."""

    held_wh: float
    """Out of what it held when the interval began."""
    passed_wh: float
    """Out of what it was charged with in this interval."""
    excess_wh: float
    """That it cannot have had."""


def initial_content(storage: Storage) -> Parcel:
    """What a storage holds when the region begins: of unknown origin."""
    return Parcel(((Source.OTHER, storage.initial_wh),)) if storage.initial_wh else Parcel(())


def discharge_of(storage: Storage, held: Parcel, charged_wh: int, discharged_wh: int) -> Discharge:
    """Split what a storage gave by where it can be from."""
    from_held = min(discharged_wh, held.energy_wh)
    passed = min(float(discharged_wh - from_held), charged_wh * storage.efficiency_ppm / PPM)
    return Discharge(from_held, passed, discharged_wh - from_held - passed)


def content_after(
    storage: Storage, held: Parcel, charged_wh: int, discharged_wh: int, charge_mix: Floats, interval: Interval
) -> Parcel:
    """What a storage holds after an interval: no more than it can.

    Whatever its meters add up to, within what they may be off, a full storage stays full. Else what they count too much
    while the wind blows would be clean energy in store without an end.

    Args:
        charge_mix: (k + 1) shares by source, and mg of carbon per Wh, of what it was charged with.
    """
    given = discharge_of(storage, held, charged_wh, discharged_wh)
    number = interval.start_ms // interval.length_ms
    kept_wh = held.energy_wh - given.held_wh
    lost_wh = kept_wh * storage.loss_ppm_per_day / PPM * interval.length_ms / DAY_MS
    gained_wh = charged_wh * storage.efficiency_ppm / PPM - given.passed_wh
    contents = np.zeros(NUMBERS + 1)
    if held.energy_wh:
        contents += contents_of(held) * ((kept_wh - lost_wh) / held.energy_wh)
    contents += charge_mix * gained_wh
    held_wh = min(float(contents[:NUMBERS].sum()), float(storage.capacity_wh))
    return parcel_of(evenly(held_wh, number), contents)


def storage_findings(storage: Storage, row: StorageContent, held: Parcel, off_wh: float) -> list[Finding]:
    """What cannot be true of a storage.

    Args:
        off_wh: by how much its meters may be off.
    """
    findings = []
    given = discharge_of(storage, held, row.charged_wh, row.discharged_wh)
    if given.excess_wh > off_wh:
        had_wh = row.discharged_wh - round(given.excess_wh)
        findings.append(Finding(FindingKind.OVERDRAWN, storage.id, (row.discharged_wh, had_wh)))
    gained_wh = row.charged_wh * storage.efficiency_ppm / PPM - given.passed_wh
    would_hold_wh = held.energy_wh - given.held_wh + gained_wh
    if would_hold_wh - storage.capacity_wh > off_wh:
        amounts = (round(would_hold_wh), storage.capacity_wh)
        findings.append(Finding(FindingKind.OVERFILLED, storage.id, amounts))
    return findings


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where what arrives through a delaying pipe is from, in shares that sum to 1."""

    now: float
    """Sent in this interval already: it has the mix of the sending node."""
    unknown: float
    """Sent before anything is known of."""
    contents: Floats = field(default_factory=lambda: np.zeros(NUMBERS + 1))
    """(k + 1) sent earlier: share by source, and mg of carbon per Wh of all that arrives."""


History = Sequence[tuple[int, PipeParcel]]
"""Start of interval and what was sent into a pipe then, oldest first."""


def arrival(pipe: Pipe, history: History, sent_wh: float, *, is_forward: bool, interval: Interval) -> Arrival:
    """Where what arrives in an interval is from.

    Args:
        sent_wh: what is sent into the pipe in this interval; above 0.
    """
    if pipe.delay_ms:
        return _sent_before(pipe.delay_ms, history, sent_wh, is_forward=is_forward, interval=interval)
    return _pushed_out(pipe.content_wh, history, sent_wh, is_forward=is_forward)


def _sent_before(delay_ms: int, history: History, sent_wh: float, *, is_forward: bool, interval: Interval) -> Arrival:
    """What was sent a fixed time ago, weighted over the intervals that this time falls into."""
    begin, end, length = interval.start_ms - delay_ms, interval.end_ms - delay_ms, interval.length_ms
    now_wh = sent_wh * max(0, length - delay_ms) / length
    contents = np.zeros(NUMBERS + 1)
    for start_ms, sent in history:
        overlap = min(end, start_ms + length) - max(begin, start_ms)
        if overlap > 0 and sent.is_forward is is_forward:
            contents += contents_of(sent.parcel) * (overlap / length)
    whole = now_wh + contents[:NUMBERS].sum()
    if whole <= 0:
        return Arrival(now=0.0, unknown=1.0)
    return Arrival(now=now_wh / whole, unknown=0.0, contents=contents / whole)


@dataclass(slots=True)
class _Slug:
    """A stretch of a pipe's content."""

    energy_wh: float
    contents: Floats | None
    """(k + 1) per watt-hour; None: unknown."""


def _pushed_out(content_wh: int, history: History, sent_wh: float, *, is_forward: bool) -> Arrival:
    """What is pushed out at the far end: energy leaves a pipe in the order in which it entered, from either end."""
    slugs = [_Slug(float(content_wh), None)]
    for _, sent in history:
        if whole_wh := sent.parcel.energy_wh:
            _push(slugs, _Slug(whole_wh, contents_of(sent.parcel) / whole_wh), is_forward=sent.is_forward)
    now = _Slug(sent_wh, None)
    contents, unknown, present = np.zeros(NUMBERS + 1), 0.0, 0.0
    for slug, energy_wh in _push(slugs, now, is_forward=is_forward):
        if slug is now:
            present += energy_wh
        elif slug.contents is None:
            unknown += energy_wh
        else:
            contents += slug.contents * energy_wh
    return Arrival(now=present / sent_wh, unknown=unknown / sent_wh, contents=contents / sent_wh)


def _push(slugs: list[_Slug], new: _Slug, *, is_forward: bool) -> list[tuple[_Slug, float]]:
    """Push energy in at one end; as much comes out at the other.

    `slugs` stand from the from_node to the to_node.

    Returns:
        What comes out.
    """
    slugs.insert(0 if is_forward else len(slugs), new)
    left_wh, out = float(new.energy_wh), list[tuple[_Slug, float]]()
    while left_wh > 0 and slugs:
        place = -1 if is_forward else 0
        last = slugs[place]
        part = min(left_wh, last.energy_wh)
        out.append((last, part))
        left_wh -= part
        if part < last.energy_wh:
            slugs[place] = _Slug(last.energy_wh - part, last.contents)
            break
        slugs.pop(place)
    return out


def content_before(storage: Storage, carried: Mapping[str, Parcel]) -> Parcel:
    """What a storage held when an interval began."""
    return carried[storage.id] if storage.id in carried else initial_content(storage)

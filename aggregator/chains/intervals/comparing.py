"""How far two honest nodes' physics may lie apart: the last digits of floats, which rounding makes a quantum.

What is exact anyway (energy) is asked in `aggregator.chains.intervals.origin`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from aggregator.chains.congestion.congestions import NEARLY_FULL_PPM
from aggregator.chains.intervals.findings import Finding
from aggregator.chains.intervals.flows import Flows, Mix, Parcel

QUANTUM_WH: Final = 1
QUANTUM_W: Final = 1
QUANTUM_PPM: Final = 10
QUANTUM_MG: Final = 1000
"""Carbon: a gram, which is what a watt-hour more of a dirty source brings."""
AMOUNT_PART: Final = 1000
"""An amount of a finding may be off by 1, and by a thousandth of itself: what it says is for people to look into."""

Measure = tuple[str, str, int, int]
"""Whose, which, how much, and the quantum."""


def first_difference(theirs: Flows, ours: Flows) -> str | None:
    """Where two nodes' physics lie further apart than one quantum, in words; None where they agree.

    What is left out counts as 0.
    """
    if [branch.branch for branch in theirs.branches] != [branch.branch for branch in ours.branches]:
        return "other branches than the grid has"
    if [event.event for event in theirs.events] != [event.event for event in ours.events]:
        return "other events than those that are on"
    if twice := _said_twice(theirs):
        return f"{twice} stands there twice"
    theirs, ours = _without_marginal(theirs, ours), _without_marginal(ours, theirs)
    here = {(whose, which): amount for whose, which, amount, _ in _measures(ours)}
    for whose, which, amount, quantum in _measures(theirs):
        want = here.pop((whose, which), 0)
        if abs(amount - want) > quantum:
            return f"{whose}: {amount} {which}, here {want}"
    for whose, which, want, quantum in _measures(ours):
        if (whose, which) in here and abs(want) > quantum:
            return f"{whose}: 0 {which}, here {want}"
    return _other_finding(theirs.findings, ours.findings)


def _said_twice(flows: Flows) -> str | None:
    """Of whom something is said twice, the second time perhaps within a quantum of nothing."""
    lists: list[list[str]] = [
        [f"{flow.participant} in {flow.carrier}" for flow in flows.participants],
        [balance.carrier for balance in flows.balances],
        [converter.converter for converter in flows.converters],
        [storage.storage for storage in flows.storages],
        [sent.pipe for sent in flows.sent],
        *([f"{name} in event {event.event}" for name, _ in event.relieving_ppm] for event in flows.events),
    ]
    return next((name for names in lists for name, count in Counter(names).items() if count > 1), None)


def _without_marginal(flows: Flows, other: Flows) -> Flows:
    """Without what only one of two sees as nearly full because it is so by no more than a quantum."""
    seen = {congestion.branch for congestion in other.congestions}
    marginal = {flow.branch for flow in flows.branches if flow.loading_ppm <= NEARLY_FULL_PPM + QUANTUM_PPM} - seen
    return replace(flows, congestions=tuple(one for one in flows.congestions if one.branch not in marginal))


def _measures(flows: Flows) -> Iterator[Measure]:
    """Everything that physics says."""
    for flow in flows.participants:
        yield from _mix(flow.participant, f" of {flow.carrier}", flow.origin_wh)
        yield flow.participant, f"mg for {flow.carrier}", flow.carbon_mg, QUANTUM_MG
    for branch in flows.branches:
        yield branch.branch, "W", branch.flow_w, QUANTUM_W
        yield branch.branch, "ppm", branch.loading_ppm, QUANTUM_PPM
    for balance in flows.balances:
        yield balance.carrier, "Wh lost", balance.losses_wh, QUANTUM_WH
    for converter in flows.converters:
        yield converter.converter, "mg burned", converter.burned_mg, QUANTUM_MG
    for storage in flows.storages:
        yield from _parcel(storage.storage, " held", storage.content)
    for sent in flows.sent:
        yield from _parcel(sent.pipe, " sent forward" if sent.is_forward else " sent backward", sent.parcel)
    for event in flows.events:
        yield f"event {event.event}", "ppm", event.loading_ppm, QUANTUM_PPM
        for participant, share_ppm in event.relieving_ppm:
            yield f"event {event.event}", f"ppm by {participant}", share_ppm, QUANTUM_PPM
    for congestion in flows.congestions:
        for load in congestion.loads:
            whose = f"{load.participant} by {load.direction.name.lower()}"
            yield congestion.branch, f"W of {whose}", load.power_w, QUANTUM_W
            yield congestion.branch, f"ppm felt of {whose}", load.relief_ppm, QUANTUM_PPM


def _parcel(whose: str, what: str, parcel: Parcel) -> Iterator[Measure]:
    yield from _mix(whose, what, parcel.mix_wh)
    yield whose, f"mg{what}", parcel.carbon_mg, QUANTUM_MG


def _mix(whose: str, what: str, mix: Mix) -> Iterator[Measure]:
    for source, energy_wh in mix:
        yield whose, f"Wh of {source}{what}", energy_wh, QUANTUM_WH


def _other_finding(theirs: tuple[Finding, ...], ours: tuple[Finding, ...]) -> str | None:
    """Where two nodes found something else: kinds and subjects have to be the same, in the same order."""
    if [(one.kind, one.subject) for one in theirs] != [(one.kind, one.subject) for one in ours]:
        return "other findings"
    for one, own in zip(theirs, ours, strict=True):
        pairs = list(zip(one.amounts, own.amounts, strict=False))
        if len(one.amounts) != len(own.amounts) or any(_differ(*pair) for pair in pairs):
            return f"{one.subject}: {one.kind.name.lower()} with {one.amounts}, here {own.amounts}"
    return None


def _differ(amount: int, own: int) -> bool:
    return abs(amount - own) > 1 + abs(own) // AMOUNT_PART

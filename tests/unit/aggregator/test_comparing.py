"""Two honest nodes may differ by a quantum in anything that physics says, and by nothing more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from aggregator.chains.congestion.congestions import Congestion, LineLoad
from aggregator.chains.intervals.comparing import QUANTUM_MG, QUANTUM_PPM, QUANTUM_W, QUANTUM_WH, first_difference
from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import (
    Balance,
    BranchFlow,
    ConverterFlow,
    EventFlow,
    Flows,
    Parcel,
    ParticipantFlow,
    PipeParcel,
    StorageContent,
)
from config.carriers import Carrier
from config.grid_model import Source
from protocol.limits import Direction

MIX = ((Source.WIND, 20), (Source.GAS, 30))
OURS = Flows(
    participants=(ParticipantFlow("home", Carrier.HEAT, 50, 0, 0, MIX, 7000),),
    branches=(BranchFlow("b1", -700, 1_100_000),),
    balances=(Balance(Carrier.HEAT, 60, 50, 11, -1),),
    converters=(ConverterFlow("pump", 20, 60, 5000),),
    storages=(StorageContent("tank", 0, 50, Parcel(MIX, 9000)),),
    sent=(PipeParcel("pipe", False, Parcel(MIX, 9000)),),
    events=(EventFlow(4, 1_200_000, (("home", -1_000_000),)),),
    findings=(Finding(FindingKind.OVERDRAWN, "tank", (50_000, 40)),),
    congestions=(Congestion("b1", (LineLoad("home", Direction.TAKE, 9_000, 800_000),)),),
)

Change = Callable[[int], Flows]
"""By how much something differs → what the other node says."""


def mixed(by: int) -> tuple[tuple[Source, int], ...]:
    return ((Source.WIND, 20 + by), (Source.GAS, 30 - by))


def loaded(power_w: int, relief_ppm: int) -> tuple[Congestion, ...]:
    return (Congestion("b1", (LineLoad("home", Direction.TAKE, power_w, relief_ppm),)),)


CHANGES: dict[str, tuple[int, Change]] = {
    "origin": (
        QUANTUM_WH,
        lambda by: replace(OURS, participants=(replace(OURS.participants[0], origin_wh=mixed(by)),)),
    ),
    "carbon": (
        QUANTUM_MG,
        lambda by: replace(OURS, participants=(replace(OURS.participants[0], carbon_mg=7000 + by),)),
    ),
    "flow": (QUANTUM_W, lambda by: replace(OURS, branches=(BranchFlow("b1", -700 + by, 1_100_000),))),
    "loading": (QUANTUM_PPM, lambda by: replace(OURS, branches=(BranchFlow("b1", -700, 1_100_000 + by),))),
    "losses": (QUANTUM_WH, lambda by: replace(OURS, balances=(Balance(Carrier.HEAT, 60, 50, 11 + by, -1 - by),))),
    "burned": (QUANTUM_MG, lambda by: replace(OURS, converters=(ConverterFlow("pump", 20, 60, 5000 + by),))),
    "content": (
        QUANTUM_WH,
        lambda by: replace(OURS, storages=(StorageContent("tank", 0, 50, Parcel(mixed(by), 9000)),)),
    ),
    "sent": (QUANTUM_WH, lambda by: replace(OURS, sent=(PipeParcel("pipe", False, Parcel(mixed(by), 9000)),))),
    "event": (QUANTUM_PPM, lambda by: replace(OURS, events=(replace(OURS.events[0], loading_ppm=1_200_000 + by),))),
    "share": (
        QUANTUM_PPM,
        lambda by: replace(OURS, events=(replace(OURS.events[0], relieving_ppm=(("home", -1_000_000 + by),)),)),
    ),
    "load": (QUANTUM_W, lambda by: replace(OURS, congestions=loaded(9_000 + by, 800_000))),
    "relief": (QUANTUM_PPM, lambda by: replace(OURS, congestions=loaded(9_000, 800_000 + by))),
    "finding": (51, lambda by: replace(OURS, findings=(Finding(FindingKind.OVERDRAWN, "tank", (50_000 + by, 40)),))),
}
"""What → the quantum, and how to differ in it."""


@pytest.mark.parametrize(("quantum", "change"), CHANGES.values(), ids=CHANGES)
def test_a_quantum_is_agreed_to_and_more_is_not(quantum: int, change: Change) -> None:
    for by in (-quantum, quantum):
        assert first_difference(change(by), OURS) is None
    for by in (-quantum - 1, quantum + 1):
        assert first_difference(change(by), OURS) is not None


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param(replace(OURS, branches=()), id="no branches"),
        pytest.param(replace(OURS, events=()), id="no events"),
        pytest.param(replace(OURS, findings=()), id="nothing found"),
        pytest.param(replace(OURS, findings=(Finding(FindingKind.OVERDRAWN, "tank", (50_000,)),)), id="half a finding"),
        pytest.param(
            replace(OURS, findings=(Finding(FindingKind.OVERFILLED, "tank", (50_000, 40)),)), id="another kind"
        ),
        pytest.param(replace(OURS, sent=()), id="nothing sent"),
        pytest.param(replace(OURS, sent=(PipeParcel("pipe", True, Parcel(MIX, 9000)),)), id="sent the other way"),
        pytest.param(replace(OURS, storages=()), id="nothing held"),
    ],
)
def test_what_is_left_out_or_added_is_seen_from_both_sides(theirs: Flows) -> None:
    assert first_difference(theirs, OURS) is not None
    assert first_difference(OURS, theirs) is not None


def test_a_parcel_of_a_quantum_may_be_there_or_not() -> None:
    """Where hardly anything flows, one node may round it to nothing."""
    little = replace(OURS, sent=(*OURS.sent, PipeParcel("other", True, Parcel(((Source.GAS, QUANTUM_WH),), 500))))
    assert first_difference(little, OURS) is first_difference(OURS, little) is None


TWICE: dict[str, Flows] = {
    "parcel": replace(OURS, sent=(*OURS.sent, PipeParcel("pipe", False, Parcel(((Source.WIND, QUANTUM_WH),))))),
    "parcel the other way": replace(OURS, sent=(*OURS.sent, PipeParcel("pipe", True, Parcel(())))),
    "empty parcel": replace(OURS, sent=(*OURS.sent, PipeParcel("pipe", False, Parcel(())))),
    "share": replace(
        OURS, events=(replace(OURS.events[0], relieving_ppm=(("home", -1_000_000), ("home", -QUANTUM_PPM))),)
    ),
    "content": replace(OURS, storages=(*OURS.storages, StorageContent("tank", 0, 0, Parcel(())))),
}
"""What is said rightly, and once more with next to nothing."""


@pytest.mark.parametrize("theirs", TWICE.values(), ids=TWICE)
def test_what_is_said_twice_is_not_agreed_to(theirs: Flows) -> None:
    """The second would count, and be within a quantum of nothing: relief, or a pipe's content, would be gone."""
    assert first_difference(theirs, OURS) is not None


@pytest.mark.parametrize(("loading_ppm", "is_agreed"), [(900_010, True), (900_011, False)])
def test_who_sees_a_line_nearly_full_by_a_quantum_says_more_of_it_and_is_agreed_to(
    loading_ppm: int, is_agreed: bool
) -> None:
    over = replace(OURS, branches=(BranchFlow("b1", -700, loading_ppm),))
    within = replace(OURS, branches=(BranchFlow("b1", -700, loading_ppm - 10),), congestions=())
    assert (first_difference(over, within) is None) is is_agreed
    assert (first_difference(within, over) is None) is is_agreed


def test_whom_a_line_hardly_feels_may_be_left_out() -> None:
    alone = replace(OURS, congestions=loaded(1, QUANTUM_PPM))
    assert first_difference(alone, replace(OURS, congestions=(Congestion("b1", ()),))) is None

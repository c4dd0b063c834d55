"""The records of a restatement have one spelling, and what cannot be is refused before any rule sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import (
    Balance,
    BranchFlow,
    CalledEvent,
    Carried,
    ConverterFlow,
    EventFlow,
    Flows,
    Parcel,
    ParticipantFlow,
    PipeParcel,
    StorageContent,
)
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.restatement import PeriodAdjustment, Restatement
from aggregator.chains.metering.correction import DELTA_MAX_WH, INTERVALS_MAX, Correction, Delta
from aggregator.chains.metering.interval_energy import (
    IntervalEnergy,
    energies_root,
    metered_leaf,
    prove_row,
    read_metered_leaf,
    row_hash,
    together,
)
from aggregator.chains.periods.carbon import PeriodSums
from config.carriers import Carrier
from config.grid_model import Source
from protocol.canonical import decode, encode
from protocol.errors import EncodingError, ProofError
from protocol.link import Link
from protocol.merkle import verify_inclusion
from tests.village import START_MS

LINK = Link("village", "node", 3, bytes(32))
DEEDS = {"home": PeriodSums(50, 20, 0, 0, 1, 1, 2, 500_000), "wind": PeriodSums(fed_in_wh=20)}
MIX = ((Source.WIND, 20), (Source.GAS, 30))
ROW = IntervalEnergy(1, 2, 3, 4, 5, 6, 7)


def a_correction(*deltas: Delta) -> Correction:
    return Correction(LINK, "m-home", deltas, "50:5, not 100:5")


def a_restatement(**changes: Any) -> Restatement:
    home = ParticipantFlow("home", Carrier.HEAT, 50, 0, 0, MIX, 7)
    parcel = Parcel(MIX, 9)
    flows = Flows(
        participants=(home,),
        branches=(BranchFlow("b1", -7, 10),),
        balances=(Balance(Carrier.HEAT, 60, 50, 11, -1),),
        converters=(ConverterFlow("pump", 20, 60, 0),),
        storages=(StorageContent("tank", 0, 50, parcel),),
        sent=(PipeParcel("pipe", False, parcel),),
        events=(EventFlow(4, 1_200_000, (("home", -1_000_000),)),),
        findings=(Finding(FindingKind.OVERDRAWN, "tank", (50, 40)),),
    )
    record = Restatement(LINK, START_MS, START_MS + 5000, {"m-a": ROW, "m-b": ROW}, DEEDS, bytes(32), a_past(), flows)
    return replace(record, **changes)


def a_past() -> Known:
    """What an interval may inherit: a content, parcels on their way, and an event with a baseline."""
    sent = PipeParcel("pipe", True, Parcel(MIX, 3))
    carried = Carried({"tank": Parcel(MIX, 9)}, {"pipe": [(START_MS - 10_000, sent), (START_MS - 5000, sent)]})
    return Known({}, carried, (CalledEvent(4, "b1", {"home": 70, "wind": -20}), CalledEvent(5, "", {})))


def test_records_are_read_as_they_were_spelled() -> None:
    known = prove_row({"m-a": ROW, "m-home": ROW, "m-z": ROW}, "m-home")
    correction = a_correction(Delta(START_MS, -1, 5, known), Delta(START_MS + 5000, 0, 1))
    adjustment = PeriodAdjustment(LINK, START_MS, START_MS + 30_000, 6, 171, 2, bytes(32))
    for message in (correction, a_restatement(), adjustment):
        assert type(message).decode(message.encode()) == message


@pytest.mark.parametrize(
    "deltas",
    [
        pytest.param((), id="of nothing"),
        pytest.param((Delta(START_MS, 0, 0),), id="by nothing"),
        pytest.param((Delta(START_MS, DELTA_MAX_WH + 1, 0),), id="by too much"),
        pytest.param((Delta(START_MS, 1, -DELTA_MAX_WH - 1),), id="by too much less"),
        pytest.param((Delta(START_MS, 1, 0), Delta(START_MS, 1, 0)), id="twice in one interval"),
        pytest.param((Delta(START_MS, 1, 0), Delta(START_MS - 1, 1, 0)), id="backwards"),
        pytest.param(tuple(Delta(n, 1, 0) for n in range(INTERVALS_MAX + 1)), id="of too many intervals"),
    ],
)
def test_a_correction_that_cannot_be_is_not_read(deltas: tuple[Delta, ...]) -> None:
    with pytest.raises(EncodingError):
        Correction.decode(a_correction(*deltas).encode())


def changed(message: Restatement, key: int, value: Any) -> bytes:
    fields = decode(message.encode(), size_max=1 << 16)
    return encode({**fields, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(7, [["m-b", *ROW.amounts], ["m-a", *ROW.amounts]], id="meters out of order"),
        pytest.param(7, [["m-a", *ROW.amounts], ["m-a", *ROW.amounts]], id="a meter twice"),
        pytest.param(7, [["m-a", -1, *ROW.amounts[1:]]], id="less than no energy"),
        pytest.param(7, [["m-a", *ROW.amounts[1:]]], id="a row too short"),
        pytest.param(11, [["home", 0, 1, 0, 0, [[0, 1], [0, 1]], 0]], id="a source twice"),
        pytest.param(11, [["home", 0, 1, 0, 0, [[0, 1], [1, 0]], 0]], id="a source without energy"),
        pytest.param(11, [["home", 4, 1, 0, 0, [[0, 1]], 0]], id="an unknown carrier"),
        pytest.param(18, [[99, "tank"]], id="a finding of no kind"),
        pytest.param(18, [[8]], id="a finding about nothing"),
        pytest.param(16, [["pipe", 1, [], 0]], id="a way that is no flag"),
        pytest.param(9, bytes(31), id="no digest"),
        pytest.param(8, [["wind", *[1] * 8], ["home", *[1] * 8]], id="deeds out of order"),
        pytest.param(8, [["home", *[1] * 7]], id="deeds of fewer kinds"),
        pytest.param(10, [[["tank", [], 0], ["tank", [], 0]], [], []], id="a storage twice"),
        pytest.param(10, [[], [["pipe", 5, True, [], 0], ["pipe", 4, True, [], 0]], []], id="parcels out of order"),
        pytest.param(10, [[], [], [[4, None, []], [4, None, []]]], id="an event twice"),
        pytest.param(10, [[], [], [[4, "", []]]], id="a branch without a name"),
        pytest.param(11, None, id="no flows"),
    ],
)
def test_a_restatement_that_cannot_be_is_not_read(key: int, value: Any) -> None:
    with pytest.raises(EncodingError):
        Restatement.decode(changed(a_restatement(), key, value))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 100])
def test_any_row_of_an_interval_can_be_shown_and_no_other(count: int) -> None:
    energies = {f"m-{n:03}": replace(ROW, imported_wh=n) for n in range(count)}
    root = energies_root(energies)
    for meter in energies:
        shown = prove_row(energies, meter)
        place: dict[str, Any] = {"index": shown.index, "size": count, "proof": shown.path, "root": root}
        verify_inclusion(hash_of_leaf=row_hash(meter, shown.energy), **place)
        with pytest.raises(ProofError):
            verify_inclusion(hash_of_leaf=row_hash(meter, replace(shown.energy, exported_wh=3)), **place)


def test_a_leaf_tells_its_own_interval_only() -> None:
    leaf = metered_leaf(START_MS, {"m-a": ROW})
    assert read_metered_leaf(leaf, START_MS) == {"m-a": ROW}
    assert read_metered_leaf(leaf, START_MS + 1) is None
    assert read_metered_leaf(encode(["factors", START_MS, []]), START_MS) is None
    assert read_metered_leaf(b"\xff", START_MS) is None


def test_what_is_known_and_what_is_late_are_added_up_meter_by_meter() -> None:
    late = {"m-c": IntervalEnergy(exported_wh=9), "m-a": IntervalEnergy(-1, corrections=1)}
    assert together({"m-a": ROW, "m-b": ROW}, late) == {
        "m-a": IntervalEnergy(0, 2, 3, 4, 5, 6, 8),
        "m-b": ROW,
        "m-c": IntervalEnergy(exported_wh=9),
    }
    assert list(together({"m-z": ROW}, late)) == ["m-a", "m-c", "m-z"]

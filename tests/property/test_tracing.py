"""What holds of tracing in every network: nothing is lost, invented, or changed by how it is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aggregator.chains.intervals.flows import SOURCES, Parcel, PipeParcel
from aggregator.grid.network import PipeNetwork
from aggregator.grid.pipe_flow import PipeFlowSolver
from aggregator.grid.quantize import NUMBERS, OTHER, contents_of, split, split_many
from aggregator.grid.stores import arrival, content_after, discharge_of
from aggregator.grid.tracing import Arcs, mixes, users
from config.carriers import Pipe, Storage
from protocol.units import Interval, UnixMs

Floats = NDArray[np.float64]
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Case:
    """Power in a network: what enters at nodes, what lines carry, and what is taken; every node balances."""

    known: Floats
    arcs: Arcs
    taken: Floats

    @property
    def nodes(self) -> int:
        return len(self.known)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any lines in any direction, circles too; what flows on never exceeds what has come."""
    nodes = draw(st.integers(2, 8))
    ends = draw(st.lists(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)), max_size=14))
    pairs = [(a, b) for a, b in ends if a != b]
    sent = np.array([draw(st.integers(1, 10_000)) for _ in pairs], dtype=np.float64)
    lost = np.array([draw(st.sampled_from([0.0, 0.0, 0.1, 0.5])) for _ in pairs])
    sender = np.array([a for a, _ in pairs], dtype=np.int64)
    receiver = np.array([b for _, b in pairs], dtype=np.int64)
    arriving = sent * (1 - lost)
    left = np.bincount(sender, sent, nodes) - np.bincount(receiver, arriving, nodes)
    known = np.zeros((nodes, NUMBERS + 1))
    for node in range(nodes):
        taken = draw(st.integers(0, 5_000))
        source = draw(st.integers(0, NUMBERS - 1).filter(lambda k: k != OTHER))
        known[node, source] = max(0.0, left[node] + taken)
        known[node, NUMBERS] = known[node, source] * draw(st.integers(0, 1_000))
    taken = (known[:, :NUMBERS].sum(axis=1) - left).clip(min=0.0)
    return Case(known, Arcs(sender, receiver, sent, arriving, arriving), taken)


@given(cases())
def test_every_source_and_all_carbon_go_into_use_and_losses(case: Case) -> None:
    found = mixes(case.known, case.arcs)
    through = case.known[:, :NUMBERS].sum(axis=1) + np.bincount(case.arcs.receiver, case.arcs.arriving_w, case.nodes)
    assert found[through > 1][:, :NUMBERS].sum(axis=1) == pytest.approx(1)
    lost = (found[case.arcs.sender] * (case.arcs.sent_w - case.arcs.arriving_w)[:, None]).sum(axis=0)
    used = (found * case.taken[:, None]).sum(axis=0)
    fed_in = case.known.sum(axis=0)
    is_known = np.arange(NUMBERS + 1) != OTHER
    if found[:, OTHER].max() < 1e-9:  # no circle without a beginning
        assert (used + lost)[is_known] == pytest.approx(fed_in[is_known], rel=1e-6, abs=1e-3)
    else:
        assert ((used + lost)[is_known] <= fed_in[is_known] * (1 + 1e-6) + 1e-3).all()


@given(cases())
def test_no_share_is_negative_or_above_one_and_all_are_numbers(case: Case) -> None:
    found = mixes(case.known, case.arcs)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[:, :NUMBERS] <= 1 + 1e-12).all()


@given(cases(), st.sampled_from([1e-3, 7.0, 1e6]))
def test_scale_changes_nothing(case: Case, factor: float) -> None:
    arcs = case.arcs
    scaled = Arcs(arcs.sender, arcs.receiver, arcs.sent_w * factor, arcs.arriving_w * factor, arcs.carbon_w * factor)
    assert mixes(case.known * factor, scaled) == pytest.approx(mixes(case.known, arcs), abs=1e-9, rel=1e-9)


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_changes_nothing(case: Case, chance: object) -> None:
    order = list(range(case.nodes))
    chance.shuffle(order)  # type: ignore[attr-defined]
    place = np.argsort(order)
    arcs = case.arcs
    moved = Arcs(place[arcs.sender], place[arcs.receiver], arcs.sent_w, arcs.arriving_w, arcs.carbon_w)
    assert mixes(case.known[order], moved)[place] == pytest.approx(mixes(case.known, arcs), abs=1e-9, rel=1e-9)


@given(cases(), st.data())
def test_splitting_a_branch_in_two_changes_nothing(case: Case, data: st.DataObject) -> None:
    arcs = case.arcs
    if not len(arcs.sender):
        return
    line = data.draw(st.integers(0, len(arcs.sender) - 1))
    middle_w = (arcs.sent_w[line] + arcs.arriving_w[line]) / 2
    receiver, arriving = arcs.receiver.copy(), arcs.arriving_w.copy()
    receiver[line], arriving[line] = case.nodes, middle_w
    halves = Arcs(
        np.append(arcs.sender, case.nodes),
        np.append(receiver, arcs.receiver[line]),
        np.append(arcs.sent_w, middle_w),
        np.append(arriving, arcs.arriving_w[line]),
        np.append(arriving, arcs.arriving_w[line]),
    )
    known = np.vstack([case.known, np.zeros(NUMBERS + 1)])
    assert mixes(known, halves)[:-1] == pytest.approx(mixes(case.known, arcs), abs=1e-9, rel=1e-9)


@given(cases())
def test_upstream_and_downstream_tell_the_same_story(case: Case) -> None:
    """Without losses, what goes from a feed-in to a load is the same from either end."""
    arcs = Arcs(case.arcs.sender, case.arcs.receiver, case.arcs.sent_w, case.arcs.sent_w, case.arcs.sent_w)
    left = np.bincount(arcs.sender, arcs.sent_w, case.nodes) - np.bincount(arcs.receiver, arcs.sent_w, case.nodes)
    known = np.zeros_like(case.known)
    known[:, 0] = left.clip(min=0.0) + 10  # every node feeds in, so that no circle is without a beginning
    taken = known[:, 0] - left
    for node in range(case.nodes):
        marked = known.copy()
        marked[node, 1], marked[node, 0] = known[node, 0], 0.0
        from_node = mixes(marked, arcs)[:, 1] * taken
        to_loads = users(np.diag(taken), arcs)[node] * known[node, 0]
        assert from_node == pytest.approx(to_loads, rel=1e-6, abs=1e-6)


@given(cases())
def test_shares_of_users_sum_to_one_where_anything_is_used(case: Case) -> None:
    shares = users(np.diag(case.taken), case.arcs)
    assert (shares >= 0).all()
    total = shares.sum(axis=1)
    assert ((total < 1e-9) | (np.abs(total - 1) < 1e-6)).all()


# -- Pipes


@st.composite
def pipe_cases(draw: st.DrawFn) -> tuple[PipeNetwork, Floats, Floats]:
    """A connected network of pipes, loops too, with any feed-in."""
    nodes = draw(st.integers(1, 8))
    pairs = [(draw(st.integers(0, i - 1)), i) for i in range(1, nodes)]
    more = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    pairs += [(a, b) for a, b in draw(st.lists(more, max_size=4)) if a != b]
    network = PipeNetwork(
        node_number={f"n{i}": i for i in range(nodes)},
        node_carrier=np.ones(nodes, dtype=np.int64),
        island=np.zeros(nodes, dtype=np.int64),
        pipe_from=np.array([a for a, _ in pairs], dtype=np.int64),
        pipe_to=np.array([b for _, b in pairs], dtype=np.int64),
        rating_w=np.array([draw(st.sampled_from([1.0, 10.0, 1e4])) for _ in pairs]),
        loss=np.array([draw(st.sampled_from([0.0, 0.0, 0.01, 0.3])) for _ in pairs]),
    )
    fed_in = np.array([draw(st.integers(-1_000, 1_000)) for _ in range(nodes)], dtype=np.float64)
    return network, fed_in, (fed_in * 0.01) ** 2


@given(pipe_cases())
def test_pipes_balance_at_every_node(case: tuple[PipeNetwork, Floats, Floats]) -> None:
    network, fed_in, variance = case
    flow = PipeFlowSolver(network).solve(fed_in, variance)
    out = np.bincount(network.pipe_from, flow.from_w, network.nodes)
    out += np.bincount(network.pipe_to, flow.to_w, network.nodes)
    assert out == pytest.approx(fed_in + flow.correction_w, abs=1e-5)
    assert (flow.losses_w >= -1e-5).all()
    assert (np.sign(flow.correction_w) * np.sign(flow.correction_w.sum()) >= 0).all()


# -- Rounding


@given(st.integers(0, 10**12), st.lists(st.floats(0, 1e9), min_size=NUMBERS, max_size=NUMBERS))
def test_a_split_is_exact_and_next_to_its_share(whole_wh: int, parts: list[float]) -> None:
    mix = dict(split(whole_wh, parts))
    assert sum(mix.values()) == whole_wh
    total = sum(parts)
    for source, part in zip(SOURCES, parts, strict=True):
        assert mix.get(source, 0) >= 0
        if total > 1e-300:
            assert abs(mix.get(source, 0) - whole_wh * (part / total)) <= 1 + 1e-9 * whole_wh


@given(st.lists(st.tuples(st.integers(0, 10**9), st.lists(st.floats(0, 1e6), min_size=3, max_size=3)), min_size=1))
def test_many_are_split_as_each_alone(rows: list[tuple[int, list[float]]]) -> None:
    parts = np.array([row[1] + [0.0] * (NUMBERS - 3) for row in rows])
    many = split_many(np.array([row[0] for row in rows]), parts)
    for (whole_wh, _), got, part in zip(rows, many, parts, strict=True):
        assert split(whole_wh, part.tolist()) == tuple((SOURCES[k], wh) for k, wh in enumerate(got.tolist()) if wh)


# -- Stores

parcels = st.builds(
    lambda amounts, carbon: Parcel(
        tuple((SOURCES[k], wh) for k, wh in enumerate(amounts) if wh), carbon if any(amounts) else 0
    ),
    st.lists(st.integers(0, 5_000), min_size=NUMBERS, max_size=NUMBERS),
    st.integers(0, 10**6),
)


@given(parcels, st.integers(0, 20_000), st.integers(0, 20_000), st.integers(1, 1_000_000), st.integers(0, 1_000_000))
def test_a_storage_never_holds_less_than_nothing(
    held: Parcel, charged_wh: int, discharged_wh: int, efficiency_ppm: int, loss_ppm: int
) -> None:
    storage = Storage(
        id="tank",
        charge_meter="m",
        discharge_meter="m",
        capacity_wh=10**6,
        efficiency_ppm=efficiency_ppm,
        loss_ppm_per_day=loss_ppm,
    )
    mix = np.zeros(NUMBERS + 1)
    mix[0], mix[NUMBERS] = 1.0, 12.0
    given_ = discharge_of(storage, held, charged_wh, discharged_wh)
    assert given_.held_wh + given_.passed_wh + given_.excess_wh == pytest.approx(discharged_wh)
    assert min(given_.held_wh, given_.passed_wh, given_.excess_wh) >= 0
    interval = Interval(start_ms=UnixMs(HOUR_MS * 400_000), end_ms=UnixMs(HOUR_MS * 400_001))
    after = content_after(storage, held, charged_wh, discharged_wh, mix, interval)
    assert 0 <= after.energy_wh <= held.energy_wh + charged_wh
    assert after.carbon_mg >= 0
    assert all(wh > 0 for _, wh in after.mix_wh)


@given(
    st.lists(st.tuples(st.booleans(), parcels), max_size=6),
    st.integers(1, 20_000),
    st.booleans(),
    st.sampled_from([{"delay_ms": 5_000_000}, {"delay_ms": 10_000}, {"content_wh": 0}, {"content_wh": 9_000}]),
)
def test_what_arrives_through_a_pipe_is_all_accounted_for(
    sent: list[tuple[bool, Parcel]], sent_wh: int, is_forward: bool, how: dict[str, int]
) -> None:
    pipe = Pipe(id="p", from_node="a", to_node="b", rating_w=1, **how)
    start = 100 * HOUR_MS
    history = [
        (start - (len(sent) - i) * HOUR_MS, PipeParcel("p", forward, parcel))
        for i, (forward, parcel) in enumerate(sent)
    ]
    interval = Interval(start_ms=UnixMs(start), end_ms=UnixMs(start + HOUR_MS))
    found = arrival(pipe, history, float(sent_wh), is_forward=is_forward, interval=interval)
    assert found.now + found.unknown + found.contents[:NUMBERS].sum() == pytest.approx(1)
    assert (found.contents >= 0).all()
    assert contents_of(Parcel(())).sum() == 0

"""One interval's physics beside the bare solvers, from a thousand nodes to a hundred thousand.

The region is a medium-voltage network without loops, a meter at every node, and one at the connection to the network
outside: two thirds use energy, one third has a roof full of sun. What the bare solvers are handed has been prepared
before the clock starts.
"""

from __future__ import annotations

import resource
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.intervals.known import Known
from aggregator.chains.metering.interval_energy import Energies, IntervalEnergy
from aggregator.chains.region import Region
from aggregator.grid.interval import IntervalPhysics
from aggregator.grid.measurements import Electrics
from aggregator.grid.network import Floats, network_of
from aggregator.grid.power_flow import PowerFlow, PowerFlowSolver, StateSolver, state_of
from aggregator.grid.quantize import NUMBERS
from benchmarks.figure import Figure, cpu_seconds
from benchmarks.region import PROFILE
from config.grid_model import Grid
from config.load import check
from protocol.link import NO_RECORD, Link
from protocol.units import Interval, UnixMs

START_MS: Final = 1_790_000_100_000
INTERVAL: Final = Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + 900_000))
SIZES: Final = (1_000, 3_000, 10_000, 30_000, 100_000)
USUAL: Final = 10_000
A_DAY: Final = 96
MEMORY_MAX_MB: Final = 2_000
REACH: Final = 50
"""A node hangs on one of so many before it."""


@dataclass(frozen=True, slots=True)
class Case:
    """A region with what its meters say."""

    region: Region
    energies: Energies
    physics: IntervalPhysics

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return len(self.region.grid.nodes)

    def work(self) -> object:
        """One interval, from energies to rows."""
        return self.physics(self.region, INTERVAL, Known(self.energies))


def measure() -> Iterator[Figure]:
    """Time an interval of each size."""
    seconds = {}
    for nodes in SIZES:
        case = a_case(nodes)
        case.work()
        seconds[nodes] = cpu_seconds(case.work, rounds=3 if nodes > USUAL else 7)
        if nodes == USUAL:
            yield _beside_the_solvers(case, seconds[nodes])
            yield _in_one_batch(case)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Figure(f"grid of {SIZES[-1]:,} nodes: memory at its peak", peak_mb, MEMORY_MAX_MB, "MB")
    slower = (seconds[SIZES[-1]] / SIZES[-1]) / (seconds[USUAL] / USUAL)
    note = ", ".join(f"{nodes:,}: {seconds[nodes] * 1e3:.0f} ms" for nodes in SIZES)
    yield Figure(f"grid: a node of {SIZES[-1]:,}, in one of {USUAL:,}", slower, 2, "×", note=note)


def _beside_the_solvers(case: Case, whole_s: float) -> Figure:
    """The same interval by power-grid-model and SuperLU alone: estimation, power flow and tracing."""
    power_s, trace_s = _bare_seconds(case)
    ratio = whole_s / (power_s + trace_s)
    note = f"power-grid-model {power_s * 1e3:.0f} ms, SuperLU {trace_s * 1e3:.0f} ms; everything {whole_s * 1e3:.0f} ms"
    return Figure(f"grid of {case.nodes:,} nodes: an interval, in bare solvers'", ratio, 3, "×", note=note)


def _bare_seconds(case: Case) -> tuple[float, float]:
    """What estimation with power flow, and tracing, cost without anything around them."""
    network = network_of(case.region.grid)
    solver = PowerFlowSolver(network)
    measured = Electrics(case.region, network).measure(case.energies, INTERVAL)
    model = StateSolver(network).model(measured.sensors)
    consumption = _consumption(case)
    flow = solver.solve(consumption)
    matrix, given = _system(case, flow, consumption)
    return (
        cpu_seconds(lambda: solver.solve(consumption), rounds=7) + cpu_seconds(lambda: state_of(model), rounds=7),
        cpu_seconds(lambda: splu(matrix).solve(given), rounds=7),
    )


def _in_one_batch(case: Case) -> Figure:
    """A day of intervals, one after another with everything prepared once, beside as many power flows alone."""
    solver = PowerFlowSolver(network_of(case.region.grid))
    consumption = _consumption(case)
    day_s = cpu_seconds(lambda: deque((case.work() for _ in range(A_DAY)), maxlen=1), rounds=1)
    bare_s = cpu_seconds(lambda: deque((solver.solve(consumption) for _ in range(A_DAY)), maxlen=1), rounds=1)
    note = f"{day_s:.1f} s, of which power flow {bare_s:.1f} s"
    return Figure(f"grid of {case.nodes:,} nodes: a day of {A_DAY} intervals", day_s, 60, "s", note=note)


def a_case(nodes: int) -> Case:
    """A region of so many nodes, the same in every run."""
    chance = np.random.default_rng(1)
    genesis = Genesis(Link("bench", "regulator", 1, NO_RECORD), START_MS, (), a_grid(nodes, chance), (PROFILE,))
    energies = {}
    for meter in sorted(genesis.grid.meters, key=lambda meter: meter.id):
        taken, fed_in = int(chance.integers(20, 300)), int(chance.integers(0, 200))
        if meter.id.endswith(("0", "4", "8")):
            taken = 0
        else:
            fed_in = 0
        energies[meter.id] = IntervalEnergy(taken, fed_in, 0, 15, taken * 60, fed_in * 60)
    case = Case(Region(genesis), energies, IntervalPhysics())
    from_outside = PowerFlowSolver(network_of(genesis.grid)).solve(_consumption(case)).reference_w
    hours = INTERVAL.length_ms / 3_600_000
    energies["m0"] = IntervalEnergy(0, round(from_outside * hours), 0, 15, 0, round(from_outside * 15))
    return case


def a_grid(nodes: int, chance: np.random.Generator) -> Grid:
    """A grid file without loops."""
    parents = [int(chance.integers(max(0, i - REACH), i)) for i in range(1, nodes)]
    branch = {"resistance_uohm": 500, "reactance_uohm": 300, "rating_ma": 400_000}
    document: dict[str, Any] = {
        "region": "bench",
        "reference_node": "n0",
        "rules": {
            "time": {"interval_ms": 900_000, "grace_ms": 60_000, "period_ms": 86_400_000},
            "carbon": {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1},
            "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
            "accounts": {"ceiling": 500, "restricted_ppm": 300_000},
        },
        "participants": [{"id": f"p{i}"} for i in range(nodes)],
        "nodes": [{"id": f"n{i}", "voltage_mv": 20_000_000} for i in range(nodes)],
        "branches": [
            {"id": f"b{i}", "from_node": f"n{parent}", "to_node": f"n{i}", **branch}
            for i, parent in enumerate(parents, start=1)
        ],
        "meters": [
            {"id": f"m{i}", "participant": f"p{i}", "node": f"n{i}", "gateway": "gw", "profile": PROFILE.id}
            | {"power_max_w": 50_000}
            for i in range(nodes)
        ],
        "generators": [
            {"id": "g0", "meter": "m0", "source": "grid", "rated_w": 10**9, "emission_g_per_kwh": 400},
            *(
                {"id": f"g{i}", "meter": f"m{i}", "source": "pv", "rated_w": 10_000, "emission_g_per_kwh": 0}
                for i in range(1, nodes)
                if f"{i}".endswith(("0", "4", "8"))
            ),
        ],
    }
    return check(document, Grid, "benchmark")


def _consumption(case: Case) -> Floats:
    """(n) what every node takes, in the order of the grid file."""
    hours = INTERVAL.length_ms / 3_600_000
    amounts = [case.energies[meter.id] for meter in case.region.grid.meters]
    taken = np.array([(energy.imported_wh - energy.exported_wh) / hours for energy in amounts])
    taken[0] = 0.0  # the connection
    return taken


def _system(case: Case, flow: PowerFlow, consumption: Floats) -> tuple[csc_array, Floats]:
    """The matrix of tracing and its right-hand sides, as they stand before a bare solver."""
    network = network_of(case.region.grid)
    given = np.zeros((case.nodes, NUMBERS + 1))
    given[:, 0] = (-consumption).clip(min=0.0)
    given[network.reference, 1] += max(0.0, flow.reference_w)
    forward = flow.from_w > 0
    sender = np.where(forward, network.branch_from, network.branch_to)
    receiver = np.where(forward, network.branch_to, network.branch_from)
    arriving = np.where(forward, -flow.to_w, -flow.from_w)
    through = (given.sum(axis=1) + np.bincount(receiver, arriving, case.nodes)).clip(min=1e-6)
    places = np.arange(case.nodes)
    entries = np.concatenate([through, -arriving])
    rows, columns = np.concatenate([places, receiver]), np.concatenate([places, sender])
    return csc_array((entries, (rows, columns)), shape=(case.nodes, case.nodes)), given


def draw(path: Path) -> None:
    """Draw what an interval of each size costs. Not part of `measure`: the picture stands in docs/images."""
    import matplotlib  # noqa: PLC0415 - only who draws needs it

    matplotlib.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415

    matplotlib.rcParams["svg.hashsalt"] = "este"
    whole, bare = [], []
    for nodes in SIZES:
        case = a_case(nodes)
        case.work()
        whole.append(cpu_seconds(case.work) * 1e3)
        bare.append(sum(_bare_seconds(case)) * 1e3)
    figure, axes = pyplot.subplots(figsize=(6, 4))
    axes.loglog(SIZES, whole, "o-", label="an interval, from meters' rows to the record")
    axes.loglog(SIZES, bare, "s--", label="power-grid-model and SuperLU alone")
    axes.loglog(SIZES, [whole[0] * nodes / SIZES[0] for nodes in SIZES], ":", color="grey", label="linear")
    axes.set_xlabel("nodes of a network without loops, a meter at each")
    axes.set_ylabel("CPU time, ms")
    axes.legend(frameon=False)
    axes.grid(visible=True, which="major", linewidth=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))

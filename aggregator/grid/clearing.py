"""Clears a call auction within the network: the merit order where no line is full, else HiGHS, rounded to integers.

The only importer of highspy. Nobody has to believe what comes out: every node verifies it by
`aggregator.economy.market.clearing`, in integers.

Shapes: q quotes, l lines, n nodes, k loops of power lines, i islands. Columns of the linear program: quotes, then
lines, in watt-hours. Rows: nodes (λ), loops (ν), islands (−κ).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import highspy
import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.sparse.linalg import splu

from aggregator.economy.market.clearing import (
    LOOP_SCALE,
    PRICE_SCALE,
    Auction,
    Clearing,
    injections_mwh,
    islands_by_rule,
    overload_max_mwh,
    rents,
    spare_clean_wh,
    verify,
)
from aggregator.economy.network import MWH_PER_WH, TradedNetwork
from aggregator.grid.network import Floats, Ints
from protocol.quote import Side
from protocol.refusals import Refused

ROUNDS_MAX: Final = 8
"""How often the program is solved, each time with more room on the lines for what rounding does."""
MARGIN_WH: Final = 1
"""What is left free at first on every line that is part of a loop. Without loops the result is whole by itself."""
WHOLE: Final = 1e-4
"""A quantity that is so little below a whole one is taken for it."""


COST_SCALE: Final = 1000
"""Costs are handed to the solver in so many minor units: with larger numbers HiGHS may end without knowing whether it
has found the best."""


class ClearingError(Exception):
    """No clearing is found: the solver fails, or rounding does."""


@dataclass(frozen=True, slots=True)
class Solution:
    """What the solver says."""

    columns: Floats
    """(q + l) watt-hours."""
    duals: Floats
    """(n + k + i) minor units per MWh, in units of `COST_SCALE`."""


class Clearer:
    """A network, prepared once for many auctions."""

    def __init__(self, network: TradedNetwork) -> None:
        self.network = network
        self._from = np.array([line.from_node for line in network.lines], dtype=np.int64)
        self._to = np.array([line.to_node for line in network.lines], dtype=np.int64)
        self._loops = _loop_rows(network)
        impedance = np.array([line.impedance_uohm for line in network.lines], dtype=np.float64)
        self._mean_uohm = float(impedance[impedance > 0].mean()) if (impedance > 0).any() else 1.0
        self._drops = csr_array(self._loops * (impedance / self._mean_uohm))
        """(k, l) relative impedance, with the sign of the way around."""
        self._divider = splu(csc_array(self._drops @ self._loops.T)) if network.loops else None
        self._in_loop = np.zeros(len(network.lines), dtype=np.int64)
        self._in_loop[[line for loop in network.loops for line in loop.lines]] = 1
        self._is_loop = np.array([network.lines[one].impedance_uohm > 0 for one in network.forest.left_out], dtype=bool)

    def clear(self, auction: Auction) -> Clearing:
        """Find a clearing that `verify` accepts.

        Raises:
            ClearingError: none is found.
        """
        rooms_mwh = np.array(auction.rooms_mwh, dtype=np.int64).reshape(-1, 2).T
        found = self._by_merit(auction)
        if found is not None and _over_mwh(found, rooms_mwh).max(initial=0) <= 0:
            return self._seen_right(auction, found)
        room_wh = (rooms_mwh // MWH_PER_WH - MARGIN_WH * self._in_loop).clip(min=0)
        solver = solver_of(self.program(auction, room_wh))
        for _ in range(ROUNDS_MAX):
            clearing = self._rounded(auction, solve(solver))
            over_mwh = _over_mwh(clearing, rooms_mwh)
            if over_mwh.max(initial=0) <= 0:
                return self._seen_right(auction, self._by_rule(auction, clearing))
            for way, line in np.argwhere(over_mwh > 0).tolist():
                room_wh[way, line] = max(0, room_wh[way, line] - over_mwh[way, line] // MWH_PER_WH - 1)
                forward, backward = room_wh[:, line].tolist()
                solver.changeColBounds(len(auction.quotes) + line, -float(backward), float(forward))
        if (over_mwh <= np.array(overload_max_mwh(self.network), dtype=np.int64)).all():
            return self._seen_right(auction, self._by_rule(auction, clearing))
        raise ClearingError(f"rounding overloads lines {ROUNDS_MAX} times")

    def program(self, auction: Auction, room_wh: Ints) -> highspy.HighsLp:
        """The linear program, as HiGHS takes it: least cost, which is most welfare.

        Args:
            auction: what is to be cleared.
            room_wh: (2, l) what each line may carry from its from_node, and towards it.
        """
        quotes, network = auction.quotes, self.network
        q, l, n, k, i = len(quotes), len(network.lines), len(network.nodes), len(network.loops), auction.islands  # noqa: E741
        node, island = np.array(auction.nodes, dtype=np.int64), np.array(auction.island_of, dtype=np.int64)
        sign = np.array([1.0 if one.side is Side.SELL else -1.0 for one in quotes])
        clean = np.array([one.clean_only - one.is_clean for one in quotes], dtype=np.float64)
        of_clean, lines, drops = np.flatnonzero(clean), q + np.arange(l), self._drops.tocoo()
        rows = np.concatenate([node, self._from, self._to, n + drops.row, n + k + island[of_clean]])
        columns = np.concatenate([np.arange(q), lines, lines, q + drops.col, of_clean])
        values = np.concatenate([sign, -np.ones(l), np.ones(l), drops.data, clean[of_clean]])
        matrix = csc_array((values, (rows, columns)), shape=(n + k + i, q + l))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = q + l, n + k + i
        lp.col_cost_ = np.concatenate([sign * np.array([one.limit / COST_SCALE for one in quotes]), np.zeros(l)])
        lp.col_lower_ = np.concatenate([np.zeros(q), -room_wh[1].astype(np.float64)])
        lp.col_upper_ = np.concatenate([[float(one.quantity_wh) for one in quotes], room_wh[0].astype(np.float64)])
        lp.row_lower_ = np.concatenate([np.zeros(n + k), np.full(i, -highspy.kHighsInf)])
        lp.row_upper_ = np.zeros(n + k + i)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        return lp

    def _seen_right(self, auction: Auction, clearing: Clearing) -> Clearing:
        try:
            verify(auction, clearing)
        except Refused as error:
            raise ClearingError(f"what HiGHS found is not right once it is rounded: {error}") from error
        return clearing

    def _by_merit(self, auction: Auction) -> Clearing | None:
        """Island by island, without its lines; None where energy has to be clean, and that does not come about."""
        fills = {number: fill for crossing in auction.crossings for number, fill in crossing.fills_wh.items()}
        fills_wh = [fills.get(quote.number, 0) for quote in auction.quotes]
        if min(spare_clean_wh(auction, fills_wh), default=0) < 0:
            return None
        by_island = [crossing.price * PRICE_SCALE for crossing in auction.crossings]
        prices = [by_island[island] for island in self.network.forest.island]
        flows = self._flows(injections_mwh(auction, fills_wh), np.zeros(len(self.network.forest.left_out)))
        nothing = (0,) * len(self.network.loops), (0,) * auction.islands
        return Clearing(tuple(fills_wh), tuple(flows), tuple(prices), *nothing)

    def _by_rule(self, auction: Auction, clearing: Clearing) -> Clearing:
        """The same with the prices that stand by rule where it names one: see `islands_by_rule`."""
        by_rule = islands_by_rule(auction, clearing, rents(auction, clearing))
        if not any(by_rule):
            return clearing
        islands = self.network.forest.island
        prices = [
            auction.crossings[island].price * PRICE_SCALE if by_rule[island] else price
            for island, price in zip(islands, clearing.prices, strict=True)
        ]
        loop_prices = [
            0 if by_rule[islands[self.network.lines[loop.lines[0]].from_node]] else price
            for loop, price in zip(self.network.loops, clearing.loop_prices, strict=True)
        ]
        premiums = [0 if one else premium for one, premium in zip(by_rule, clearing.premiums, strict=True)]
        return replace(clearing, prices=tuple(prices), loop_prices=tuple(loop_prices), premiums=tuple(premiums))

    def _rounded(self, auction: Auction, solution: Solution) -> Clearing:
        q, n, k = len(auction.quotes), len(self.network.nodes), len(self.network.loops)
        duals = solution.duals * (COST_SCALE * PRICE_SCALE)
        prices = np.rint(duals[:n]).astype(np.int64)
        of_loops = -duals[n : n + k] * (LOOP_SCALE / self._mean_uohm)
        premiums = np.rint(-duals[n + k :]).astype(np.int64).clip(min=0)
        fills = whole_fills(auction, solution.columns[:q])
        left_out = solution.columns[q:][list(self.network.forest.left_out)] * MWH_PER_WH
        flows = self._flows(injections_mwh(auction, fills), left_out)
        return Clearing(
            tuple(fills), tuple(flows), tuple(prices.tolist()), tuple(map(round, of_loops.tolist())),
            tuple(premiums.tolist()),
        )  # fmt: skip

    def _flows(self, injected_mwh: list[int], left_out_mwh: Floats) -> list[int]:
        """Flows for what is fed in: as power divides around loops, and in pipes as they were."""
        flows_of = self.network.flows_mwh
        left_out = np.where(self._is_loop, 0.0, left_out_mwh)
        if self._divider is not None:
            in_trees = np.array(flows_of(injected_mwh, np.rint(left_out).astype(np.int64).tolist()), dtype=np.float64)
            left_out[self._is_loop] = self._divider.solve(-(self._drops @ in_trees))
        return flows_of(injected_mwh, np.rint(left_out).astype(np.int64).tolist())


def solve(solver: highspy.Highs) -> Solution:
    """Let HiGHS solve what is in it; if it does not, then once more without its presolve, which can lose itself.

    Raises:
        ClearingError: it does not.
    """
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        solver.clearSolver()
        solver.setOptionValue("presolve", "off")
        solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ClearingError(f"HiGHS says {solver.modelStatusToString(solver.getModelStatus())}")
    found: Any = solver.getSolution()
    return Solution(np.array(found.col_value), np.array(found.row_dual))


def solver_of(program: highspy.HighsLp) -> highspy.Highs:
    """HiGHS with a program in it, silent and in one thread."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    solver.passModel(program)
    return solver


def whole_fills(auction: Auction, wanted_wh: Floats) -> list[int]:
    """Quantities as whole watt-hours that balance on every island, none a watt-hour away from what was wanted.

    All are rounded down, and the shorter side's broken ones up again: clean sellers, as far as clean energy is missing,
    then whoever is needed for the balance. What was wanted balances, so there are always enough of them.
    """
    upper = np.array([one.quantity_wh for one in auction.quotes], dtype=np.int64)
    whole = np.floor(wanted_wh + WHOLE).astype(np.int64).clip(0, upper)
    fills: list[int] = whole.tolist()
    rest = (wanted_wh - whole).tolist()
    broken: list[list[int]] = [[] for _ in range(auction.islands)]
    surplus, missing = [0] * auction.islands, [0] * auction.islands
    for place, (one, island) in enumerate(zip(auction.quotes, auction.island_of, strict=True)):
        surplus[island] += fills[place] if one.side is Side.SELL else -fills[place]
        missing[island] += fills[place] * (one.clean_only - one.is_clean)
        if rest[place] > WHOLE and fills[place] < one.quantity_wh:
            broken[island].append(place)
    for island, places in enumerate(broken):
        if not surplus[island] and missing[island] <= 0:
            continue
        places.sort(key=lambda place: (-rest[place], place))
        clean = [place for place in places if auction.quotes[place].is_clean]
        up = set(clean[: max(0, missing[island])])
        more = surplus[island] + len(up)
        side = Side.BUY if more > 0 else Side.SELL
        spare = len(up) - missing[island]
        for place in sorted(places, key=lambda place: auction.quotes[place].clean_only):
            one = auction.quotes[place]
            if more and one.side is side and place not in up and (spare > 0 or not one.clean_only):
                up.add(place)
                spare -= one.clean_only
                more += 1 if side is Side.SELL else -1
        for place in up:
            fills[place] += 1
        _give_way(auction, fills, island, more)
    return fills


def _give_way(auction: Auction, fills: list[int], island: int, surplus: int) -> None:
    """Take what is still too much off one side of an island: what is not clean first, then what is filled in part."""
    side = Side.SELL if surplus > 0 else Side.BUY
    if not surplus:
        return
    among = [
        place for place, one in enumerate(auction.quotes) if auction.island_of[place] == island and one.side is side
    ]
    for place in sorted(
        among,
        key=lambda place: (auction.quotes[place].is_clean, fills[place] == auction.quotes[place].quantity_wh, -place),
    ):
        taken = min(abs(surplus), fills[place])
        fills[place] -= taken
        surplus -= taken if surplus > 0 else -taken


def _over_mwh(clearing: Clearing, rooms_mwh: Ints) -> Ints:
    """(2, l) how much more than it has room for each line carries, from its from_node and towards it."""
    flows = np.array(clearing.flows_mwh, dtype=np.int64)
    return np.stack([flows, -flows]) - rooms_mwh


def _loop_rows(network: TradedNetwork) -> csr_array:
    loops = network.loops
    rows = np.repeat(np.arange(len(loops)), [len(loop.lines) for loop in loops]) if loops else np.zeros(0, dtype=int)
    columns = [line for loop in loops for line in loop.lines]
    signs = [float(sign) for loop in loops for sign in loop.signs]
    return csr_array((signs, (rows, columns)), shape=(len(loops), len(network.lines)))

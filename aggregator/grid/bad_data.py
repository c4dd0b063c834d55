"""Readings that are validly signed and yet cannot be true: found, and their meter named where that is certain.

1. *Detect*: the weighted sum of squares J must stay below what chance reaches once in a million intervals (χ² test),
   as a whole and in every part of the network that hangs together without the reference node; no single row may lie
   further off than chance lets it.
2. *Identify*: the row with the largest normalized residual explains most: without it J falls by its square. It is named
   only if that explains a thousand times more than any other row, and what the others say instead is possible there.
3. *Confirm*: the state is estimated again without it. J must then be below its limit; if not, the next is looked for.

Where nobody can be named in one part of the network, each other part is judged by itself, without the connection's
meter, and at most one meter is named in it. Where no few rows explain it, perhaps one meter stands at another node than
the grid file says. Where that does not either, nobody is named. Decisions compare numbers rounded to thousandths, so
that nodes agree (ADR 0034).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from scipy.special import chdtri, ndtri

from aggregator.grid.measurements import Electrics, Measured
from aggregator.grid.network import Ints, Network, summed
from aggregator.grid.observability import LivePart, zones_of
from aggregator.grid.power_flow import PowerFlow, injections
from aggregator.grid.residuals import MEASURED_ROWS, Residuals, Row, residuals_at
from aggregator.grid.sparse_inverse import NoInverse

FALSE_ALARM: Final = 1e-6
"""Chance that honest errors are taken for more, per interval and test."""
MARGIN: Final = 14.0
"""By how much more J must fall without the suspect than without any other: 2 ln 1000."""
SUSPECTS_MAX: Final = 8
"""Meters named in one interval. Whoever finds more to be wrong should doubt the grid file."""
MOVED_MAX: Final = 16
"""Meters of which it is tried whether they stand at another node."""
RETRIED_MAX: Final = 4
"""Of these, how many places are tried in earnest, the likeliest first."""
POSSIBLE_SIGMAS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Suspect:
    """A reading that cannot be true beside the others."""

    meter: int
    is_voltage: bool
    said: float
    """W fed in less taken, or V."""
    estimated: float


@dataclass(frozen=True, slots=True)
class Moved:
    """A meter whose readings fit another node."""

    meter: int
    node: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is believed in the end."""

    flow: PowerFlow
    squares: float
    limit: float
    is_consistent: bool = True
    suspects: tuple[Suspect, ...] = ()
    equals: tuple[Suspect, ...] = ()
    """Where nobody could be named: those any one of whom would explain it."""
    moved: Moved | None = None


def above(value: float, limit: float) -> bool:
    """Whether a value is above a limit, both to the thousandth. What is no number is above everything."""
    return not np.isfinite(value) or round(value * 1000) > round(limit * 1000)


@dataclass(frozen=True)
class Examiner:
    """Holds readings against physics, one interval at a time."""

    network: Network
    part: LivePart
    meters: Electrics

    def examine(self, measured: Measured, flow: PowerFlow) -> Verdict:
        """Judge an estimate, and estimate again without what cannot be true."""
        first = residuals_at(self.network, self.part, measured.sensors, flow)
        if self._fits(first):
            return Verdict(flow, first.squares, self._limit(first))
        try:
            return self._doubted(first.refined(), measured)
        except NoInverse:
            return Verdict(flow, first.squares, self._limit(first), is_consistent=False)

    def _doubted(self, first: Residuals, measured: Measured) -> Verdict:
        squares, limit = first.squares, self._limit(first)
        if self._fits(first):
            return Verdict(first.flow, squares, limit)
        rows, now, found = first, measured, list[Suspect]()
        equals: tuple[Suspect, ...] = ()
        given_up: frozenset[int] = frozenset()
        while len(found) < SUSPECTS_MAX:
            suspects = self._likeliest(rows, now, given_up)
            if not suspects:
                break
            if len(suspects) > 1:
                if not given_up:  # begin anew, each part by itself
                    now, found = self._apart(measured), []
                    rows = self._again(first, now)
                given_up |= {self._zone_of(suspect) for suspect in suspects}
                equals += suspects if len(suspects) <= SUSPECTS_MAX else ()
                continue
            now = now.without(suspects[0].meter, suspects[0].is_voltage)
            rows = self._again(rows, now)
            found.append(suspects[0])
            if self._fits(rows):
                break
        if len(found) != 1 or not self._fits(rows):
            moved = self._moved(first, measured)
            if moved is not None:
                return Verdict(moved[1], squares, limit, moved=moved[0])
        if found and self._fits(rows):
            found, rows = self._needed(found, measured, rows)
            return Verdict(rows.flow, squares, limit, suspects=self._named(found, measured, rows))
        found, rows = self._confirmed(found, measured, rows)
        named = self._named(found, measured, rows)
        return Verdict(first.flow, squares, limit, is_consistent=False, suspects=named, equals=equals)

    def _apart(self, measured: Measured) -> Measured:
        """The same without the connection's meter: what is wrong in one part is no other part's business then."""
        for meter in np.flatnonzero(self.meters.is_connection).tolist():
            measured = measured.without(meter, False)
        return measured

    def _named(self, found: list[Suspect], measured: Measured, rows: Residuals) -> tuple[Suspect, ...]:
        return tuple(self._judged(suspect, measured, rows) for suspect in found)

    def _again(self, rows: Residuals, measured: Measured) -> Residuals:
        """The state estimated again, from other measurements."""
        return residuals_at(self.network, self.part, measured.sensors, rows.flow).refined()

    # -- Detect

    def _limit(self, rows: Residuals) -> float:
        return _limit(_redundancy(rows))

    def _fits(self, rows: Residuals) -> bool:
        return not above(rows.squares, self._limit(rows)) and not self._unfit(rows)

    def _unfit(self, rows: Residuals) -> frozenset[int]:
        """The parts, without the reference node, whose sum of squares or whose furthest row is beyond chance."""
        zones = self._zones[rows.node]
        squares = summed(zones, rows.weighted**2, self.network.nodes)
        redundancy = np.bincount(zones[np.isin(rows.kind, (Row.CHECK, Row.VOLTAGE))], minlength=self.network.nodes)
        many = max(1, int((redundancy > 0).sum()))
        limits = {k: _limit(k, many) for k in np.unique(redundancy[redundancy > 0]).tolist()}
        sums = enumerate(zip(squares.tolist(), redundancy.tolist(), strict=True))
        unfit = {zone for zone, (sum_, k) in sums if k and above(sum_, limits[k])}
        furthest = -float(ndtri(FALSE_ALARM / (2 * max(1, len(rows.residual)))))
        off = np.flatnonzero(~(np.abs(rows.weighted) < furthest - 0.001))  # those that may be above it
        unfit.update(int(zones[row]) for row in off.tolist() if above(float(np.abs(rows.weighted[row])), furthest))
        return frozenset(unfit)

    @cached_property
    def _zones(self) -> Ints:
        """(n) which part of the network each node is in, were the reference node not there."""
        lines = self.part.branches
        one, other = self.network.branch_from[lines], self.network.branch_to[lines]
        inner = (one != self.network.reference) & (other != self.network.reference)
        return zones_of(self.network.nodes, one[inner], other[inner])

    def _zone_of(self, suspect: Suspect) -> int:
        """The part that a meter stands in; a check meter at the reference node checks that at its line's other end."""
        node, line = int(self.meters.node[suspect.meter]), int(self.meters.check_branch[suspect.meter])
        if line >= 0 and not suspect.is_voltage and node == self.network.reference:
            one = int(self.network.branch_from[line])
            node = int(self.network.branch_to[line]) if one == node else one
        return int(self._zones[node])

    # -- Identify

    def _likeliest(self, rows: Residuals, measured: Measured, given_up: frozenset[int]) -> tuple[Suspect, ...]:
        """Whom the largest normalized residual points to; several, if others would explain it nearly as well.

        Args:
            given_up: parts of the network in which nobody can be named. Then only parts that do not fit are looked at.
        """
        explained = np.where(np.isin(rows.kind, MEASURED_ROWS), rows.normalized**2, 0.0)
        if given_up:
            looked_at = self._unfit(rows) - given_up - {int(self._zones[self.network.reference])}
            explained[~np.isin(self._zones[rows.node], [*looked_at])] = 0.0
        candidates: list[tuple[float, Suspect]] = []
        order = np.argsort(-explained, kind="stable")
        best = 0.0
        for row in order.tolist():
            gain = float(explained[row])
            if gain <= MARGIN or above(best - gain, MARGIN) or len(candidates) > SUSPECTS_MAX:
                break
            for suspect in self._suspects(rows, row, measured):
                best = max(best, gain)
                candidates.append((gain, suspect))
        return tuple(sorted((suspect for _, suspect in candidates), key=lambda suspect: suspect.meter))

    def _suspects(self, rows: Residuals, row: int, measured: Measured) -> list[Suspect]:
        """The meters of a row that could have shown what all others say instead."""
        kind, place, instead = Row(rows.kind[row]), int(rows.place[row]), -float(rows.without[row])
        if kind is Row.VOLTAGE:
            meter, said = int(measured.voltage_meter[place]), float(measured.sensors.voltage_v[place])
            return [] if meter < 0 else [Suspect(meter, True, said, said + instead)]
        unsure_w = rows.sigma[row] * (rows.leverage[row] / rows.variance[row]) ** 0.5
        found = []
        for meter in self._meters_of(kind, place, measured):
            said = float(measured.net_w[meter])
            possible_w = float(self.meters.power_max_w[meter] + POSSIBLE_SIGMAS * unsure_w)
            if not above(abs(said + instead), possible_w):
                found.append(Suspect(meter, False, said, said + instead))
        return found

    def _meters_of(self, kind: Row, place: int, measured: Measured) -> list[int]:
        if kind is Row.CHECK:
            return [int(measured.check_meter[place])]
        own = measured.meters_at(place)
        return own + np.flatnonzero(self.meters.is_connection).tolist() if kind is Row.CONNECTION else own

    # -- Confirm

    def _needed(self, found: list[Suspect], measured: Measured, rows: Residuals) -> tuple[list[Suspect], Residuals]:
        """Those of the suspects who are needed to explain it: a later one may have cleared an earlier."""
        kept = sorted(found, key=lambda suspect: (suspect.meter, suspect.is_voltage))
        for suspect in found if len(found) > 1 else ():
            fewer = [other for other in kept if other != suspect]
            again = self._again(rows, self._without(measured, fewer))
            if self._fits(again):
                kept, rows = fewer, again
        return kept, rows

    def _confirmed(self, found: list[Suspect], measured: Measured, rows: Residuals) -> tuple[list[Suspect], Residuals]:
        """Those of the suspects without whom alone their part of the network fits, whatever is said in another one."""
        joining, measured = int(self._zones[self.network.reference]), self._apart(measured)
        zones = [self._zone_of(suspect) for suspect in found]
        kept = [suspect for suspect, zone in zip(found, zones, strict=True) if zones.count(zone) == 1]
        kept.sort(key=lambda suspect: (suspect.meter, suspect.is_voltage))
        while kept:
            rows = self._again(rows, self._without(measured, kept))
            unfit = self._unfit(rows) | {joining}
            sure = [
                suspect
                for suspect in kept
                if self._zone_of(suspect) not in unfit and self._is_found_again(suspect, kept, measured, rows)
            ]
            if len(sure) == len(kept):
                break
            kept = sure
        return kept, rows

    def _is_found_again(self, suspect: Suspect, kept: list[Suspect], measured: Measured, rows: Residuals) -> bool:
        """Whether the same one is pointed to once all others are left out, whose lies may have pointed elsewhere."""
        now = self._without(measured, [other for other in kept if other != suspect])
        again = self._again(rows, now)
        found = self._likeliest(again, now, self._unfit(again) - {self._zone_of(suspect)})
        return [(one.meter, one.is_voltage) for one in found] == [(suspect.meter, suspect.is_voltage)]

    def _without(self, measured: Measured, suspects: Iterable[Suspect]) -> Measured:
        for suspect in suspects:
            measured = measured.without(suspect.meter, suspect.is_voltage)
        return measured

    def _judged(self, suspect: Suspect, measured: Measured, rows: Residuals) -> Suspect:
        """What the state that was estimated without the suspect says it should have shown."""
        meter = suspect.meter
        if suspect.is_voltage:
            return replace(suspect, estimated=float(abs(rows.phasor_v[self.meters.node[meter]])))
        node = int(self.meters.node[meter])
        if self.meters.is_check[meter]:
            (place,) = np.flatnonzero(measured.check_meter == meter)
            line = int(measured.sensors.check_branch[place])
            one = self.network.branch_from[line] == node
            return replace(suspect, estimated=float((rows.flow.from_w if one else rows.flow.to_w)[line]))
        others = [other for other in measured.meters_at(node) if other != meter]
        rest_w = float(measured.net_w[others].sum())
        if self.meters.is_connection[meter]:
            return replace(suspect, estimated=float(injections(self.network, rows.flow)[node]) - rest_w)
        if node == self.network.reference:
            rest_w += rows.flow.reference_w
        return replace(suspect, estimated=float(injections(self.network, rows.flow)[node]) - rest_w)

    def _moved(self, rows: Residuals, measured: Measured) -> tuple[Moved, PowerFlow] | None:
        """The one meter that would explain it all at the one other node, if there are such two."""
        takes = np.flatnonzero(np.isin(rows.kind, (Row.INJECTION, Row.NO_POWER)))
        gradient, curvature = rows.residual / rows.sigma**2, rows.variance / rows.sigma**4
        gives = np.flatnonzero(rows.kind == Row.INJECTION)
        gives = gives[np.argsort(-np.abs(rows.normalized[gives]), kind="stable")][:MOVED_MAX]
        tried: list[tuple[float, int, int]] = []
        for row in gives.tolist():
            column = rows.column(row)
            for meter in measured.meters_at(int(rows.place[row])):
                power = float(measured.net_w[meter])
                slope = 2 * power * (gradient[takes] - gradient[row])
                bend = power**2 * (curvature[takes] + curvature[row] - 2 * column[takes])
                squares = np.where(takes == row, np.inf, rows.squares + slope + bend)
                for best in np.argsort(squares, kind="stable")[:2].tolist():
                    tried.append((float(squares[best]), meter, int(rows.place[takes[best]])))
        again = []
        for _, meter, node in sorted(tried)[:RETRIED_MAX]:
            found = self._again(rows, measured.moved(meter, node))
            again.append((found.squares, meter, node, found))
        again.sort(key=lambda one: one[:3])
        if not again or not self._fits(again[0][3]):
            return None
        if len(again) > 1 and not above(again[1][0] - again[0][0], MARGIN):
            return None
        return Moved(again[0][1], again[0][2]), again[0][3].flow


def _redundancy(rows: Residuals) -> int:
    """How many more values were measured than states are to be found: what nobody measured tells the rest."""
    measured = np.isin(rows.kind, (Row.CONNECTION, Row.CHECK, Row.VOLTAGE))
    return int(measured.sum()) - 1


def _limit(redundancy: int, tests: int = 1) -> float:
    """What the sum of squares stays below, but for one honest interval in a million."""
    return float(chdtri(max(1, redundancy), FALSE_ALARM / tests))

"""Converters: what one gives has the mix of what it took, and bears the carbon of it.

A converter that gives more than its efficiency admits makes energy from nothing: what is too much is of unknown origin.
Its carbon is conserved: what all inputs brought is spread over all that it gives, watt-hour for watt-hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import CARRIERS, ConverterFlow
from aggregator.grid.metering import FUELS, Metered, MeterPlan
from aggregator.grid.network import Floats, Ints
from aggregator.grid.quantize import NUMBERS
from aggregator.grid.tracing import NO_ARCS, Arcs
from config.carriers import Converter
from protocol.units import PPM

ROUNDING_WH: Final = 1
"""A register's last digit, at either end of an interval."""
BURNED: Final = tuple(CARRIERS.index(carrier) for carrier in FUELS)


@dataclass(frozen=True, slots=True)
class Converted:
    """What all converters did in an interval."""

    arcs: Arcs
    """From the nodes of inputs to the nodes of outputs."""
    unknown_w: Floats
    """(n) what came out of nothing, at each node."""
    findings: tuple[Finding, ...]


class ConverterPlan:
    """The converters of a region with the numbers of their meters, prepared once."""

    def __init__(self, converters: Sequence[Converter], plan: MeterPlan) -> None:
        """`plan` knows the meters."""
        self._converters = converters
        self._plan = plan
        self._inputs = [np.array([plan.number[meter] for meter in c.inputs], np.int64) for c in converters]
        self._outputs = [np.array([plan.number[out.meter] for out in c.outputs], np.int64) for c in converters]
        self._efficiency: list[Floats] = [np.array([out.efficiency_ppm for out in c.outputs]) / PPM for c in converters]

    def converted(self, metered: Metered, nodes: int) -> Converted:
        """Couple the networks by what converters did."""
        unknown_w, arcs, findings = np.zeros(nodes), list[Arcs](), list[Finding]()
        for number, converter in enumerate(self._converters):
            inputs, outputs = self._inputs[number], self._outputs[number]
            taken, given = metered.imported_wh[inputs], metered.exported_wh[outputs]
            if not given.any():
                continue
            possible = taken.sum() * self._efficiency[number]
            believed = np.minimum(given, possible) if taken.any() else np.zeros(len(given))
            off = self._off_wh(number, taken, given)
            if (over := given - possible > off).any():
                amounts = (int(taken.sum()), int(given[over].sum()), round(float(possible[over].sum())))
                findings.append(Finding(FindingKind.FROM_NOTHING, converter.id, amounts))
            believed = np.where(over, believed, given) if taken.any() else believed
            power = metered.export_w[outputs]
            share = believed / np.where(given > 0, given, 1)
            np.add.at(unknown_w, self._plan.node[outputs], power * (1 - share))
            if believed.any():
                places = (self._plan.node[inputs], self._plan.node[outputs])
                arcs.append(_coupling(*places, taken, power * share, float(believed.sum())))
        return Converted(sum(arcs, NO_ARCS), unknown_w, tuple(findings))

    def rows(self, metered: Metered, mix: Floats) -> tuple[ConverterFlow, ...]:
        """What every converter did, with the carbon that its fuels brought.

        It burned no less than it needs for what it gave, whatever the meter of its fuel says: as far as that is more
        than accuracy explains, the fuel that was not metered bears as much as the dirtiest that it takes.

        Args:
            mix: (n, k + 1) at every node.
        """
        rows = []
        for number, converter in enumerate(self._converters):
            inputs, outputs = self._inputs[number], self._outputs[number]
            taken, given = metered.imported_wh[inputs], metered.exported_wh[outputs]
            burns = np.isin(self._plan.carrier[inputs], BURNED)
            bears_mg = mix[self._plan.node[inputs], NUMBERS][burns]
            burned_mg = float((taken[burns] * bears_mg).sum())
            over = given - taken.sum() * self._efficiency[number] > self._off_wh(number, taken, given)
            if over.any():
                needed_wh = float((given / self._efficiency[number]).max())
                burned_mg += max(0.0, needed_wh - float(taken.sum())) * float(bears_mg.max(initial=0.0))
            rows.append(ConverterFlow(converter.id, int(taken.sum()), int(given.sum()), round(burned_mg)))
        return tuple(rows)

    def _off_wh(self, number: int, taken: Ints, given: Ints) -> Floats:
        """By how much each output may seem too large, by the accuracy of the meters."""
        accuracy = self._plan.accuracy
        inputs, outputs = self._inputs[number], self._outputs[number]
        taken_off = float((taken * accuracy[inputs] + ROUNDING_WH).sum())
        off: Floats = taken_off * self._efficiency[number] + given * accuracy[outputs] + ROUNDING_WH
        return off


def _coupling(inputs: Ints, outputs: Ints, taken_wh: Ints, given_w: Floats, given_wh: float) -> Arcs:
    """Every output has the mix of all inputs; what is taken goes to the outputs in proportion to what they give."""
    arriving = np.outer(taken_wh / taken_wh.sum(), given_w).ravel()
    sent = arriving * (float(taken_wh.sum()) / given_wh)
    return Arcs(np.repeat(inputs, len(outputs)), np.tile(outputs, len(inputs)), sent, arriving, carbon_w=sent)

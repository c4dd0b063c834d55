"""A region's storages and delaying pipes in one interval: what they add to the networks, and the rows they leave.

Shapes: n nodes, p pipes, k sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import Carried, PipeParcel, StorageContent
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Floats, Networks
from aggregator.grid.pipe_flow import PipeFlow
from aggregator.grid.quantize import NUMBERS, OTHER, contents_of, parcel_of
from aggregator.grid.stores import arrival, content_after, content_before, discharge_of, storage_findings
from aggregator.grid.tracing import IDLE_W, Arcs
from config.grid_model import Grid
from protocol.energy_register import MS_PER_HOUR
from protocol.units import Interval

ROUNDING_WH: Final = 2
"""Last digits of two registers."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What storages and delaying pipes do in an interval."""

    discharged: Floats
    """(n, k + 1) power that storages give out of what they held, by source, with its carbon."""
    arrived: Floats
    """(n, k + 1) power that arrives out of delaying pipes and was sent earlier."""
    arcs: Arcs
    """Power that storages pass on in the interval in which they took it."""
    prompt: Floats
    """(p) share of what arrives that was sent in this interval; 1 without delay."""
    sent_w: Floats
    """(p) power that enters each delaying pipe, 0 for others; below 0 at its to node."""
    kept_w: Floats
    """(n) power that stays in storages and pipes for later."""
    findings: tuple[Finding, ...]


class StorePlan:
    """The storages and delaying pipes of a region, prepared once."""

    def __init__(self, grid: Grid, networks: Networks, plan: MeterPlan) -> None:
        """`networks` and `plan` are those of `grid`."""
        first = networks.electricity.branches
        self._nodes = networks.nodes
        self._plan = plan
        self._pipes = [(i, pipe) for i, pipe in enumerate(grid.pipes) if pipe.delay_ms or pipe.content_wh]
        self._pipe_ends = (networks.line_from[first:], networks.line_to[first:])
        self._storages = [
            (storage, plan.number[storage.charge_meter], plan.number[storage.discharge_meter])
            for storage in grid.storages
        ]

    def stored(self, metered: Metered, pipes: PipeFlow, carried: Carried, interval: Interval) -> Stored:
        """What is given, kept and passed on."""
        discharged, arcs, kept_w = self._from_storages(metered, carried)
        arrived, prompt, findings = self._from_pipes(pipes, carried, interval)
        sent_w = np.zeros(len(prompt))
        for number, _ in self._pipes:
            sent_w[number] = max(pipes.from_w[number], pipes.to_w[number])
            place = self._ends(number, is_forward=bool(pipes.from_w[number] > 0))[0]
            kept_w[place] += sent_w[number] * (1 - prompt[number])
        return Stored(discharged, arrived, arcs, prompt, sent_w, kept_w, tuple(findings))

    def storages(
        self, metered: Metered, mix: Floats, carried: Carried, interval: Interval
    ) -> tuple[tuple[StorageContent, ...], list[Finding]]:
        """What every storage holds after the interval, and what cannot be true of it.

        Args:
            mix: (n, k + 1) at every node.
        """
        rows, findings = [], []
        for storage, charge, discharge in self._storages:
            held = content_before(storage, carried.storages)
            charged_wh, discharged_wh = int(metered.imported_wh[charge]), int(metered.exported_wh[discharge])
            charge_mix = mix[self._plan.node[charge]]
            after = content_after(storage, held, charged_wh, discharged_wh, charge_mix, interval)
            row = StorageContent(storage.id, charged_wh, discharged_wh, after)
            off_wh = ROUNDING_WH + charged_wh * self._plan.accuracy[charge]
            off_wh += discharged_wh * self._plan.accuracy[discharge]
            findings += storage_findings(storage, row, held, off_wh)
            rows.append(row)
        return tuple(rows), findings

    def sent(self, stored: Stored, pipes: PipeFlow, mix: Floats, interval: Interval) -> tuple[PipeParcel, ...]:
        """What was sent into every delaying pipe."""
        rows = []
        for number, pipe in self._pipes:
            energy_wh = round(float(stored.sent_w[number]) * interval.length_ms / MS_PER_HOUR)
            if energy_wh > 0:
                is_forward = bool(pipes.from_w[number] > 0)
                sender, _ = self._ends(number, is_forward=is_forward)
                rows.append(PipeParcel(pipe.id, is_forward, parcel_of(energy_wh, mix[sender])))
        return tuple(rows)

    def _ends(self, number: int, *, is_forward: bool) -> tuple[int, int]:
        """Sending and receiving node of a pipe."""
        from_node, to_node = (int(ends[number]) for ends in self._pipe_ends)
        return (from_node, to_node) if is_forward else (to_node, from_node)

    def _from_storages(self, metered: Metered, carried: Carried) -> tuple[Floats, Arcs, Floats]:
        """Power out of what storages held, by source; what they pass on; and (n) what they keep."""
        discharged, kept_w = np.zeros((self._nodes, NUMBERS + 1)), np.zeros(self._nodes)
        passed: list[tuple[int, int, float]] = []
        for storage, charge, discharge in self._storages:
            from_node, to_node = int(self._plan.node[charge]), int(self._plan.node[discharge])
            kept_w[from_node] += metered.import_w[charge]
            discharged_wh = int(metered.exported_wh[discharge])
            if not discharged_wh:
                continue
            held = content_before(storage, carried.storages)
            given = discharge_of(storage, held, int(metered.imported_wh[charge]), discharged_wh)
            power = metered.export_w[discharge] / discharged_wh
            if given.held_wh:
                discharged[to_node] += contents_of(held) * (power * given.held_wh / held.energy_wh)
            discharged[to_node, OTHER] += power * given.excess_wh
            discharged[to_node, NUMBERS] += power * given.excess_wh * self._plan.unknown_mg[to_node]
            if given.passed_wh:
                passed.append((from_node, to_node, power * given.passed_wh))
                kept_w[from_node] -= power * given.passed_wh
        table = np.array(passed).reshape(-1, 3)
        ends, power_w = table[:, :2].astype(np.int64), table[:, 2]
        return discharged, Arcs(ends[:, 0], ends[:, 1], power_w, power_w, power_w), kept_w.clip(min=0.0)

    def _from_pipes(
        self, pipes: PipeFlow, carried: Carried, interval: Interval
    ) -> tuple[Floats, Floats, list[Finding]]:
        """Power that was sent earlier, by source; (p) the share that was sent just now; pipes without a past."""
        arrived, prompt = np.zeros((self._nodes, NUMBERS + 1)), np.ones(len(pipes.from_w))
        findings = []
        hours = interval.length_ms / MS_PER_HOUR
        for number, pipe in self._pipes:
            from_w, to_w = float(pipes.from_w[number]), float(pipes.to_w[number])
            sent_w, arriving_w = max(from_w, to_w), max(0.0, -min(from_w, to_w))
            if sent_w <= IDLE_W:
                continue
            is_forward, history = from_w > 0, carried.pipes.get(pipe.id, ())
            found = arrival(pipe, history, sent_w * hours, is_forward=is_forward, interval=interval)
            _, receiver = self._ends(number, is_forward=is_forward)
            arrived[receiver] += found.contents * arriving_w
            arrived[receiver, OTHER] += found.unknown * arriving_w
            arrived[receiver, NUMBERS] += found.unknown * arriving_w * self._plan.unknown_mg[receiver]
            prompt[number] = found.now
            if unknown_wh := round(found.unknown * arriving_w * hours):
                findings.append(Finding(FindingKind.NO_HISTORY, pipe.id, (unknown_wh,)))
        return arrived, prompt, findings

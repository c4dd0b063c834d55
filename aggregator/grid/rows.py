"""The rows of an interval's record: what was worked out in floats, as integers that add up."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import itemgetter

import numpy as np

from aggregator.chains.intervals.findings import FINDINGS_MAX, Finding, FindingKind
from aggregator.chains.intervals.flows import CARRIERS, Balance, BranchFlow, ParticipantFlow
from aggregator.grid.network import Ints, summed
from aggregator.grid.quantize import NUMBERS, OTHER, mixes_of, split_many
from aggregator.grid.solved import Solved
from config.carriers import Carrier
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM, Interval


def participants(solved: Solved) -> tuple[ParticipantFlow, ...]:
    """Everybody's energy, split by source without losing a watt-hour.

    What a meter says that is not believed is of unknown origin.
    """
    plan, metered = solved.plan, solved.metered
    counts = np.flatnonzero(~plan.is_apart & ((metered.imported_wh > 0) | (metered.exported_wh > 0)))
    rows = len(plan.rows)
    imported, exported, emitted = (np.zeros(rows, dtype=np.int64) for _ in range(3))
    row = plan.row[counts]
    np.add.at(imported, row, metered.imported_wh[counts])
    np.add.at(exported, row, metered.exported_wh[counts])
    np.add.at(emitted, row, metered.exported_wh[counts] * plan.emission_mg[counts])
    mix = solved.mix_taken[plan.node[counts]]
    if flagged := solved.believed.flagged:
        wrong = [place for place, meter in enumerate(counts.tolist()) if plan.names[meter] in flagged]
        mix[wrong, :NUMBERS] = np.eye(NUMBERS)[OTHER]
    wanted = np.zeros((rows, NUMBERS + 1))
    np.add.at(wanted, row, metered.imported_wh[counts, None] * mix)
    present = np.unique(row)
    origins = mixes_of(split_many(imported[present], wanted[present, :NUMBERS]))
    carbon = np.rint(wanted[present, NUMBERS]).astype(np.int64)
    keys = [plan.rows[number] for number in present.tolist()]
    amounts = (imported[present].tolist(), exported[present].tolist(), emitted[present].tolist())
    names, carriers = map(itemgetter(0), keys), map(itemgetter(1), keys)
    return tuple(map(ParticipantFlow, names, carriers, *amounts, origins, carbon.tolist()))


def branches(solved: Solved) -> tuple[BranchFlow, ...]:
    """How branches and pipes were loaded; branches are left out where the power flow has no solution."""
    names = solved.networks.line_names
    if solved.power is None:
        names = names[solved.networks.electricity.branches :]
        from_w, loading = solved.pipes.from_w, solved.pipes.loading
    else:
        from_w = np.concatenate([solved.power.from_w, solved.pipes.from_w])
        loading = np.concatenate([solved.power.loading, solved.pipes.loading])
    flow_w, loading_ppm = np.rint(from_w).astype(np.int64), np.rint(loading * PPM).astype(np.int64)
    return tuple(map(BranchFlow, names, flow_w.tolist(), loading_ppm.tolist()))


def balances(solved: Solved, interval: Interval) -> tuple[tuple[Balance, ...], list[Finding]]:
    """Every carrier's energy, and where more is missing than its meters' accuracy explains."""
    plan, metered, hours = solved.plan, solved.metered, interval.length_ms / MS_PER_HOUR
    counts = ~plan.is_check
    pipe_carrier = solved.networks.pipes.node_carrier[solved.networks.pipes.pipe_from]
    found, findings = [], []
    for number, carrier in enumerate(CARRIERS):
        here = np.flatnonzero(counts & (plan.carrier == number))
        fed_in, taken = int(metered.exported_wh[here].sum()), int(metered.imported_wh[here].sum())
        if not fed_in and not taken:
            continue
        if carrier is Carrier.ELECTRICITY:
            losses_w = solved.power.losses_w if solved.power is not None else 0.0
        else:
            losses_w = float(solved.pipes.losses_w[pipe_carrier == number].sum())
        losses = max(0, round(losses_w * hours))
        rest = fed_in - taken - losses
        found.append(Balance(carrier, fed_in, taken, losses, rest))
        if abs(rest) > _off_wh(solved, here) and _is_closed(solved, carrier):
            findings.append(Finding(FindingKind.UNBALANCED, carrier.value, (fed_in, taken, rest)))
    return tuple(found), findings


def checks(solved: Solved, meters: Ints) -> list[Finding]:
    """Check meters in pipes that say something else than what follows from all other meters.

    Beyond what it may be off itself, all meters of its piece of network together, and the losses, a rule of thumb.

    Args:
        meters: numbers of the check meters, each in a pipe whose flow follows from balance alone.
    """
    plan, metered, pipes = solved.plan, solved.metered, solved.networks.pipes
    here = meters[metered.is_read[meters]]
    pipe = plan.line[here] - solved.networks.electricity.branches
    is_from = pipes.pipe_from[pipe] == plan.node[here] - solved.networks.electricity.nodes
    estimated = -np.where(is_from, solved.pipes.from_w[pipe], solved.pipes.to_w[pipe])
    said = metered.import_w[here] - metered.export_w[here]
    heard = np.sqrt(plan.variance(metered, solved.networks.nodes)[solved.networks.electricity.nodes :])
    together = summed(pipes.island, heard, pipes.islands)
    together += summed(pipes.island[pipes.pipe_from], solved.pipes.losses_w, pipes.islands)
    off = plan.accuracy[here] * np.abs(said) + together[pipes.island[pipes.pipe_from[pipe]]]
    return [
        Finding(FindingKind.CHECK_DIFFERS, plan.names[here[i]], (round(float(said[i])), round(float(estimated[i]))))
        for i in np.flatnonzero(np.abs(said - estimated) > off + 1).tolist()
    ]


def _off_wh(solved: Solved, meters: Ints) -> float:
    """By how much a balance may be off: each meter by its accuracy, and by the last digit of its register."""
    energy = solved.metered.imported_wh[meters] + solved.metered.exported_wh[meters]
    return float((energy * solved.plan.accuracy[meters] + solved.plan.step_wh[meters]).sum())


def _is_closed(solved: Solved, carrier: Carrier) -> bool:
    """Whether everything that comes into a network is metered: the connection to the network outside may not be."""
    return carrier is not Carrier.ELECTRICITY or bool((solved.plan.is_slack & solved.metered.is_read).any())


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings once each, in the order of their kinds and subjects; as many as a record may have."""
    ordered = sorted(set(findings), key=lambda finding: (finding.kind, finding.subject, finding.amounts))
    return tuple(ordered[:FINDINGS_MAX])


@contextmanager
def no_collecting() -> Iterator[None]:
    """Make rows without looking for circles among them: there are none.

    CPython looks after every few hundred new objects, and every so often at all that the process has. A region of
    10,000 meters makes 50,000 objects in an interval, and is itself a few hundred thousand: looking took as long as the
    physics.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

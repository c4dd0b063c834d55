"""Whether meters can count what they are to count, and whether everybody has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from aggregator.grid.remark import Remark, fault, note
from config.carriers import Carrier
from config.grid_model import Grid, Source
from config.meter_profile import MeterProfile
from protocol.units import Quantity

BOTH_WAYS: Final = frozenset((Quantity.IMPORTED_WH, Quantity.EXPORTED_WH))
"""Only a meter of electricity counts these two."""
TOO_SMALL: Final = 0.9
"""A check meter that can measure less than this share of its line's rating misses what overloads it."""


def meter_remarks(grid: Grid, profiles: Mapping[str, MeterProfile]) -> Iterator[Remark]:
    """All remarks about single meters, and about participants without one, in the order of the file."""
    yield from _countable(grid, profiles)
    yield from _check_meters(grid)
    yield from _unmetered(grid)
    yield from _connections_elsewhere(grid)


def _countable(grid: Grid, profiles: Mapping[str, MeterProfile]) -> Iterator[Remark]:
    """What is counted by a meter of another network, or by none of its registers, is booked nowhere."""
    carrier = {node.id: node.carrier for node in grid.nodes}
    ports = {generator.meter for generator in grid.generators}
    ports.update(meter for converter in grid.converters for meter in converter.meters)
    ports.update(meter for storage in grid.storages for meter in storage.meters)
    for meter in grid.meters:
        profile, what = profiles.get(meter.profile), carrier[meter.node]
        if profile is None or meter.branch:
            continue
        told = fault if meter.id in ports or what is not Carrier.ELECTRICITY else note
        counts = set(profile.energy_registers)
        if not counts:
            yield told(f"meter {meter.id}", f"its profile {profile.id} has no counter of energy: nothing is booked")
        elif what is Carrier.ELECTRICITY and Quantity.HEAT_WH in counts:
            yield told(
                f"meter {meter.id}",
                f"a heat meter at {meter.node}, a node of electricity: it is read, and nothing is booked",
            )
        elif what is not Carrier.ELECTRICITY and counts >= BOTH_WAYS:
            yield told(f"meter {meter.id}", f"an electricity meter at {meter.node}, a node of {what}")


def _check_meters(grid: Grid) -> Iterator[Remark]:
    rated_mv = {node.id: node.voltage_mv or 0 for node in grid.nodes}
    rated_w = {branch.id: 3**0.5 * rated_mv[branch.from_node] * branch.rating_ma / 1e6 for branch in grid.branches}
    rated_w |= {pipe.id: float(pipe.rating_w) for pipe in grid.pipes}
    for meter in grid.meters:
        if meter.branch and meter.power_max_w < TOO_SMALL * rated_w[meter.branch]:
            yield note(
                f"check meter {meter.id}",
                f"measures {meter.power_max_w} W, and {meter.branch} is rated {rated_w[meter.branch]:.0f} W: "
                "what overloads the line is not seen",
            )


def _unmetered(grid: Grid) -> Iterator[Remark]:
    metered = {meter.participant for meter in grid.meters if not meter.branch}
    for participant in grid.participants:
        if participant.id not in metered:
            yield note(
                f"participant {participant.id}",
                "has no meter: they earn nothing, and what they use is missing in the balance",
            )


def _connections_elsewhere(grid: Grid) -> Iterator[Remark]:
    node = {meter.id: meter.node for meter in grid.meters}
    for generator in grid.generators:
        at = node[generator.meter]
        if generator.source is Source.GRID and at != grid.reference_node:
            yield note(
                f"generator {generator.id}",
                f"is of source grid and feeds in at {at}, and what the balance lacks comes from outside at "
                f"{grid.reference_node}: is one of the two nodes wrong?",
            )

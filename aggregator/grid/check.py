"""Everything about a grid file that is allowed and yet cannot be right, or will keep physics from knowing.

What a grid file may not say at all, `config.grid_model` refuses. A *fault* makes results wrong; a *note* says what
cannot be known with these meters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from aggregator.grid.check_meters import meter_remarks
from aggregator.grid.network import network_of
from aggregator.grid.observability import live_part, zones_of
from aggregator.grid.remark import Remark, fault, note
from config.carriers import Carrier, Converter, ConverterKind
from config.grid_model import Grid, Meter, Source
from config.meter_profile import MeterProfile
from protocol.limits import Direction
from protocol.units import PPM

FUELS: Final = frozenset((Carrier.GAS, Carrier.HYDROGEN))
ELECTRIC: Final = frozenset((Carrier.ELECTRICITY,))
HEAT: Final = frozenset((Carrier.HEAT,))
KINDS: Final[Mapping[ConverterKind, tuple[frozenset[Carrier], frozenset[Carrier], int]]] = {
    ConverterKind.CHP: (FUELS, ELECTRIC | HEAT, 1_080_000),
    ConverterKind.HEAT_PUMP: (ELECTRIC, HEAT, 8_000_000),
    ConverterKind.BOILER: (FUELS | ELECTRIC, HEAT, 1_080_000),
    ConverterKind.ELECTROLYSER: (ELECTRIC, frozenset((Carrier.HYDROGEN,)) | HEAT, PPM),
    ConverterKind.FUEL_CELL: (frozenset((Carrier.HYDROGEN,)), ELECTRIC | HEAT, 1_080_000),
    ConverterKind.POWER_PLANT: (FUELS, ELECTRIC, PPM),
}
"""What each kind takes, what it gives, and the most that it can give of what it takes. Fuels count by their lower
heating value, so that what condenses their steam can give a little more: 1.08 for natural gas."""
DROP_MAX: Final = 0.1
"""Share of its rated voltage that a line may lose at its rating."""
SAID_MAX: Final = 8
"""Names told in one sentence."""


def check_grid(grid: Grid, profiles: Mapping[str, MeterProfile]) -> list[Remark]:
    """All remarks about a grid file, faults first, in the order of the file."""
    found = [
        *_disconnected(grid),
        *_rated_voltages(grid),
        *_ratings(grid, profiles),
        *meter_remarks(grid, profiles),
        *_converters(grid),
        *_one_way_meters(grid),
        *_devices(grid),
        *_sourceless(grid),
        *_observable(grid),
    ]
    return sorted(found, key=lambda remark: not remark.is_fault)


def _disconnected(grid: Grid) -> Iterator[Remark]:
    network = network_of(grid)
    part = live_part(network)
    metered = {meter.node for meter in grid.meters if not meter.branch}
    electric = [node.id for node in grid.nodes if node.carrier is Carrier.ELECTRICITY]
    dark = [name for name in electric if part.position[network.node_number[name]] < 0]
    for has, names in (
        ("meters there, but no path", [name for name in dark if name in metered]),
        ("no path", [name for name in dark if name not in metered]),
    ):
        says = f"{has} of branches from the reference node {grid.reference_node}"
        if len(names) > SAID_MAX:
            yield fault(f"nodes {_some(names)}", says)
            continue
        yield from (fault(f"node {name}", says) for name in names)


def _rated_voltages(grid: Grid) -> Iterator[Remark]:
    rated = {node.id: node.voltage_mv or 0 for node in grid.nodes}
    for branch in grid.branches:
        one, other = rated[branch.from_node], rated[branch.to_node]
        if one != other:
            yield fault(
                f"branch {branch.id}",
                f"joins {one / 1000:g} V and {other / 1000:g} V, as only a transformer can, and is taken for open: "
                "give both nodes one voltage, and refer the transformer's impedance to it",
            )
            continue
        ohms = (branch.resistance_uohm**2 + branch.reactance_uohm**2) ** 0.5 / 1e6
        drop = 3**0.5 * ohms * branch.rating_ma / one if one else 0.0
        if drop > DROP_MAX:
            yield fault(
                f"branch {branch.id}",
                f"loses {drop:.0%} of the voltage at its rating of {branch.rating_ma / 1000:g} A: the rating is too "
                "high, or the impedance",
            )


def _ratings(grid: Grid, profiles: Mapping[str, MeterProfile]) -> Iterator[Remark]:
    meters = {meter.id: meter for meter in grid.meters}
    for generator in grid.generators:
        limit_w = meters[generator.meter].power_max_w
        if generator.rated_w > limit_w:
            yield fault(
                f"generator {generator.id}",
                f"is rated {generator.rated_w} W, but its meter's connection carries {limit_w} W: more is no energy",
            )
    for meter in grid.meters:
        profile = profiles.get(meter.profile)
        if profile is None:
            yield fault(
                f"meter {meter.id}", f"there is no profile {meter.profile}; --profile-folder tells where your own are"
            )
        elif meter.power_max_w > profile.power_max_w:
            yield fault(
                f"meter {meter.id}",
                f"its connection carries {meter.power_max_w} W, and its profile {profile.id} measures "
                f"{profile.power_max_w} W",
            )
    yield from _lines_at_meters(grid)


def _lines_at_meters(grid: Grid) -> Iterator[Remark]:
    rated = {node.id: node.voltage_mv or 0 for node in grid.nodes}
    carried_w: dict[str, float] = {}
    for branch in grid.branches:
        watts = 3**0.5 * rated[branch.from_node] * branch.rating_ma / 1e6
        for node in (branch.from_node, branch.to_node):
            carried_w[node] = carried_w.get(node, 0.0) + watts
    for pipe in grid.pipes:
        for node in (pipe.from_node, pipe.to_node):
            carried_w[node] = carried_w.get(node, 0.0) + pipe.rating_w
    for meter in grid.meters:
        if not meter.branch and meter.node in carried_w and meter.power_max_w > carried_w[meter.node]:
            yield note(
                f"meter {meter.id}",
                f"may carry {meter.power_max_w} W, but the lines at {meter.node} only {carried_w[meter.node]:.0f} W",
            )


def _converters(grid: Grid) -> Iterator[Remark]:
    meters = {meter.id: meter for meter in grid.meters}
    carrier = {node.id: node.carrier for node in grid.nodes}
    for converter in grid.converters:
        takes, gives, most_ppm = KINDS[converter.kind]
        subject = f"converter {converter.id}"
        for name in converter.inputs:
            if (what := carrier[meters[name].node]) not in takes:
                yield fault(subject, f"a {converter.kind} that takes {what}, at meter {name}")
        for output in converter.outputs:
            if (what := carrier[meters[output.meter].node]) not in gives:
                yield fault(subject, f"a {converter.kind} that gives {what}, at meter {output.meter}")
        total_ppm = sum(output.efficiency_ppm for output in converter.outputs)
        if total_ppm > most_ppm:
            yield fault(
                subject,
                f"makes energy from nothing: it may give {total_ppm / PPM:g} of what it takes, "
                f"and a {converter.kind} at most {most_ppm / PPM:g}",
            )


def _one_way_meters(grid: Grid) -> Iterator[Remark]:
    """A heat, gas or hydrogen meter counts one way, and the file has to say which."""
    carrier = {node.id: node.carrier for node in grid.nodes}
    meters = {meter.id: meter for meter in grid.meters}
    for converter in grid.converters:
        yield from _wrong_ways(converter, meters, carrier)
    for storage in grid.storages:
        charge, discharge = meters[storage.charge_meter], meters[storage.discharge_meter]
        if carrier[charge.node] is Carrier.ELECTRICITY:
            continue
        if charge.feeds_in:
            yield fault(f"storage {storage.id}", f"its charge meter {charge.id} says that it feeds in")
        if not discharge.feeds_in:
            yield fault(f"storage {storage.id}", f"its discharge meter {discharge.id} does not say feeds_in")
    for generator in grid.generators:
        meter = meters[generator.meter]
        if carrier[meter.node] is not Carrier.ELECTRICITY and not meter.feeds_in:
            yield fault(f"generator {generator.id}", f"its meter {meter.id} counts one way, and does not say feeds_in")


def _wrong_ways(converter: Converter, meters: Mapping[str, Meter], carrier: Mapping[str, Carrier]) -> Iterator[Remark]:
    for name in converter.inputs:
        if meters[name].feeds_in:
            yield fault(f"converter {converter.id}", f"takes through meter {name}, which says that it feeds in")
    for output in converter.outputs:
        meter = meters[output.meter]
        if carrier[meter.node] is not Carrier.ELECTRICITY and not meter.feeds_in:
            yield fault(f"converter {converter.id}", f"gives through meter {meter.id}, which does not say feeds_in")


def _devices(grid: Grid) -> Iterator[Remark]:
    """A device that is said to take takes nothing where only generators are, and the other way round."""
    feeding = {generator.meter for generator in grid.generators}
    feeding |= {storage.discharge_meter for storage in grid.storages}
    feeding |= {output.meter for converter in grid.converters for output in converter.outputs}
    can: dict[str, set[Direction]] = {}
    for meter in grid.meters:
        feeds_in = meter.id in feeding or meter.feeds_in
        only_feeds_in = feeds_in and meter.id not in {storage.charge_meter for storage in grid.storages}
        ways = {Direction.FEED_IN} if only_feeds_in else {Direction.TAKE, *([Direction.FEED_IN] if feeds_in else [])}
        can.setdefault(meter.participant, set()).update(ways)
    for device in grid.devices:
        if can.get(device.participant, set()).isdisjoint(device.directions):
            other = "feeds_in" if Direction.TAKE in device.directions else "takes"
            yield note(
                f"device {device.id}",
                f"{device.direction.replace('_', ' ')}, and no meter of {device.participant} counts that: "
                f"did you mean direction {other}?",
            )


def _sourceless(grid: Grid) -> Iterator[Remark]:
    """Parts of heat, gas and hydrogen networks into which nothing can flow."""
    place = {node.id: i for i, node in enumerate(grid.nodes)}
    one = np.array([place[pipe.from_node] for pipe in grid.pipes], dtype=np.int64)
    other = np.array([place[pipe.to_node] for pipe in grid.pipes], dtype=np.int64)
    zones = zones_of(len(place), one, other)
    fed = {int(zones[place[meter.node]]) for meter in grid.meters if meter.feeds_in}
    taken = {int(zones[place[meter.node]]) for meter in grid.meters if not meter.feeds_in and not meter.branch}
    told = set()
    for node in grid.nodes:
        zone = int(zones[place[node.id]])
        if node.carrier is Carrier.ELECTRICITY or zone in told:
            continue
        told.add(zone)
        names = _some([other_.id for other_ in grid.nodes if zones[place[other_.id]] == zone])
        if zone in taken and zone not in fed:
            yield fault(f"{node.carrier} network of {names}", "energy is taken from it, and no meter feeds in")
        if zone not in taken and zone not in fed:
            yield note(f"{node.carrier} network of {names}", "nothing is connected to it")


def _observable(grid: Grid) -> Iterator[Remark]:
    """Which false readings could be seen, and whose they were."""
    network = network_of(grid)
    part = live_part(network)
    borders = {g.meter for g in grid.generators if g.source is Source.GRID}
    has_connection = any(meter.id in borders and meter.node == grid.reference_node for meter in grid.meters)
    if not has_connection:
        yield note(
            f"reference node {grid.reference_node}",
            "no meter with a generator of source grid: nothing says once more what all others add up to",
        )
    numbers = {name: i for i, name in enumerate(network.branch_names)}
    checked = np.zeros(network.branches, dtype=np.bool_)
    checked[[numbers[meter.branch] for meter in grid.meters if meter.branch in numbers]] = True
    open_lines = np.array([branch for branch in part.branches.tolist() if not checked[branch]], dtype=np.int64)
    zones = zones_of(network.nodes, network.branch_from[open_lines], network.branch_to[open_lines])
    behind: dict[int, list[str]] = {}
    electric = {node.id for node in grid.nodes if node.carrier is Carrier.ELECTRICITY}
    for meter in grid.meters:
        if meter.branch or meter.id in borders or meter.node not in electric:
            continue
        node = network.node_number[meter.node]
        if part.position[node] >= 0:
            behind.setdefault(int(zones[node]), []).append(meter.id)
    for zone, names in behind.items():
        is_outer = zone == int(zones[network.reference])
        if len(names) > 1 and (has_connection or not is_outer):
            yield note(
                f"meters {_some(names)}",
                "share one balance: that one of them is false can be seen, but hardly which; check meters between them "
                "would tell",
            )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:SAID_MAX])
    return f"{shown} and {len(names) - SAID_MAX} more" if len(names) > SAID_MAX else shown

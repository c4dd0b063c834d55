"""What contracts may ask of a region: what its devices can feed in and take, and what its lines and pipes carry.

From the asset chain alone. A meter feeds in what a generator behind it is rated for, or a storage or converter through
it; what its connection carries bounds both ways. A pipe shares ways with others evenly: it has no resistance here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import NO_SITE, Limits, Site, SiteKey
from aggregator.economy.contracts.sensitivity import Line, Sensitivity
from config.grid_model import Grid
from config.rules import ContractRule
from protocol.units import PPM


@dataclass(slots=True)
class _Sums:
    """What a participant's meters can, by node."""

    gives_w: dict[str, int] = field(default_factory=dict)
    takes_w: dict[str, int] = field(default_factory=dict)


def limits_of(region: Region, rule: ContractRule) -> Limits:
    """What contracts may ask of a region."""
    grid = region.grid
    lines = [Line(one.id, one.from_node, one.to_node, one.impedance_uohm) for one in grid.branches]
    lines += [Line(one.id, one.from_node, one.to_node, 1) for one in grid.pipes]
    rating_w = {line: watts * rule.lines_ppm // PPM for line, watts in _ratings(grid).items()}
    return Limits(_sites(region), Sensitivity(lines), rating_w)


def _ratings(grid: Grid) -> dict[str, int]:
    voltage_mv = {node.id: node.voltage_mv or 0 for node in grid.nodes}
    lines = {branch.id: branch.rating_w(voltage_mv[branch.from_node]) for branch in grid.branches}
    return lines | {pipe.id: pipe.rating_w for pipe in grid.pipes}


def _sites(region: Region) -> Mapping[SiteKey, Site]:
    grid, sites, sums = region.grid, dict[SiteKey, Site](), dict[SiteKey, _Sums]()
    gives = {storage.discharge_meter for storage in grid.storages}
    gives |= {output.meter for converter in grid.converters for output in converter.outputs}
    takes_nothing = {output.meter for converter in grid.converters for output in converter.outputs}
    takes_nothing |= {one.discharge_meter for one in grid.storages if one.discharge_meter != one.charge_meter}
    for meter in grid.meters:
        if meter.branch:
            continue
        key = (meter.participant, region.carriers[meter.node].value)
        generator = region.meters[meter.id].generator
        gives_w = min(meter.power_max_w, generator.rated_w) if generator else meter.power_max_w * (meter.id in gives)
        takes_w = 0 if meter.feeds_in or meter.id in takes_nothing else meter.power_max_w
        site, sum_ = sites.get(key, NO_SITE), sums.setdefault(key, _Sums())
        sites[key] = replace(
            site,
            feed_in_w=site.feed_in_w + gives_w,
            clean_w=site.clean_w + (gives_w * generator.clean_share_ppm // PPM if generator else 0),
            take_w=site.take_w + takes_w,
        )
        for at, watts in ((sum_.gives_w, gives_w), (sum_.takes_w, takes_w)):
            if watts:
                at[meter.node] = at.get(meter.node, 0) + watts
    return {
        key: replace(site, gives_at=_shares(sums[key].gives_w), takes_at=_shares(sums[key].takes_w))
        for key, site in sites.items()
    }


def _shares(watts: Mapping[str, int]) -> Mapping[str, int]:
    """In millionths, in proportion; what rounding leaves over goes to the first node."""
    whole = sum(watts.values())
    shares = {node: power * PPM // whole for node, power in watts.items()}
    if shares:
        shares[next(iter(shares))] += PPM - sum(shares.values())
    return shares

"""What contracts may ask of a region: what its devices can feed in and take, and what its lines and pipes carry.

From the asset chain alone. A meter feeds in what a generator behind it is rated for, or a storage or converter through
it; what its connection carries bounds both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import NO_SITE, Limits, Site, SiteKey
from aggregator.economy.contracts.sensitivity import Sensitivity
from protocol.units import PPM


@dataclass(slots=True)
class _Sums:
    """What a participant's meters can, by node."""

    gives_w: dict[str, int] = field(default_factory=dict)
    takes_w: dict[str, int] = field(default_factory=dict)


def limits_of(region: Region) -> Limits:
    """What contracts may ask of a region."""
    network = region.traded_network
    return Limits(_sites(region), Sensitivity.of(network), {line.name: line.rating_w for line in network.lines})


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

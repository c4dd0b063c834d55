"""What meters and tracing say of contracts in one interval, network by network."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import Region
from aggregator.economy.contracts.delivery import Metered
from config.carriers import Carrier
from protocol.units import PPM

Stated = tuple[Energies, Mapping[str, PeriodSums]]
"""What is known of an interval: every meter's energy, and what everybody did."""


def metered_in(carrier: Carrier, region: Region, energies: Energies, deeds: Mapping[str, PeriodSums]) -> Metered:
    """What everybody fed into one network, and took from it, all their meters there together.

    Clean is what somebody's sources fed in clean, less what they used of clean energy themselves, by tracing: nobody
    sells the energy that they are said to have used. What the buyer's mix is made of beside that is not looked at.

    Args:
        carrier: of the network.
        region: whose meters they are.
        energies: of every meter.
        deeds: what the interval adds to everybody's sums: clean energy as tracing shows it, of electricity and heat.
    """
    net_wh: dict[str, int] = {}
    taken_wh: dict[str, int] = {}
    clean_wh: dict[str, int] = {}
    for name, energy in energies.items():
        asset = region.meters[name]
        meter = asset.meter
        if meter.branch or region.carriers[meter.node] is not carrier:
            continue
        who = meter.participant
        net_wh[who] = net_wh.get(who, 0) + energy.exported_wh - energy.imported_wh
        taken_wh[who] = taken_wh.get(who, 0) + energy.imported_wh
        if asset.generator is not None:
            clean_wh[who] = clean_wh.get(who, 0) + energy.exported_wh * asset.generator.clean_share_ppm // PPM
    used_wh = _clean_used(carrier, taken_wh, deeds)
    return Metered(
        fed_in_wh={name: net for name, net in net_wh.items() if net > 0},
        taken_wh={name: -net for name, net in net_wh.items() if net < 0},
        clean_fed_in_wh={name: max(0, clean - used_wh.get(name, 0)) for name, clean in clean_wh.items()},
    )


def _clean_used(carrier: Carrier, taken_wh: Mapping[str, int], deeds: Mapping[str, PeriodSums]) -> Mapping[str, int]:
    """What everybody used of clean energy themselves; all that they took, where nobody says what that was made of."""
    match carrier:
        case Carrier.ELECTRICITY:
            return {name: sums.clean_wh for name, sums in deeds.items()}
        case Carrier.HEAT:
            return {name: sums.clean_heat_wh for name, sums in deeds.items()}
        case _:
            return taken_wh

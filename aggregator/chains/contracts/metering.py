"""What meters and tracing say of contracts in one interval, network by network."""

from __future__ import annotations

from collections.abc import Mapping

from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import Region
from aggregator.economy.contracts.delivery import Metered
from config.carriers import Carrier
from protocol.units import PPM


def metered_in(carrier: Carrier, region: Region, energies: Energies, deeds: Mapping[str, PeriodSums]) -> Metered:
    """What everybody fed into one network, and took from it, all their meters there together.

    Args:
        carrier: of the network.
        region: whose meters they are.
        energies: of every meter.
        deeds: what the interval adds to everybody's sums: clean energy as tracing shows it, of electricity and heat.
    """
    net_wh: dict[str, int] = {}
    clean_wh: dict[str, int] = {}
    for name, energy in energies.items():
        asset = region.meters[name]
        meter = asset.meter
        if meter.branch or region.carriers[meter.node] is not carrier:
            continue
        net_wh[meter.participant] = net_wh.get(meter.participant, 0) + energy.exported_wh - energy.imported_wh
        if asset.generator is not None:
            clean = energy.exported_wh * asset.generator.clean_share_ppm // PPM
            clean_wh[meter.participant] = clean_wh.get(meter.participant, 0) + clean
    match carrier:
        case Carrier.ELECTRICITY:
            traced = {name: sums.clean_wh for name, sums in deeds.items()}
        case Carrier.HEAT:
            traced = {name: sums.clean_heat_wh for name, sums in deeds.items()}
        case _:
            traced = {}
    return Metered(
        fed_in_wh={name: net for name, net in net_wh.items() if net > 0},
        taken_wh={name: -net for name, net in net_wh.items() if net < 0},
        clean_fed_in_wh=clean_wh,
        clean_taken_wh=traced,
    )

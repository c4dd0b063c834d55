"""How everybody stands, as a gateway is told: drawn from payment, analysis and asset, and kept nowhere."""

from __future__ import annotations

from fractions import Fraction

from aggregator.chains.five import Five
from protocol.messages import Limit, Right, RightKind, Standing
from protocol.units import PPM


def standings_behind(gateway: str, five: Five) -> tuple[Standing, ...]:
    """The standing of every participant behind a gateway, in the order of their names."""
    participants = five.asset.region.participants_of.get(gateway, ())
    return tuple(standing_of(participant, gateway, five) for participant in participants)


def standing_of(participant: str, gateway: str, five: Five) -> Standing:
    """The standing of one participant, with the limits of their devices on one gateway."""
    row = five.analysis.factors.get(participant)
    rank = five.payment.ranks.get(participant)
    balance = five.payment.balance(participant)
    return Standing(
        participant=participant,
        balance=balance,
        supply_factor_ppm=_ppm(row.factors.supply) if row else None,
        demand_factor_ppm=_ppm(row.factors.demand) if row else None,
        rank=rank.place if rank else len(five.asset.region.participants),
        limits=_limits(participant, gateway, five) if balance < 0 else (),
        rights=tuple(
            Right(kind, window.start_ms, window.end_ms)
            for kind in RightKind
            if (window := five.payment.rights.get((participant, kind.value))) is not None
        ),
    )


def _limits(participant: str, gateway: str, five: Five) -> tuple[Limit, ...]:
    """What is left to the devices of somebody who owes tokens."""
    region = five.asset.region
    share_ppm = region.rules.accounts.restricted_ppm
    return tuple(
        Limit(device.id, device.rated_w * share_ppm // PPM)
        for device in region.devices_of.get((gateway, participant), ())
    )


def _ppm(factor: Fraction | None) -> int | None:
    """A factor in millionths, rounded down; the exact one stands on the analysis chain."""
    return None if factor is None else factor.numerator * PPM // factor.denominator

"""The congestion contribution factor (paper 1, §3.4): what relieving a congested branch is worth.

Relief is power that a branch carries less, because a participant who was called departed from their baseline. A step
table turns the relief of one interval into a factor; factors add up over all periods; every time the sum reaches a
threshold a fixed award is due, and the rest carries over.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.rules import CongestionRule
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM


def relief_w(departure_wh: int, relieving_ppm: int, interval_ms: int) -> int:
    """By how much less a branch is loaded, on average over an interval, rounded down; 0 where it is loaded more.

    Args:
        departure_wh: baseline − metered; below 0, more was taken, or less fed in.
        relieving_ppm: by how many millionths of a watt the branch carries less when a watt less is taken.
        interval_ms: length of the interval.
    """
    return max(0, departure_wh * relieving_ppm * MS_PER_HOUR // (PPM * interval_ms))


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What one participant's factors have come to."""

    carried_ppm: int
    """Left over for the next period. It stays below the threshold; below 0, what was counted too much comes first."""
    awards: int
    """How often the threshold was reached."""

    def tokens(self, rule: CongestionRule) -> int:
        """What is due, before the cap of the period."""
        return self.awards * rule.award


def accumulate(carried_ppm: int, relief_ppm: int, rule: CongestionRule | None) -> Accumulated:
    """Add a period's factors to what was carried over. Nothing is lost: what is not awarded is carried on."""
    total = carried_ppm + relief_ppm
    awards = max(0, total // rule.threshold_ppm) if rule else 0
    return Accumulated(total - awards * (rule.threshold_ppm if rule else 0), awards)

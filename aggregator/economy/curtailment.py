"""Who may take or feed in how much while a power line carries too much, and how limits end.

What a line can carry for those who load it is shared out anew at each decision, last tier first: what somebody has
bought a channel for, then holders of priority, then everybody without a right, and what is left for whoever owes
tokens. Where it is not enough for a tier, all in it are left the same share of what their devices are rated for, those
who take little just now as well: so nobody gains by taking more, or less, at the right moment. Shares are rounded down,
and single watts are added, in the order given, as long as they fit: no watt more is given up than the line needs.
Integers only: every node limits the same devices by the same watts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from protocol.limits import Tier
from protocol.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one participant asks of a line, in the direction in which they load it."""

    tier: Tier
    """Of what no channel covers: restricted, common or priority."""
    rated_w: int
    """What their devices can take, or feed in, at most: by this a tier shares, since nobody changes it in a moment."""
    wanted_w: int
    """From 0 to `rated_w`: what they use, or a step more than they were left."""
    relief_ppm: int
    """By how many millionths of a watt the line carries less for a watt less; above 0."""
    channel_w: int = 0
    """Capacity of the line that they have bought, at most `rated_w`; of whoever owes tokens none counts."""

    def __post_init__(self) -> None:
        """Whoever owes tokens is covered by nothing."""
        assert 0 <= self.channel_w <= self.rated_w and 0 <= self.wanted_w <= self.rated_w, f"{self}"
        assert self.relief_ppm > 0 and not (self.channel_w and self.tier is Tier.RESTRICTED), f"{self}"


@dataclass(frozen=True, slots=True)
class _Part:
    """A claim, as far as it belongs to one tier."""

    place: int
    """Of the claim, among all."""
    rated_w: int
    wanted_w: int
    relief_ppm: int

    def left_w(self, level: int) -> int:
        """What is left of it at a level, in millionths of what it is rated for, rounded down."""
        return self.rated_w * level // PPM

    def load(self, left_w: int) -> int:
        """What the line then carries of it, in millionths of a watt."""
        return min(self.wanted_w, left_w) * self.relief_ppm


def excess_w(flow_w: int, loading_ppm: int) -> int:
    """How much less a congested line has to carry, rounded up: power falls with the current."""
    assert loading_ppm > PPM, f"a line loaded with {loading_ppm} ppm is not congested"
    return -(-abs(flow_w) * (loading_ppm - PPM) // loading_ppm)


def room_w(rating_w: int, loading_ppm: int, release_ppm: int) -> int:
    """How much more a line may carry before it is loaded with `release_ppm`, rounded down; at least 0."""
    return max(0, rating_w * (release_ppm - loading_ppm) // PPM)


def share_out(carried_ppm: int, claims: Sequence[Claim]) -> list[int | None]:
    """Watts that are left to each claim; None where there is enough, and nobody need be limited.

    Args:
        carried_ppm: what the line can carry of all claims together, in millionths of a watt.
        claims: among equals, single watts are given in this order.
    """
    left_w = [0] * len(claims)
    limited: set[int] = set()
    for tier in reversed(Tier):
        parts = list(_parts(claims, tier))
        if limited:  # a tier before this one has not got all that it wants
            limited.update(part.place for part in parts)
            continue
        wanted = sum(part.load(part.rated_w) for part in parts)
        if wanted > carried_ppm:
            limited.update(part.place for part in parts)
            shares = _share(carried_ppm, parts)
        else:
            shares = [part.rated_w for part in parts]
        for part, watts in zip(parts, shares, strict=True):
            left_w[part.place] += watts
        carried_ppm -= wanted
    return [watts if place in limited else None for place, watts in enumerate(left_w)]


def _parts(claims: Sequence[Claim], tier: Tier) -> Iterator[_Part]:
    """What belongs to a tier: of everybody, what their channel covers; of those in it, the rest."""
    for place, claim in enumerate(claims):
        covered_w = min(claim.wanted_w, claim.channel_w)
        if tier is Tier.CHANNEL and claim.channel_w:
            yield _Part(place, claim.channel_w, covered_w, claim.relief_ppm)
        elif tier is claim.tier:
            yield _Part(place, claim.rated_w - claim.channel_w, claim.wanted_w - covered_w, claim.relief_ppm)


def _share(carried_ppm: int, parts: Sequence[_Part]) -> list[int]:
    """The same share of what each is rated for, the largest with which the line carries no more than it can."""
    low, high = 0, PPM
    while high - low > 1:
        level = (low + high) // 2
        fits = sum(part.load(part.left_w(level)) for part in parts) <= carried_ppm
        low, high = (level, high) if fits else (low, level)
    free = carried_ppm - sum(part.load(part.left_w(low)) for part in parts)
    left_w = []
    for part in parts:
        before_w, most_w = part.left_w(low), part.left_w(high)
        needed = part.load(most_w) - part.load(before_w)
        more_w = most_w - before_w if needed <= free else free // part.relief_ppm
        left_w.append(before_w + more_w)
        free -= part.load(before_w + more_w) - part.load(before_w)
    return left_w

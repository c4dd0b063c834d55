"""Who takes or feeds in less while a branch carries too much, and who may again when it does not.

Whoever owes tokens goes first, then everybody without a right, then holders of priority, and last what somebody has
bought a channel for; within a tier everybody gives the same share of their power. Never more than the branch needs:
shares are rounded down, and single watts are added, in the order given, until it is enough. What is given back goes the
other way round. Integers only: every node limits the same devices by the same watts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from protocol.units import PPM


class Tier(IntEnum):
    """Who is limited before whom."""

    RESTRICTED = 1
    """Owes tokens."""
    COMMON = 2
    PRIORITY = 3
    """Holds the right to go first, in the direction in which they use the branch."""
    CHANNEL = 4
    """Is covered by capacity that was bought on this branch."""


@dataclass(frozen=True, slots=True)
class Load:
    """Power of one participant that belongs to one tier."""

    participant: str
    power_w: int
    """Taken or fed in, 0 or more: all of it can be given up, and no more."""
    relief_ppm: int
    """By how many millionths of a watt the branch carries less for a watt less; above 0."""
    tier: Tier


def excess_w(flow_w: int, loading_ppm: int) -> int:
    """How much less a congested branch has to carry, rounded up: power falls with the current."""
    assert loading_ppm > PPM, f"a branch loaded with {loading_ppm} ppm is not congested"
    return -(-abs(flow_w) * (loading_ppm - PPM) // loading_ppm)


def room_w(rating_w: int, loading_ppm: int, release_ppm: int) -> int:
    """How much more a branch may carry before it is loaded with `release_ppm`, rounded down; at least 0."""
    return max(0, rating_w * (release_ppm - loading_ppm) // PPM)


def tiers_of(power_w: int, relief_ppm: int, participant: str, tier: Tier, channel_w: int) -> Iterator[Load]:
    """A participant's power, cut into what is covered by capacity bought on the branch and what is not.

    Whoever owes tokens is covered by nothing.
    """
    covered = 0 if tier is Tier.RESTRICTED else min(power_w, channel_w)
    if covered < power_w:
        yield Load(participant, power_w - covered, relief_ppm, tier)
    if covered:
        yield Load(participant, covered, relief_ppm, Tier.CHANNEL)


def curtail(needed_w: int, loads: Sequence[Load]) -> dict[str, int]:
    """Watts that each has to give up so that a branch carries `needed_w` less, or all they have.

    Args:
        needed_w: what the branch carries too much.
        loads: everybody's power; among equals, single watts are taken in this order.
    """
    given_up: dict[str, int] = {}
    needed = needed_w * PPM
    for tier in Tier:
        here = [load for load in loads if load.tier is tier]
        whole = sum(load.power_w * load.relief_ppm for load in here)
        if needed <= 0:
            break
        share = min(needed, whole)
        rest = share - sum(load.power_w * share // whole * load.relief_ppm for load in here if whole)
        for load in here:
            watts = load.power_w * share // whole if whole else 0
            if rest > 0 and watts < load.power_w:
                watts, rest = watts + 1, rest - load.relief_ppm
            if watts:
                given_up[load.participant] = given_up.get(load.participant, 0) + watts
        needed -= share
    return given_up


def release(free_w: int, loads: Sequence[Load]) -> dict[str, int]:
    """Watts that each may have back while the branch has room for `free_w` more.

    Args:
        free_w: what the branch can carry on top.
        loads: what everybody lacks.
    """
    given_back: dict[str, int] = {}
    free = free_w * PPM
    for tier in reversed(Tier):
        here = [load for load in loads if load.tier is tier]
        whole = sum(load.power_w * load.relief_ppm for load in here)
        share = min(free, whole)
        for load in here:
            if watts := load.power_w * share // whole if whole else 0:
                given_back[load.participant] = given_back.get(load.participant, 0) + watts
        free -= whole
        if free <= 0:
            break
    return given_back

"""Who is asked in a cycle, how long a failing one may take, and when the next cycle begins.

One dead meter must not slow the others: whoever fails sits out 1, 2, 4, … cycles, up to a bound, and is then asked
once, behind the healthy ones and in the time that they left. Given cycle numbers and times as integers; asks nobody
and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

REST_CYCLES_MAX: Final = 60
"""However long it has been dead, it is asked again after so many cycles."""

PROBES_PER_CYCLE_MAX: Final = 1
"""Of several dead ones, one is asked per cycle: their timeouts must not add up."""

IMPATIENCE: Final = 4
"""How much shorter the timeout is behind somebody who did not answer: many may have died at once."""


@dataclass(frozen=True, slots=True)
class Health:
    """How something on a bus has been doing."""

    failures: int = 0
    """In a row."""
    rest_cycles: int = 0
    """Cycles that it still sits out."""

    @property
    def is_failing(self) -> bool:
        """Whether it failed when it was last asked."""
        return self.failures > 0

    def after_success(self) -> Health:
        """It answered."""
        return Health()

    def after_failure(self) -> Health:
        """It did not answer, or answered nonsense: rest twice as long as before."""
        return Health(self.failures + 1, min(1 << min(self.failures, 30), REST_CYCLES_MAX))

    def after_cycle_off(self) -> Health:
        """A cycle went by without it."""
        return replace(self, rest_cycles=max(0, self.rest_cycles - 1))


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is asked in one cycle, in this order."""

    healthy: tuple[str, ...]
    probed: tuple[str, ...]
    """Failing ones whose rest is over."""
    resting: tuple[str, ...]


def turn(health: Mapping[str, Health]) -> Turn:
    """Share out one cycle among everyone on a bus."""
    healthy = tuple(name for name, h in health.items() if not h.is_failing)
    rested = sorted(
        (name for name, h in health.items() if h.is_failing and h.rest_cycles == 0),
        key=lambda name: health[name].failures,
    )
    probed = tuple(rested[:PROBES_PER_CYCLE_MAX])
    resting = tuple(name for name in health if name not in healthy and name not in probed)
    return Turn(healthy, probed, resting)


def impatient_ms(timeout_ms: int) -> int:
    """How long anybody may take in a cycle in which one has already failed."""
    return timeout_ms // IMPATIENCE


def probe_timeout_ms(timeout_ms: int, left_ms: int) -> int:
    """How long a probe may take when `left_ms` are left of the cycle: a busy bus asks its dead, too, but briefly."""
    return min(timeout_ms, max(left_ms, impatient_ms(timeout_ms)))


def next_slot_ms(slot_ms: int, now_ms: int, every_ms: int) -> int:
    """When the cycle after the one of `slot_ms` was due to begin: always on the grid of the first.

    A slot that is just over is begun late; of those that are over by a whole cycle only the last counts. So a bus that
    is too slow reads as often as it can, and nothing piles up.
    """
    late = max(0, now_ms - slot_ms - every_ms) // every_ms
    return slot_ms + (late + 1) * every_ms

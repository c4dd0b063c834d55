"""Who is asked in a cycle, how long anybody is waited for, and when the next cycle begins.

One dead meter must not slow the others: whoever fails sits out 1, 2, 4, … cycles, up to a bound, and is then asked
once, behind the healthy ones. A probe takes the time that they left over, and beyond it no more than a small share of
all time, so that a bus without any time to spare is slowed by that share at most. Whoever answers, but so slowly that
it holds up all others, is asked under the same rule. Whoever answers quickly is not waited for long when it stops.
Given times as integers; asks nobody and waits for nothing.
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

PROBE_SHARE: Final = 33
"""One part in so many of all time may go to the dead and the slow where no time is left: 3 %."""

SLOW_TIMES: Final = 4
"""Who takes so many times as long as is usual on its bus is slow."""

SLOW_SHARE: Final = 8
"""If it takes more than one part in so many of a cycle, too."""

PATIENCE_TIMES: Final = 8
"""How many times its slowest answer so far anybody is waited for."""

PATIENCE_MIN_MS: Final = 200
"""And at least so long: meters have moments."""


@dataclass(frozen=True, slots=True)
class Health:
    """How something on a bus has been doing."""

    failures: int = 0
    """In a row."""
    rest_cycles: int = 0
    """Cycles that it still sits out."""
    took_ms: int = 0
    """How long the bus was busy with it when it last answered."""
    waited_cycles: int = 0
    """Cycles in a row that had no time for it."""

    @property
    def is_failing(self) -> bool:
        """Whether it failed when it was last asked."""
        return self.failures > 0

    def after_success(self, took_ms: int = 0) -> Health:
        """It answered."""
        return Health(took_ms=took_ms)

    def after_failure(self) -> Health:
        """It did not answer, or answered nonsense: rest twice as long as before."""
        return Health(self.failures + 1, min(1 << min(self.failures, 30), REST_CYCLES_MAX))

    def after_cycle_off(self) -> Health:
        """A cycle went by without it."""
        return replace(self, rest_cycles=max(0, self.rest_cycles - 1), waited_cycles=self.waited_cycles + 1)


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is asked in one cycle, in this order."""

    healthy: tuple[str, ...]
    slow: tuple[str, ...]
    """Those that answer, but hold up all others; who has waited longest is first."""
    probed: tuple[str, ...]
    """Failing ones whose rest is over."""
    resting: tuple[str, ...]


def turn(health: Mapping[str, Health], every_ms: int = 0) -> Turn:
    """Share out one cycle of `every_ms` among everyone on a bus."""
    slow_ms = _slow_ms(health, every_ms)
    answering = [name for name, h in health.items() if not h.is_failing]
    slow = [name for name in answering if health[name].took_ms > slow_ms]
    rested = sorted(
        (name for name, h in health.items() if h.is_failing and h.rest_cycles == 0),
        key=lambda name: health[name].failures,
    )
    probed = tuple(rested[:PROBES_PER_CYCLE_MAX])
    return Turn(
        healthy=tuple(name for name in answering if name not in slow),
        slow=tuple(sorted(slow, key=lambda name: -health[name].waited_cycles)),
        probed=probed,
        resting=tuple(name for name, h in health.items() if h.is_failing and name not in probed),
    )


def _slow_ms(health: Mapping[str, Health], every_ms: int) -> int:
    """Beyond this, somebody is slow: compared with the others, and with the cycle."""
    took = sorted(h.took_ms for h in health.values() if h.took_ms and not h.is_failing)
    usual_ms = took[(len(took) - 1) // 2] if took else 0
    return max(SLOW_TIMES * usual_ms, every_ms // SLOW_SHARE)


def impatient_ms(timeout_ms: int) -> int:
    """How long anybody may take in a cycle in which one has already failed."""
    return timeout_ms // IMPATIENCE


@dataclass(frozen=True, slots=True)
class Patience:
    """What is known about how quickly somebody answers."""

    slowest_ms: int | None = None
    """Since it last failed; None before its first answer."""

    def after_answer(self, took_ms: int) -> Patience:
        """It answered."""
        return self if self.slowest_ms is not None and took_ms <= self.slowest_ms else Patience(took_ms)

    def timeout_ms(self, bound_ms: int) -> int:
        """How long it may take: generous to strangers, and never beyond the bound."""
        if self.slowest_ms is None:
            return bound_ms
        return min(bound_ms, max(PATIENCE_MIN_MS, PATIENCE_TIMES * self.slowest_ms))


@dataclass(frozen=True, slots=True)
class ProbeCredit:
    """Time that dead and slow ones may take from the healthy: a share of all time, saved up to a bound."""

    bound_ms: int
    saved_ms: int

    def after_cycle(self, spent_ms: int) -> ProbeCredit:
        """So much time went by."""
        return replace(self, saved_ms=min(self.bound_ms, self.saved_ms + spent_ms // PROBE_SHARE))

    def after_use(self, took_ms: int, left_ms: int) -> ProbeCredit:
        """Somebody took so much, of which `left_ms` were free."""
        return replace(self, saved_ms=max(0, self.saved_ms - max(0, took_ms - max(0, left_ms))))

    def timeout_ms(self, timeout_ms: int, left_ms: int, *, is_patient: bool) -> int:
        """How long a probe may take now; 0 if it would be too short to mean anything.

        One that is not patient keeps to the time that is left, if that is enough to mean anything: then the next cycle
        begins when it should.
        """
        enough_ms = impatient_ms(timeout_ms)
        may_ms = left_ms if left_ms >= enough_ms and not is_patient else max(0, left_ms) + self.saved_ms
        return min(timeout_ms, may_ms) if may_ms >= enough_ms else 0

    def affords(self, took_ms: int, left_ms: int) -> bool:
        """Whether there is time now for somebody who takes so long. At the bound there is: who is slow is not dead."""
        return min(took_ms, self.bound_ms) <= max(0, left_ms) + self.saved_ms


def slow_turn(due_ms: Mapping[str, int], now_ms: int) -> tuple[str, ...]:
    """Of those whose slow quantities are due, whoever has been due for longest first."""
    due = (name for name, at_ms in due_ms.items() if at_ms <= now_ms)
    return tuple(sorted(due, key=lambda name: due_ms[name]))


def next_slot_ms(slot_ms: int, now_ms: int, every_ms: int) -> int:
    """When the cycle after the one of `slot_ms` was due to begin: always on the grid of the first.

    A slot that is just over is begun late; of those that are over by a whole cycle only the last counts. So a bus that
    is too slow reads as often as it can, and nothing piles up.
    """
    late = max(0, now_ms - slot_ms - every_ms) // every_ms
    return slot_ms + (late + 1) * every_ms

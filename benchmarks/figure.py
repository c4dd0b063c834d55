"""One measured number beside its limit, and how to take it honestly.

CPU time of this process, not the clock on the wall: other programs on the machine then take nothing away. The best of
several rounds: noise only ever adds.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report."""

    what: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False
    """Whether the limit is a floor; else it is a ceiling."""
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def __str__(self) -> str:
        bound = f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.unit}"
        verdict = "holds" if self.holds else "MISSED"
        ratio = self.measured / self.limit
        line = f"{self.what:<58} {self.measured:>9.2f} {self.unit:<6} {bound:<14} {ratio:>5.2f} of it  {verdict}"
        return f"{line}\n{'':>4}{self.note}" if self.note else line


ROUNDS: Final = 3


def cpu_seconds(work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """CPU seconds of the best of several runs of `work`."""
    best = float("inf")
    for _ in range(rounds):
        gc.collect()
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best

"""How far the analysis chain has come."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cursor:
    """What analysis has closed so far."""

    next_interval_ms: int
    period_start_ms: int
    """Start of the period whose factors are due next."""
    intervals: int = 0
    periods: int = 0
    factors_root: bytes = b""
    """Root over the last period's factors; payment rests on it."""
    factors_start_ms: int = 0
    factors_end_ms: int = 0


@dataclass(frozen=True, slots=True)
class AnalysisTotals:
    """Counts since genesis."""

    restatements: int = 0

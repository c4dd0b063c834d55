"""One thing that `grid check` says about a grid file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that is wrong or cannot be known."""

    is_fault: bool
    subject: str
    says: str
    """A sentence about the subject, without it."""

    def __str__(self) -> str:
        return f"{self.subject}: {self.says}"


def fault(subject: str, says: str) -> Remark:
    """What makes results wrong."""
    return Remark(True, subject, says)


def note(subject: str, says: str) -> Remark:
    """What cannot be known, or looks unlike what was meant."""
    return Remark(False, subject, says)

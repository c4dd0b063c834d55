"""How much room the outbox has left, and what follows: read on, keep fewer readings, or read nothing more.

Given bytes and bounds; drops nothing that was kept. Energy is in the meters' registers, so fewer readings cost
resolution and no watt-hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from config.settings.agent import AtBound

THIN_FROM_PERCENT: Final = 75
"""Of the bound: where thinning begins."""

THIN_MS: Final = 900_000
"""A reading of each meter in a quarter of an hour, as regions settle."""


@dataclass(frozen=True, slots=True)
class Room:
    """What the room that is left allows."""

    paused: str | None = None
    """Why nothing may be read, if so."""
    thinned: str | None = None
    """Why fewer readings are kept, if so."""
    thin_ms: int = 0
    """The least time between two kept readings of a meter; 0 for all of them."""


def room_for(bytes_used: int, bytes_max: int, at_bound: AtBound) -> Room:
    """What an outbox with so many bytes in it allows."""
    if bytes_used >= bytes_max:
        return Room(paused=f"{bytes_max} bytes wait for receipts (outbox_bytes_max)")
    if at_bound is AtBound.THIN and 100 * bytes_used >= THIN_FROM_PERCENT * bytes_max:
        thinned = (
            f"over {THIN_FROM_PERCENT} % of {bytes_max} bytes wait for receipts: a reading in {THIN_MS // 60_000} min"
        )
        return Room(thinned=thinned, thin_ms=THIN_MS)
    return Room()

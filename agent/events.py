"""What the tasks of an agent tell its clerk."""

from __future__ import annotations

from dataclasses import dataclass

from agent.bus.reading import Reading
from agent.outbox.queue import LinkDown, LinkUp, Tick
from agent.session import Arrived


@dataclass(frozen=True, slots=True)
class Read:
    """A meter was read."""

    reading: Reading


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A device confirmed that it is held to `power_w`, or free; and what it is set to."""

    device: str
    power_w: int | None
    set_w: int | None = None
    """What it is to take, or, below 0, to feed in; None: what it likes."""


@dataclass(frozen=True, slots=True)
class Failing:
    """A meter, a device, or a whole bus does not do what it should, and why."""

    what: str
    meters: tuple[str, ...]
    """The meters that cannot be read because of it."""
    devices: tuple[str, ...]
    """The devices that cannot be told anything because of it."""
    reason: str


@dataclass(frozen=True, slots=True)
class Recovered:
    """It does again."""

    what: str
    names: tuple[str, ...]
    """The meters and devices that were failing because of it."""


@dataclass(frozen=True, slots=True)
class CloseAll:
    """Nothing more will be read: sign what is journaled, and say when all of it has its receipt."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something beside the meters and the link is not as it should be, and why; None if it is again."""

    name: str
    """One of `status.TROUBLES`."""
    reason: str | None


Event = Read | Confirmed | Failing | Recovered | LinkUp | LinkDown | Arrived | Tick | CloseAll | Trouble

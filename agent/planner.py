"""Which words to ask a meter for: as few requests as the meter allows.

Given a profile and the quantities wanted, says which requests bring them all. Never asks for more than the profile's
`words_max` at once, never reaches out of a block, and never asks twice for what one answer can hold: on a slow bus
a request costs more than the words in it, so a gap inside a block is read along. Asks nobody: that is the port's work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from config.meter_profile import MeterProfile, Register, Table
from protocol.units import Quantity


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One question to a meter: a run of words in one of its tables."""

    table: Table
    address: int
    words: int

    @property
    def last(self) -> int:
        """The last address that is read."""
        return self.address + self.words - 1

    def holds(self, register: Register) -> bool:
        """Whether the answer contains all words of `register`."""
        return self.address <= register.address and register.last <= self.last

    def cut(self, register: Register, answer: Sequence[int]) -> Sequence[int]:
        """The words of `register` out of the whole answer."""
        start = register.address - self.address
        return answer[start : start + register.type.words]


def plan(profile: MeterProfile, wanted: Collection[Quantity]) -> tuple[ReadRequest, ...]:
    """The fewest requests that bring all of `wanted` that the meter has, in rising order of address.

    The register with the lowest address must be in some request, and no request that holds it reaches further than
    the one that starts there in the block with the furthest end. So to take that one is never wrong.
    """
    waiting = sorted((r for r in profile.registers if r.id in wanted), key=lambda r: (r.address, r.last))
    requests = []
    while waiting:
        reach = _reach(profile, waiting[0])
        covered = [register for register in waiting if register.last <= reach]
        assert covered, f"{profile.id}: {waiting[0].quantity} is wider than words_max allows to read"
        first, last = covered[0].address, max(register.last for register in covered)
        requests.append(ReadRequest(profile.table, first, last - first + 1))
        waiting = [register for register in waiting if register.last > reach]
    return tuple(requests)


def serial_request(profile: MeterProfile) -> ReadRequest | None:
    """The request that makes a meter tell its serial number, if it has one to tell."""
    serial = profile.serial_number
    return None if serial is None else ReadRequest(serial.table, serial.address, serial.words)


def _reach(profile: MeterProfile, register: Register) -> int:
    """The last address that one request may hold which starts at `register`."""
    ends = [b.last for b in profile.blocks if b.first <= register.address and register.last <= b.last]
    return min(max(ends), register.address + profile.words_max - 1)

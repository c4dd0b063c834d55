"""Which words to ask a meter for: as few requests as the meter allows.

Given a profile and the quantities wanted, says which requests bring them all. Never asks for more than the profile's
`words_max` at once, never reaches out of a block, and never asks twice for what one answer can hold: on a slow bus
a request costs more than the words in it, so a gap inside a block is read along. Asks nobody: that is the port's work.

On a bus that is too slow for everything in every cycle, `plan_groups` says what has to come every time and what may
come more rarely. Energy always has to come.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from config.meter_profile import MeterProfile, Register, Table
from protocol.units import ENERGY_REGISTERS, Quantity


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

    def word_at(self, address: int, answer: Sequence[int]) -> int | None:
        """One word out of the answer, if it reaches that far."""
        place = address - self.address
        return answer[place] if 0 <= place < min(self.words, len(answer)) else None

    def cut(self, register: Register, answer: Sequence[int]) -> Sequence[int]:
        """The words of `register` out of the whole answer."""
        start = register.address - self.address
        return answer[start : start + register.type.words]


@dataclass(frozen=True, slots=True)
class Groups:
    """The requests of one meter by how often they are worth their time."""

    fast: tuple[ReadRequest, ...]
    """Bring energy, and what the profile calls fast."""
    slow: tuple[ReadRequest, ...] = ()
    """Bring the rest of what is wanted, as far as the fast answers do not hold it anyway."""


@dataclass(frozen=True, slots=True, order=True)
class _Span:
    """Addresses that one answer has to hold together, both ends included."""

    first: int
    last: int


def plan(profile: MeterProfile, wanted: Collection[Quantity]) -> tuple[ReadRequest, ...]:
    """The fewest requests that bring all of `wanted` that the meter has, in rising order of address.

    Where any is wanted, the words that have to be what the profile says come along.
    """
    registers = _registers(profile, wanted)
    return _requests(profile, _spans(registers) | (_fixed_spans(profile) if registers else set()))


def plan_groups(profile: MeterProfile, wanted: Collection[Quantity]) -> Groups:
    """What of `wanted` to ask for in every cycle, and what may be asked for more rarely.

    A meter without anything fast would tell nothing in most cycles: there, all of it is.
    """
    fast = plan(profile, {q for q in wanted if q in ENERGY_REGISTERS or q.name.lower() in profile.fast})
    if not fast:
        return Groups(plan(profile, wanted))
    rest = [r for r in _registers(profile, wanted) if not any(request.holds(r) for request in fast)]
    return Groups(fast, _requests(profile, _spans(rest)))


def _requests(profile: MeterProfile, spans: set[_Span]) -> tuple[ReadRequest, ...]:
    """The fewest requests that hold every span.

    The span with the lowest address must be in some request, and no request that holds it reaches further than
    the one that starts there in the block with the furthest end. So to take that one is never wrong.
    """
    waiting = sorted(spans)
    requests = []
    while waiting:
        reach = _reach(profile, waiting[0])
        covered = [span for span in waiting if span.last <= reach]
        assert covered, f"{profile.id}: what is at {waiting[0].first:#06x} is wider than words_max allows to read"
        first, last = covered[0].first, max(span.last for span in covered)
        requests.append(ReadRequest(profile.table, first, last - first + 1))
        waiting = [span for span in waiting if span.last > reach]
    return tuple(requests)


def _registers(profile: MeterProfile, wanted: Collection[Quantity]) -> list[Register]:
    return [register for register in profile.registers if register.id in wanted]


def _spans(registers: Collection[Register]) -> set[_Span]:
    return {_Span(register.address, register.last) for register in registers}


def _fixed_spans(profile: MeterProfile) -> set[_Span]:
    return {_Span(word.address, word.address) for word in profile.fixed_words}


def serial_request(profile: MeterProfile) -> ReadRequest | None:
    """The request that makes a meter tell its serial number, if it has one to tell."""
    serial = profile.serial_number
    return None if serial is None else ReadRequest(serial.table, serial.address, serial.words)


def _reach(profile: MeterProfile, span: _Span) -> int:
    """The last address that one request may hold which starts at `span`."""
    ends = [block.last for block in profile.blocks if block.first <= span.first and span.last <= block.last]
    return min(max(ends), span.first + profile.words_max - 1)

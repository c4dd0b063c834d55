"""A reading: what one meter showed at one time, as it is journaled.

What came with several requests has parts, each with the instants between which it was so. What is read more rarely is a
slow reading; it travels with the reading after it, so that the two are kept, sent or dropped together and nothing has
to wait for its other half. Reads no words and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.batch import WORD_KEYS, WORD_QUANTITIES, Quality
from protocol.canonical import Value, decode, encode
from protocol.units import BootMs, Quantity

READING_BYTES_MAX: Final = 4096
"""A journaled reading is far smaller: sixty quantities and some names."""


@dataclass(frozen=True, slots=True)
class Part:
    """What came with one of several requests, and when."""

    start_ms: BootMs
    end_ms: BootMs
    quantities: tuple[Quantity, ...]
    """In the order of the wire format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowReading:
    """What one meter showed at one time of what is read more rarely."""

    start_ms: BootMs
    end_ms: BootMs
    quality: Quality
    values: Mapping[Quantity, int]
    """In base units, in the order of the wire format; never energy."""
    parts: tuple[Part, ...] = ()
    """In the order in which they were asked, if there was more than one request."""

    def to_value(self) -> Value:
        """For the journal."""
        span = [int(self.start_ms), int(self.end_ms)]
        return [span, self.quality.value, _spell_values(self.values), _spell_parts(self.parts)]

    @classmethod
    def from_value(cls, value: Value) -> SlowReading:
        """What `to_value` gave."""
        (start_ms, end_ms), quality, values, parts = value
        return cls(
            start_ms=BootMs(start_ms),
            end_ms=BootMs(end_ms),
            quality=Quality(quality),
            values=_read_values(values),
            parts=_read_parts(parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one meter showed at one time."""

    meter: str
    profile: bytes
    """Digest of the profile that the words were decoded with."""
    serial: str
    start_ms: BootMs
    """When the first request went out."""
    end_ms: BootMs
    """When the last answer was complete."""
    quality: Quality
    values: Mapping[Quantity, int]
    """In base units, in the order of the wire format."""
    words: Mapping[Quantity, bytes]
    """The energy registers as they came."""
    parts: tuple[Part, ...] = ()
    """In the order in which they were asked, if there was more than one request."""
    slow: SlowReading | None = None
    """The slow reading that was taken since the reading before, if one was."""

    def encode(self) -> bytes:
        """Spell the reading for the journal. This spelling never leaves the gateway."""
        words = {WORD_KEYS[quantity]: data for quantity, data in self.words.items()}
        span = [int(self.start_ms), int(self.end_ms)]
        told = [self.meter, self.profile, self.serial, span, self.quality.value, _spell_values(self.values), words]
        if self.parts or self.slow:
            told += [_spell_parts(self.parts), None if self.slow is None else self.slow.to_value()]
        return encode(told)

    @classmethod
    def decode(cls, data: bytes) -> Reading:
        """Read what `encode` wrote.

        Raises:
            EncodingError: the journal is damaged.
        """
        told = decode(data, size_max=READING_BYTES_MAX)
        meter, profile, serial, (start_ms, end_ms), quality, values, words, *more = told
        parts, slow = more or ([], None)
        return cls(
            meter=meter,
            profile=profile,
            serial=serial,
            start_ms=BootMs(start_ms),
            end_ms=BootMs(end_ms),
            quality=Quality(quality),
            values=_read_values(values),
            words={WORD_QUANTITIES[key]: value for key, value in words.items()},
            parts=_read_parts(parts),
            slow=None if slow is None else SlowReading.from_value(slow),
        )


def _spell_values(values: Mapping[Quantity, int]) -> Value:
    return [[quantity.value, value] for quantity, value in values.items()]


def _read_values(value: Value) -> dict[Quantity, int]:
    return {Quantity(key): number for key, number in value}


def _spell_parts(parts: Sequence[Part]) -> Value:
    return [[int(part.start_ms), int(part.end_ms), [q.value for q in part.quantities]] for part in parts]


def _read_parts(value: Value) -> tuple[Part, ...]:
    return tuple(Part(BootMs(start), BootMs(end), tuple(map(Quantity, told))) for start, end, told in value)

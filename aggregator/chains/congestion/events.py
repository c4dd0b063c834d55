"""Demand-response events: somebody who may calls participants to help a branch, ahead of time.

Both records are of the regulator or of an aggregator. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import items, name, optional, text, uint
from protocol.link import Link

PARTICIPANTS_MAX: Final = 10_000
"""Whom one event calls by name. An event that names nobody calls all."""
REASON_MAX: Final = 300
BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    """A call to take less, or feed in less, in a window of time."""

    link: Link
    start_ms: int
    end_ms: int
    """Does not belong to it."""
    branch: str = ""
    """That is to be relieved; empty: the event is for the region as a whole."""
    participants: tuple[str, ...] = ()
    """Who is called; empty: all that respond."""

    def encode(self) -> bytes:
        """Spell the record."""
        body = {5: self.start_ms, 6: self.end_ms, 7: self.branch or None, 8: list(self.participants)}
        return encode(self.link.to_fields() | body)

    @classmethod
    def decode(cls, payload: bytes) -> ResponseEvent:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 9)), "event")
        called = tuple(name(one, "participant") for one in items(fields[8], "participants", PARTICIPANTS_MAX))
        if list(called) != sorted(set(called)):
            raise EncodingError("participants: each once, in the order of their names")
        return cls(
            link=Link.from_fields(fields),
            start_ms=uint(fields[5], "start"),
            end_ms=uint(fields[6], "end"),
            branch=optional(fields[7], name, "branch") or "",
            participants=called,
        )


@dataclass(frozen=True, slots=True)
class Cancellation:
    """An event that has not begun is taken back."""

    link: Link
    event: int
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.event, 6: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Cancellation:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 7)), "cancellation")
        return cls(Link.from_fields(fields), uint(fields[5], "event"), text(fields[6], "reason", REASON_MAX))

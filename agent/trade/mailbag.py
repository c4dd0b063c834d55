"""What leaves the desk: letters to be published and records that were signed. And what has left it, for a while."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from agent.outbox.queue import Entry
from protocol.crypto import digest_of
from protocol.topics import Kind

UNANSWERED_MAX: Final = 1000
"""Letters and questions whose refusal would still be understood."""


@dataclass(slots=True)
class Done:
    """What came of something."""

    letters: list[tuple[Kind, bytes]] = field(default_factory=list)
    """To be published, on our topics."""
    entries: list[Entry] = field(default_factory=list)
    """Records that were signed."""


class Sent:
    """What was sent, and for which offer: nodes name what they refuse by its digest."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[bytes, bytes] = OrderedDict()

    def put(self, kind: Kind, data: bytes, number: bytes, done: Done) -> None:
        """Have something sent for the offer of this number."""
        self._numbers[digest_of(data)] = number
        while len(self._numbers) > UNANSWERED_MAX:
            self._numbers.popitem(last=False)
        done.letters.append((kind, data))

    def offer_of(self, digest: bytes) -> bytes:
        """The offer that something was sent for, which now is refused; nothing if nobody knows."""
        return self._numbers.pop(digest, b"")

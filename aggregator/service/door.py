"""The door of a node, whoever orders its blocks: what came off the broker is let in, answered, or turned away.

Whoever is admitted and sent something wrong is told. Anybody else is counted, and logged as `repeats` has it. `sort`
belongs to the ledger's thread, the rest to the event loop's; is given its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from aggregator.ledger.record import Record
from aggregator.service.ingest import Opened
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.repeats import SUM_UP_MS, Repeats
from protocol.crypto import digest_of
from protocol.refusals import RefusalCode, Refused

LetIn = Callable[[Record], Iterable[Outgoing]]
"""Takes a record that opens, and says what is to be told of it at once."""

log = structlog.get_logger("este.door")


class Answering(Protocol):
    """Whose word it is that senders get."""

    def refusal(self, gateway: str, digest: bytes, refused: Refused) -> Outgoing:
        """Tell a gateway that a record did not even get through the door."""

    def answer_again(self, data: bytes) -> list[Outgoing]:
        """The answer to a record whose key counts no more, if it came onto the chain while it did; else nothing."""


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A kind of message that gets into no block: from one gateway, if its key says so."""

    event: str
    code: RefusalCode
    gateway: str | None = None

    @property
    def about(self) -> dict[str, str]:
        """What there is to log of it."""
        return {"code": self.code.name} | ({"gateway": self.gateway} if self.gateway else {})


class Sorted(NamedTuple):
    """What became of messages."""

    answers: list[Outgoing]
    turned_away: list[tuple[TurnedAway, str]]
    """Each with what there is to say of this one."""


class Door:
    """Where messages come in."""

    def __init__(self, behind: Answering) -> None:
        """`behind` answers."""
        self._behind = behind
        self._repeats: Repeats[TurnedAway] = Repeats()

    def sort(self, opened: Iterable[tuple[Incoming, Opened]], let_in: LetIn) -> Sorted:
        """Let in what opens; the answers, and whom there is to log of the rest. In the ledger's thread."""
        answers, turned_away = list[Outgoing](), list[tuple[TurnedAway, str]]()
        for incoming, one in opened:
            if isinstance(one, Record):
                answers += let_in(one)
            elif one.code.is_from_known_author:
                turned_away.append((TurnedAway("refused", one.code, incoming.gateway), one.detail))
                answers.append(self._behind.refusal(incoming.gateway, digest_of(incoming.payload), one))
            else:
                again = self._behind.answer_again(incoming.payload) if one.code is RefusalCode.UNKNOWN_KEY else []
                answers += again
                if not again:
                    turned_away.append((TurnedAway("ignored", one.code), f"came on the topic of {incoming.gateway}"))
        return Sorted(answers, turned_away)

    def tell(self, turned_away: Iterable[tuple[TurnedAway, str]], now_ms: int) -> None:
        """Log the first of each kind, and count the others."""
        for kind, why in turned_away:
            if self._repeats.is_news(kind, now_ms):
                log.warning(kind.event, **kind.about, why=why)

    def sum_up(self, now_ms: int) -> None:
        """Log how often came what was logged once, where it is time."""
        for kind, count in self._repeats.summed_up(now_ms):
            log.warning(kind.event, **kind.about, more=count)

    def shut(self, now_ms: int) -> None:
        """Log what is counted and not told yet."""
        self.sum_up(now_ms + SUM_UP_MS)

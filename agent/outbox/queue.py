"""Signed records that have no receipt yet: which are sent, sent again, forgotten or set aside.

Events in, effects out. The outbox is told when the link goes up or down, what time it is, what the aggregator said
(verified by whoever tells it), and which records wait on disk; it answers with what to publish and what to do to the
file. It keeps a window of the oldest `in_flight_max` records in memory, by number and digest only, so that a backlog
of any length costs nothing. It never drops a record: one goes when its receipt names its number *and* its digest, or is
set aside, kept, when its refusal is final. It opens no envelope, touches no disk and reads no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from protocol.messages import Receipt, Refusal
from protocol.refusals import RefusalCode

PATIENCE_DOUBLINGS_MAX: Final = 4
"""While nothing is heard, the wait before sending again doubles, up to 16 times the settings' `resend_after_ms`."""


class Stage(Enum):
    """Whether records may be published."""

    DOWN = auto()
    """There is no link."""
    UP = auto()
    HALTED = auto()
    """Somebody else has signed with our numbers. Only a person can tell who; until then nothing more is sent."""


class Move(Enum):
    """What moves the outbox from one stage to another."""

    LINK_UP = auto()
    LINK_DOWN = auto()
    SEQUENCE_LOST = auto()


NEXT_STAGE: Final[Mapping[tuple[Stage, Move], Stage]] = {
    (Stage.DOWN, Move.LINK_UP): Stage.UP,
    (Stage.DOWN, Move.LINK_DOWN): Stage.DOWN,
    (Stage.DOWN, Move.SEQUENCE_LOST): Stage.HALTED,
    (Stage.UP, Move.LINK_UP): Stage.UP,
    (Stage.UP, Move.LINK_DOWN): Stage.DOWN,
    (Stage.UP, Move.SEQUENCE_LOST): Stage.HALTED,
    (Stage.HALTED, Move.LINK_UP): Stage.HALTED,
    (Stage.HALTED, Move.LINK_DOWN): Stage.HALTED,
    (Stage.HALTED, Move.SEQUENCE_LOST): Stage.HALTED,
}
"""The whole law of stages. Out of HALTED leads only a new start of the program, which asks the aggregator again."""


class Answer(Enum):
    """What a refusal of a record that we hold asks us to do."""

    SET_ASIDE = auto()
    SEND_MISSING = auto()
    HALT = auto()
    WAIT = auto()
    """Nothing on our side can mend it: sent again when its time comes, in case somebody mends it on theirs."""


def answer_to(code: RefusalCode) -> Answer:
    """What to do about a refusal."""
    if code.is_final:
        return Answer.SET_ASIDE
    return _ANSWERS.get(code, Answer.WAIT)


_ANSWERS: Final[Mapping[RefusalCode, Answer]] = {
    RefusalCode.SEQUENCE_SKIPPED: Answer.SEND_MISSING,
    RefusalCode.SEQUENCE_REPLAYED: Answer.HALT,
    RefusalCode.BROKEN_LINK: Answer.HALT,
}


# -- Events.


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The broker is there, and subscribed to."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The broker is gone, or still is, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record on disk: its place in the gateway's sequence, and its envelope's digest."""

    sequence: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A record was signed and is on disk."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Paged:
    """What the disk holds, in answer to `Page`."""

    entries: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Alive:
    """The aggregator said something else: it is there again."""


Event = LinkUp | LinkDown | Tick | Signed | Paged | Alive | Receipt | Refusal


# -- Effects.


@dataclass(frozen=True, slots=True)
class Publish:
    """Send this record, after those before it."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Forget:
    """These records have their receipt."""

    entries: tuple[Entry, ...]
    height: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """This record is refused for good: keep it, apart, with the reason."""

    entry: Entry
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Page:
    """Look up the oldest records behind number `after`."""

    after: int
    count: int
    last_signed: int
    """The highest number that can be there."""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop publishing, and call a person."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Tell:
    """Something that people should know; `about` names its kind, for the log."""

    about: str
    refusal: Refusal


Effect = Publish | Forget | SetAside | Page | Halt | Tell


@dataclass(slots=True)
class _Held:
    """A record in the window."""

    digest: bytes
    sent_ms: int
    """When it was last sent, or came into the window while there was no link."""


class Outbox:
    """The oldest records that wait for their receipt."""

    def __init__(self, *, in_flight_max: int, resend_after_ms: int, last_signed: int) -> None:
        self.stage = Stage.DOWN
        self._in_flight_max = in_flight_max
        self._resend_after_ms = resend_after_ms
        self._window: dict[int, _Held] = {}
        """In rising order of sequence."""
        self._seen = 0
        """Up to here, every record on disk has been in the window."""
        self._last_signed = last_signed
        self._asked: Page | None = None
        """The page that is being looked up, and with it what was signed by then."""
        self._silent_rounds = 0
        self._rewound_to = 0
        """From which number records were last sent again on request; 0 if not since the last round."""

    def handle(self, event: Event, now_ms: int) -> list[Effect]:  # noqa: PLR0911  one per event
        """Take one event in; `now_ms` is on the boot's clock."""
        match event:
            case LinkUp():
                return self._link_up(now_ms)
            case LinkDown():
                self.stage = NEXT_STAGE[self.stage, Move.LINK_DOWN]
                return []
            case Tick():
                return self._tick(now_ms)
            case Signed():
                self._last_signed = max(self._last_signed, event.entry.sequence)
                return self._refill()
            case Paged():
                return self._paged(event, now_ms)
            case Alive():
                self._silent_rounds = 0
                return []
            case Receipt():
                return self._receipt(event)
            case Refusal():
                return self._refusal(event, now_ms)
            case _:
                assert_never(event)

    def _link_up(self, now_ms: int) -> list[Effect]:
        self.stage = NEXT_STAGE[self.stage, Move.LINK_UP]
        self._silent_rounds, self._rewound_to = 0, 0
        return [*self._publish(list(self._window), now_ms), *self._refill()]

    def _tick(self, now_ms: int) -> list[Effect]:
        wait_ms = self._resend_after_ms << min(self._silent_rounds, PATIENCE_DOUBLINGS_MAX)
        due = [n for n, held in self._window.items() if now_ms - held.sent_ms >= wait_ms]
        if due:
            self._silent_rounds += 1
            self._rewound_to = 0
        return self._publish(due, now_ms)

    def _paged(self, page: Paged, now_ms: int) -> list[Effect]:
        assert self._asked is not None, "the disk answers, it does not speak by itself"
        assert len(page.entries) <= self._asked.count, "the disk gives no more than was asked for"
        for entry in page.entries:
            assert entry.sequence > self._seen, "the disk pages in rising order, each record once"
            self._window[entry.sequence] = _Held(entry.digest, now_ms)
            self._seen = entry.sequence
        if len(page.entries) < self._asked.count:
            self._seen = max(self._seen, self._asked.last_signed)
        self._asked = None
        return [*self._publish([entry.sequence for entry in page.entries], now_ms), *self._refill()]

    def _receipt(self, receipt: Receipt) -> list[Effect]:
        self._silent_rounds = 0
        entries = []
        for record in receipt.records:
            held = self._window.get(record.sequence)
            if held is not None and held.digest == record.digest:
                del self._window[record.sequence]
                entries.append(Entry(record.sequence, record.digest))
        return [Forget(tuple(entries), receipt.height), *self._refill()] if entries else []

    def _refusal(self, refusal: Refusal, now_ms: int) -> list[Effect]:
        sequence = next((n for n, held in self._window.items() if held.digest == refusal.digest), None)
        if sequence is None:
            return []
        match answer_to(refusal.code):
            case Answer.SET_ASIDE:
                self._silent_rounds = 0
                del self._window[sequence]
                return [SetAside(Entry(sequence, refusal.digest), refusal), *self._refill()]
            case Answer.SEND_MISSING:
                return self._send_missing(refusal, now_ms)
            case Answer.HALT:
                was_halted = self.stage is Stage.HALTED
                self.stage = NEXT_STAGE[self.stage, Move.SEQUENCE_LOST]
                return [] if was_halted else [Halt(refusal)]
            case Answer.WAIT:
                return [Tell("record refused for now", refusal)]
            case _ as never:
                assert_never(never)

    def _send_missing(self, refusal: Refusal, now_ms: int) -> list[Effect]:
        """Send again from the record that the aggregator waits for; once, however many after it were refused."""
        expected = refusal.expected_sequence
        if expected not in self._window:
            return [Tell("aggregator waits for a record that is not in the outbox", refusal)]
        if self._rewound_to == expected:
            return []
        self._silent_rounds, self._rewound_to = 0, expected
        return self._publish([n for n in self._window if n >= expected], now_ms)

    def _publish(self, sequences: Sequence[int], now_ms: int) -> list[Effect]:
        if self.stage is not Stage.UP:
            return []
        for sequence in sequences:
            self._window[sequence].sent_ms = now_ms
        return [Publish(sequence) for sequence in sequences]

    def _refill(self) -> list[Effect]:
        """Ask the disk for what the window has room for, one page at a time."""
        free = self._in_flight_max - len(self._window)
        if not free or self._seen >= self._last_signed or self._asked is not None:
            return []
        self._asked = Page(self._seen, free, self._last_signed)
        return [self._asked]

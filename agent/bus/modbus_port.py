"""The door to one Modbus bus: one question after another, over TCP or a serial line.

Translates a `ReadRequest` into words, or says in one sentence why there are none. Only the two answers that a question
can have (the right one, or an exception) come through: `frames` sees to that. A question that stayed unanswered may be
answered later; until that cannot be any more, the bus remembers it, so that its answer can pass neither for a fresh
one nor for another meter's. On a serial line it keeps the silence between frames, and sends nothing while somebody
talks. Never tries again by itself and never interprets a word.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Hashable, Sequence
from typing import Final

from agent.bus.frames import (
    READ_HOLDING,
    READ_INPUT,
    WRITE,
    Answer,
    Exchange,
    No,
    Question,
    RtuExchange,
    Rubbish,
    TcpExchange,
    late_frames,
)
from agent.bus.line_port import BusError, Line, SerialLine, TcpLine
from agent.bus.planner import ReadRequest
from config.meter_profile import Table
from config.settings.bus import Bus, Framing
from protocol.errors import DeviceError

__all__ = ["BusError", "ModbusBus", "StillOwingError"]

EXCEPTIONS: Final = {
    1: "it does not know this function",
    2: "it has no such address",
    3: "it does not allow this many words or this value",
    4: "it failed",
    5: "it needs more time",
    6: "it is busy",
    8: "its memory failed",
    10: "the gateway has no path to it",
    11: "it did not answer the gateway",
}
"""Modbus Application Protocol 1.1b3 §7."""

FINAL_EXCEPTIONS: Final = frozenset((1, 2, 3))
"""The device is there and says that it will never answer this."""

LATE_TIMEOUTS: Final = 3
"""A serial answer that has not come after so many timeouts never will. Over TCP, answers have numbers."""

OWED_MAX: Final = 64
"""Unanswered questions that are remembered; beyond, the oldest goes, and its answer would be rubbish."""

SILENCES_MAX: Final = 3
"""A TCP connection on which so many questions in a row stayed unanswered is made anew."""

QUIET_S: Final = 0.01
"""After something that nobody asked for: how long nothing must come, at least, before it is taken to be over."""

LOOP_TURNS: Final = 2
"""After so many turns the event loop has handed over what the system had received before."""

RUBBISH_SHOWN: Final = 16

SILENT: Final = "no whole answer in time"


class StillOwingError(DeviceError):
    """It may still answer the last question, and that would pass for the answer to this one: so it was not asked."""


class ModbusBus:
    """One bus and whoever is on it."""

    def __init__(self, bus: Bus) -> None:
        self.connections = 0
        """How often a connection was made, or a serial port opened."""
        self.bytes_flushed = 0
        """What came without being asked for, or too late, and was thrown away."""
        self._bus = bus
        self._is_rtu = bus.framing is Framing.RTU
        self._line: Line = _line_of(bus)
        self._pause_s = max(self._line.gap_s, bus.turnaround_ms / 1000)
        """Silence before the next request; more after rubbish."""
        self._turn = asyncio.Lock()
        self._heard_s = 0.0
        """When the line was last busy, on the loop's clock."""
        self._owed: dict[Hashable, float] = {}
        """Unanswered questions, and until when their answers may come."""
        self._transaction = 0
        self._silences = 0

    async def connect(self) -> None:
        """Have a connection, or the serial port.

        Raises:
            BusError: there is none to be had.
        """
        if self._line.is_open:
            return
        await self._line.open(self._bus.timeout_ms / 1000)
        self.connections += 1
        self._silences = 0
        if not self._is_rtu:
            self._owed.clear()

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        """Ask `unit` for the words of `request`.

        Raises:
            BusError: there is no connection, or the line is never silent.
            DeviceError: it did not answer in time, answered nonsense, or said no.
        """
        function = READ_HOLDING if request.table is Table.HOLDING else READ_INPUT
        return await self._ask(Question(unit, function, request.address, request.words), timeout_ms)

    async def write(self, unit: int, address: int, words: Sequence[int], timeout_ms: int) -> None:
        """Write `words` to the holding table of `unit`, with function 16.

        Raises:
            BusError: there is no connection, or the line is never silent.
            DeviceError: it did not answer in time, answered nonsense, or said no.
        """
        await self._ask(Question(unit, WRITE, address, len(words), tuple(words)), timeout_ms)

    def close(self) -> None:
        """Let go of the line."""
        self._line.close()

    async def _ask(self, question: Question, timeout_ms: int) -> list[int]:
        async with self._turn:
            await self.connect()
            self._forget_owed()
            if self._is_rtu:
                await self._hush()
            exchange = self._exchange(question)
            self._owed[exchange.key] = self._now_s() + LATE_TIMEOUTS * self._bus.timeout_ms / 1000
            heard = await self._hear(exchange, timeout_ms / 1000)
            self._heard_s = self._now_s()
            for key in exchange.late:
                self._owed.pop(key, None)
            if self._is_rtu and isinstance(heard, Rubbish):
                await self._calm_down()
            return self._judge(question, exchange, heard)

    def _judge(self, question: Question, exchange: Exchange, heard: Answer | No | Rubbish | None) -> list[int]:
        match heard:
            case Answer(words):
                self._silences = 0
                self._settle(question, exchange)
                return list(words)
            case No(code):
                self._silences = 0
                is_sure = not self._is_rtu or not self._may_owe(question.unit, exchange)
                if is_sure:  # or else it may be a late no, and the answer is still to come
                    self._owed.pop(exchange.key, None)
                meaning = EXCEPTIONS.get(code, "a reason of its maker's own")
                is_final = is_sure and code in FINAL_EXCEPTIONS
                raise DeviceError(f"Modbus exception {code}: {meaning}", retry=not is_final)
            case Rubbish(data):
                if self._is_rtu and question.is_garbled(data):
                    self._owed.pop(exchange.key, None)
                self._drop_tcp()
                shown = data[:RUBBISH_SHOWN].hex(" ")
                raise DeviceError(f"it answered what fits no answer to the question: {shown}", retry=True)
            case None:
                self._silences += 1
                if exchange.has_begun or self._silences >= SILENCES_MAX or not self._line.is_open:
                    self._drop_tcp()
                raise DeviceError(SILENT, retry=True)

    def _exchange(self, question: Question) -> Exchange:
        if not self._is_rtu:
            self._transaction = self._transaction % 0xFFFF + 1
            return TcpExchange(question, self._transaction, tuple(self._owed))
        if any(isinstance(other, Question) and other.looks == question.looks for other in self._owed):
            raise StillOwingError(SILENT, retry=True)
        return RtuExchange(question, tuple(self._owed))

    async def _hear(self, exchange: Exchange, timeout_s: float) -> Answer | No | Rubbish | None:
        """Send the request, and listen until there is an answer, rubbish, or no time left.

        The time is the unit's to think: on a serial line, what is on the wire meanwhile is added.
        """
        before = b"" if self._is_rtu else self._line.take()
        if before and exchange.hear(before) is not None:
            return Rubbish(before)
        self._line.send(exchange.request)
        end_s = self._now_s() + timeout_s + self._line.wire_s(len(exchange.request))
        heard = None
        while heard is None and self._line.is_open and (left_s := end_s - self._now_s()) > 0:
            await self._line.wait(left_s)
            if data := self._line.take():
                end_s += 0 if exchange.has_begun else self._line.wire_s(exchange.answer_bytes)
                heard = exchange.hear(data)
        return heard

    async def _hush(self) -> None:
        """Wait until the line has been silent for the pause, throwing away what comes.

        Raises:
            BusError: it never is.
        """
        end_s = self._now_s() + self._bus.timeout_ms / 1000
        pause_s, self._pause_s = self._pause_s, max(self._line.gap_s, self._bus.turnaround_ms / 1000)
        for _ in range(LOOP_TURNS):
            await asyncio.sleep(0)
        while True:
            if left_over := self._line.take():
                self.bytes_flushed += len(left_over)
                self._heard_s = self._now_s()
                for key in late_frames(left_over, self._owed):
                    self._owed.pop(key, None)
                pause_s = max(pause_s, QUIET_S)
            left_s = self._heard_s + pause_s - self._now_s()
            if left_s <= 0 and not left_over:
                return
            if self._now_s() > end_s:
                self._drop_tcp()
                raise BusError(f"{self._bus.place}: somebody talks all the time without being asked")
            await asyncio.sleep(left_s)

    async def _calm_down(self) -> None:
        """Wait for the end of what was no answer: whoever babbles pays for it, not the next in turn."""
        self._pause_s = max(self._pause_s, QUIET_S)
        with contextlib.suppress(BusError):
            await self._hush()

    def _settle(self, question: Question, exchange: Exchange) -> None:
        """Who answers has answered, or will never answer, all that it was asked before."""
        self._owed.pop(exchange.key, None)
        if self._is_rtu:
            for key in [key for key in self._owed if isinstance(key, Question) and key.unit == question.unit]:
                del self._owed[key]

    def _may_owe(self, unit: int, exchange: Exchange) -> bool:
        """Whether `unit` may still owe an answer to an earlier question."""
        return any(isinstance(key, Question) and key.unit == unit for key in self._owed if key != exchange.key)

    def _forget_owed(self) -> None:
        now_s = self._now_s()
        self._owed = {key: until_s for key, until_s in self._owed.items() if until_s > now_s or not self._is_rtu}
        while len(self._owed) > OWED_MAX:
            del self._owed[next(iter(self._owed))]

    def _drop_tcp(self) -> None:
        """End a connection that is out of step. A serial port is kept: it is emptied before every question."""
        if self._bus.serial is None:
            self._line.close()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()


def _line_of(bus: Bus) -> Line:
    if bus.serial is not None:
        return SerialLine(bus.serial)
    assert bus.host is not None, "the settings see to it that there is a host or a serial port"
    return TcpLine(bus.host, bus.port)

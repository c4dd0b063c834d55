"""Modbus on the wire: a question → bytes, and bytes → the one answer that it can have.

Handed bytes as they come, in any pieces; hands back the answer, that more is needed, or that this is no answer. Two
framings: Modbus TCP, where transactions have numbers, and RTU, where nothing but unit, function and length tells one
answer from another. So on RTU whoever asks has to say which earlier questions may *still* be answered (`owed`): their
late frames are recognized, dropped and named, and never pass for the answer. Never hunts for a frame in rubbish: what
does not begin as the answer is none. Reads no clock and waits for nothing.

Source: Modbus Application Protocol 1.1b3 §4 and §6; Modbus over Serial Line 1.02 §2.5; Messaging on TCP/IP 1.0b §3.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Hashable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

READ_HOLDING: Final = 3
READ_INPUT: Final = 4
WRITE: Final = 16

EXCEPTION_BIT: Final = 0x80
"""Set in the function of an answer that says no."""

CRC_BYTES: Final = 2
RTU_FRAME_MAX: Final = 256
MBAP_BYTES: Final = 7
"""Transaction, protocol 0, length of the rest, unit."""

GLITCHES_MAX: Final = 2
"""Bytes that a line without bias resistors may show when the direction of talk turns: zeros before an answer, since no
unit answers as 0, and anything behind it."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to one unit: to read words, or to write them."""

    unit: int
    function: int
    address: int
    words: int
    written: tuple[int, ...] = ()

    @property
    def pdu(self) -> bytes:
        """Function and what it needs."""
        head = struct.pack(">BHH", self.function, self.address, self.words)
        if self.function != WRITE:
            return head
        return head + struct.pack(f">B{len(self.written)}H", 2 * self.words, *self.written)

    @property
    def start(self) -> bytes:
        """How its answer begins: the function, then how many bytes follow, or what was written where."""
        if self.function == WRITE:
            return struct.pack(">BHH", self.function, self.address, self.words)
        return bytes((self.function, 2 * self.words))

    @property
    def rest_bytes(self) -> int:
        """What follows the start."""
        return 0 if self.function == WRITE else 2 * self.words

    def is_garbled(self, data: bytes) -> bool:
        """Whether `data` begins like its answer and is as long: then no other answer will come."""
        head = bytes((self.unit,)) + self.start
        return data.startswith(head) and len(data) >= len(head) + self.rest_bytes + CRC_BYTES

    @property
    def looks(self) -> tuple[int, bytes]:
        """All that tells its answer from another on a line without transaction numbers."""
        return self.unit, self.start


@dataclass(frozen=True, slots=True)
class Answer:
    """The unit did what was asked."""

    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class No:
    """The unit says that it will not, or cannot."""

    code: int


@dataclass(frozen=True, slots=True)
class Rubbish:
    """What came can never become the answer."""

    data: bytes


Heard = Answer | No | Rubbish | None
"""None: more bytes are needed."""


class Exchange(Protocol):
    """One question on its way, and what has come back for it so far."""

    late: list[Hashable]
    """Keys of the earlier questions whose answers came now, in the place of this one's."""

    @property
    def key(self) -> Hashable:
        """By what a later exchange would know this one's answer."""

    @property
    def request(self) -> bytes:
        """What to send."""

    @property
    def answer_bytes(self) -> int:
        """How long the whole answer is."""

    @property
    def has_begun(self) -> bool:
        """Whether part of a frame has come."""

    def hear(self, data: bytes) -> Heard:
        """Take what came, and say what it makes."""


class TcpExchange:
    """An exchange in Modbus TCP."""

    def __init__(self, question: Question, transaction: int, owed: Collection[Hashable] = ()) -> None:
        self.late: list[Hashable] = []
        self._question = question
        self._transaction = transaction
        self._owed = owed
        self._buffer = b""

    @property
    def key(self) -> Hashable:
        """Its transaction number."""
        return self._transaction

    @property
    def request(self) -> bytes:
        """The frame to send."""
        pdu = self._question.pdu
        return struct.pack(">HHHB", self._transaction, 0, 1 + len(pdu), self._question.unit) + pdu

    @property
    def answer_bytes(self) -> int:
        """How long the whole answer is."""
        return MBAP_BYTES + len(self._question.start) + self._question.rest_bytes

    @property
    def has_begun(self) -> bool:
        """Whether part of a frame has come."""
        return bool(self._buffer)

    def hear(self, data: bytes) -> Heard:
        """Take what came, and say what it makes."""
        self._buffer += data
        while (late := self._late_frame()) is not None:
            transaction, length = late
            if len(self._buffer) < length:
                return None
            self._buffer = self._buffer[length:]
            self.late.append(transaction)
        return self._match()

    def _late_frame(self) -> tuple[int, int] | None:
        """Number and length of a late frame at the front, if there is one."""
        if len(self._buffer) < MBAP_BYTES:
            return None
        transaction, protocol, length, _ = struct.unpack_from(">HHHB", self._buffer)
        is_late = transaction != self._transaction and transaction in self._owed
        return (transaction, 6 + length) if is_late and protocol == 0 and 3 <= length <= RTU_FRAME_MAX else None

    def _match(self) -> Heard:
        question, data = self._question, self._buffer
        exception = bytes((question.function | EXCEPTION_BIT,))
        for start, rest_bytes in ((question.start, question.rest_bytes), (exception, 1)):
            head = struct.pack(">HHHB", self._transaction, 0, 1 + len(start) + rest_bytes, question.unit) + start
            if _is_part(head, rest_bytes, data):
                return _told(question, data[MBAP_BYTES:]) if len(data) == len(head) + rest_bytes else None
        return None if self._may_be_late() else Rubbish(data)

    def _may_be_late(self) -> bool:
        """Whether too little has come to tell whose header it is."""
        begun = self._buffer
        return len(begun) < MBAP_BYTES and any(
            isinstance(number, int) and _is_part(struct.pack(">HH", number, 0), MBAP_BYTES, begun)
            for number in self._owed
        )


class RtuExchange:
    """An exchange in RTU frames, over a serial line or a TCP connection."""

    def __init__(self, question: Question, owed: Collection[Hashable] = ()) -> None:
        """`owed` are earlier questions that may still be answered; none of them may look like this one."""
        self.late: list[Hashable] = []
        self._question = question
        self._owed = [other for other in owed if isinstance(other, Question)]
        assert all(other.looks != question.looks for other in self._owed), "a late answer could pass for this one's"
        self._buffer = b""
        self._glitches = 0
        self._may_echo = True

    @property
    def key(self) -> Hashable:
        """The question itself: there is nothing else to know an answer by."""
        return self._question

    @property
    def request(self) -> bytes:
        """The frame to send."""
        return with_crc(bytes((self._question.unit,)) + self._question.pdu)

    @property
    def answer_bytes(self) -> int:
        """How long the whole answer is."""
        return 1 + len(self._question.start) + self._question.rest_bytes + CRC_BYTES

    @property
    def has_begun(self) -> bool:
        """Whether part of a frame has come."""
        return bool(self._buffer)

    def hear(self, data: bytes) -> Heard:
        """Take what came, and say what it makes."""
        self._buffer += data
        while self._buffer and self._drop_prelude():
            pass
        match _first_frame(self._question, self._buffer):
            case None:
                return None
            case Rubbish():
                return None if self._is_still_prelude() else Rubbish(self._buffer)
            case length:
                if length + GLITCHES_MAX < len(self._buffer):
                    return Rubbish(self._buffer)
                return _told(self._question, self._buffer[1 : length - CRC_BYTES])

    def _drop_prelude(self) -> bool:
        """Drop one thing that may come before the answer; say whether there was one."""
        if self._buffer[0] == 0 and self._glitches < GLITCHES_MAX:
            self._glitches += 1
            self._buffer = self._buffer[1:]
            return True
        if self._may_echo and self._buffer.startswith(self.request):
            self._may_echo = False
            self._buffer = self._buffer[len(self.request) :]
            return True
        if isinstance(_first_frame(self._question, self._buffer), int):
            return False
        for other in self._owed:
            length = _first_frame(other, self._buffer)
            if isinstance(length, int):
                self.late.append(other)
                self._buffer = self._buffer[length:]
                return True
        return False

    def _is_still_prelude(self) -> bool:
        """Whether what came may yet become an echo of the request, or a late answer."""
        is_echo = self._may_echo and self.request.startswith(self._buffer)
        return is_echo or any(_first_frame(other, self._buffer) is None for other in self._owed)


def late_frames(data: bytes, owed: Iterable[Hashable]) -> list[Question]:
    """Whose late answers `data` begins with, one after another."""
    waiting = [other for other in owed if isinstance(other, Question)]
    found = []
    while data:
        lengths = ((other, _first_frame(other, data)) for other in waiting)
        whole = next(((other, length) for other, length in lengths if isinstance(length, int)), None)
        if whole is None:
            break
        found.append(whole[0])
        waiting.remove(whole[0])
        data = data[whole[1] :]
    return found


def _first_frame(question: Question, data: bytes) -> int | Rubbish | None:
    """Length of the answer to `question` that `data` begins with; None where it is not whole yet."""
    unit = bytes((question.unit,))
    exception = bytes((question.function | EXCEPTION_BIT,))
    for start, rest_bytes in ((question.start, question.rest_bytes), (exception, 1)):
        head, behind = unit + start, rest_bytes + CRC_BYTES
        if data[: len(head)] == head[: len(data)]:
            length = len(head) + behind
            if len(data) < length:
                return None
            return length if crc(data[: length - CRC_BYTES]) == data[length - CRC_BYTES : length] else Rubbish(data)
    return Rubbish(data)


def _is_part(head: bytes, rest_bytes: int, data: bytes) -> bool:
    """Whether `data` is the beginning of something that starts with `head` and goes on for so many bytes."""
    return data[: len(head)] == head[: len(data)] and len(data) <= len(head) + rest_bytes


def _told(question: Question, pdu: bytes) -> Answer | No:
    if pdu[0] & EXCEPTION_BIT:
        return No(pdu[1])
    words = pdu[len(question.start) :]
    return Answer(struct.unpack(f">{len(words) // 2}H", words))


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc(data: bytes) -> bytes:
    """CRC-16 of Modbus, as it stands behind a frame: the low byte first."""
    table, value = _crc_table(), 0xFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value.to_bytes(CRC_BYTES, "little")


def with_crc(data: bytes) -> bytes:
    """A whole RTU frame."""
    return data + crc(data)

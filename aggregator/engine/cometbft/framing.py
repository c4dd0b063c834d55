"""Where one message ends on the socket: a length in base 128, then as many bytes. Pure: handed bytes, returns messages.

The length is an unsigned varint (CometBFT 0.38, abci/types/messages.go), least significant group first. A length above
the bound is refused as soon as it is read: no byte of the message is waited for.
"""

from __future__ import annotations

from typing import Final

from protocol.errors import EncodingError, OversizedError, SpellingError

LENGTH_BYTES_MAX: Final = 5
"""What a length of 31 bits takes: CometBFT's own limit is 2 GiB."""


class FrameReader:
    """Bytes in, as they come; whole messages out, in order. What comes out does not depend on how the bytes are cut."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()
        self.fault: EncodingError | None = None
        """Why nothing more will come out."""

    @property
    def waiting(self) -> int:
        """How many bytes of a message that is not whole have come."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what has come.

        Returns:
            The messages that are whole now; see `fault` for why there may never be another.
        """
        messages: list[bytes] = []
        if self.fault is not None:
            return messages
        self._buffer += data
        start = 0
        try:
            while (head := self._head_at(start)) is not None:
                begin, end = head
                if len(self._buffer) < end:
                    break
                messages.append(bytes(memoryview(self._buffer)[begin:end]))
                start = end
        except EncodingError as error:
            self.fault = error
        del self._buffer[:start]
        return messages

    def _head_at(self, start: int) -> tuple[int, int] | None:
        """Where a message begins and ends; None if not all of its length has come.

        Raises:
            OversizedError: it is longer than the bound.
            SpellingError: what should be its length is none.
        """
        length = 0
        for place, byte in enumerate(self._buffer[start : start + LENGTH_BYTES_MAX]):
            length |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if length > self._message_bytes_max:
                    raise OversizedError(f"a message of {length} bytes, {self._message_bytes_max} at most")
                begin = start + place + 1
                return begin, begin + length
        if len(self._buffer) - start >= LENGTH_BYTES_MAX:
            raise SpellingError(f"a length of more than {LENGTH_BYTES_MAX} bytes")
        return None


def framed(message: bytes) -> bytes:
    """A message with its length before it."""
    length, head = len(message), bytearray()
    while length >= 0x80:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + message

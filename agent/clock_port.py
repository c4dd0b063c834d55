"""The machine's clocks: which boot this is, how long it has run, what time it is, and whether that may be believed.

Gives values and keeps nothing; the rest of the agent is handed them, so that a test can be any machine at any time.
Instants are CLOCK_BOOTTIME, which counts suspended time too and is never set. UTC is told as the epoch of that clock,
rounded so that nothing ever seems to have been read later than it was. Whoever cannot ask the kernel says so: then the
clock is unsynchronized.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final, Protocol

from protocol.batch import BOOT_ID_BYTES, Clock, ClockState
from protocol.errors import OperatorError
from protocol.units import BootMs

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
"""A UUID that the kernel draws anew at every boot (random(4))."""

ERROR_MAX_MS: Final = 86_400_000
"""The bound of the estimated error in a batch: a day."""

_STA_UNSYNC: Final = 0x0040
"""timex.status: the clock is not synchronized (adjtimex(2))."""

_TIMEX_BYTES_MAX: Final = 512
"""struct timex takes 208 bytes at most; what the kernel knows more may lie behind."""

_NS_PER_MS: Final = 1_000_000


class Clocks(Protocol):
    """What the agent asks of a clock."""

    @property
    def boot_id(self) -> bytes:
        """Sixteen bytes that no other boot of any machine has."""

    def now_ms(self) -> BootMs:
        """Milliseconds since the boot."""

    def clock(self) -> Clock:
        """What is known about UTC now."""


class SystemClocks:
    """The clocks of this machine.

    Raises:
        OperatorError: the kernel tells no boot id, as outside Linux.
    """

    def __init__(self, boot_id_file: Path = BOOT_ID_FILE) -> None:
        try:
            self._boot_id = bytes.fromhex(boot_id_file.read_text().strip().replace("-", ""))
        except (OSError, ValueError) as error:
            raise OperatorError(boot_id_file, "", "the boot id that Linux keeps there", str(error)) from error
        if len(self._boot_id) != BOOT_ID_BYTES:
            raise OperatorError(boot_id_file, "", f"{BOOT_ID_BYTES} bytes", f"{len(self._boot_id)}")

    @property
    def boot_id(self) -> bytes:
        """Sixteen bytes that no other boot of any machine has."""
        return self._boot_id

    def now_ms(self) -> BootMs:
        """Milliseconds on CLOCK_BOOTTIME."""
        return BootMs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _NS_PER_MS)

    def clock(self) -> Clock:
        """UTC as the kernel tells it, and how far the kernel believes it."""
        unix_ns = time.time_ns()
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        epoch_ms = max(0, (unix_ns - boot_ns) // _NS_PER_MS)
        told = _ask_kernel()
        if told is None:
            return Clock(ClockState.UNSYNCHRONIZED, ERROR_MAX_MS, "unknown", epoch_ms)
        status, error_us = told
        state = ClockState.UNSYNCHRONIZED if status & _STA_UNSYNC else ClockState.SYNCHRONIZED
        return Clock(state, min(-(-error_us // 1000), ERROR_MAX_MS), "kernel", epoch_ms)


def _ask_kernel() -> tuple[int, int] | None:
    """Status bits and maximum error in microseconds from adjtimex(2), or None where it may not be asked.

    With ``modes`` 0 the call reads and changes nothing, and needs no privilege. In struct timex, ``modes`` is padded to
    the size of a long; then come offset, freq, maxerror and esterror as longs, and status as an int.
    """
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES_MAX)
    try:
        answer = ctypes.CDLL(None).adjtimex(buffer)
    except (OSError, AttributeError):
        return None
    if answer < 0:
        return None
    long_bytes = ctypes.sizeof(ctypes.c_long)
    error_us = ctypes.c_long.from_buffer(buffer, 3 * long_bytes).value
    status = ctypes.c_int.from_buffer(buffer, 5 * long_bytes).value
    return status, max(0, error_us)

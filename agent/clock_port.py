"""The machine's clocks: which boot this is, how long it has run, what time it is, and whether that may be believed.

Asks the kernel, and chrony or systemd-timesyncd where they run, and keeps no more than their last report; the rest of
the agent is handed it, so that a test can be any machine at any time. Instants are CLOCK_BOOTTIME, which counts
suspended time too and is never set. UTC is told as the epoch of that clock, rounded so that nothing ever seems to have
been read later than it was. Whoever cannot ask anybody says so: then the clock is unsynchronized.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Protocol, cast

from agent.timekeeping import ClockReport, Holdover, chrony_report, kernel_report, whom_to_believe
from protocol.batch import BOOT_ID_BYTES, Clock
from protocol.errors import OperatorError
from protocol.units import BootMs

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
"""A UUID that the kernel draws anew at every boot (random(4))."""

TIMESYNCD_FOLDER: Final = Path("/run/systemd/timesync")
"""There as long as systemd-timesyncd runs (systemd-timesyncd.service(8))."""

CHRONY_FOLDER: Final = Path("/run/chrony")
"""There as long as chronyd runs, under systemd."""

CHRONY_COMMAND: Final = ("chronyc", "-c", "-n", "tracking")
"""The report for programs; chronyd answers it to every user of its own machine."""

CHRONY_EVERY_MS: Final = 16_000
"""How often chrony is asked: errors grow by milliseconds in that time."""

CHRONY_WAIT_S: Final = 0.5
"""How long the first answer may take, when the program starts. It takes milliseconds."""

CHRONY_REPORT_AGE_MAX_MS: Final = 3 * CHRONY_EVERY_MS
"""A chrony that has said nothing for so long is not there."""

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

    def __init__(
        self, boot_id_file: Path = BOOT_ID_FILE, *, timesyncd: Path = TIMESYNCD_FOLDER, chrony: ChronyPort | None = None
    ) -> None:
        try:
            self._boot_id = bytes.fromhex(boot_id_file.read_text().strip().replace("-", ""))
        except (OSError, ValueError) as error:
            raise OperatorError(boot_id_file, "", "the boot id that Linux keeps there", str(error)) from error
        if len(self._boot_id) != BOOT_ID_BYTES:
            raise OperatorError(boot_id_file, "", f"{BOOT_ID_BYTES} bytes", f"{len(self._boot_id)}")
        self._timesyncd = timesyncd
        self._chrony = chrony or ChronyPort()
        self._holdover = Holdover()

    @property
    def boot_id(self) -> bytes:
        """Sixteen bytes that no other boot of any machine has."""
        return self._boot_id

    def now_ms(self) -> BootMs:
        """Milliseconds on CLOCK_BOOTTIME."""
        return BootMs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _NS_PER_MS)

    def clock(self) -> Clock:
        """UTC as this machine has it, and how far those who keep it believe it."""
        unix_ns = time.time_ns()
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now_ms = boot_ns // _NS_PER_MS
        told = _ask_kernel()
        report = whom_to_believe(
            None if told is None else kernel_report(*told),
            self._chrony.report(now_ms),
            has_timesyncd=self._timesyncd.is_dir(),
        )
        return self._holdover.look(report, max(0, (unix_ns - boot_ns) // _NS_PER_MS), now_ms)


class ChronyPort:
    """Asks chronyd through chronyc now and then, and never waits for the answer: it is there at the next look."""

    def __init__(self, folder: Path = CHRONY_FOLDER, command: tuple[str, ...] = CHRONY_COMMAND) -> None:
        self._folder = folder
        self._command = command
        self._asked: subprocess.Popen[str] | None = None
        self._asked_ms: int | None = None
        self._report: ClockReport | None = None
        self._report_ms = 0

    def report(self, now_ms: int) -> ClockReport | None:
        """What chrony said last; None if it does not run or says nothing."""
        is_first = self._asked_ms is None
        if self._asked_ms is None or now_ms - self._asked_ms >= CHRONY_EVERY_MS:
            self._ask(now_ms)
        if self._asked is not None and is_first:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._asked.wait(CHRONY_WAIT_S)
        self._listen(now_ms)
        return self._report if now_ms - self._report_ms <= CHRONY_REPORT_AGE_MAX_MS else None

    def close(self) -> None:
        """Ask nothing more."""
        if self._asked is not None:
            self._asked.kill()
            self._asked.communicate()
            self._asked = None

    def _ask(self, now_ms: int) -> None:
        self._asked_ms = now_ms
        self.close()
        if not self._folder.is_dir():
            self._report = None
            return
        command = shutil.which(self._command[0])
        if command is not None:
            with contextlib.suppress(OSError):
                self._asked = subprocess.Popen(  # noqa: S603  a fixed command; nobody else's words are in it
                    [command, *self._command[1:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )

    def _listen(self, now_ms: int) -> None:
        if self._asked is None or self._asked.poll() is None:
            return
        line, _ = self._asked.communicate()
        self._asked = None
        report = chrony_report(line)
        if report is not None:
            self._report, self._report_ms = report, now_ms


@cache
def _adjtimex() -> Callable[[ctypes.Array[ctypes.c_char]], int] | None:
    try:
        return cast("Callable[[ctypes.Array[ctypes.c_char]], int]", ctypes.CDLL(None).adjtimex)
    except (OSError, AttributeError):
        return None


def _ask_kernel() -> tuple[int, int] | None:
    """Status bits and maximum error in microseconds from adjtimex(2), or None where it may not be asked.

    With ``modes`` 0 the call reads and changes nothing, and needs no privilege. In struct timex, ``modes`` is padded to
    the size of a long; then come offset, freq, maxerror and esterror as longs, and status as an int.
    """
    ask, buffer = _adjtimex(), ctypes.create_string_buffer(_TIMEX_BYTES_MAX)
    if ask is None or ask(buffer) < 0:
        return None
    long_bytes = ctypes.sizeof(ctypes.c_long)
    error_us = ctypes.c_long.from_buffer(buffer, 3 * long_bytes).value
    status = ctypes.c_int.from_buffer(buffer, 5 * long_bytes).value
    return status, max(0, error_us)

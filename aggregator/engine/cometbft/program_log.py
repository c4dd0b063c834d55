"""What CometBFT says, on its way into a file: kept short, and listened to.

It goes through this process instead of straight into the file, because one thing in it has to be heard even where no
file can be written. When consensus fails inside, on a full disk above all, CometBFT says so and goes on running without
it (consensus/state.go, receiveRoutine): peers and questions are answered, and no vote is ever cast again.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final

LOG_BYTES_MAX: Final = 32 << 20
LINE_BYTES_MAX: Final = 4096
"""As much of a line as is remembered."""

FAILURE: Final = b"CONSENSUS FAILURE"


class ProgramLog:
    """A log file that is set aside once it has grown long. Where it cannot be written, nothing else is lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self.last_line = ""
        """What was said last: mostly the reason."""
        self.has_failed = False
        """Whether consensus has failed inside since the last `begin`."""

    def begin(self) -> None:
        """A new life of the program."""
        self._rest, self.last_line, self.has_failed = b"", "", False

    def take(self, data: bytes) -> None:
        """Take in what it said."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LINE_BYTES_MAX:]
        said = [line for line in (*lines, self._rest) if line.strip()]
        failures = [line for line in said if FAILURE in line]
        if said and not self.has_failed:
            self.last_line = (failures or said)[-1][-LINE_BYTES_MAX:].decode("utf-8", "replace").strip()
        self.has_failed = self.has_failed or bool(failures)
        self._write(data)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, data: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            self._file.write(data)
            if self._file.tell() > LOG_BYTES_MAX:
                self.close()
                self._path.replace(self._path.with_suffix(".old"))
        except OSError:
            self.close()

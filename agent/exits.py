"""How the commands of ``este-agent`` end when something is wrong that somebody outside can mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from protocol.errors import EsteError, PinRefused

EXIT_EXPECTED: Final = 1
EXIT_PIN_REFUSED: Final = 77
"""EX_NOPERM of sysexits.h. Whoever starts this program again by itself must not do so then: chips lock themselves."""

EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""


@contextmanager
def expected_errors() -> Iterator[None]:
    """One sentence and an exit code for what an operator or the world can mend; a traceback only for a bug."""
    try:
        yield
    except EsteError as error:
        sys.stderr.write(f"este-agent: {error}\n")
        raise SystemExit(EXIT_PIN_REFUSED if isinstance(error, PinRefused) else EXIT_EXPECTED) from error

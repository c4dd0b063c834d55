"""How this program was called, so that a command that it suggests can be pasted as it stands."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def called(program: str) -> str:
    """`program` as whoever runs it has to spell it: by its name if PATH leads to it, else as it was called.

    Of any other program than the one that runs nothing is known but its name.
    """
    path = Path(sys.argv[0])
    if path.name != program or path == Path(program):
        return program
    found = shutil.which(program)
    is_on_path = found is not None and Path(found).absolute() == path.absolute()
    return program if is_on_path else shlex.quote(sys.argv[0])

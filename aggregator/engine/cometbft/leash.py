"""Runs a program that dies with its parent: `python -I -S leash.py <parent> <program> <arguments…>`.

Linux keeps the order across execve (prctl(2), PR_SET_PDEATHSIG), so nothing of this file is left once the program runs.
A file of its own, run in a process of its own, because code between fork and exec of a process with threads may hang.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Take the leash, see that somebody still holds it, and become the program."""
    parent, program, *arguments = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        raise SystemExit("the parent is gone already")
    os.execv(program, [program, *arguments])  # noqa: S606  no shell is meant


if __name__ == "__main__":
    main()

"""One program per folder, and whoever only looks is in nobody's way."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from config import lock
from protocol.errors import OperatorError


def hold(path: Path) -> int:
    return lock.hold(path, what="an outbox", holder="an agent")


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not lock.is_held(path)
    handle = hold(path)
    assert lock.is_held(path)
    with pytest.raises(OperatorError, match="an agent that is running"):
        hold(path)
    lock.release(handle)
    assert not lock.is_held(path)
    lock.release(hold(path))


def test_whoever_looks_takes_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """70 of 3,000 agents that were started while somebody looked at their status did not start."""
    path = tmp_path / "lock"
    lock.release(hold(path))
    monkeypatch.setattr(fcntl, "flock", None)
    assert not lock.is_held(path)


def test_a_holder_comes_in_while_others_look_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock.release(hold(path))
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            lock.is_held(path)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(1000):
            lock.release(hold(path))
    finally:
        is_over.set()
        for looker in lookers:
            looker.join()


def test_a_lock_goes_with_its_program_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import os, pathlib, signal, sys; from config import lock;"
        " path = pathlib.Path(sys.argv[1]); lock.hold(path, what='', holder=''); print(flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        assert lock.is_held(path)
        program.kill()
    assert not lock.is_held(path)

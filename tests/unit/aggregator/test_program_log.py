"""What CometBFT says is kept short, and the one thing after which it never votes again is heard."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.engine.cometbft import program_log
from aggregator.engine.cometbft.program_log import ProgramLog

SAID = b"I[one] fine\nE[two] CONSENSUS FAILURE!!! err=no space left on device stack=\ngoroutine 1\n"


@given(st.lists(st.integers(0, len(SAID)), max_size=8))
def test_a_failure_is_heard_however_its_words_come_in_pieces(cuts: list[int]) -> None:
    log = ProgramLog(Path("/nowhere/at/all"))
    for start, end in pairwise([0, *sorted(cuts), len(SAID)]):
        log.take(SAID[start:end])
    assert log.has_failed
    assert "CONSENSUS FAILURE" in log.last_line
    log.begin()
    assert not log.has_failed and not log.last_line


def test_the_last_line_is_the_reason_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    log = ProgramLog(tmp_path / "no folder" / "log")
    log.take(b"I[one] begun\n")
    log.take(b"E[two] the app hash")
    log.take(b" is wrong\n\n")
    assert log.last_line == "E[two] the app hash is wrong"
    assert not log.has_failed


def test_a_log_has_everything_and_a_long_one_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_log, "LOG_BYTES_MAX", 30)
    log = ProgramLog(tmp_path / "comet.log")
    for word in (b"a line of some bytes\n", b"and one more line\n", b"after that\n"):
        log.take(word)
    log.close()
    assert (tmp_path / "comet.old").read_bytes() == b"a line of some bytes\nand one more line\n"
    assert (tmp_path / "comet.log").read_bytes() == b"after that\n"

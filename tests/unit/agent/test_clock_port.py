"""The machine's clocks, as they are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent import clock_port
from agent.clock_port import ERROR_MAX_MS, SystemClocks
from protocol.batch import ClockState
from protocol.errors import OperatorError


def test_the_boot_id_is_the_kernel_s() -> None:
    spelled = clock_port.BOOT_ID_FILE.read_text().strip()
    assert SystemClocks().boot_id.hex() == spelled.replace("-", "")


def test_the_boot_s_clock_never_goes_back() -> None:
    clocks = SystemClocks()
    instants = [clocks.now_ms() for _ in range(100)]
    assert instants == sorted(instants)


def test_nothing_seems_to_have_been_read_later_than_it_was() -> None:
    clocks = SystemClocks()
    for _ in range(100):
        read_ms = clocks.now_ms()
        assert clocks.clock().epoch_ms + read_ms <= time.time_ns() / 1e6


@pytest.mark.parametrize(
    ("status", "state"),
    [(0x2001, ClockState.SYNCHRONIZED), (0x0041, ClockState.UNSYNCHRONIZED)],
    ids=["STA_PLL and STA_NANO", "STA_PLL and STA_UNSYNC"],
)
def test_the_kernel_says_whether_it_is_synchronized(
    monkeypatch: pytest.MonkeyPatch, status: int, state: ClockState
) -> None:
    monkeypatch.setattr(clock_port, "_ask_kernel", lambda: (status, 1_500))
    clock = SystemClocks().clock()
    assert (clock.state, clock.error_ms, clock.source) == (state, 2, "kernel")


def test_an_error_of_more_than_a_day_is_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_port, "_ask_kernel", lambda: (0, 10**15))
    assert SystemClocks().clock().error_ms == ERROR_MAX_MS


def test_where_the_kernel_may_not_be_asked_the_clock_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_port, "_ask_kernel", lambda: None)
    clock = SystemClocks().clock()
    assert (clock.state, clock.source) == (ClockState.UNSYNCHRONIZED, "unknown")


@pytest.mark.parametrize("content", [None, "", "no uuid", "00ff"])
def test_a_machine_without_a_boot_id_is_told_of(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "boot_id"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OperatorError):
        SystemClocks(path)

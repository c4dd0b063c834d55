"""The machine's clocks, as they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent import clock_port
from agent.clock_port import CHRONY_EVERY_MS, CHRONY_REPORT_AGE_MAX_MS, ChronyPort, SystemClocks
from agent.timekeeping import ERROR_MAX_MS
from protocol.batch import ClockState
from protocol.errors import OperatorError
from tests.unit.agent.test_timekeeping import TRACKING


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
    ("status", "state", "error_ms"),
    [(0x2001, ClockState.SYNCHRONIZED, 2), (0x0041, ClockState.UNSYNCHRONIZED, ERROR_MAX_MS)],
    ids=["STA_PLL and STA_NANO", "STA_PLL and STA_UNSYNC"],
)
def test_the_kernel_says_whether_it_is_synchronized(
    monkeypatch: pytest.MonkeyPatch, status: int, state: ClockState, error_ms: int
) -> None:
    monkeypatch.setattr(clock_port, "_ask_kernel", lambda: (status, 1_500))
    clock = SystemClocks().clock()
    assert (clock.state, clock.error_ms, clock.source) == (state, error_ms, "kernel")


def test_the_kernel_of_this_machine_answers() -> None:
    told = clock_port._ask_kernel()
    assert told is not None
    assert 0 <= told[0] <= 0xFFFF


def test_where_timesyncd_runs_its_server_may_be_as_wrong_as_it_allows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(clock_port, "_ask_kernel", lambda: (0x2001, 1_500))
    clock = SystemClocks(timesyncd=tmp_path).clock()
    assert (clock.state, clock.error_ms, clock.source) == (ClockState.SYNCHRONIZED, 5002, "timesyncd")


class TestChrony:
    """A program that answers like chronyc is asked, now and then, and never waited for but once."""

    @pytest.fixture(autouse=True)
    def _closed(self) -> Iterator[None]:
        self.ports: list[ChronyPort] = []
        yield
        for port in self.ports:
            port.close()

    def a_port(self, folder: Path, script: str) -> ChronyPort:
        command = folder / "chronyc"
        command.write_text(f"#!/bin/sh\necho asked >> {folder}/asked\n{script}\n")
        command.chmod(0o755)
        self.ports.append(ChronyPort(folder, (str(command), "-c")))
        return self.ports[-1]

    def asked(self, folder: Path) -> int:
        return len((folder / "asked").read_text().split()) if (folder / "asked").exists() else 0

    def test_its_word_stands_above_the_kernel_s(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clock_port, "_ask_kernel", lambda: (0x0041, 16_000_000))
        clock = SystemClocks(chrony=self.a_port(tmp_path, f"echo '{TRACKING}'")).clock()
        assert (clock.state, clock.error_ms, clock.source) == (ClockState.SYNCHRONIZED, 11, "chrony")

    def test_it_is_asked_now_and_then(self, tmp_path: Path) -> None:
        port = self.a_port(tmp_path, f"echo '{TRACKING}'")
        for now_ms in range(0, CHRONY_EVERY_MS, 1000):
            assert port.report(now_ms) is not None
        assert self.asked(tmp_path) == 1
        port.report(CHRONY_EVERY_MS)
        assert wait_for(lambda: self.asked(tmp_path) == 2)

    def test_one_that_hangs_delays_the_start_a_little_and_nothing_after_it(self, tmp_path: Path) -> None:
        port = self.a_port(tmp_path, "exec sleep 60")
        begin = time.monotonic()
        assert port.report(0) is None
        assert time.monotonic() - begin < 5
        for now_ms in range(1000, 10 * CHRONY_EVERY_MS, 1000):
            assert port.report(now_ms) is None

    def test_one_that_says_nothing_any_more_is_not_believed_for_long(self, tmp_path: Path) -> None:
        port = self.a_port(tmp_path, f"echo '{TRACKING}'")
        assert port.report(0) is not None
        (tmp_path / "chronyc").write_text("#!/bin/sh\nexit 1\n")
        assert port.report(CHRONY_REPORT_AGE_MAX_MS) is not None
        assert port.report(CHRONY_REPORT_AGE_MAX_MS + 1) is None

    def test_where_there_is_none_nobody_is_asked(self, tmp_path: Path) -> None:
        assert ChronyPort(tmp_path / "no-such-folder", ("false",)).report(0) is None
        assert ChronyPort(tmp_path, ("no-such-command-as-this",)).report(0) is None


def wait_for(probe: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not probe() and time.monotonic() < end:
        time.sleep(0.01)
    return probe()


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

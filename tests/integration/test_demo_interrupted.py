"""Ctrl-C and SIGTERM end the demo: in order while meters are read, at once before that; nothing runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("este-demo"))
BOUND_S = 90.0


@contextmanager
def a_demo(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    command = [COMMAND, "--meters", "4", "--data", str(folder), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        try:
            yield demo
        finally:
            demo.kill()


def wait_for(demo: subprocess.Popen[str], path: Path, text: str) -> None:
    end = time.monotonic() + BOUND_S
    while not (path.is_file() and text in path.read_text()):
        assert demo.poll() is None, demo.communicate()
        assert time.monotonic() < end, f"{path} never said {text!r}"
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_meters_are_read_everything_is_stopped_in_order_and_counted(
    tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "demo"
    with a_demo(folder) as demo:
        for name in ("aggregator", "gw-1"):
            wait_for(demo, folder / "logs" / f"{name}.log", "connected" if name == "aggregator" else "linked to")
        demo.send_signal(number)
        out, err = demo.communicate(timeout=BOUND_S)
    assert (demo.returncode, err) == (128 + number, "")
    assert "readings lost          0" in out
    assert "audit                  ok" in out
    assert "event=stopped" in (folder / "logs" / "aggregator.log").read_text().splitlines()[-1]


def test_the_market_s_story_is_stopped_in_order_and_counted_too(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with a_demo(folder, "--market") as demo:
        wait_for(demo, folder / "logs" / "gw-2.log", "linked to")
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=BOUND_S)
    assert (demo.returncode, err) == (130, "")
    assert "read, 0 lost" in out and "audit" in out
    assert "este-aggregator contracts --data" in out


def test_before_any_gateway_has_begun_nothing_was_read(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with a_demo(folder) as demo:
        wait_for(demo, folder / "logs" / "fleet.log", "")
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=BOUND_S)
    assert demo.returncode == 130
    assert err in ("", f"Ended at once: what was written is in {folder}, nothing was counted or audited.\n")
    assert err or "readings lost          0" in out


def test_while_things_are_being_made_it_ends_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with a_demo(folder) as demo:
        wait_for(demo, folder / "fleet.yaml", "seed")
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=BOUND_S)
    assert demo.returncode == 130
    assert err == f"Ended at once: what was written is in {folder}, nothing was counted or audited.\n"


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_impatience_ends_it_quietly_and_says_where_things_are(tmp_path: Path, pause_s: float) -> None:
    folder = tmp_path / "demo"
    with a_demo(folder) as demo:
        wait_for(demo, folder / "logs" / "gw-1.log", "linked to")
        for _ in range(3):
            demo.send_signal(signal.SIGINT)
            time.sleep(pause_s)
        _, err = demo.communicate(timeout=BOUND_S)
    assert demo.returncode == 130
    assert err in ("", f"Ended at once: what was written is in {folder}, nothing was counted or audited.\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "{used}"], "expected an empty folder"),
        (["--broker", "127.0.0.1:1"], "no broker answers at 127.0.0.1:1"),
        (["--broker", "nonsense"], "expected HOST:PORT"),
    ],
)
def test_what_cannot_begin_says_so_first_and_leaves_nothing_behind(
    tmp_path: Path, arguments: list[str], says: str
) -> None:
    used, temporary = tmp_path / "used", tmp_path / "tmp"
    for folder in (used, temporary):
        folder.mkdir()
    (used / "file").touch()
    command = [COMMAND, *(argument.format(used=used) for argument in arguments)]
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=BOUND_S, check=False)
    assert done.returncode != 0 and done.stdout == ""
    assert says in " ".join(done.stderr.split())
    assert not list(temporary.iterdir()) and [path.name for path in used.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_told_in_one_line() -> None:
    with a_demo(Path("/proc/este-demo")) as demo:
        _, err = demo.communicate(timeout=BOUND_S)
    assert demo.returncode == 1
    assert len(err.splitlines()) == 1
    assert "expected a folder to write to" in err

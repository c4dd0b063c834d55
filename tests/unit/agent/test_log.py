"""One line, whatever is told."""

from __future__ import annotations

import asyncio
import re

import pytest

from agent.log import Log, configure, tell_loop_errors


def test_a_line_is_keys_and_values(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    Log("test").warning("no link to the broker", reason='it said "no"\nand left', attempts=3, empty="")
    line = capfd.readouterr().err
    assert re.fullmatch(
        r"timestamp=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z level=warning"
        r' event="no link to the broker" reason="it said \\"no\\" and left" attempts=3 empty=""\n',
        line,
    )


async def test_what_a_library_lets_fall_is_one_line_too(capfd: pytest.CaptureFixture[str]) -> None:
    configure()
    loop = asyncio.get_running_loop()
    tell_loop_errors(loop)
    loop.call_exception_handler({"message": "protocol failed", "exception": ValueError("x")})
    assert capfd.readouterr().err.count("\n") == 1

"""What tests of an agent are given: its books, and a broker of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.outbox.books import Books
from tests.integration.agent_world import Mosquitto, a_broker, open_in


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    """Books that nobody has written in yet, of an agent that runs."""
    opened = open_in(tmp_path)
    yield opened
    opened.file.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets everybody in, with a port of its own."""
    with a_broker(tmp_path) as running:
        yield running

"""Four validators, and what may happen to one of them: nothing committed is lost, no two disagree, the rest go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.consensus import Consensus, consensus

pytestmark = pytest.mark.cometbft

LAST = "regulator-node"


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Consensus]:
    """Four nodes that have agreed on a first batch."""
    with consensus(tmp_path) as made:
        made.start()
        made.send()
        made.all_have_all()
        yield made


def test_one_that_is_killed_comes_back_and_has_what_the_others_agreed_on(four: Consensus) -> None:
    four.kill(LAST)
    four.send(batches=3)
    four.all_have_all()
    four.start(LAST)
    four.send()
    four.all_have_all()
    four.stop()
    four.audit()


def test_two_that_are_gone_stop_the_rest_and_nothing_is_lost(four: Consensus) -> None:
    four.kill(LAST)
    four.kill("node-3")
    before = [four.height(name) for name in ("node-1", "node-2")]
    four.send("node-1")
    four.start("node-3")
    four.all_have_all()
    assert four.height("node-1") > before[0]
    four.agree()


def test_a_wrong_result_is_voted_down_and_the_next_proposer_s_counts(tmp_path: Path) -> None:
    with consensus(tmp_path) as made:
        made.lies["node-2"] = ["lie"]
        made.start()
        made.send()
        made.wait(
            "the liar was voted down",
            lambda: all('event="voted down"' in made.log(name) for name in ("node-1", "node-3")),
        )
        made.send()
        made.all_have_all()
        made.wait("intervals close again", lambda: made.height("node-1") > made.height("node-1") - 1)
        made.stop()
        made.audit("node-1", "node-3", LAST)
        assert "RESULT_DIFFERS" in made.log("node-1")

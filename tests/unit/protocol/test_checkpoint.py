"""Two heads by one node: which of them an honest node can have signed."""

from __future__ import annotations

import pytest

from protocol.checkpoint import BlockHead, ChainName, LogHead, contradicts
from tests.builders import a_block_head


def the_next(head: BlockHead, **changes: object) -> BlockHead:
    """An honest head on top of another, with one thing changed."""
    return a_block_head(height=head.height + 1, previous=head.digest, **changes)


def with_data_log(head: BlockHead, size: int, root: bytes) -> tuple[LogHead, ...]:
    """The logs of a head, of which the data chain's is another."""
    return tuple(LogHead(size, root) if chain is ChainName.DATA else head.log(chain) for chain in ChainName)


FIRST = a_block_head(height=7)
DATA = FIRST.log(ChainName.DATA)


@pytest.mark.parametrize(
    "second",
    [
        FIRST,
        the_next(FIRST),
        the_next(FIRST, logs=with_data_log(FIRST, DATA.size + 1, b"r" * 32)),
        a_block_head(height=9, previous=b"p" * 32),
        a_block_head(height=7, region="elsewhere", entries=b"e" * 32),
    ],
    ids=["the same", "the next", "a log has grown", "one that skips", "another region"],
)
def test_heads_of_one_honest_past_contradict_nothing(second: BlockHead) -> None:
    assert contradicts(FIRST, second) is None
    assert contradicts(second, FIRST) is None


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (a_block_head(height=7, entries=b"e" * 32), "two heads of height 7"),
        (a_block_head(height=7, time_ms=FIRST.time_ms + 1), "two heads of height 7"),
        (a_block_head(height=8, previous=b"p" * 32), "height 8 does not stand on the head of height 7"),
        (a_block_head(height=9, time_ms=FIRST.time_ms - 1), "height 9 is dated before height 7"),
        (
            a_block_head(height=9, logs=with_data_log(FIRST, DATA.size, b"r" * 32)),
            f"two roots of the data log at size {DATA.size}",
        ),
        (
            a_block_head(height=9, logs=with_data_log(FIRST, DATA.size - 1, DATA.root)),
            "the data log shrinks between heights 7 and 9",
        ),
    ],
)
def test_two_heads_that_no_honest_node_signs_are_told_in_words(second: BlockHead, words: str) -> None:
    assert contradicts(FIRST, second) == words
    assert contradicts(second, FIRST) == words

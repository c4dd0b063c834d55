"""Whoever floods the mempool fills a share of it, and leaves the rest to everybody else."""

from __future__ import annotations

import pytest

from aggregator.engine.waits import ASKED_WITHIN, Waits


@pytest.fixture
def waits() -> Waits:
    return Waits(100, share_records_max=2, share_bytes_max=1000)


def test_of_one_author_only_so_many_wait_and_others_still_may(waits: Waits) -> None:
    assert [waits.see(digest, 5, "g1", 10) for digest in (b"1", b"2", b"3")] == [True, True, False]
    assert waits.see(b"4", 5, "g2", 10)
    assert waits.see(b"2", 6, "g1", 10), "what waits already goes on waiting"


def test_of_one_author_only_so_many_bytes_wait(waits: Waits) -> None:
    assert waits.see(b"1", 5, "g1", 600)
    assert not waits.see(b"2", 5, "g1", 401)
    assert waits.see(b"3", 5, "g1", 400)


def test_a_record_that_no_share_holds_may_wait_alone(waits: Waits) -> None:
    assert waits.see(b"1", 5, "g1", 5000)
    assert not waits.see(b"2", 5, "g1", 1)


def test_what_waits_no_longer_makes_room_in_the_share(waits: Waits) -> None:
    waits.see(b"1", 5, "g1", 500)
    waits.see(b"2", 5, "g1", 500)
    waits.forget([b"1", b"nobody's"])
    assert waits.see(b"3", 5, "g1", 500)
    waits.forget_all()
    assert waits.see(b"4", 5, "g1", 1000)


def test_what_left_the_mempool_unseen_makes_room_in_the_share(waits: Waits) -> None:
    for digest in (b"1", b"2"):
        waits.see(digest, 5, "g1", 10)
    assert not waits.see(b"3", 5 + ASKED_WITHIN, "g1", 10)
    assert waits.see(b"3", 6 + ASKED_WITHIN, "g1", 10)

"""A snapshot is believed as far as the head that somebody trusted: whatever else is changed in it is noticed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.chains.five import Five, wire
from aggregator.engine.cometbft.application import ChunkVerdict, OfferVerdict, Snapshot
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.snapshot import Manifest, cut, join, restore, take
from aggregator.ledger.state_tree import StateTree
from aggregator.ledger.table import Change
from aggregator.service.consensus.snapshots import FORMAT, HELD_MS, KEPT, Snapshots
from protocol.canonical import encode
from protocol.crypto import digest_of
from protocol.errors import EncodingError, ProofError, TruncatedError
from tests.village import REGION, Village

PART_BYTES = 1000
HEIGHT = 7
"""The engine's."""


@cache
def a_village() -> Village:
    village = Village()
    village.live(35)
    return village


@cache
def a_snapshot() -> tuple[Manifest, list[bytes]]:
    return take(a_village().five.ledger, PART_BYTES)


def begun_with(manifest: Manifest, parts: Sequence[bytes]) -> Five:
    five = wire(REGION, IntervalPhysics())
    restore(five.ledger, manifest, parts)
    return five


def test_a_ledger_begins_where_another_is() -> None:
    manifest, parts = a_snapshot()
    assert len(parts) > 3
    here, there = begun_with(Manifest.decode(manifest.encode()), parts).ledger, a_village().five.ledger
    assert (here.head, here.state.root, here.rows()) == (there.head, there.state.root, there.rows())
    assert here.logs == there.logs


@given(st.data())
def test_any_octet_that_is_changed_in_a_part_is_noticed(data: st.DataObject) -> None:
    manifest, parts = a_snapshot()
    index = data.draw(st.integers(0, len(parts) - 1))
    place = data.draw(st.integers(0, len(parts[index]) - 1))
    lie = bytearray(parts[index])
    lie[place] ^= data.draw(st.integers(1, 255))
    changed = [*parts[:index], bytes(lie), *parts[index + 1 :]]
    assert tuple(map(digest_of, changed)) != manifest.parts
    with pytest.raises((EncodingError, ProofError)):  # even from a liar whose manifest fits the lie
        begun_with(replace(manifest, parts=tuple(map(digest_of, changed))), changed)


@given(st.data())
def test_any_octet_that_is_changed_in_a_manifest_is_noticed(data: st.DataObject) -> None:
    manifest, _ = a_snapshot()
    spelled = bytearray(manifest.encode())
    spelled[data.draw(st.integers(0, len(spelled) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = Manifest.decode(bytes(spelled))
        read.check()
    except (EncodingError, ProofError):
        return
    assert read.head.digest != manifest.head.digest or read.parts != manifest.parts


@pytest.mark.parametrize("change", ["a part less", "a part twice", "in another order"])
def test_parts_that_are_not_the_whole_do_not_add_up(change: str) -> None:
    manifest, parts = a_snapshot()
    changed = {
        "a part less": parts[:-1],
        "a part twice": [*parts, parts[-1]],
        "in another order": [parts[1], parts[0], *parts[2:]],
    }[change]
    with pytest.raises((EncodingError, ProofError)):
        begun_with(manifest, changed)


def test_rows_that_end_within_a_row_are_none() -> None:
    with pytest.raises(TruncatedError):
        list(join([b"\x00\x00\x00\x02a"]))


# -- as CometBFT carries them


def offered(manifest: Manifest, **changes: object) -> Snapshot:
    data = manifest.encode()
    snapshot = Snapshot(
        height=HEIGHT, format=FORMAT, chunks=len(manifest.parts), hash=digest_of(data), metadata=data
    )  # fmt: skip
    return replace(snapshot, **changes)  # type: ignore[arg-type]


@pytest.fixture
def taking(tmp_path: Path) -> Snapshots:
    """Of a node that has nothing yet."""
    return Snapshots(tmp_path / "snapshots", every=0, now_ms=lambda: 0)


def head_of(manifest: Manifest) -> bytes:
    return manifest.head.digest


def test_what_one_node_made_another_takes(tmp_path: Path, taking: Snapshots) -> None:
    made = Snapshots(tmp_path / "made", every=HEIGHT, now_ms=lambda: 0, part_bytes_max=PART_BYTES)
    made.take(HEIGHT, a_village().five.ledger)
    made.take(HEIGHT + 1, a_village().five.ledger)
    (snapshot,) = made.on_offer()
    manifest, _ = a_snapshot()
    assert taking.offer(snapshot, head_of(manifest)) is OfferVerdict.ACCEPT
    for index in range(snapshot.chunks):
        applied, taken = taking.apply(index, made.chunk(HEIGHT, FORMAT, index), "peer", REGION)
        assert applied.verdict is ChunkVerdict.ACCEPT
    assert taken is not None and taken.height == HEIGHT
    assert taken.five.ledger.head == manifest.head


def test_a_snapshot_of_another_head_than_the_one_that_was_verified_is_rejected(taking: Snapshots) -> None:
    manifest, _ = a_snapshot()
    assert taking.offer(offered(manifest), digest_of(b"another")) is OfferVerdict.REJECT
    later = replace(manifest.head, time_ms=manifest.head.time_ms + 1)
    assert taking.offer(offered(replace(manifest, head=later)), head_of(manifest)) is OfferVerdict.REJECT


def test_a_manifest_that_does_not_hang_together_costs_its_sender(taking: Snapshots) -> None:
    manifest, _ = a_snapshot()
    head = head_of(manifest)
    torn = replace(manifest, peaks=((*reversed(manifest.peaks[0]), head), *manifest.peaks[1:]))
    assert taking.offer(offered(torn), head) is OfferVerdict.REJECT_SENDER
    assert taking.offer(offered(manifest, metadata=b"\xff"), head) is OfferVerdict.REJECT_SENDER
    assert taking.offer(offered(manifest, format=9), head) is OfferVerdict.REJECT_FORMAT
    assert taking.offer(offered(manifest, hash=head), head) is OfferVerdict.REJECT
    assert taking.offer(offered(manifest, chunks=1), head) is OfferVerdict.REJECT


def test_a_part_that_is_not_the_one_of_the_manifest_is_fetched_from_somebody_else(taking: Snapshots) -> None:
    manifest, parts = a_snapshot()
    taking.offer(offered(manifest), head_of(manifest))
    applied, taken = taking.apply(0, parts[0][:-1] + b"\x00\x00", "liar", REGION)
    assert (applied.verdict, applied.refetch, applied.reject_senders) == (ChunkVerdict.RETRY, (0,), ("liar",))
    assert taken is None
    assert taking.apply(0, parts[0], "honest", REGION)[0].verdict is ChunkVerdict.ACCEPT
    assert taking.apply(2, parts[2], "honest", REGION)[0].verdict is ChunkVerdict.RETRY_SNAPSHOT


def test_a_lie_that_its_manifest_was_made_for_is_rejected_at_the_end(taking: Snapshots) -> None:
    manifest, parts = a_snapshot()
    lies = [parts[0][:-1] + bytes([parts[0][-1] ^ 1]), *parts[1:]]
    taking.offer(offered(replace(manifest, parts=tuple(map(digest_of, lies)))), head_of(manifest))
    verdicts = [taking.apply(index, part, "liar", REGION) for index, part in enumerate(lies)]
    assert verdicts[-1][0].verdict is ChunkVerdict.REJECT_SNAPSHOT
    assert all(taken is None for _, taken in verdicts)


def test_the_newest_few_are_kept_and_what_is_gone_is_empty(tmp_path: Path) -> None:
    made = Snapshots(tmp_path / "made", every=1, now_ms=lambda: 0, part_bytes_max=PART_BYTES)
    for height in range(1, 6):
        made.take(height, a_village().five.ledger)
    assert [snapshot.height for snapshot in made.on_offer()] == [5, 4, 3]
    assert made.chunk(1, FORMAT, 0) == b"" == made.chunk(5, FORMAT + 1, 0)
    assert made.chunk(5, FORMAT, 0)


def test_what_somebody_was_told_of_is_held_until_they_had_time_to_take_it(tmp_path: Path) -> None:
    """Else a region that makes them fast has taken away every one by the time that CometBFT asks for its parts."""
    clock = [0]
    made = Snapshots(tmp_path / "made", every=1, now_ms=lambda: clock[0], part_bytes_max=PART_BYTES)
    for height in range(1, 4):
        made.take(height, a_village().five.ledger)
    told = made.on_offer()
    for height in range(4, 20):
        made.take(height, a_village().five.ledger)
        clock[0] += 1000
    assert [one.height for one in made.on_offer()] == [one.height for one in told] == [3, 2, 1]
    assert all(made.chunk(one.height, FORMAT, 0) for one in told)
    assert len(list((tmp_path / "made").iterdir())) == 2 * KEPT
    clock[0] = HELD_MS
    made.take(20, a_village().five.ledger)
    assert [one.height for one in made.on_offer()] == [20, 19, 18]


def test_a_snapshot_that_finds_no_room_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("no folder")
    made = Snapshots(tmp_path / "made", every=1, now_ms=lambda: 0)
    made.take(1, a_village().five.ledger)
    assert list(made.on_offer()) == []


@pytest.mark.parametrize("damage", [b"", b"\xa1", None])
def test_a_snapshot_that_a_power_cut_has_emptied_is_not_offered(tmp_path: Path, damage: bytes | None) -> None:
    """Its folder has the final name, and the disk never got what is in it. The older one still serves."""
    snapshots = Snapshots(tmp_path, every=1, now_ms=lambda: 0)
    for height in (1, 2):
        snapshots.take(height, a_village().five.ledger)
    if damage is None:
        (tmp_path / "2/manifest").unlink()
    else:
        (tmp_path / "2/manifest").write_bytes(damage)
    assert [one.height for one in snapshots.on_offer()] == [1]


@pytest.mark.parametrize(
    "row",
    [
        (encode([99, "somebody"]), encode([1])),
        (encode([50, "somebody"]), encode([1, 2, 3])),
        (encode([51, 0]), encode([1, 2])),
        (encode([50, "somebody"]), encode(7)),
        (encode("no key"), encode([1])),
    ],
)
def test_rows_of_another_version_of_este_are_refused_and_not_misread(row: tuple[bytes, bytes]) -> None:
    """A quorum has signed for them, so they add up; but this program has no such table, or not with these columns."""
    ledger = a_village().five.ledger
    rows = sorted([*(kept for kept in ledger.rows() if kept.key != row[0]), Change(*row)])
    manifest, _ = a_snapshot()
    assert ledger.head is not None
    head = replace(ledger.head, state_root=StateTree().apply(rows))
    parts = list(cut(rows, PART_BYTES))
    with pytest.raises(EncodingError, match="another version of este"):
        begun_with(replace(manifest, head=head, parts=tuple(map(digest_of, parts))), parts)

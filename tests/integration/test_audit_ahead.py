"""Signatures are verified ahead of their turn, in another process: nothing is lost, and nothing bad gets by."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import pytest

from aggregator.ledger.record import Author, Role, Verified
from aggregator.service import ahead
from aggregator.service.ahead import Ahead, Item, Told
from aggregator.service.audit import AuditError, audit, audit_file
from aggregator.service.history import HistoryError, PastBlock, PastEntry
from aggregator.service.store import Store
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from tests.integration.lived import exported, live_through_everything
from tests.integration.test_portable_ledger import items, spelled

REGION = "dorf"
KEY, STRANGER = SoftwareKey.from_secret(7), SoftwareKey.from_secret(8)
GATEWAY = Author("gw", Role.GATEWAY, KEY.public_key)


@pytest.fixture(autouse=True)
def no_history_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """And several chunks are under way at once."""
    monkeypatch.setattr(ahead, "SHORT_ITEMS", 1)
    monkeypatch.setattr(ahead, "CHUNK_ITEMS", 3)


def author_of(key_id: bytes) -> Author | None:
    return GATEWAY if key_id == KEY.public_key.thumbprint else None


def an_entry(number: int = 0, key: SoftwareKey = KEY, region: str = REGION) -> PastEntry:
    return PastEntry(0, 0, seal(key, region=region, type_="batch", payload=number.to_bytes(4)))


def read(told: list[Item]) -> list[Told]:
    with closing(Ahead(REGION, author_of).read(iter(told))) as found:
        return list(found)


def test_every_part_of_a_history_comes_out_once_and_in_order() -> None:
    told: list[Item] = [PastBlock(b"", b"", 100), *map(an_entry, range(100))]
    found = read(told)
    assert [item for item, _ in found] == told
    good = [known for _, known in found if known is not None]
    assert len(good) == 99, "all but the block, and what came while its key was not yet looked up"
    assert good[-1] == Verified(Envelope.parse(told[-1].envelope), KEY.public_key, REGION)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad",
    [
        PastEntry(0, 0, an_entry().envelope[:-1] + bytes([an_entry().envelope[-1] ^ 1])),
        PastEntry(0, 0, b"rubbish"),
        an_entry(key=STRANGER),
        an_entry(region="elsewhere"),
    ],
    ids=["forged", "rubbish", "a stranger's", "another region's"],
)
def test_what_is_not_found_good_waits_for_its_turn(bad: PastEntry) -> None:
    found = read([an_entry(), an_entry(1), an_entry(2), bad, an_entry(3)])
    assert [known is not None for _, known in found] == [False, False, True, False, True]


def test_a_history_that_breaks_off_is_told_after_all_that_comes_before() -> None:
    def broken() -> Iterator[Item]:
        yield from map(an_entry, range(20))
        raise HistoryError("no more")

    found: list[Told] = []
    with pytest.raises(HistoryError), closing(Ahead(REGION, author_of).read(broken())) as reading:
        for told in reading:
            found.append(told)
    assert len(found) == 20


def test_nothing_is_lost_if_the_other_process_dies() -> None:
    told: list[Item] = [an_entry(number) for number in range(200)]
    found: list[Told] = []
    with closing(Ahead(REGION, author_of).read(iter(told))) as reading:
        for one in reading:
            found.append(one)
            if len(found) == 10:
                for child in active_children():
                    assert child.pid is not None
                    os.kill(child.pid, signal.SIGKILL)
    assert [item for item, _ in found] == told


def test_an_audit_comes_to_the_same_and_finds_a_signature_that_is_not_good(tmp_path: Path) -> None:
    folder = live_through_everything(tmp_path)
    file = exported(folder, tmp_path / "village.este")
    with closing(Store.open_read_only(folder)) as store:
        assert audit_file(file).head_digest == audit(store).head_digest
    told = items(file)
    place = max(number for number, item in enumerate(told) if isinstance(item, PastEntry))
    last = told[place]
    assert isinstance(last, PastEntry)
    told[place] = PastEntry(last.code, last.waited, last.envelope[:-1] + bytes([last.envelope[-1] ^ 1]))
    blocks = sum(isinstance(item, PastBlock) for item in told)
    file.write_bytes(spelled(blocks, told))
    with pytest.raises(AuditError, match="signature"):
        audit_file(file)

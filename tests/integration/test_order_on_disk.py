"""What a ledger file says about waiting is what its blocks were ordered by; an audit sees who was passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.chains.admission.membership import Admission
from aggregator.ledger.record import Author, Record, Role
from aggregator.service.audit import AuditError, audit
from aggregator.service.store import Store
from protocol.crypto import SoftwareKey
from protocol.messages import MessageType
from protocol.topics import Kind
from tests.integration.test_ledger_file import Running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """A node whose blocks hold ten records, beside the village."""
    made = Running(tmp_path)
    yield made
    made.node.close()


def batch(running: Running) -> Record:
    """The gateway's next: one reading."""
    record = running.node.check(running.batch())
    running.village.record(record.envelope.data)
    return record


def admission(running: Running) -> Record:
    author = Author("gw-9", Role.GATEWAY, SoftwareKey.from_secret(900).public_key)
    message = Admission(running.village.link("regulator"), author, None)
    return running.node.check(running.village.sign(message, MessageType.ADMISSION, "regulator"))


def audit_of(running: Running) -> None:
    running.node.close()
    store = Store.open_read_only(running.folder)
    try:
        audit(store)
    finally:
        store.close()


def waited(running: Running, author: str) -> list[int]:
    store = running.node._keeper.store
    return [entry.waited for entry in store.entries_of(author)][::-1]


def test_the_file_says_how_many_blocks_each_record_has_waited(running: Running) -> None:
    for _ in range(12):
        running.node.submit(batch(running), running.village.now_ms)
    for _ in range(2):
        running.node.close_block(running.village.now_ms)
    blocks = waited(running, "gw")
    assert (blocks[:10], len(blocks)) == ([0] * 10, 12)
    assert all(blocks[10:])
    audit_of(running)


def test_the_regulator_s_word_goes_first_though_it_came_last(running: Running) -> None:
    for _ in range(12):
        running.node.submit(batch(running), running.village.now_ms)
    running.node.submit(admission(running), running.village.now_ms)
    running.node.close_block(running.village.now_ms)
    store = running.node._keeper.store
    assert next(entry.author for entry in store.entries(2)) == "regulator"
    audit_of(running)


def close_as_given(running: Running, records: list[Record], waited: list[int]) -> None:
    """As a node would that orders as it likes, and signs for it."""
    keeper, ledger = running.node._keeper, running.node.five.ledger
    block = ledger.finalize(running.village.now_ms, records, waited)
    keeper.keep(block)
    ledger.commit()
    keeper.answers(block)


def test_a_block_that_passes_somebody_over_fails_the_audit_though_everything_in_it_is_signed(running: Running) -> None:
    close_as_given(running, [batch(running), admission(running)], [0, 0])
    with pytest.raises(AuditError, match="block 2: record 1 of gw stands at place 0, where record 2 of regulator"):
        audit_of(running)


def test_the_same_records_in_their_order_pass(running: Running) -> None:
    first, second = batch(running), admission(running)
    close_as_given(running, [second, first], [0, 3])
    audit_of(running)


def test_what_is_sent_again_while_it_waits_keeps_its_place_and_is_answered_once(running: Running) -> None:
    record = batch(running)
    for _ in range(3):
        assert running.node.submit(running.node.check(record.envelope.data), running.village.now_ms)
    told = running.node.close_block(running.village.now_ms)
    assert len([one for one in told if one.topic.kind is Kind.RECEIPT]) == 1
    assert running.node.due_in_ms(running.village.now_ms) != 0

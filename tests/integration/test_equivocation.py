"""A gateway that signs two batches with one number, before a node with a ledger on disk: convicted by its own words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.chains.admission.membership import Admission, Cause
from aggregator.ledger.record import Author, Role
from aggregator.service import watch
from aggregator.service.audit import audit
from aggregator.service.store import Store
from aggregator.service.stored import StoreError
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from protocol.evidence import Evidence
from protocol.messages import MessageType, Refusal
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import rotate
from protocol.topics import Kind
from tests.integration.test_ledger_file import Running, kinds

KEY, NEW = SoftwareKey.from_secret(3), SoftwareKey.from_secret(700)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    made.village.five = made.node.five  # who may sign is for the node to say
    yield made
    made.node.close()


def submit(running: Running, *messages: bytes) -> list[RefusalCode]:
    """What comes in before one block; and which refusals the gateway hears."""
    for data in messages:
        running.node.submit(running.node.check(data), running.village.now_ms)
    told = kinds(running.node.close_block(running.village.now_ms), Kind.REFUSAL)
    return [Refusal.decode(Envelope.parse(payload).payload).code for payload in told]


def two_batches(running: Running) -> tuple[bytes, bytes]:
    batch = running.village.a_batch()
    other = replace(batch, boot_id=bytes(16))
    return running.village.sign(batch, MessageType.BATCH), running.village.sign(other, MessageType.BATCH)


def cause(running: Running, key: SoftwareKey = KEY) -> Cause | None:
    ended = running.node.five.asset.membership.ended(key.public_key.thumbprint)
    return ended.cause if ended else None


@pytest.mark.parametrize("in_one_block", [False, True])
def test_two_batches_with_one_number_end_the_key_and_the_ledger_passes_the_audit(
    running: Running, in_one_block: bool
) -> None:
    honest, lie = two_batches(running)
    heard = submit(running, honest, lie) if in_one_block else submit(running, honest) + submit(running, lie)
    assert heard == [RefusalCode.SEQUENCE_REPLAYED]
    assert cause(running) is Cause.EQUIVOCATED
    with pytest.raises(Refused) as refused:
        running.node.check(running.batch())
    assert refused.value.code is RefusalCode.UNKNOWN_KEY
    store = Store.open_read_only(running.folder)
    assert audit(store, second_opinion=True).refused == 0
    entry = store.entry_of("node", running.node.five.ledger.last_record("node").sequence)
    store.close()
    assert entry is not None
    shown = Evidence.decode(Envelope.parse(entry.envelope).payload)
    assert {shown.first.data, shown.second.data} == {honest, lie}


def test_a_record_that_comes_again_and_again_is_no_lie(running: Running) -> None:
    data = running.batch()
    assert submit(running, data, data) + submit(running, data) == []
    assert cause(running) is None


def test_a_record_that_was_refused_for_good_contradicts_another_with_its_number_too(running: Running) -> None:
    bad = running.village.a_batch(meters=(running.village.a_block_of("m-nobody", 0),))
    better = replace(running.village.a_batch(), link=bad.link)
    refused, lie = (running.village.sign(batch, MessageType.BATCH) for batch in (bad, better))
    assert submit(running, refused) == [RefusalCode.UNKNOWN_METER]
    assert submit(running, lie) == [RefusalCode.SEQUENCE_REPLAYED]
    assert cause(running) is Cause.EQUIVOCATED


def test_a_gateway_whose_key_was_replaced_does_not_answer_for_the_old_ones_numbers(running: Running) -> None:
    """A new machine that signed before it was admitted, with numbers that the old one has used, is honest."""
    submit(running, running.batch())
    member = Author("gw", Role.GATEWAY, NEW.public_key)
    admission = Admission(running.village.link("regulator"), member, KEY.public_key.thumbprint)
    running.send(running.village.sign(admission, MessageType.ADMISSION, "regulator"))
    running.village.keys["gw"] = NEW
    batch = running.village.a_batch(link=running.village.link(sequence=1, previous=bytes(32)))
    assert submit(running, running.village.sign(batch, MessageType.BATCH)) == [RefusalCode.SEQUENCE_REPLAYED]
    assert cause(running, NEW) is None


def test_a_rotated_gateway_is_not_convicted_by_what_the_old_key_signed(running: Running) -> None:
    honest, lie = two_batches(running)
    submit(running, honest)
    running.village.record(honest)
    step = rotate(running.village.link(), KEY.public_key.thumbprint, NEW)
    submit(running, running.village.sign(step, MessageType.ROTATION))
    with pytest.raises(Refused):
        running.node.check(lie)
    assert (cause(running), cause(running, NEW)) == (Cause.ROTATED, None)


def test_evidence_waits_for_a_full_disk_like_everything_else(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, lie = two_batches(running)
    submit(running, honest)
    with monkeypatch.context() as patched:
        write, blocks = Store.write, []

        def full(self: Store, *arguments: object) -> None:
            blocks.append(1)
            if len(blocks) == 2:  # the block of the evidence
                raise StoreError("disk full")
            write(self, *arguments)  # type: ignore[arg-type]

        patched.setattr(Store, "write", full)
        running.node.submit(running.node.check(lie), running.village.now_ms)
        with pytest.raises(StoreError):
            running.node.close_block(running.village.now_ms)
    assert cause(running) is None
    running.node.close_block(running.village.now_ms)
    assert cause(running) is Cause.EQUIVOCATED


def test_no_more_keys_wait_to_be_accused_than_there_is_room_for(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ACCUSED_MAX", 0)
    honest, lie = two_batches(running)
    submit(running, honest, lie)
    assert cause(running) is None
    monkeypatch.undo()
    submit(running, lie)  # it will lie again
    assert cause(running) is Cause.EQUIVOCATED


def test_a_node_accuses_neither_itself_nor_the_regulator(running: Running) -> None:
    submit(running, running.batch())
    node = running.village.keys["node"]
    own = watch.Watch("node", node)
    head = running.node.five.ledger.head
    assert head is not None
    pair = [
        seal(node, region="village", type_=MessageType.CHECKPOINT, payload=one.encode())
        for one in (head, replace(head, entries=bytes(32)))
    ]
    own._seen[node.public_key.thumbprint] = (Envelope.parse(pair[0]), Envelope.parse(pair[1]))
    assert own.due_record(running.node.five) is None  # nobody would be left to keep the chains
    assert not own._seen

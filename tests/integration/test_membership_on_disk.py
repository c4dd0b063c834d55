"""Keys that have ended, in a ledger on disk: restarts, audit, proofs of what they signed, receipts that got lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.chains.admission.membership import Admission, Revocation
from aggregator.ledger.record import Author, Role
from aggregator.service.audit import audit
from aggregator.service.proof import prove_reading, verify
from aggregator.service.query import LedgerFile
from aggregator.service.store import Store
from protocol.canonical import encode
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import Envelope
from protocol.errors import OperatorError, ProofError
from protocol.messages import MessageType, Receipt
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import rotate
from protocol.topics import Kind
from tests.integration.test_ledger_file import Running, kinds
from tests.village import INTERVAL_MS

OLD, NEW = SoftwareKey.from_secret(3), SoftwareKey.from_secret(700)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    made.village.five = made.node.five  # who may sign is for the node to say
    yield made
    made.node.close()


def revoke(running: Running, key: SoftwareKey = OLD) -> None:
    message = Revocation(running.village.link("regulator"), key.public_key.thumbprint, "stolen")
    running.send(running.village.sign(message, MessageType.REVOCATION, "regulator"))


def replace_gateway(running: Running) -> None:
    member = Author("gw", Role.GATEWAY, NEW.public_key)
    message = Admission(running.village.link("regulator"), member, OLD.public_key.thumbprint)
    running.send(running.village.sign(message, MessageType.ADMISSION, "regulator"))
    running.village.keys["gw"] = NEW


def rotate_gateway(running: Running) -> bytes:
    message = rotate(running.village.link(), OLD.public_key.thumbprint, NEW)
    data = running.village.sign(message, MessageType.ROTATION)
    running.send(data)
    running.village.keys["gw"] = NEW
    return data


def reopen(running: Running) -> None:
    running.node.close()
    running.node = running.open()
    running.village.five = running.node.five


def test_a_revoked_key_stays_revoked_across_a_restart(running: Running) -> None:
    running.live(10)
    revoke(running)
    reopen(running)
    with pytest.raises(Refused) as refused:
        running.node.check(running.batch())
    assert refused.value.code is RefusalCode.UNKNOWN_KEY


def test_a_ledger_with_keys_that_came_and_went_passes_the_audit(running: Running) -> None:
    running.live(10)
    replace_gateway(running)
    running.live(10)
    revoke(running, NEW)
    store = Store.open_read_only(running.folder)
    report = audit(store, second_opinion=True)
    store.close()
    assert (report.readings, report.refused) == (80, 0)


def test_a_reading_that_a_key_signed_before_its_end_is_proven_for_ever(running: Running) -> None:
    running.live(10)
    rotate_gateway(running)
    file = LedgerFile(running.folder)
    document = prove_reading(file.five, file.store, "m-home", None)
    claim = verify(document, running.village.keys["node"].public_key).claim
    height = file.five.ledger.height
    file.close()
    assert (claim["gateway"], claim["key_ended"], claim["key_ended_after_block"]) == ("gw", "rotated", height)
    document["ended"] = document["key"]
    with pytest.raises(ProofError, match="not the end"):
        verify(document, running.village.keys["node"].public_key)


def test_a_reading_of_a_live_key_says_nothing_of_an_end(running: Running) -> None:
    running.live(10)
    file = LedgerFile(running.folder)
    document = prove_reading(file.five, file.store, "m-home", None)
    file.close()
    assert document["ended"] is None
    assert "key_ended" not in verify(document, running.village.keys["node"].public_key).claim


def test_a_receipt_that_was_lost_is_given_again_though_the_key_has_ended(running: Running) -> None:
    data = running.batch()
    running.send(data)
    step = rotate_gateway(running)
    for record, sequence in ((data, 1), (step, 2)):
        with pytest.raises(Refused) as refused:
            running.node.check(record)
        assert refused.value.code is RefusalCode.UNKNOWN_KEY
        (answer,) = kinds(running.node.answer_again(record), Kind.RECEIPT)
        (received,) = Receipt.decode(Envelope.parse(answer).payload).records
        assert (received.sequence, received.digest) == (sequence, digest_of(record))


def test_a_key_that_has_ended_gets_no_answer_to_anything_new(running: Running) -> None:
    running.live(5)
    revoke(running)
    sent = running.village.sign(running.village.a_batch(), MessageType.BATCH)
    assert running.node.answer_again(sent) == []
    stranger = running.village.sign(running.village.a_batch(), MessageType.BATCH, "node")
    assert running.node.answer_again(stranger) == []


@pytest.mark.parametrize("rubbish", [[], "x", {1: "r"}, None, [1, 2, 3, 4]])
def test_rubbish_under_a_key_that_has_ended_gets_no_answer_either(running: Running, rubbish: object) -> None:
    revoke(running)
    data = running.village.sign(running.village.a_batch(), MessageType.BATCH, payload=encode(rubbish))
    assert running.node.answer_again(data) == []


def test_a_record_that_a_revocation_overtakes_in_the_queue_gets_no_answer(running: Running) -> None:
    waiting = running.node.check(running.batch())
    revoke(running)
    running.node.submit(waiting, running.village.now_ms)
    told = running.node.close_block(running.village.now_ms)
    assert [message.topic.kind for message in told if message.topic.kind in {Kind.RECEIPT, Kind.REFUSAL}] == []
    assert running.node.five.data.totals.batches == 0


def test_a_node_whose_own_key_has_ended_stops_with_a_sentence(running: Running) -> None:
    message = Admission(
        running.village.link("regulator"),
        Author("node", Role.AGGREGATOR, NEW.public_key),
        running.village.keys["node"].public_key.thumbprint,
    )
    record = running.node.check(running.village.sign(message, MessageType.ADMISSION, "regulator"))
    running.node.submit(record, running.village.now_ms)
    running.node.close_block(running.village.now_ms)  # that block is still its own
    with pytest.raises(OperatorError, match="a key that the asset chain admits, got one that has ended"):
        running.node.close_block(running.village.now_ms + INTERVAL_MS)
    running.node.close()
    with pytest.raises(OperatorError, match="no such one"):
        running.open()
    store = Store.open_read_only(running.folder)
    audit(store)
    store.close()

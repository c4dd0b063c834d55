"""Equivocation: whoever signs two pasts is convicted by two signatures of their own, and nobody else ever is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from aggregator.chains.admission.membership import Admission, Cause, Ended, Revocation
from aggregator.chains.admission.validators import Validator, ValidatorChange
from aggregator.chains.intervals.results import PeriodFactors
from aggregator.ledger.record import Author, Record, Role
from protocol.canonical import decode, encode
from protocol.crypto import P256_ORDER, SoftwareKey
from protocol.envelope import Envelope, seal, signed_bytes
from protocol.errors import EncodingError, SpellingError
from protocol.evidence import Evidence, contradiction, evidence_of
from protocol.messages import MessageType, Statement
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import rotate
from tests.village import INTERVAL_MS, START_MS, Village

GATEWAY, NEW, NODE_2 = SoftwareKey.from_secret(3), SoftwareKey.from_secret(700), SoftwareKey.from_secret(900)


@pytest.fixture
def village() -> Village:
    return Village()


def two_batches(village: Village, **changes: Any) -> tuple[bytes, bytes]:
    """Two batches of one gateway with one number."""
    batch = village.a_batch()
    village.now_ms += INTERVAL_MS
    other = replace(batch, boot_id=bytes(16), **changes)
    return village.sign(batch, MessageType.BATCH), village.sign(other, MessageType.BATCH)


def evidence(village: Village, pair: tuple[bytes, bytes], by: str = "node") -> Record:
    """What `by` brings to the chain."""
    first, second = sorted(map(Envelope.parse, pair), key=lambda envelope: envelope.digest)
    return village.record(village.sign(Evidence(village.link(by), first, second), MessageType.EVIDENCE, by))


def outcome(village: Village, *records: Record) -> list[RefusalCode | None]:
    return [outcome.refusal for outcome in village.close(list(records)).outcomes]


def admit_second_node(village: Village) -> None:
    village.keys["node-2"] = NODE_2
    message = Admission(village.link("regulator"), Author("node-2", Role.AGGREGATOR, NODE_2.public_key), None)
    assert outcome(village, village.record(village.sign(message, MessageType.ADMISSION, "regulator"))) == [None]


def two_heads(village: Village, **changes: Any) -> tuple[bytes, bytes]:
    """Checkpoints of the second node over the last block: the honest one and another one."""
    head = village.blocks[-1].head
    other = replace(head, **changes or {"entries": bytes(32)})
    ours, theirs = (village.sign(one, MessageType.CHECKPOINT, "node-2") for one in (head, other))
    return ours, theirs


def test_two_batches_with_one_number_end_the_key_from_the_next_block_on(village: Village) -> None:
    pair = two_batches(village)
    own = village.record(pair[0])
    assert outcome(village, own) == [None]
    assert outcome(village, evidence(village, pair)) == [None]
    thumbprint = GATEWAY.public_key.thumbprint
    assert village.five.asset.author_of(thumbprint) is None
    assert village.five.asset.membership.ended(thumbprint) == Ended(3, Cause.EQUIVOCATED, None)
    assert village.five.asset.membership.holder_of(thumbprint) is not None  # what it signed before can be proven


def test_the_regulator_may_bring_what_others_found(village: Village) -> None:
    assert outcome(village, evidence(village, two_batches(village), by="regulator")) == [None]


def test_a_gateway_may_not_bring_evidence(village: Village) -> None:
    with pytest.raises(Refused) as refused:
        evidence(village, two_batches(village), by="gw")
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


def test_a_batch_and_a_purchase_with_one_number_contradict_each_other(village: Village) -> None:
    purchase = village.sign(village.a_purchase(), MessageType.PURCHASE)
    batch = village.sign(village.a_batch(), MessageType.BATCH)
    assert outcome(village, evidence(village, (purchase, batch))) == [None]


def test_a_convicted_gateway_is_admitted_anew_with_another_key_and_goes_on(village: Village) -> None:
    outcome(village, evidence(village, two_batches(village)))
    member = Author("gw", Role.GATEWAY, NEW.public_key)
    message = Admission(village.link("regulator"), member, None)
    outcome(village, village.record(village.sign(message, MessageType.ADMISSION, "regulator")))
    village.keys["gw"] = NEW
    assert outcome(village, village.record(village.sign(village.a_batch(), MessageType.BATCH))) == [None]


def test_a_node_that_signs_two_heads_of_one_height_loses_its_key_and_its_vote(village: Village) -> None:
    admit_second_node(village)
    for name, key in (("node", bytes(32)), ("node-2", bytes(31) + b"\x01")):
        message = ValidatorChange(village.link("regulator"), name, Validator(key, 1))
        outcome(village, village.record(village.sign(message, MessageType.VALIDATOR, "regulator")))
    assert outcome(village, evidence(village, two_heads(village))) == [None]
    assert village.five.asset.author_of(NODE_2.public_key.thumbprint) is None
    assert list(village.five.asset.validators()) == ["node"]


# -- what is no contradiction


def test_a_nodes_proposals_that_were_not_decided_are_no_lies(village: Village) -> None:
    """Each was for the chains as they stood: at its next turn another's result may be there, and the next is due."""
    admit_second_node(village)
    factors = PeriodFactors(village.link("node-2"), START_MS, START_MS + 1, bytes(32))
    pair = [
        village.sign(one, MessageType.FACTORS, "node-2") for one in (factors, replace(factors, end_ms=START_MS + 2))
    ]
    assert outcome(village, evidence(village, (pair[0], pair[1]))) == [RefusalCode.NO_CONTRADICTION]


def test_records_with_two_numbers_are_a_sequence(village: Village) -> None:
    first = village.sign(village.a_batch(), MessageType.BATCH)
    second = village.sign(village.a_batch(link=village.link(sequence=2)), MessageType.BATCH)
    assert outcome(village, evidence(village, (first, second))) == [RefusalCode.NO_CONTRADICTION]
    assert village.five.asset.author_of(GATEWAY.public_key.thumbprint) is not None


def test_the_same_words_signed_twice_are_no_contradiction(village: Village) -> None:
    """A chip signs with a number of its own dice: the same batch, signed again after a crash, has another digest."""
    payload = village.a_batch().encode()
    data = village.sign(village.a_batch(), MessageType.BATCH)
    envelope = Envelope.parse(data)
    again = _signed_with_dice(GATEWAY, envelope.protected, payload)
    first, second = (seal_of(envelope.protected, envelope.payload, s) for s in (envelope.signature, again))
    assert first != second and evidence_of(first, second) is None
    assert outcome(village, evidence(village, (first, second))) == [RefusalCode.NO_CONTRADICTION]


def seal_of(protected: bytes, payload: bytes, signature: bytes) -> bytes:
    return b"\xd2" + encode([protected, {}, payload, signature])


def _signed_with_dice(key: SoftwareKey, protected: bytes, payload: bytes) -> bytes:
    """A signature as a chip makes it."""
    signed = key._private.sign(signed_bytes(protected, b"village", payload), ec.ECDSA(SHA256()))
    r, s = utils.decode_dss_signature(signed)
    return r.to_bytes(32) + min(s, P256_ORDER - s).to_bytes(32)


def test_two_keys_of_one_gateway_have_each_its_own_past(village: Village) -> None:
    one, _ = two_batches(village)
    step = rotate(village.link(), GATEWAY.public_key.thumbprint, NEW)
    outcome(village, village.record(village.sign(step, MessageType.ROTATION)))
    village.keys["gw"] = NEW
    other = village.sign(village.a_batch(link=village.link(sequence=1)), MessageType.BATCH)
    assert outcome(village, evidence(village, (other, one))) in (
        [RefusalCode.NO_CONTRADICTION],  # the live key stands first
        [RefusalCode.NO_SUCH_KEY],
    )
    assert village.five.asset.author_of(NEW.public_key.thumbprint) is not None


def test_a_forged_envelope_convicts_nobody(village: Village) -> None:
    honest, lie = two_batches(village)
    envelope = Envelope.parse(honest)
    forged = seal_of(envelope.protected, Envelope.parse(lie).payload, envelope.signature)
    assert outcome(village, evidence(village, (honest, forged))) == [RefusalCode.NO_CONTRADICTION]


def test_what_was_signed_for_another_region_convicts_nobody(village: Village) -> None:
    batch = village.a_batch(link=village.link(region="elsewhere"))
    elsewhere = village.sign(batch, MessageType.BATCH, region="elsewhere")
    here = village.sign(village.a_batch(), MessageType.BATCH)
    assert outcome(village, evidence(village, (here, elsewhere))) == [RefusalCode.NO_CONTRADICTION]


@pytest.mark.parametrize("type_", [MessageType.STATEMENT, MessageType.RECEIPT])
def test_what_is_no_record_has_no_place_in_the_sequence(village: Village, type_: MessageType) -> None:
    """A statement's first four fields look like a link: region, gateway, number, the digest before it."""
    admit_second_node(village)
    said = Statement("village", "node-2", 1, bytes(32), 2, START_MS, ())
    pair = [village.sign(one, type_, "node-2") for one in (said, replace(said, height=3))]
    assert outcome(village, evidence(village, (pair[0], pair[1]))) == [RefusalCode.NO_CONTRADICTION]


def test_a_record_in_anothers_name_is_not_of_ones_own_sequence(village: Village) -> None:
    batch = village.a_batch(link=village.link(author="gw-2"))
    pair = village.sign(batch, MessageType.BATCH), village.sign(replace(batch, boot_id=bytes(16)), MessageType.BATCH)
    assert outcome(village, evidence(village, pair)) == [RefusalCode.NO_CONTRADICTION]


def test_heads_of_one_history_are_no_contradiction(village: Village) -> None:
    admit_second_node(village)
    below = village.sign(village.blocks[-2].head, MessageType.CHECKPOINT, "node-2")
    above = village.sign(village.blocks[-1].head, MessageType.CHECKPOINT, "node-2")
    assert outcome(village, evidence(village, (below, above))) == [RefusalCode.NO_CONTRADICTION]


def test_heads_that_are_none_or_of_another_region_convict_nobody(village: Village) -> None:
    admit_second_node(village)
    ours, elsewhere = two_heads(village, region="elsewhere")
    assert outcome(village, evidence(village, (ours, elsewhere))) == [RefusalCode.NO_CONTRADICTION]
    rubbish = seal(NODE_2, region="village", type_=MessageType.CHECKPOINT, payload=encode({1: 2}))
    assert outcome(village, evidence(village, (ours, rubbish))) == [RefusalCode.NO_CONTRADICTION]


# -- whose key


def test_an_unknown_key_cannot_be_convicted(village: Village) -> None:
    batch = village.a_batch()
    pair = [
        seal(NEW, region="village", type_="batch", payload=one.encode())
        for one in (batch, replace(batch, boot_id=bytes(16)))
    ]
    assert outcome(village, evidence(village, (pair[0], pair[1]))) == [RefusalCode.NO_SUCH_KEY]


def test_the_same_evidence_from_a_second_node_is_refused_and_harms_nobody(village: Village) -> None:
    admit_second_node(village)
    pair = two_batches(village)
    records = evidence(village, pair, "node"), evidence(village, pair, "node-2")
    assert outcome(village, *records) == [None, RefusalCode.NO_SUCH_KEY]


def test_a_liar_cannot_run_away_by_rotating_in_the_block_of_the_evidence(village: Village) -> None:
    pair = two_batches(village)
    step = rotate(village.link(), GATEWAY.public_key.thumbprint, NEW)
    records = village.record(village.sign(step, MessageType.ROTATION)), evidence(village, pair)
    assert outcome(village, *records) == [None, None]
    assert village.five.asset.author_of(NEW.public_key.thumbprint) is None


def test_whoever_left_a_key_earlier_does_not_answer_for_it(village: Village) -> None:
    """An old key may be anybody's by now; perhaps it was left because it had leaked."""
    pair = two_batches(village)
    step = rotate(village.link(), GATEWAY.public_key.thumbprint, NEW)
    outcome(village, village.record(village.sign(step, MessageType.ROTATION)))
    assert outcome(village, evidence(village, pair)) == [RefusalCode.NO_SUCH_KEY]
    assert village.five.asset.author_of(NEW.public_key.thumbprint) is not None


def test_a_key_that_the_regulator_ended_is_not_ended_again(village: Village) -> None:
    pair = two_batches(village)
    message = Revocation(village.link("regulator"), GATEWAY.public_key.thumbprint, "lost")
    revocation = village.record(village.sign(message, MessageType.REVOCATION, "regulator"))
    assert outcome(village, revocation, evidence(village, pair)) == [None, RefusalCode.NO_SUCH_KEY]


def test_the_only_aggregator_is_proven_a_liar_but_stays(village: Village) -> None:
    """The refusal stands on the chain with the digest of the evidence, which was looked at before."""
    head = village.blocks[-1].head
    heads = [village.sign(one, MessageType.CHECKPOINT, "node") for one in (head, replace(head, entries=bytes(32)))]
    accused = evidence(village, (heads[0], heads[1]), "regulator")
    assert outcome(village, accused) == [RefusalCode.LAST_OF_ITS_ROLE]


def test_the_regulator_is_proven_a_liar_but_stays(village: Village) -> None:
    link = village.link("regulator")
    pair = [village.sign(Revocation(link, bytes([n]) * 32, ""), MessageType.REVOCATION, "regulator") for n in range(2)]
    assert outcome(village, evidence(village, (pair[0], pair[1]))) == [RefusalCode.LAST_OF_ITS_ROLE]


# -- the bytes


def test_evidence_has_one_spelling_whoever_brings_it(village: Village) -> None:
    record = evidence(village, two_batches(village))
    fields = decode(record.envelope.payload, size_max=1 << 20)
    swapped = encode({**fields, 5: fields[6], 6: fields[5]})
    with pytest.raises(SpellingError, match="lower digest first"):
        Evidence.decode(swapped)
    with pytest.raises(SpellingError, match="lower digest first"):
        Evidence.decode(encode({**fields, 6: fields[5]}))


@pytest.mark.parametrize("shown", [7, b"rubbish"])
def test_what_shows_no_envelopes_is_no_evidence(village: Village, shown: Any) -> None:
    fields = decode(evidence(village, two_batches(village)).envelope.payload, size_max=1 << 20)
    with pytest.raises(EncodingError):
        Evidence.decode(encode({**fields, 5: shown}))


def test_the_helper_puts_two_envelopes_in_order_and_sees_what_cannot_contradict(village: Village) -> None:
    ours, theirs = two_batches(village)
    found = evidence_of(ours, theirs)
    assert found is not None and found == evidence_of(theirs, ours) and found[0].digest < found[1].digest
    assert evidence_of(ours, ours) is None
    assert evidence_of(ours, b"rubbish") is None
    assert evidence_of(ours, village.sign(village.a_batch(), MessageType.BATCH, "node")) is None


def test_a_contradiction_is_told_in_words(village: Village) -> None:
    ours, theirs = map(Envelope.parse, two_batches(village))
    told = contradiction(ours, theirs, region="village", name="gw", records={"batch"})
    assert told == "gw signed two records with number 1"

"""CometBFT's own hashes, sign bytes and signatures, and everything that must not pass for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from protocol.canonical import decode, encode
from protocol.cometbft.block import BlockId, Header, LightBlock, ValidatorSet, vote_sign_bytes
from protocol.cometbft.light import Trusting, signers, verify_commit, verify_next, without_unsigned
from protocol.cometbft.rpc import _time, read_light_block, read_signed_header, read_validators
from protocol.cometbft.spelling import LIGHT_BLOCK_BYTES_MAX, decode_light_block, encode_light_block
from protocol.crypto import digest_of
from protocol.errors import EncodingError, MessageError, ProofError
from tests.validators import Chain, a_light_block, a_validator_key
from tests.vector_files import read_vectors

UPSTREAM = read_vectors("cometbft/upstream.json")
ANSWERS: list[dict[str, Any]] = read_vectors("cometbft/kvstore_chain.json")["blocks"]
CHAIN = [read_light_block(answer["commit"], answer["validators"]) for answer in ANSWERS]
DAY_MS = 86_400_000
TRUSTING = Trusting(period_ms=7 * DAY_MS, drift_ms=10_000)


def now_ms(block: LightBlock) -> int:
    """A moment after a block."""
    return block.header.time_ns // 1_000_000 + 1


# -- Upstream's own values


@pytest.mark.parametrize("case", UPSTREAM["votes"], ids=lambda case: case["about"])
def test_a_vote_is_signed_over_the_bytes_that_upstream_published(case: dict[str, Any]) -> None:
    made = vote_sign_bytes(
        case["chain_id"], height=case["height"], round_=case["round"], block_id=None, time_ns=case["time_ns"],
        type_=case["type"],
    )  # fmt: skip
    assert made.hex() == case["sign_bytes"]


@pytest.mark.parametrize("case", UPSTREAM["headers"], ids=lambda case: case["about"])
def test_a_header_has_the_hash_that_upstream_published(case: dict[str, Any]) -> None:
    hashes = {key: digest_of(text.encode()) for key, text in case.items() if text == key}
    hashes["proposer_address"] = hashes["proposer_address"][:20]
    last = case["last_block_id"]
    header = Header(
        version_block=case["version_block"],
        version_app=case["version_app"],
        chain_id=case["chain_id"],
        height=case["height"],
        time_ns=_time(case["time"], "time"),
        last_block_id=BlockId(bytes.fromhex(last["hash"]), last["parts_total"], bytes.fromhex(last["parts_hash"])),
        **hashes,
    )
    assert header.hash.hex() == case["hash"]


# -- A chain that CometBFT made


def test_every_block_of_a_real_chain_is_signed_by_more_than_two_thirds() -> None:
    for block in CHAIN:
        assert block.header.hash == block.commit.block_id.hash
        assert verify_commit(block) == signers(block)


def test_a_real_chain_has_absent_votes_and_other_validators_at_its_end() -> None:
    assert len(signers(CHAIN[0])) == 4
    assert any(vote is None for vote in CHAIN[-1].commit.votes)
    assert CHAIN[-1].validators.power == 7


def test_a_light_client_walks_a_real_chain_from_its_first_block() -> None:
    for trusted, block in pairwise(CHAIN):
        verify_next(trusted, block, TRUSTING, now_ms(block))
    verify_next(CHAIN[0], CHAIN[-1], TRUSTING, now_ms(CHAIN[-1]))


def test_a_light_block_has_one_spelling_and_comes_back_from_it() -> None:
    for block in CHAIN:
        spelled = encode_light_block(block)
        assert decode_light_block(spelled) == block
        assert len(spelled) < 1100


# -- What must not pass


def edited(path: str, value: object) -> Callable[[], LightBlock]:
    """Read the first answers of the real chain with one value in them changed; a value of `...` takes it out."""

    def read() -> LightBlock:
        answer = copy.deepcopy(ANSWERS[0])
        *way, last = path.split(".")
        place: Any = answer
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        if value is ...:
            del place[last]
        else:
            place[int(last) if last.isdigit() else last] = value
        return read_light_block(answer["commit"], answer["validators"])

    return read


HEADER = "commit.signed_header.header"
COMMIT = "commit.signed_header.commit"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("commit.signed_header", ...),
        (HEADER, []),
        (f"{HEADER}.height", 1),
        (f"{HEADER}.height", "01"),
        (f"{HEADER}.height", "9223372036854775808"),
        (f"{HEADER}.height", "٣"),
        (f"{HEADER}.height", "1٣"),
        (f"{HEADER}.time", "2026-11-20T12:00:0٣Z"),
        (f"{HEADER}.chain_id", "c" * 51),
        (f"{HEADER}.chain_id", "\ud800"),
        (f"{HEADER}.time", "2026-11-20T12:00:00+01:00"),
        (f"{HEADER}.time", "2026-02-30T12:00:00Z"),
        (f"{HEADER}.time", "1969-12-31T23:59:59Z"),
        (f"{HEADER}.time", 5),
        (f"{HEADER}.app_hash", "0" * 130),
        (f"{HEADER}.data_hash", "AB"),
        (f"{HEADER}.validators_hash", None),
        (f"{HEADER}.proposer_address", ""),
        (f"{HEADER}.last_block_id", "none"),
        (f"{COMMIT}.round", "0"),
        (f"{COMMIT}.round", True),
        (f"{COMMIT}.round", -1),
        (f"{COMMIT}.signatures", [{}] * 101),
        (f"{COMMIT}.signatures.0.block_id_flag", 4),
        (f"{COMMIT}.signatures.0.signature", "AAAA"),
        (f"{COMMIT}.signatures.0.signature", "not base64!"),
        (f"{COMMIT}.signatures.0.signature", "A" * 85 + "B=="),
        (f"{COMMIT}.signatures.0.signature", None),
        (f"{COMMIT}.signatures.0.validator_address", "ab" * 20),
        ("validators.total", "5"),
        ("validators.validators", {}),
        ("validators.validators.0.pub_key.type", "tendermint/PubKeySecp256k1"),
        ("validators.validators.0.pub_key.value", "AAAA"),
        ("validators.validators.0.voting_power", "-1"),
    ],
)
def test_an_answer_that_is_not_spelled_as_cometbft_does_is_refused(path: str, value: object) -> None:
    with pytest.raises(EncodingError):
        edited(path, value)()


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (f"{HEADER}.height", "2", "not for the header"),
        (f"{HEADER}.version.block", "12", "block protocol 12 is not spoken here"),
        (f"{HEADER}.app_hash", "00" * 32, "not for the header"),
        (f"{HEADER}.version.app", ..., "not for the header"),
        (f"{COMMIT}.height", "2", "not for the header"),
        (f"{COMMIT}.signatures", [], "one place per validator"),
        (f"{COMMIT}.signatures.0.validator_address", "AB" * 20, "another validator's place"),
        ("validators.validators.0.voting_power", "2", "not those that the header"),
        ("validators.validators.0.voting_power", "0", "out of bounds"),
        ("validators.validators.0.voting_power", str(2**60), "out of bounds"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(path: str, value: object, words: str) -> None:
    with pytest.raises(ProofError, match=words):
        edited(path, value)()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (f"{COMMIT}.round", 1),
        (f"{COMMIT}.block_id.parts.total", 2),
        (f"{COMMIT}.signatures.1.timestamp", "2026-11-20T12:00:00Z"),
        (f"{COMMIT}.signatures.2.signature", "A" * 86 + "=="),
    ],
)
def test_whatever_is_signed_cannot_be_changed(path: str, value: object) -> None:
    with pytest.raises(ProofError, match="is not signed by it"):
        verify_commit(edited(path, value)())


def test_what_other_versions_say_more_is_ignored() -> None:
    assert edited(f"{HEADER}.another_field", "1")() == CHAIN[0]


def test_nobody_else_in_the_answer_is_asked_for_a_vote_for_no_block() -> None:
    block = edited(f"{COMMIT}.signatures.0.block_id_flag", 3)()
    assert len(verify_commit(block)) == 3


def test_answers_that_are_no_objects_are_refused() -> None:
    for nothing in (None, [], "", 0, {"signed_header": {"header": {}}}):
        with pytest.raises(EncodingError):
            read_signed_header(nothing)
        with pytest.raises(EncodingError):
            read_validators(nothing)


def test_a_set_has_a_bound_and_nobody_twice() -> None:
    (first, *_) = CHAIN[0].validators.validators
    too_many = (*a_light_block(count=100).validators.validators, replace(first, key=a_validator_key(100)))
    for validators in ((), (first, first), too_many):
        with pytest.raises(ProofError):
            ValidatorSet(validators)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_spelling_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(EncodingError):
        decode_light_block(encode_light_block(CHAIN[0])[:cut])


def test_no_byte_of_a_spelling_can_change_unnoticed() -> None:
    spelled = encode_light_block(CHAIN[0])
    for at in range(len(spelled)):
        changed = spelled[:at] + bytes([spelled[at] ^ 1]) + spelled[at + 1 :]
        with pytest.raises(MessageError):
            verify_commit(decode_light_block(changed))


def test_the_largest_light_block_keeps_its_bound() -> None:
    assert len(encode_light_block(a_light_block(count=100))) < LIGHT_BLOCK_BYTES_MAX


# -- Who signed, and whom to go on trusting


@pytest.mark.parametrize(
    ("signing", "of", "holds"), [(3, 4, True), (2, 3, False), (5, 7, True), (4, 6, False), (1, 1, True)]
)
def test_more_than_two_thirds_are_needed_and_two_thirds_are_too_few(signing: int, of: int, holds: bool) -> None:
    block = a_light_block(count=of, signing=range(signing))
    if holds:
        assert len(verify_commit(block)) == signing
        return
    with pytest.raises(ProofError, match=f"signed by {signing} of {of} power"):
        verify_commit(block)


def test_one_vote_that_verifies_nowhere_else_does_not_spoil_a_commit_that_is_decided_without_it() -> None:
    block = a_light_block(4)
    first, *others = block.commit.votes
    assert first is not None
    odd = replace(block, commit=replace(block.commit, votes=(replace(first, signature=bytes(64)), *others)))
    with pytest.raises(ProofError, match="is not signed by it"):
        verify_commit(odd)
    assert len(verify_commit(without_unsigned(odd))) == 3
    assert without_unsigned(block) == block
    two = replace(odd, commit=replace(odd.commit, votes=(odd.commit.votes[0], None, *others[1:])))
    with pytest.raises(ProofError, match="signed by 2 of 4 power"):
        verify_commit(without_unsigned(two))


def test_the_next_height_is_signed_by_those_whom_the_trusted_header_names() -> None:
    chain = Chain()
    first, second = chain.block(1, next_validators=range(4, 8)), chain.block(2, validators=range(4, 8))
    verify_next(first, second, TRUSTING, now_ms(second))
    impostors = chain.block(2, validators=range(8, 12))
    with pytest.raises(ProofError, match="other validators than the trusted header names"):
        verify_next(first, impostors, TRUSTING, now_ms(impostors))


def test_no_step_is_made_to_a_block_that_too_few_signed() -> None:
    chain = Chain()
    for height in (2, 9):
        block = chain.block(height, signing=(0, 1))
        with pytest.raises(ProofError, match="signed by 2 of 4 power, more than two thirds are needed"):
            verify_next(chain.block(1), block, TRUSTING, now_ms(block))


@pytest.mark.parametrize(("common", "holds"), [(2, True), (1, False), (0, False)])
def test_skipping_needs_more_than_a_third_of_those_who_are_trusted(common: int, holds: bool) -> None:
    chain = Chain()
    trusted = chain.block(1, validators=range(3))
    later = chain.block(9, validators=range(3 - common, 7))
    if holds:
        verify_next(trusted, later, TRUSTING, now_ms(later))
        return
    with pytest.raises(ProofError, match=f"signed by {common} of 3 power of the validators trusted"):
        verify_next(trusted, later, TRUSTING, now_ms(later))


def test_power_counts_as_it_is_in_the_trusted_set() -> None:
    chain = Chain()
    trusted = chain.block(1, validators=range(3))
    later = chain.block(9, validators=range(2, 4), power={2: 1000})
    with pytest.raises(ProofError, match="signed by 1 of 3 power"):
        verify_next(trusted, later, TRUSTING, now_ms(later))


def test_a_block_that_does_not_come_after_the_trusted_one_is_refused() -> None:
    chain = Chain()
    trusted, later = chain.block(5), chain.block(7)
    no_later = chain.block(6, time_ns=trusted.header.time_ns)
    for block in (trusted, chain.block(4), chain.block(4, time_ns=later.header.time_ns), no_later):
        with pytest.raises(ProofError, match="does not come after"):
            verify_next(trusted, block, TRUSTING, now_ms(later))
    with pytest.raises(ProofError, match="not of 'region-1'"):
        verify_next(trusted, Chain("elsewhere").block(7), TRUSTING, now_ms(later))
    with pytest.raises(ProofError, match="dated in the future"):
        verify_next(trusted, later, TRUSTING, now_ms(later) - 20_000)


def test_trust_ends_with_its_period() -> None:
    chain = Chain()
    trusted, later = chain.block(5), chain.block(7)
    with pytest.raises(ProofError, match="older than the trusting period"):
        verify_next(trusted, later, TRUSTING, now_ms(trusted) + 7 * DAY_MS)


def test_a_spelling_of_another_shape_is_refused() -> None:
    whole = decode(encode_light_block(CHAIN[0]), size_max=LIGHT_BLOCK_BYTES_MAX)
    for broken in ([], whole[:3], [*whole, 0], [whole[0][:14], *whole[1:]], [*whole[:3], [[b"", 1, None]]]):
        with pytest.raises(EncodingError):
            decode_light_block(encode(broken))

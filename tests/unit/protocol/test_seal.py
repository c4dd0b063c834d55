"""Who has to have signed a head, by checkpoints or by votes, and what says so for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from protocol.canonical import encode
from protocol.checkpoint import BlockHead
from protocol.envelope import seal as sign
from protocol.errors import EncodingError, MessageError, ProofError, SignatureError
from protocol.messages import MessageType
from protocol.quorum import Member, Quorum, more_than_two_thirds
from protocol.seal import SEAL_BYTES_MAX, Checkpoints, Commit, Seal, decode_seal, encode_seal, verify
from tests.builders import REGION, a_block_head, a_key
from tests.validators import Chain, a_validator_key

HEAD = a_block_head()
NAMES = ("regulator", "north", "south", "west")


def a_quorum(**changes: Any) -> Quorum:
    """Four members of power 1, each with keys of both kinds; three have to sign."""
    members = tuple(
        Member(name=name, node_key=a_key(10 + i).public_key, validator_key=a_validator_key(i))
        for i, name in enumerate(NAMES)
    )
    whole: dict[str, Any] = {"region": REGION, "members": members, "threshold": 3, "required": ("regulator",)}
    return Quorum(**whole | changes)


def checkpoint(i: int, head: BlockHead = HEAD, type_: str = MessageType.CHECKPOINT, region: str = REGION) -> bytes:
    """The head in the envelope of one member."""
    return sign(a_key(10 + i), region=region, type_=type_, payload=head.encode())


def checkpoints(signing: Iterable[int]) -> Seal:
    """The head in the envelopes of several."""
    return Checkpoints(tuple(checkpoint(i) for i in signing))


def votes(signing: Iterable[int], **changes: Any) -> Seal:
    """A CometBFT header that carries the head, with the votes of several."""
    return Commit(Chain(REGION).block(9, signing=signing, **{"app_hash": HEAD.digest} | changes))


@pytest.mark.parametrize("made", [checkpoints, votes])
def test_a_quorum_vouches_for_a_head(made: Any) -> None:
    assert verify(made(range(4)), a_quorum(), HEAD) == NAMES
    assert verify(made((0, 1, 3)), a_quorum(), HEAD) == ("regulator", "north", "west")


@pytest.mark.parametrize("made", [checkpoints, votes])
def test_nothing_counts_without_those_who_are_required(made: Any) -> None:
    with pytest.raises(ProofError, match="block 2 is not signed by regulator, whose signature is required"):
        verify(made((1, 2, 3)), a_quorum(), HEAD)
    assert verify(made((1, 2, 3)), a_quorum(required=()), HEAD) == NAMES[1:]


def test_too_few_checkpoints_are_told_with_the_names_that_are_missing() -> None:
    words = "^block 2 is signed by 2 of 4 power and 3 are needed: south and west did not sign$"
    with pytest.raises(ProofError, match=words):
        verify(checkpoints((0, 1)), a_quorum(), HEAD)


def test_votes_that_do_not_decide_a_block_are_no_seal_whatever_the_quorum_asks() -> None:
    with pytest.raises(ProofError, match="signed by 2 of 4 power, more than two thirds are needed"):
        verify(votes((0, 1)), a_quorum(threshold=1), HEAD)


def test_a_quorum_that_is_a_part_of_the_validators_counts_its_own_power() -> None:
    seal = votes(range(6), validators=range(7))
    assert verify(seal, a_quorum(), HEAD) == NAMES
    with pytest.raises(ProofError, match="signed by 1 of 4 power and 3 are needed"):
        verify(votes((0, 4, 5, 6), validators=(0, 4, 5, 6)), a_quorum(), HEAD)


def test_power_is_what_the_quorum_says_and_not_what_the_chain_says() -> None:
    with pytest.raises(ProofError, match="signed by 2 of 4 power"):
        verify(votes((0, 1), power={0: 100, 1: 100}), a_quorum(), HEAD)


def test_one_member_signs_once() -> None:
    twice = Checkpoints((checkpoint(0), checkpoint(0), checkpoint(0)))
    with pytest.raises(ProofError, match="1 of 4 power"):
        verify(twice, a_quorum(), HEAD)


def test_strangers_count_for_nothing_and_against_nothing() -> None:
    seal = Checkpoints((checkpoint(8), checkpoint(9, a_block_head(height=5)), *(checkpoint(i) for i in range(3))))
    assert verify(seal, a_quorum(), HEAD) == NAMES[:3]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (checkpoint(0, a_block_head(height=3)), ProofError),
        (checkpoint(0, type_=MessageType.RECEIPT), SignatureError),
        (checkpoint(0, region="elsewhere"), SignatureError),
        (b"", EncodingError),
        (checkpoint(0) + b"\x00", EncodingError),
    ],
    ids=["another head", "another type", "another region", "nothing", "a byte more"],
)
def test_a_checkpoint_of_something_else_is_refused(data: bytes, error: type[MessageError]) -> None:
    with pytest.raises(error):
        verify(Checkpoints((data, *(checkpoint(i) for i in range(1, 4)))), a_quorum(required=()), HEAD)


@pytest.mark.parametrize(
    ("seal", "words"),
    [
        (votes(range(4), app_hash=b"a" * 32), "does not carry the head of height 2"),
        (Commit(Chain("elsewhere").block(9, app_hash=HEAD.digest)), "of the chain elsewhere"),
    ],
)
def test_votes_for_something_else_are_refused(seal: Seal, words: str) -> None:
    with pytest.raises(ProofError, match=words):
        verify(seal, a_quorum(), HEAD)


def test_a_quorum_is_good_for_one_region() -> None:
    with pytest.raises(ProofError, match="the quorum is of the region elsewhere"):
        verify(checkpoints(range(4)), a_quorum(region="elsewhere"), HEAD)


def test_one_node_can_be_trusted_alone_but_not_for_what_validators_sealed() -> None:
    alone = Quorum.of_one(REGION, a_key(11).public_key)
    assert verify(checkpoints((0, 1)), alone, HEAD) == ("the key that was given",)
    with pytest.raises(ProofError, match="not signed by the key that was given"):
        verify(checkpoints((0, 2)), alone, HEAD)
    with pytest.raises(ProofError, match="a quorum with their keys is needed"):
        verify(votes(range(4)), alone, HEAD)


@pytest.mark.parametrize(("power", "least"), [(1, 1), (2, 2), (3, 3), (4, 3), (6, 5), (7, 5), (100, 67)])
def test_more_than_two_thirds_is_the_least_that_is_more(power: int, least: int) -> None:
    assert more_than_two_thirds(power) == least
    assert 3 * least > 2 * power >= 3 * (least - 1)


@pytest.mark.parametrize("seal", [checkpoints(range(3)), checkpoints(()), votes((0, 1, 2))])
def test_a_seal_comes_back_from_its_spelling(seal: Seal) -> None:
    assert decode_seal(encode_seal(seal)) == seal


@pytest.mark.parametrize(
    "value",
    [[], [1], [3, []], [True, []], ["1", []], [1, [7]], [1, [b""] * 101], [2, 7], [2, b""], [1, [], []], {1: 2}, None],
)
def test_what_is_no_seal_is_refused(value: object) -> None:
    with pytest.raises(EncodingError):
        decode_seal(encode(value))
    with pytest.raises(EncodingError):
        decode_seal(bytes(SEAL_BYTES_MAX + 1))

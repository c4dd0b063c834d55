"""Who has a vote: the regulator's word, from one block to the next; the engine is told the difference, once per key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.admission.membership import Admission, Revocation
from aggregator.chains.admission.validators import POWER_TOTAL_MAX, Validator, ValidatorChange, changed_powers
from aggregator.ledger.record import Author, Record, Role
from protocol.canonical import decode, encode
from protocol.crypto import SoftwareKey
from protocol.errors import EncodingError, SpellingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from tests.village import Village

NODE_2 = SoftwareKey.from_secret(900)
FIRST, SECOND, THIRD = (bytes([n]) * 32 for n in (1, 2, 3))
"""Consensus keys. The chain does not ask whether they are points: the engine would not get a vote out of another."""


@pytest.fixture
def village() -> Village:
    """A region with two aggregators, none of which has a vote yet."""
    village = Village()
    message = Admission(village.link("regulator"), Author("node-2", Role.AGGREGATOR, NODE_2.public_key), None)
    village.close([village.record(village.sign(message, MessageType.ADMISSION, "regulator"))])
    return village


def change(village: Village, member: str, key: bytes | None, power: int = 10) -> Record:
    validator = Validator(key, power) if key else None
    message = ValidatorChange(village.link("regulator"), member, validator)
    return village.record(village.sign(message, MessageType.VALIDATOR, "regulator"))


def revocation(village: Village, key: SoftwareKey) -> Record:
    message = Revocation(village.link("regulator"), key.public_key.thumbprint, "stolen")
    return village.record(village.sign(message, MessageType.REVOCATION, "regulator"))


def outcome(village: Village, *records: Record) -> list[RefusalCode | None]:
    return [outcome.refusal for outcome in village.close(list(records)).outcomes]


def test_the_regulator_gives_an_aggregator_a_vote_and_takes_it(village: Village) -> None:
    assert village.five.asset.validators() == {}
    assert outcome(village, change(village, "node-2", SECOND, 1), change(village, "node", FIRST)) == [None, None]
    votes = village.five.asset.validators()
    assert list(votes.items()) == [("node", Validator(FIRST, 10)), ("node-2", Validator(SECOND, 1))]
    assert outcome(village, change(village, "node-2", None)) == [None]
    assert village.five.asset.validators() == {"node": Validator(FIRST, 10)}


@pytest.mark.parametrize("name", ["nobody", "gw", "regulator"])
def test_only_an_aggregator_has_a_vote(village: Village, name: str) -> None:
    assert outcome(village, change(village, name, FIRST)) == [RefusalCode.NOT_AN_AGGREGATOR]


def test_an_aggregator_whose_key_has_ended_gets_no_vote(village: Village) -> None:
    outcome(village, revocation(village, NODE_2))
    assert outcome(village, change(village, "node-2", SECOND)) == [RefusalCode.NOT_AN_AGGREGATOR]


def test_two_validators_do_not_vote_with_one_key(village: Village) -> None:
    records = change(village, "node", FIRST), change(village, "node-2", FIRST)
    assert outcome(village, *records) == [None, RefusalCode.CONSENSUS_KEY_IN_USE]


def test_all_powers_together_stay_below_their_bound(village: Village) -> None:
    first, second = change(village, "node", FIRST, POWER_TOTAL_MAX - 1), change(village, "node-2", SECOND, 2)
    assert outcome(village, first, second) == [None, RefusalCode.TOO_MUCH_POWER]
    assert outcome(village, change(village, "node-2", SECOND, 1)) == [None]
    assert outcome(village, change(village, "node", FIRST, POWER_TOTAL_MAX)) == [RefusalCode.TOO_MUCH_POWER]


def test_who_has_no_vote_cannot_lose_it(village: Village) -> None:
    assert outcome(village, change(village, "node", None)) == [RefusalCode.NOT_A_VALIDATOR]


def test_the_last_validator_stays(village: Village) -> None:
    records = change(village, "node", FIRST), change(village, "node", None)
    assert outcome(village, *records) == [None, RefusalCode.LAST_VALIDATOR]


def test_a_revoked_aggregator_loses_its_vote_in_the_same_block(village: Village) -> None:
    outcome(village, change(village, "node", FIRST), change(village, "node-2", SECOND))
    assert outcome(village, revocation(village, NODE_2)) == [None]
    assert village.five.asset.validators() == {"node": Validator(FIRST, 10)}


def test_a_revoked_aggregator_that_has_the_only_vote_keeps_it_until_another_has_one(village: Village) -> None:
    outcome(village, change(village, "node-2", SECOND))
    assert outcome(village, revocation(village, NODE_2)) == [None]
    assert village.five.asset.validators() == {"node-2": Validator(SECOND, 10)}
    assert outcome(village, change(village, "node-2", THIRD)) == [RefusalCode.NOT_AN_AGGREGATOR]
    assert outcome(village, change(village, "node", FIRST)) == [None]
    assert village.five.asset.validators() == {"node": Validator(FIRST, 10)}


def test_a_replaced_aggregator_keeps_its_vote(village: Village) -> None:
    outcome(village, change(village, "node", FIRST), change(village, "node-2", SECOND))
    member = Author("node-2", Role.AGGREGATOR, SoftwareKey.from_secret(901).public_key)
    message = Admission(village.link("regulator"), member, NODE_2.public_key.thumbprint)
    outcome(village, village.record(village.sign(message, MessageType.ADMISSION, "regulator")))
    assert village.five.asset.validators()["node-2"] == Validator(SECOND, 10)


def test_the_engine_is_told_each_key_once_however_often_a_block_changed_it(village: Village) -> None:
    before = village.five.asset.validators()
    changes = [("node", FIRST, 1), ("node-2", SECOND, 5), ("node", THIRD, 2), ("node-2", FIRST, 7), ("node", FIRST, 1)]
    codes = outcome(village, *(change(village, *one) for one in changes))
    assert codes == [None, None, None, None, RefusalCode.CONSENSUS_KEY_IN_USE]
    after = village.five.asset.validators()
    assert changed_powers(before, after) == [(FIRST, 7), (THIRD, 2)]
    assert changed_powers(after, {"node": Validator(FIRST, 7), "node-2": Validator(SECOND, 2)}) == [
        (SECOND, 2),
        (THIRD, 0),
    ]
    assert changed_powers(after, after) == []


def test_only_the_regulator_says_who_has_a_vote(village: Village) -> None:
    data = village.sign(ValidatorChange(village.link(), "gw", Validator(FIRST, 1)), MessageType.VALIDATOR)
    with pytest.raises(Refused) as refused:
        village.five.ledger.check(data)
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


@pytest.mark.parametrize(("key", "power"), [(FIRST, 0), (None, 1), (FIRST[:31], 1), (FIRST, POWER_TOTAL_MAX + 1)])
def test_a_vote_has_a_key_and_a_power_or_neither(village: Village, key: bytes | None, power: int) -> None:
    with pytest.raises(EncodingError):
        ValidatorChange.decode(encode(village.link("regulator").to_fields() | {5: "node", 6: key, 7: power}))


# -- as the genesis names them


def with_votes(village: Village, validators: dict[str, Validator]) -> Genesis:
    return replace(village.five.asset.region.genesis, validators=validators)


def test_a_genesis_without_validators_has_no_field_for_them(village: Village) -> None:
    genesis = village.five.asset.region.genesis
    fields = decode(genesis.encode(), size_max=1 << 20)
    assert list(fields) == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(SpellingError, match="left out"):
        Genesis.decode(encode({**fields, 9: []}))


def test_a_genesis_with_validators_survives_being_written_and_read(village: Village) -> None:
    genesis = with_votes(village, {"node": Validator(FIRST, 3)})
    assert Genesis.decode(genesis.encode()) == genesis


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([["gw", FIRST, 1]], "no aggregator"),
        ([["node", FIRST, 0]], "1 or more"),
        ([["node", FIRST, 1], ["node", SECOND, 1]], "in the order"),
        ([["node", FIRST[:31], 1]], "32 bytes"),
        ([["node", FIRST]], "3 items"),
    ],
)
def test_the_validators_of_a_genesis_are_checked_against_its_members(
    village: Village, rows: list[Any], why: str
) -> None:
    fields = decode(village.five.asset.region.genesis.encode(), size_max=1 << 20)
    with pytest.raises(EncodingError, match=why):
        Genesis.decode(encode({**fields, 9: rows}))


def test_validators_of_a_genesis_have_keys_of_their_own_and_not_too_much_power(village: Village) -> None:
    genesis = with_votes(village, {"node": Validator(FIRST, POWER_TOTAL_MAX), "node-2": Validator(SECOND, 1)})
    members = (*genesis.members[:-1], Author("node-2", Role.AGGREGATOR, NODE_2.public_key), genesis.members[-1])
    genesis = replace(genesis, members=members)
    with pytest.raises(EncodingError, match="of power together"):
        genesis.check()
    twice = {"node": Validator(FIRST, 1), "node-2": Validator(FIRST, 1)}
    with pytest.raises(EncodingError, match="of its own"):
        replace(genesis, validators=twice).check()

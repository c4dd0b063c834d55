"""Who may sign: keys come, go and are replaced, from one block to the next; what they signed before stands for ever.

Row 10 of the pains: a signed register of keys, with rotation and revocation in the ledger.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from aggregator.chains.admission import membership
from aggregator.chains.admission.membership import Admission, Cause, Ended, Revocation
from aggregator.ledger.record import Author, Record, Role
from protocol.canonical import encode
from protocol.crypto import P256_ORDER, SoftwareKey
from protocol.errors import EncodingError, SpellingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import Rotation, rotate
from tests.village import INTERVAL_MS, Village, a_grid, some_keys

OLD = SoftwareKey.from_secret(3)
"""The village's gateway has it."""
NEW, OTHER = SoftwareKey.from_secret(700), SoftwareKey.from_secret(701)


@pytest.fixture
def village() -> Village:
    return Village()


def admission(village: Village, key: SoftwareKey, name: str = "gw", **changes: Any) -> Record:
    member = Author(name, changes.pop("role", Role.GATEWAY), key.public_key)
    message = Admission(village.link("regulator"), member, changes.pop("replaces", None))
    return village.record(village.sign(message, MessageType.ADMISSION, "regulator"))


def revocation(village: Village, key_id: bytes, reason: str = "stolen") -> Record:
    message = Revocation(village.link("regulator"), key_id, reason)
    return village.record(village.sign(message, MessageType.REVOCATION, "regulator"))


def rotation(village: Village, new: SoftwareKey, old: SoftwareKey = OLD, **changes: Any) -> Record:
    message = rotate(changes.pop("link", village.link()), changes.pop("old_key_id", old.public_key.thumbprint), new)
    return village.record(village.sign(message, MessageType.ROTATION))


def batch(village: Village) -> Record:
    record = village.record(village.sign(village.a_batch(), MessageType.BATCH))
    village.now_ms += INTERVAL_MS
    return record


def outcome(village: Village, *records: Record) -> list[RefusalCode | None]:
    """What became of the records of one block."""
    return [outcome.refusal for outcome in village.close(list(records)).outcomes]


def who(village: Village, key: SoftwareKey) -> str | None:
    author = village.five.asset.author_of(key.public_key.thumbprint)
    return author.name if author else None


def is_unknown(village: Village, data: bytes) -> bool:
    with pytest.raises(Refused) as refused:
        village.five.ledger.check(data)
    return refused.value.code is RefusalCode.UNKNOWN_KEY


def test_a_stolen_gateway_key_stops_working_within_one_block_of_its_revocation(village: Village) -> None:
    assert outcome(village, batch(village)) == [None]
    waiting = batch(village)  # opened while the key still counted, and overtaken by the revocation
    beside = revocation(village, OLD.public_key.thumbprint)
    assert outcome(village, beside) == [None]
    chosen, refused = village.five.ledger.propose([waiting])
    assert (chosen, [one.code for one in refused]) == ([], [RefusalCode.UNKNOWN_KEY])
    assert is_unknown(village, village.sign(village.a_batch(), MessageType.BATCH))


def test_what_stands_in_the_block_of_the_revocation_itself_still_counts(village: Village) -> None:
    village.keys["gw"] = OLD
    assert outcome(village, revocation(village, OLD.public_key.thumbprint), batch(village)) == [None, None]
    assert who(village, OLD) is None


def test_a_block_that_slips_in_a_record_of_an_ended_key_changes_nothing(village: Village) -> None:
    late = batch(village)
    outcome(village, revocation(village, OLD.public_key.thumbprint))
    ledger = village.five.ledger
    before = (ledger.head, ledger.state.root, ledger.rows())
    with pytest.raises(Refused) as refused:
        ledger.finalize(village.now_ms, [late])
    assert refused.value.code is RefusalCode.UNKNOWN_KEY
    assert (ledger.head, ledger.state.root, ledger.rows()) == before


def test_a_replaced_gateway_goes_on_with_its_sequence(village: Village) -> None:
    outcome(village, batch(village))
    outcome(village, admission(village, NEW, replaces=OLD.public_key.thumbprint))
    assert (who(village, OLD), who(village, NEW)) == (None, "gw")
    village.keys["gw"] = NEW
    record = batch(village)
    assert (record.link.sequence, outcome(village, record)) == (2, [None])


def test_a_gateway_that_was_revoked_can_come_back_with_another_key_only(village: Village) -> None:
    outcome(village, revocation(village, OLD.public_key.thumbprint))
    assert outcome(village, admission(village, OLD)) == [RefusalCode.KEY_IN_USE]
    assert outcome(village, admission(village, NEW)) == [None]
    village.keys["gw"] = NEW
    assert outcome(village, batch(village)) == [None]


def test_a_gateway_of_the_grid_may_enrol_after_the_region_is_founded() -> None:
    village = Village(keys=some_keys())
    village.keys["gw"] = NEW
    assert is_unknown(village, village.sign(village.a_batch(), MessageType.BATCH))
    assert outcome(village, admission(village, NEW)) == [None]
    assert outcome(village, batch(village)) == [None]


def test_a_rotation_takes_over_the_sequence_from_the_next_block_on(village: Village) -> None:
    outcome(village, batch(village))
    step = rotation(village, NEW)
    still = village.sign(village.a_batch(), MessageType.BATCH)  # behind it, with the old key
    assert outcome(village, step) == [None]
    assert is_unknown(village, still)
    village.keys["gw"] = NEW
    assert outcome(village, batch(village)) == [None]
    ended = village.five.asset.membership.ended(OLD.public_key.thumbprint)
    assert ended == Ended(3, Cause.ROTATED, NEW.public_key.thumbprint)


def test_a_thief_cannot_run_away_from_a_revocation_by_rotating(village: Village) -> None:
    outcome(village, rotation(village, NEW))
    village.keys["gw"] = NEW
    outcome(village, rotation(village, OTHER, NEW))
    assert outcome(village, revocation(village, OLD.public_key.thumbprint)) == [None]
    assert who(village, OTHER) is None


def test_a_thief_cannot_rotate_in_the_block_of_the_revocation(village: Village) -> None:
    records = revocation(village, OLD.public_key.thumbprint), rotation(village, NEW)
    assert outcome(village, *records) == [None, RefusalCode.NO_SUCH_KEY]
    assert who(village, NEW) is None


def test_a_replacement_ends_what_the_replaced_key_went_over_to(village: Village) -> None:
    outcome(village, rotation(village, NEW))
    assert outcome(village, admission(village, OTHER, replaces=OLD.public_key.thumbprint)) == [None]
    assert (who(village, NEW), who(village, OTHER)) == (None, "gw")


def test_further_aggregators_come_and_go_but_one_stays(village: Village) -> None:
    node = village.keys["node"].public_key.thumbprint
    assert outcome(village, revocation(village, node)) == [RefusalCode.LAST_OF_ITS_ROLE]
    assert outcome(village, admission(village, NEW, "node-2", role=Role.AGGREGATOR)) == [None]
    assert outcome(village, revocation(village, node)) == [None]
    assert outcome(village, revocation(village, NEW.public_key.thumbprint)) == [RefusalCode.LAST_OF_ITS_ROLE]


def test_the_regulator_cannot_be_revoked(village: Village) -> None:
    key_id = village.keys["regulator"].public_key.thumbprint
    assert outcome(village, revocation(village, key_id)) == [RefusalCode.LAST_OF_ITS_ROLE]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"key": OLD}, RefusalCode.KEY_IN_USE),
        ({"key": NEW}, RefusalCode.NAME_TAKEN),
        ({"key": NEW, "name": "node"}, RefusalCode.OTHER_MEMBER),
        ({"key": NEW, "name": "regulator"}, RefusalCode.OTHER_MEMBER),
        ({"key": NEW, "name": "gw-2", "replaces": OLD.public_key.thumbprint}, RefusalCode.OTHER_MEMBER),
        ({"key": NEW, "replaces": OTHER.public_key.thumbprint}, RefusalCode.NO_SUCH_KEY),
    ],
)
def test_an_admission_that_breaks_a_rule_is_refused(
    village: Village, changes: dict[str, Any], code: RefusalCode
) -> None:
    rows = village.five.asset.membership.all()
    assert outcome(village, admission(village, **changes)) == [code]
    assert village.five.asset.membership.all() == rows


@pytest.mark.parametrize("twice", [False, True])
def test_a_key_that_was_never_admitted_or_has_ended_cannot_be_revoked(village: Village, twice: bool) -> None:
    key = OLD if twice else NEW
    if twice:
        outcome(village, revocation(village, key.public_key.thumbprint))
    assert outcome(village, revocation(village, key.public_key.thumbprint)) == [RefusalCode.NO_SUCH_KEY]


def test_nobody_goes_over_to_a_key_that_somebody_has(village: Village) -> None:
    assert outcome(village, rotation(village, village.keys["node"])) == [RefusalCode.KEY_IN_USE]


def test_nobody_goes_over_to_a_key_that_does_not_vouch_for_the_step(village: Village) -> None:
    other_region = village.link(region="elsewhere")
    step = rotate(other_region, OLD.public_key.thumbprint, NEW)
    stolen = Rotation(village.link(), NEW.public_key, step.possession)
    record = village.record(village.sign(stolen, MessageType.ROTATION))
    assert outcome(village, record) == [RefusalCode.NOT_IN_POSSESSION]
    assert outcome(village, rotation(village, NEW, old_key_id=bytes(32))) == [RefusalCode.NOT_IN_POSSESSION]
    assert who(village, OLD) == "gw"


def test_a_gateway_rotates_so_often_and_then_has_to_be_admitted_anew(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "ROTATIONS_MAX", 3)
    keys = [OLD, *(SoftwareKey.from_secret(800 + n) for n in range(4))]
    for old, new in pairwise(keys[:4]):
        assert outcome(village, rotation(village, new, old)) == [None]
        village.keys["gw"] = new
    assert outcome(village, rotation(village, keys[4], keys[3])) == [RefusalCode.TOO_MANY_ROTATIONS]
    assert (who(village, keys[3]), who(village, keys[4])) == ("gw", None)
    assert outcome(village, admission(village, OTHER, replaces=keys[3].public_key.thumbprint)) == [None]
    village.keys["gw"] = OTHER
    assert outcome(village, rotation(village, NEW, OTHER)) == [None]


def test_what_is_taken_back_is_out_of_the_index_too(village: Village) -> None:
    register, ledger = village.five.asset.membership, village.five.ledger
    before = register.live(), register.all()
    ledger.propose([rotation(village, NEW), admission(village, OTHER, "gw-2")])
    assert (register.live(), register.all()) == before
    assert register.live_of("gw") == village.five.asset.author_of(OLD.public_key.thumbprint)
    assert register.live_of("gw-2") is None


def test_nobody_scans_every_key_that_there_ever_was(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    register = village.five.asset.membership

    def scans() -> None:
        raise AssertionError("every key is looked at")

    monkeypatch.setattr(register._keys, "items", scans)
    assert [author.name for author in register.live()] == ["gw", "node", "regulator"]
    register.admit(Admission(village.link("regulator"), Author("gw-2", Role.GATEWAY, NEW.public_key), None), 2)
    register.revoke(Revocation(village.link("regulator"), NEW.public_key.thumbprint, ""), 3)
    assert register.live_of("gw-2") is None


@pytest.mark.parametrize("role", [Role.REGULATOR, 0, 4])
def test_only_gateways_and_aggregators_can_be_admitted(village: Village, role: int) -> None:
    point = NEW.public_key.point
    payload = encode(village.link("regulator").to_fields() | {5: "gw-2", 6: int(role), 7: point, 8: None})
    with pytest.raises(EncodingError, match="role: an aggregator"):
        Admission.decode(payload)


def test_the_name_that_stands_for_whoever_keeps_the_chains_is_nobodys(village: Village) -> None:
    member = Author("aggregator", Role.GATEWAY, NEW.public_key)
    with pytest.raises(EncodingError, match="reserved"):
        Admission.decode(Admission(village.link("regulator"), member, None).encode())


def test_a_point_off_the_curve_is_no_key(village: Village) -> None:
    payload = encode(village.link("regulator").to_fields() | {5: "gw-2", 6: 3, 7: b"\x04" + bytes(64), 8: None})
    with pytest.raises(EncodingError, match="not a point on P-256"):
        Admission.decode(payload)


def test_a_proof_of_possession_has_one_spelling(village: Village) -> None:
    step = rotate(village.link(), OLD.public_key.thumbprint, NEW)
    high = (P256_ORDER - int.from_bytes(step.possession[32:])).to_bytes(32)
    with pytest.raises(SpellingError, match="high-S"):
        Rotation.decode(Rotation(step.link, step.key, step.possession[:32] + high).encode())


@pytest.mark.parametrize("type_", [MessageType.ADMISSION, MessageType.REVOCATION])
def test_only_the_regulator_says_who_is_a_member(village: Village, type_: MessageType) -> None:
    member = Author("gw-2", Role.GATEWAY, NEW.public_key)
    message = Admission(village.link(), member, None) if type_ is MessageType.ADMISSION else None
    data = village.sign(message or Revocation(village.link(), bytes(32), ""), type_)
    with pytest.raises(Refused) as refused:
        village.five.ledger.check(data)
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


def test_a_region_may_be_founded_before_its_gateways_have_keys() -> None:
    village = Village(grid=a_grid(), keys=some_keys())
    assert village.five.asset.members(Role.GATEWAY) == []
    assert village.five.ledger.broken_invariants() == []

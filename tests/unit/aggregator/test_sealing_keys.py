"""Whoever writes to a gateway seals to the key that it has published itself, and to no other."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.admission.membership import Admission, Revocation
from aggregator.ledger.record import Author, Role
from protocol.crypto import SoftwareKey
from protocol.messages import MessageType
from protocol.partners import SealingKeyRecord
from protocol.refusals import RefusalCode
from protocol.rotation import rotate
from tests.village import Village, a_grid, a_grid_document, some_keys

BOX = SoftwareKey.from_secret(700)
OTHER_BOX = SoftwareKey.from_secret(701)


@pytest.fixture
def village() -> Village:
    """Two gateways: the wind turbine hangs on another one than everybody else."""
    meters = a_grid_document()["meters"]
    for meter in meters:
        meter["gateway"] = "gw-wind" if meter["id"] == "m-wind" else "gw"
    return Village(grid=a_grid(meters=meters), keys=some_keys("gw", "gw-wind"))


def publish(village: Village, key: SoftwareKey = BOX, author: str = "gw") -> RefusalCode | None:
    """Have a gateway publish a sealing key: None if it takes effect."""
    return applied(village, SealingKeyRecord(village.link(author), key.public_key), MessageType.SEALING_KEY, author)


def applied(village: Village, message: Any, type_: MessageType, author: str) -> RefusalCode | None:
    (outcome,) = village.close([village.record(village.sign(message, type_, author))]).outcomes
    return outcome.refusal


def sealing_key(village: Village, gateway: str = "gw") -> Any:
    partner = village.five.asset.partner(gateway)
    return partner and partner.sealing_key


def test_a_gateway_that_has_published_nothing_takes_no_letters(village: Village) -> None:
    partner = village.five.asset.partner("gw-wind")
    assert partner is not None
    assert (partner.sealing_key, partner.participants) == (None, ("wind",))


def test_letters_are_sealed_to_the_key_that_a_gateway_published_last(village: Village) -> None:
    assert publish(village) is None
    assert sealing_key(village) == BOX.public_key
    assert publish(village, OTHER_BOX) is None
    assert sealing_key(village) == OTHER_BOX.public_key
    assert publish(village, BOX, "gw-wind") is None  # nobody has it any more


def test_a_key_with_which_somebody_signs_seals_nothing(village: Village) -> None:
    for key in village.keys.values():
        assert publish(village, key) is RefusalCode.SEALING_KEY_IN_USE
    assert sealing_key(village) is None


def test_nobody_takes_the_letters_of_another_gateway(village: Village) -> None:
    assert publish(village) is None
    assert publish(village, BOX, "gw-wind") is RefusalCode.SEALING_KEY_IN_USE
    assert publish(village) is None


def test_a_gateway_that_goes_over_to_another_key_keeps_its_letterbox(village: Village) -> None:
    assert publish(village) is None
    new = SoftwareKey.from_secret(702)
    rotation = rotate(village.link(), village.keys["gw"].public_key.thumbprint, new)
    assert applied(village, rotation, MessageType.ROTATION, "gw") is None
    partner = village.five.asset.partner("gw")
    assert partner is not None
    assert (partner.key, partner.sealing_key) == (new.public_key, BOX.public_key)


def test_with_a_key_of_the_regulators_choice_a_gateway_has_to_publish_again(village: Village) -> None:
    assert publish(village) is None
    new = SoftwareKey.from_secret(702)
    admission = Admission(
        village.link("regulator"), Author("gw", Role.GATEWAY, new.public_key), village.keys["gw"].public_key.thumbprint
    )
    assert applied(village, admission, MessageType.ADMISSION, "regulator") is None
    assert sealing_key(village) is None
    village.keys["gw"] = new
    assert publish(village) is None
    assert sealing_key(village) == BOX.public_key


def test_a_gateway_whose_key_was_ended_is_no_partner(village: Village) -> None:
    assert publish(village) is None
    revocation = Revocation(village.link("regulator"), village.keys["gw"].public_key.thumbprint, "sold")
    assert applied(village, revocation, MessageType.REVOCATION, "regulator") is None
    assert village.five.asset.partner("gw") is None
    assert village.five.asset.partner("node") is None
    assert village.five.asset.partner("nobody") is None


def test_a_block_that_does_not_stand_leaves_the_letterbox_as_it_was(village: Village) -> None:
    assert publish(village) is None
    record = village.record(
        village.sign(SealingKeyRecord(village.link(), OTHER_BOX.public_key), MessageType.SEALING_KEY)
    )
    village.five.ledger.finalize(village.now_ms, [record])
    village.five.ledger.abandon()
    assert sealing_key(village) == BOX.public_key
    assert publish(village, OTHER_BOX, "gw-wind") is None

"""Refusal codes are part of the wire format: their numbers never change and are never used again."""

from __future__ import annotations

import pytest

from protocol.errors import EsteError
from protocol.refusals import FINAL_FROM, RefusalCode, Refused

NUMBERS = {
    "OVERSIZED": 1,
    "TRUNCATED": 2,
    "MALFORMED": 3,
    "SECOND_SPELLING": 4,
    "UNKNOWN_KEY": 10,
    "OTHER_REGION": 11,
    "BAD_SIGNATURE": 12,
    "NOT_THEIR_TYPE": 13,
    "PAYLOAD_MALFORMED": 14,
    "PAYLOAD_SPELLING": 15,
    "NOT_THEIR_NAME": 16,
    "SEQUENCE_REPLAYED": 20,
    "SEQUENCE_SKIPPED": 21,
    "BROKEN_LINK": 22,
    "UNKNOWN_METER": 30,
    "NOT_THEIR_METER": 31,
    "PROFILE_DIFFERS": 32,
    "FROM_THE_FUTURE": 33,
    "DISORDERED": 34,
    "MISSING_ENERGY": 35,
    "WORDS_UNREADABLE": 36,
    "NOT_AHEAD": 40,
    "NO_SUCH_WINDOW": 41,
    "UNKNOWN_BRANCH": 42,
    "NOT_RESPONDING": 43,
    "TOO_MANY_CALLED": 44,
    "NO_SUCH_EVENT": 45,
    "UNKNOWN_PARTICIPANT": 50,
    "NOT_THEIR_PARTICIPANT": 51,
    "NO_SUCH_RIGHT": 52,
    "PRICE_ABOVE_LIMIT": 53,
    "BALANCE_TOO_LOW": 54,
    "RIGHT_ALREADY_HELD": 55,
    "UNKNOWN_RECEIVER": 57,
    "TO_ONESELF": 58,
    "NOT_COVERED": 59,
    "OUT_OF_TURN": 70,
    "RESULT_DIFFERS": 71,
    "BEYOND_HORIZON": 72,
    "MORE_THAN_THERE_IS": 73,
    "OTHER_PAST": 74,
    "KEY_IN_USE": 80,
    "OTHER_MEMBER": 81,
    "NO_SUCH_KEY": 82,
    "NAME_TAKEN": 83,
    "LAST_OF_ITS_ROLE": 84,
    "NOT_IN_POSSESSION": 85,
    "TOO_MANY_ROTATIONS": 86,
    "NOT_AN_AGGREGATOR": 87,
    "CONSENSUS_KEY_IN_USE": 88,
    "TOO_MUCH_POWER": 89,
    "NOT_A_VALIDATOR": 90,
    "LAST_VALIDATOR": 91,
    "NO_CONTRADICTION": 92,
    "RULES_NOT_AHEAD": 93,
    "PERMIT_OF_NOBODY": 94,
    "LAW_STAYS": 95,
    "NO_CONTRACTS": 110,
    "OFFER_NOT_SIGNED": 111,
    "UNKNOWN_PARTY": 112,
    "SELF_TRADE": 113,
    "NOT_A_PARTY": 114,
    "AGREED_ALREADY": 115,
    "OFFER_EXPIRED": 116,
    "WINDOW_NOT_AHEAD": 117,
    "WINDOW_NOT_WHOLE": 118,
    "FEE_NOT_COVERED": 119,
    "TOO_MANY_CONTRACTS": 120,
    "PARTY_FROZEN": 121,
    "PARTY_RESTRICTED": 122,
    "SELLER_CANNOT": 123,
    "BUYER_CANNOT": 124,
    "NOT_CLEAN": 125,
    "NO_CONNECTION": 126,
    "SOLD_ALREADY": 127,
    "BOUGHT_ALREADY": 128,
    "LINE_FULL": 129,
    "NO_SUCH_CONTRACT": 130,
    "NO_SUCH_STEP": 131,
    "NOT_THEIR_CONTRACT": 132,
    "NOTHING_LEFT": 133,
    "MORE_THAN_WAS_DUE": 134,
    "FROZEN_OR_NOT_ALREADY": 135,
    "NOT_APPROVED": 136,
    "BEYOND_CREDIT": 137,
    "NO_LETTERBOX": 140,
    "SEALED_TO_OTHER_KEY": 141,
    "LETTER_EXPIRED": 142,
    "TOO_MANY_LETTERS": 143,
    "NOT_THEIR_OFFER": 144,
    "COUNTERS_NOTHING": 145,
    "COUNTER_CHANGED": 146,
    "TOO_MANY_OFFERS": 147,
    "SEALING_KEY_IN_USE": 148,
    "NO_MARKET": 150,
    "NO_SUCH_INTERVAL": 151,
    "GATE_CLOSED": 152,
    "NOT_THEIR_CONNECTION": 153,
    "ABOVE_CONNECTION": 154,
    "UNKNOWN_PARTNER": 155,
    "NOT_IN_AUCTION": 156,
    "CROSSES_ITSELF": 157,
    "NOT_FILLED": 158,
    "BOOK_FULL": 159,
    "NO_SUCH_QUOTE": 160,
    "NOT_THEIR_QUOTE": 161,
    "CLEARING_INFEASIBLE": 162,
    "CLEARING_NOT_OPTIMAL": 163,
    "CLEARING_BREAKS_LIMIT": 164,
    "PRICE_ABOVE_CAP": 165,
    "CLEARING_OFF_THE_RULE": 166,
    "QUOTED_ALREADY": 167,
    "QUANTITY_TOO_SMALL": 168,
    "NO_SUCH_CHANNEL": 170,
    "CHANNEL_SOLD": 171,
    "TOO_MANY_CHANNELS": 172,
    "NO_RATE": 173,
    "WORSE_RATE": 174,
    "NOTHING_OWED": 175,
    "OVER_DAILY_LIMIT": 176,
    "RESERVE_TOO_LOW": 177,
    "RATE_NOT_AHEAD": 178,
    "OVER_CEILING": 179,
    "NOT_WHAT_IS_OWED": 180,
    "DEPOSIT_NOT_COVERED": 190,
    "WITHDRAWN": 191,
    "NEGOTIATED_ALREADY": 192,
}
"""The golden table. A new code is added at the end of its group; a line here is never changed."""


def test_every_code_keeps_its_number() -> None:
    assert {code.name: code.value for code in RefusalCode} == NUMBERS


def test_no_number_is_used_twice() -> None:
    assert len(RefusalCode.__members__) == len(set(RefusalCode))


def test_codes_stand_in_the_order_in_which_the_rules_are_asked() -> None:
    assert list(RefusalCode) == sorted(RefusalCode)


@pytest.mark.parametrize("code", RefusalCode, ids=lambda code: code.name)
def test_only_what_an_admitted_key_signed_is_told_or_written(code: RefusalCode) -> None:
    """Or anybody could fill the chain, or make the aggregator send."""
    signed = code.value >= NUMBERS["NOT_THEIR_TYPE"]
    assert code.is_from_known_author is signed
    assert code.is_final is (code.value >= FINAL_FROM.value)
    assert not code.is_final or code.is_from_known_author


def test_what_can_be_sent_again_rightly_is_not_final() -> None:
    assert not RefusalCode.SEQUENCE_SKIPPED.is_final
    assert not RefusalCode.BROKEN_LINK.is_final


def test_a_refusal_on_its_way_says_its_code_and_why() -> None:
    refused = Refused(RefusalCode.UNKNOWN_METER, "no meter m-9")
    assert isinstance(refused, EsteError)
    assert (refused.code, refused.detail) == (RefusalCode.UNKNOWN_METER, "no meter m-9")
    assert str(refused) == "UNKNOWN_METER: no meter m-9"

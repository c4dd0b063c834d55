"""Why a record is refused: one number per reason, in the order in which the rules are asked.

The first rule that is broken is the one reported. Numbers are part of the wire format and are never reused.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from protocol.errors import EsteError


class RefusalCode(IntEnum):
    """Ordered by precedence within each group."""

    # -- The bytes. Anybody can send rubbish: counted, never written to the chain.
    OVERSIZED = 1
    TRUNCATED = 2
    MALFORMED = 3
    SECOND_SPELLING = 4
    # -- The signer.
    UNKNOWN_KEY = 10
    OTHER_REGION = 11
    BAD_SIGNATURE = 12
    NOT_THEIR_TYPE = 13
    """The key is admitted, but not to sign this type of message."""
    PAYLOAD_MALFORMED = 14
    PAYLOAD_SPELLING = 15
    NOT_THEIR_NAME = 16
    """The payload names another author, or another region, than the key belongs to."""
    # -- The sequence. Told to the author, who can send what is missing.
    SEQUENCE_REPLAYED = 20
    SEQUENCE_SKIPPED = 21
    BROKEN_LINK = 22
    # -- What a batch says. From here on the refusal is final, and stands on the chain.
    UNKNOWN_METER = 30
    NOT_THEIR_METER = 31
    PROFILE_DIFFERS = 32
    FROM_THE_FUTURE = 33
    DISORDERED = 34
    """Readings of one boot that do not rise in time."""
    MISSING_ENERGY = 35
    """The words of an energy register that the profile has are not there, or of one that it has not are."""
    WORDS_UNREADABLE = 36
    """The words of an energy register spell no number, or not one for each reading."""
    # -- What an event says.
    NOT_AHEAD = 40
    """The event to call, or to cancel, has begun."""
    NO_SUCH_WINDOW = 41
    """Not of whole intervals, or longer than a day."""
    UNKNOWN_BRANCH = 42
    NOT_RESPONDING = 43
    """Whoever is called does not take part in demand response."""
    TOO_MANY_CALLED = 44
    """By all events at that time together."""
    NO_SUCH_EVENT = 45
    """It was never called, was cancelled, or is over."""
    # -- What a purchase says.
    UNKNOWN_PARTICIPANT = 50
    NOT_THEIR_PARTICIPANT = 51
    NO_SUCH_RIGHT = 52
    PRICE_ABOVE_LIMIT = 53
    BALANCE_TOO_LOW = 54
    """The account does not hold the price and the fee."""
    RIGHT_ALREADY_HELD = 55
    # -- What a transfer says, beside 50 and 51.
    UNKNOWN_RECEIVER = 57
    TO_ONESELF = 58
    NOT_COVERED = 59
    """The account does not hold the amount and the fee."""
    # -- What the regulator and the compute nodes say.
    OUT_OF_TURN = 70
    """Not the interval or period that comes next, or not yet due."""
    RESULT_DIFFERS = 71
    """Another node reckons otherwise."""
    BEYOND_HORIZON = 72
    """A correction of an interval that is not frozen yet, or that nobody may restate any more."""
    MORE_THAN_THERE_IS = 73
    """A correction that would leave a meter with less than no energy, or that does not show that it would not."""
    OTHER_PAST = 74
    """A restatement or a correction that shows another past than the one that was stated last."""
    # -- Who may sign.
    KEY_IN_USE = 80
    """The key is or was somebody's. A key is used once, and one that has ended never comes back."""
    OTHER_MEMBER = 81
    """The name has another role, or the key to replace is another member's."""
    NO_SUCH_KEY = 82
    """The key to revoke, replace or accuse was never admitted, or has ended already."""
    NAME_TAKEN = 83
    """The name has a live key, which the admission does not say to replace."""
    LAST_OF_ITS_ROLE = 84
    """The only regulator or aggregator: without it nobody could admit, or keep the chains."""
    NOT_IN_POSSESSION = 85
    """The new key does not vouch for the step to it."""
    TOO_MANY_ROTATIONS = 86
    """The gateway has gone over to another key so often since its admission that the regulator has to admit it anew."""
    # -- Who has a vote, and who has lied.
    NOT_AN_AGGREGATOR = 87
    """Whoever is to validate has no live key as an aggregator."""
    CONSENSUS_KEY_IN_USE = 88
    """Another validator votes with this key."""
    TOO_MUCH_POWER = 89
    """All powers together would be above their bound."""
    NOT_A_VALIDATOR = 90
    """Whoever is to be removed does not validate."""
    LAST_VALIDATOR = 91
    """The only validator: without it no block would ever be decided again."""
    NO_CONTRADICTION = 92
    """The two envelopes can both be true, or are not what one admitted key signed for this region."""
    # -- What a channel's purchase says, beside 42 and 50 to 54.
    NO_SUCH_CHANNEL = 170
    """Its window has begun, lies too far ahead, is too long, or is not of whole intervals."""
    CHANNEL_SOLD = 171
    """The line has not so much capacity left in the window."""
    TOO_MANY_CHANNELS = 172
    """The participant holds as many as a statement tells of."""
    # -- What an exchange of tokens and money says, and what the regulator says of it.
    NO_RATE = 173
    """The region exchanges nothing, or no rate is in force."""
    WORSE_RATE = 174
    """It would bring less money, or cost more, than the exchange allows."""
    NOTHING_OWED = 175
    """No such debt: in money for a bill, or in tokens for a fine."""
    OVER_DAILY_LIMIT = 176
    RESERVE_TOO_LOW = 177
    """The region's reserve has not so many tokens for sale: what exceeded ceilings is kept for restatements."""
    RATE_NOT_AHEAD = 178
    """A rate holds from an instant that is yet to come, and later than the one before it."""
    OVER_CEILING = 179
    """The account would hold more than any may."""
    NOT_WHAT_IS_OWED = 180
    """A payout of more than the books say, or in the wrong direction."""

    @property
    def is_final(self) -> bool:
        """Whether the record keeps its place in its author's sequence and stands on the chain as refused."""
        return self >= FINAL_FROM

    @property
    def is_from_known_author(self) -> bool:
        """Whether an admitted key signed what is refused: then its author is told, with a signature."""
        return self >= RefusalCode.NOT_THEIR_TYPE


FINAL_FROM: Final = RefusalCode.UNKNOWN_METER


class Refused(EsteError):
    """A rule says no. Whoever asked is told the code; it is a value on its way to the chain, not a fault of ours."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        self.code = code
        self.detail = detail
        super().__init__(f"{code.name}: {detail}")

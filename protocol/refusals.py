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
    # -- What the regulator lays down anew.
    RULES_NOT_AHEAD = 93
    """No settlement period that is yet to come begins at the instant from which on they are to hold."""
    PERMIT_OF_NOBODY = 94
    """A permit for a participant that the region does not have."""
    LAW_STAYS = 95
    """What no amendment may change: how time is cut, or what was promised or is held under the rules of now."""
    # -- What an agreement says. Whoever agrees is told.
    NO_CONTRACTS = 110
    """The region's rules say nothing of contracts."""
    OFFER_NOT_SIGNED = 111
    """The offer's signature is not that of a gateway of this region."""
    UNKNOWN_PARTY = 112
    SELF_TRADE = 113
    NOT_A_PARTY = 114
    """The offer and the agreement are not signed by two sides: one by a gateway of the seller, one of the buyer."""
    AGREED_ALREADY = 115
    OFFER_EXPIRED = 116
    WINDOW_NOT_AHEAD = 117
    """Delivery would have begun, or begins more than a year ahead."""
    WINDOW_NOT_WHOLE = 118
    """The delivery window is not of whole intervals."""
    FEE_NOT_COVERED = 119
    """The buyer's account does not hold the fee."""
    TOO_MANY_CONTRACTS = 120
    """As many contracts of a party are open as are their share."""
    # -- The verdict on a contract that is agreed: it is rejected, and both parties see why.
    PARTY_FROZEN = 121
    """By the regulator."""
    PARTY_RESTRICTED = 122
    """It owes tokens."""
    SELLER_CANNOT = 123
    """The seller has no such source, or none so strong."""
    BUYER_CANNOT = 124
    NOT_CLEAN = 125
    """The seller's clean sources are too weak for what is promised of them, or there are none."""
    NO_CONNECTION = 126
    """No line or pipe leads from the seller to the buyer: supply and demand could not balance."""
    SOLD_ALREADY = 127
    """The seller has promised the same energy to others."""
    BOUGHT_ALREADY = 128
    """The buyer is to take as much from others already."""
    LINE_FULL = 129
    """A line or pipe would carry more than contracts may promise of it."""
    # -- What is said about a contract later.
    NO_SUCH_CONTRACT = 130
    """It was never agreed, or is settled and forgotten."""
    NO_SUCH_STEP = 131
    """The table of states has no such step from where the contract stands."""
    NOT_THEIR_CONTRACT = 132
    """Whoever takes the step is no party to it, or the gateway does not speak for them."""
    NOTHING_LEFT = 133
    """No interval of the contract is left to be ended."""
    MORE_THAN_WAS_DUE = 134
    """An arbitration that finds more delivered than was due."""
    FROZEN_OR_NOT_ALREADY = 135
    """The participant is frozen already, or is not."""
    NOT_APPROVED = 136
    """Verdict: the contract needs the regulator's approval, and its window began without."""
    BEYOND_CREDIT = 137
    """Verdict, or of an exchange: the participant would come to owe more money than the region's rules allow."""
    # -- What a letter says, and the offer in it. No record: told to whoever sent it, and on no chain; but for 148.
    NO_LETTERBOX = 140
    """Nobody takes letters for this participant: none of their gateways has published a sealing key."""
    SEALED_TO_OTHER_KEY = 141
    """The receiver has published another sealing key, or is no gateway any more."""
    LETTER_EXPIRED = 142
    TOO_MANY_LETTERS = 143
    """From one gateway, in a short time."""
    NOT_THEIR_OFFER = 144
    """The offer is not between a participant of its sender and one of its receiver."""
    COUNTERS_NOTHING = 145
    """The counter-offer answers nothing that was offered to its sender, or that is still open."""
    COUNTER_CHANGED = 146
    """The counter-offer is between others, of another carrier, or of another nonce, than what it answers."""
    TOO_MANY_OFFERS = 147
    """So many offers wait at the receiver that no more are taken."""
    SEALING_KEY_IN_USE = 148
    """The sealing key is a key that somebody signs with, or another gateway's sealing key."""
    # -- What a quote says, beside 50 and 51, and what a clearing makes of quotes.
    NO_MARKET = 150
    """The region's rules have no market."""
    NO_SUCH_INTERVAL = 151
    """Not the start of an interval, or further ahead than quotes are taken."""
    GATE_CLOSED = 152
    """The interval has begun, or is so near that nothing is traded for it any more."""
    NOT_THEIR_CONNECTION = 153
    """The participant has no such meter, or it is a check meter, which counts nobody's energy."""
    ABOVE_CONNECTION = 154
    """More energy than the connection can carry in the interval, with the other quotes that stand there."""
    UNKNOWN_PARTNER = 155
    """The partner is no participant, or the one who quotes."""
    NOT_IN_AUCTION = 156
    """A call auction clears the network as a whole: it knows no partners, and no time in force but the first."""
    CROSSES_ITSELF = 157
    """The quote would trade with one of its own participant, or stands on the other side of their auction."""
    NOT_FILLED = 158
    """The quote was to be filled at once, and was not."""
    BOOK_FULL = 159
    """As many quotes of the participant stand as are their share by the region's rules."""
    NO_SUCH_QUOTE = 160
    """It never stood, is filled, was cancelled, or its time is over."""
    NOT_THEIR_QUOTE = 161
    """Another gateway has signed the quote."""
    CLEARING_INFEASIBLE = 162
    """Fills beyond a quote, out of balance, or more than a line carries."""
    CLEARING_NOT_OPTIMAL = 163
    """By its own prices, somebody would gain by trading more, or a line earns that is not full."""
    CLEARING_BREAKS_LIMIT = 164
    """Somebody would pay more, or be paid less, than they quoted."""
    PRICE_ABOVE_CAP = 165
    """A limit, or a contract's price, above the highest that the region's rules allow."""
    CLEARING_OFF_THE_RULE = 166
    """Where no line is full, or those trade whom the merit order names, the price is its middle one."""
    QUOTED_ALREADY = 167
    """A party of an agreement quotes the same energy, or credit: they can cancel the quote, and agree again."""
    QUANTITY_TOO_SMALL = 168
    """Less energy than the lot of the region's market."""
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
    # -- What a dispute says, beside 130 to 132.
    DEPOSIT_NOT_COVERED = 190
    """The account does not hold the tokens that a dispute has to put down."""
    # -- What comes of negotiations, beside 110 to 136.
    WITHDRAWN = 191
    """Verdict: a party took the contract back while it waited for approval."""
    NEGOTIATED_ALREADY = 192
    """A contract has come of the same negotiation: of an offer that these terms answer, of an answer to them, or of the
    same nonce."""

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

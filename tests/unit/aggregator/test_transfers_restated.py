"""Tokens that were given away before a period was restated: what moved has moved, and every account keeps its bounds.

The numbers are those of `test_restatement`: with the wind the home earns 64 tokens in a period (65 in the first, which
lacks its first second) and the wind 171; without it, none. The first period is settled 50 s after the region began, the
second after 80 s, the third after 110 s. Where the wind comes late, it comes after 120 s, and two are made up for.
"""

from __future__ import annotations

from collections.abc import Sequence

from aggregator.economy.accounts import MovementKind
from protocol.messages import MessageType
from protocol.transfer import Transfer
from tests.late_village import Parcel, a_village, balances, movements, parcels, tell
from tests.unit.aggregator.test_restatement import (
    POWER_W,
    SECOND_MS,
    THIRD_MS,
    Delta,
    a_correction,
    known,
    outcome_of,
    silent,
)
from tests.village import INTERVAL_MS, START_MS, Village

IN_TIME = parcels(POWER_W, {})
LATE = parcels(POWER_W, silent(since=3, until_ms=START_MS + 120_000))


def lived(
    sent: Sequence[Parcel], gifts: Sequence[tuple[int, int]], until_ms: int = 130_000, ceiling: int = 10_000
) -> Village:
    """A region that hears `sent`, where the wind gives the home tokens: after so many ms, so many."""
    village = a_village({"ceiling": ceiling}, restate_periods=3)
    heard = list(sent)
    for at_ms, amount in [*gifts, (until_ms, 0)]:
        before = [parcel for parcel in heard if parcel.at_ms <= START_MS + at_ms]
        heard = heard[len(before) :]
        tell(village, before, START_MS + at_ms)
        if amount:
            transfer = Transfer(village.link("gw-wind"), "wind", "home", amount)
            assert outcome_of(village, village.sign(transfer, MessageType.TRANSFER, "gw-wind")) is None
    return village


def books(village: Village) -> dict[str, int]:
    """Everybody's balance, and the region's sides."""
    totals = village.five.payment.totals
    return balances(village) | {"reserve": totals.reserve, "supply": totals.minted - totals.burned}


def test_a_gift_stays_given_and_everybody_ends_as_if_nothing_had_been_late() -> None:
    gifts = [(85_000, 100), (115_000, 50)]
    late, truth = lived(LATE, gifts), lived(IN_TIME, gifts)
    assert late.five.analysis.totals.restatements > 0
    assert books(late) == books(truth)
    assert books(late)["home"] == 65 + 64 + 64 + 150


def test_nobody_gets_above_the_ceiling_by_a_gift_and_what_was_late() -> None:
    """The home has 65 and is given 171; 64 more make 300, and 64 more would be 364."""
    gifts = [(115_000, 171)]
    late, truth = lived(LATE, gifts, ceiling=300), lived(IN_TIME, gifts, ceiling=300)
    assert movements(late, "home") == [
        (MovementKind.AWARD, 65, 65),
        (MovementKind.RECEIVED, 171, 236),
        (MovementKind.ADJUSTMENT_UP, 64, 300),
        (MovementKind.ADJUSTMENT_UP, 64, 364),
        (MovementKind.OVERFLOW, 64, 300),
    ]
    assert books(late) == books(truth)


def test_a_gift_between_two_settlements_meets_the_ceiling_where_it_was_given() -> None:
    """Given before the third period is settled: then the account is full, and nothing of the third fits any more."""
    gifts = [(85_000, 171)]
    late, truth = lived(LATE, gifts, ceiling=220), lived(IN_TIME, gifts, ceiling=220)
    assert late.five.payment.balance("home") == 220
    assert books(late) == books(truth)


def the_wind_never_turned(village: Village) -> None:
    """The regulator takes away all that the wind fed in, in the second period."""
    starts = range(SECOND_MS, THIRD_MS, INTERVAL_MS)
    deltas = [Delta(start, 0, -25, known(village, start, "m-wind")) for start in starts]
    assert outcome_of(village, a_correction(village, *deltas)) is None


def test_whoever_gave_away_what_was_not_theirs_owes_it() -> None:
    """What somebody has received in good faith stays theirs; whoever earned it by a lie pays it back."""
    village = lived(IN_TIME, [(85_000, 342)], until_ms=85_000)
    assert balances(village)["wind"] == 0
    home = balances(village)["home"]
    the_wind_never_turned(village)
    tell(village, [], village.now_ms + INTERVAL_MS)
    assert balances(village)["wind"] == -171
    assert balances(village)["home"] == home - 64
    assert village.five.standings().of("wind").is_restricted


def test_what_a_gift_was_above_the_ceiling_stays_in_the_reserve() -> None:
    """129 and 200 are 29 too many. The home's second period is worth nothing, and these 29 do not come back."""
    village = lived(IN_TIME, [(85_000, 200)], until_ms=85_000, ceiling=300)
    assert balances(village)["home"] == 300
    the_wind_never_turned(village)
    tell(village, [], village.now_ms + INTERVAL_MS)
    assert movements(village, "home")[-2:] == [
        (MovementKind.OVERFLOW, 29, 300),
        (MovementKind.ADJUSTMENT_DOWN, 64, 236),
    ]

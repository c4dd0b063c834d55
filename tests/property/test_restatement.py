"""When a batch comes does not matter, as long as it comes within the horizon: not to sums, factors or balances."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.chains.admission.amendments import Amendment
from aggregator.chains.admission.laws import Laws
from aggregator.economy.accounts import MovementKind, effect_of, settle
from aggregator.economy.adjustment import Settled, adjust, settle_again
from config.grid_model import Permit
from protocol.messages import MessageType
from protocol.units import Quantity
from tests.late_village import (
    BATCH_MS,
    GRACE_MS,
    METERS,
    PERIOD_MS,
    a_village,
    balances,
    factors,
    known_wh,
    parcels,
    tell,
)
from tests.village import START_MS, Village

BATCHES = 12
READ_UNTIL_MS = START_MS + BATCHES * BATCH_MS
DELAY_MAX_MS = 2 * PERIOD_MS
"""Two periods, and the grace time beyond, are within the horizon."""
TOLD_UNTIL_MS = READ_UNTIL_MS + DELAY_MAX_MS + GRACE_MS

powers = st.fixed_dictionaries(
    {
        "m-gas": st.lists(st.integers(-45_000, 0), min_size=BATCHES, max_size=BATCHES),
        "m-grid": st.lists(st.sampled_from([0, -5_000, 20_000]), min_size=BATCHES, max_size=BATCHES),
        "m-home": st.lists(st.integers(-2_000, 40_000), min_size=BATCHES, max_size=BATCHES),
        "m-wind": st.lists(st.integers(-40_000, 100), min_size=BATCHES, max_size=BATCHES),
    }
)
delays = st.fixed_dictionaries(
    dict.fromkeys(
        METERS,
        st.lists(
            st.one_of(st.just(0), st.integers(0, DELAY_MAX_MS // 1000).map(lambda s: s * 1000)),
            min_size=BATCHES,
            max_size=BATCHES,
        ),
    )
)


def what_counts(village: Village) -> dict[str, object]:
    """Everything that must not depend on when something became known."""
    five = village.five
    totals = five.payment.totals
    return {
        "sums": five.analysis.sums.items(),
        "factors": factors(village),
        "balances": balances(village),
        "reserve": totals.reserve,
        "supply": totals.minted - totals.burned,
        "periods": (totals.periods, five.analysis.cursor.intervals),
        "energies": [(start, closed.energies_root) for start, closed in five.data.late.closed.items()],
        "flows": five.analysis.stated.items(),
        "registers": five.data.meters.items(),
    }


@settings(max_examples=12, deadline=None)
@given(powers, delays, st.integers(150, 500))
def test_any_split_into_timely_and_late_ends_as_if_all_had_come_in_time(
    power_w: dict[str, list[int]], delays_ms: dict[str, list[int]], ceiling: int
) -> None:
    in_time, late = (a_village({"ceiling": ceiling}) for _ in range(2))
    tell(in_time, parcels(power_w, {}), TOLD_UNTIL_MS)
    tell(late, parcels(power_w, delays_ms), TOLD_UNTIL_MS)
    assert in_time.five.analysis.totals.restatements == 0
    assert not len(late.five.data.late.waiting)
    assert what_counts(late) == what_counts(in_time)


@settings(max_examples=5, deadline=None)
@given(powers, delays, st.integers(0, 100), st.integers(1, 200))
def test_what_comes_late_is_reckoned_by_the_rules_of_its_own_period(
    power_w: dict[str, list[int]], delays_ms: dict[str, list[int]], reward: int, grams: int
) -> None:
    in_time, late = (a_village() for _ in range(2))
    for village in (in_time, late):
        before = village.five.asset.region.laws_at(START_MS)
        tokens = before.rules.tokens.model_copy(update={"reward": Decimal(reward)})
        laws = Laws(before.rules.model_copy(update={"tokens": tokens}), (Permit(participant="gas", grams=grams),))
        amendment = Amendment(village.link("regulator"), START_MS + PERIOD_MS, laws)
        village.close([village.record(village.sign(amendment, MessageType.AMENDMENT, "regulator"))])
    tell(in_time, parcels(power_w, {}), TOLD_UNTIL_MS)
    tell(late, parcels(power_w, delays_ms), TOLD_UNTIL_MS)
    assert what_counts(late) == what_counts(in_time)


@settings(max_examples=6, deadline=None)
@given(powers, delays, st.integers(0, 1))
def test_no_watt_hour_is_lost_or_invented_even_beyond_the_horizon(
    power_w: dict[str, list[int]], delays_ms: dict[str, list[int]], restate_periods: int
) -> None:
    village = tell(a_village(restate_periods=restate_periods), parcels(power_w, delays_ms), TOLD_UNTIL_MS)
    rises = 0
    for meter in METERS:
        blocks = [parcel.block for parcel in parcels({meter: power_w[meter]}, {})]
        for quantity in (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH):
            (first, *_), (*_, last) = (
                [int.from_bytes(block.words_of(quantity, n)) for n in range(len(block))]
                for block in (blocks[0], blocks[-1])
            )
            rises += last - first
    assert known_wh(village) == rises


periods = st.lists(st.tuples(st.integers(-300, 300), st.integers(0, 100)), min_size=1, max_size=6)
"""Tokens of a period, and the price of what is bought after it."""


@given(periods, st.integers(-300, 300), st.data(), st.integers(-200, 200))
def test_an_account_ends_where_undelayed_settlements_would_have_put_it(
    earned: list[tuple[int, int]], restated: int, data: st.DataObject, opening: int
) -> None:
    ceilings = sorted(data.draw(st.integers(200, 400)) for _ in earned)  # no rule lets one fall
    which = data.draw(st.integers(0, len(earned) - 1))
    settled, balance, supply = history(earned, ceilings, opening)
    truth = [(restated, price) if i == which else (tokens, price) for i, (tokens, price) in enumerate(earned)]
    settled_truly, true_balance, true_supply = history(truth, ceilings, opening)
    again, after = settle_again(settled[which:], ceilings[which:], restated, balance)
    assert (settled[:which] + again, after) == (settled_truly, true_balance)
    delta = restated - earned[which][0]
    for movement in adjust(balance, delta, after, "somebody"):
        effect = effect_of(movement.kind, movement.amount)
        balance += effect.participant
        supply += effect.participant + effect.reserve
        assert balance == movement.balance
    assert (balance, supply) == (true_balance, true_supply)


@given(
    st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 100)), min_size=1, max_size=6),
    st.integers(-300, 300),
    st.data(),
    st.integers(200, 400),
)
def test_whatever_was_given_and_received_no_account_ends_above_its_ceiling_and_the_reserve_pays_what_it_got(
    lived: list[tuple[int, int]], restated: int, data: st.DataObject, ceiling: int
) -> None:
    """Tokens of a period, and what is paid after it, or received where it is below 0."""
    settled, balance, supply = history(lived, [ceiling] * len(lived), 0)
    reserve = supply - balance
    which = data.draw(st.integers(0, len(lived) - 1))
    again, after = settle_again(settled[which:], [ceiling] * (len(lived) - which), restated, balance)
    assert all(period.opening <= ceiling for period in again) and after <= ceiling
    for movement in adjust(balance, restated - lived[which][0], after, "somebody"):
        reserve += effect_of(movement.kind, movement.amount).reserve
        assert reserve >= 0


@given(
    st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 100)), min_size=1, max_size=6),
    st.integers(-300, 300),
    st.data(),
    st.integers(200, 400),
)
def test_what_is_returned_exceeded_the_ceiling_before(
    lived: list[tuple[int, int]], restated: int, data: st.DataObject, ceiling: int
) -> None:
    """So that the rest of the reserve may be sold."""
    settled, balance, supply = history(lived, [ceiling] * len(lived), 0)
    overflow = supply - balance - sum(price for _, price in lived if price > 0)
    which = data.draw(st.integers(0, len(lived) - 1))
    _, after = settle_again(settled[which:], [ceiling] * (len(lived) - which), restated, balance)
    for movement in adjust(balance, restated - lived[which][0], after, "somebody"):
        if movement.kind is MovementKind.RETURN:
            assert movement.amount <= overflow


def history(earned: list[tuple[int, int]], ceilings: list[int], opening: int) -> tuple[list[Settled], int, int]:
    """Settle periods one after another; the price is paid to the reserve. Supply is what all accounts hold.

    A price below 0 is what somebody else gives.
    """
    settled, balance, reserve = [], opening, 0
    for (tokens, price), ceiling in zip(earned, ceilings, strict=True):
        settled.append(Settled(balance, tokens))
        for movement in settle(balance, tokens, ceiling, "somebody"):
            effect = effect_of(movement.kind, movement.amount)
            balance, reserve = balance + effect.participant, reserve + effect.reserve
        paid = max(price, balance - ceiling)  # what is received above the ceiling goes to the reserve
        balance, reserve = balance - paid, reserve + (price if price > 0 else paid - price)
    return settled, balance, balance + reserve

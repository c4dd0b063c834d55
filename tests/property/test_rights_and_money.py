"""Any history of channels, exchanges, transfers, rates and payouts: no token, no unit of money, no watt too many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aggregator.chains.accounts.exchanges import Payout, RateRecord
from aggregator.chains.payment import PaymentChain
from aggregator.economy.accounts import Movement, MovementKind, effect_of
from aggregator.economy.channels import Channel, sold_w
from aggregator.economy.exchange import Rate
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Record
from aggregator.ledger.table import Journal, spell_rows
from protocol.channel import ChannelPurchase
from protocol.exchange import Exchange, ExchangeKind
from protocol.link import NO_RECORD, Link
from protocol.money import MILLIONTHS, millionths_of, units_of
from protocol.refusals import Refused
from protocol.transfer import Transfer
from tests.village import INTERVAL_MS, START_MS, Village, a_grid, a_grid_document

NAMES = ("gas", "home", "wind")
LINK = Link("village", "gw", 1, NO_RECORD)
names = st.sampled_from(NAMES)
amounts = st.one_of(st.integers(1, 300), st.integers(1, 2**63 - 1))
rates = st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)).map(lambda two: Rate(two[0], max(1, sum(two))))

RULES = a_grid_document()["rules"] | {"exchange": {"bought_per_day": 150, "sold_per_day": 150}}
RULES["rights"] = [{"right": "channel_use", "price": 1_000}]
CREDIT_MAX = 200
RULES["accounts"] |= {"credit_max": CREDIT_MAX}
REGION = Village(grid=a_grid(rules=RULES)).five.asset.region
RATING_W = REGION.ratings_w["b1"]


@st.composite
def channels(draw: st.DrawFn) -> Channel:
    start_ms = draw(st.integers(0, 20))
    return Channel(draw(names), start_ms, start_ms + draw(st.integers(1, 10)), draw(st.integers(1, 50)))


@given(st.lists(channels(), max_size=12), st.integers(0, 25), st.integers(1, 10))
def test_what_is_sold_of_a_window_is_the_most_at_any_of_its_instants(
    sold: list[Channel], start_ms: int, length_ms: int
) -> None:
    instants = range(start_ms, start_ms + length_ms)
    by_hand = max(sum(one.power_w for one in sold if one.start_ms <= at < one.end_ms) for at in instants)
    assert sold_w(sold, start_ms, start_ms + length_ms) == by_hand


@given(rates, st.integers(0, 10**12), st.integers(0, 10**12))
def test_nobody_gains_by_changing_to_and_fro_or_in_small_parts(rate: Rate, a: int, b: int) -> None:
    assert rate.money_for(a) <= rate.price_of(a)
    assert rate.money_for(a) + rate.money_for(b) <= rate.money_for(a + b)
    assert rate.price_of(a + b) <= rate.price_of(a) + rate.price_of(b)


@given(st.sampled_from(MovementKind), st.integers(1, 10**12))
def test_every_kind_of_movement_keeps_the_books(kind: MovementKind, amount: int) -> None:
    effect = effect_of(kind, amount)
    assert effect.participant + effect.reserve == effect.minted - effect.burned


@dataclass(frozen=True)
class AnyRecord:
    """A record as the chain sees it, whose signature was good."""

    message: Any
    envelope: Any
    author: Any
    type: str = "any"


class Payments(RuleBasedStateMachine):
    """The payment chain, told anything that gateways and the regulator might say."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        analysis = cast("Any", SimpleNamespace(cursor=SimpleNamespace(periods=0), factors={}))
        self.payment = PaymentChain(self.journal, lambda: REGION, analysis)
        self.now_ms = START_MS
        self.numbers = count()

    @initialize(tokens=st.lists(st.integers(-150, 500), min_size=3, max_size=3))
    def begin(self, tokens: list[int]) -> None:
        """Everybody has earned something, or owes."""
        for name, amount in zip(NAMES, tokens, strict=True):
            if amount:
                kind = MovementKind.AWARD if amount > 0 else MovementKind.CHARGE
                self.payment._post(Movement(kind, name, abs(amount), amount))

    @rule(name=names, power_w=st.one_of(st.integers(1, RATING_W), amounts), first=st.integers(0, 6), length=amounts)
    def buy_channel(self, name: str, power_w: int, first: int, length: int) -> None:
        """Somebody wants a part of the line, soon."""
        start_ms = self.now_ms // INTERVAL_MS * INTERVAL_MS + first * INTERVAL_MS
        self.say(
            ChannelPurchase(
                link=LINK,
                participant=name,
                branch="b1",
                power_w=power_w,
                start_ms=start_ms,
                end_ms=start_ms + length % 9 * INTERVAL_MS,
                price_max=10**9,
            )
        )

    @rule(name=names, kind=st.sampled_from(ExchangeKind), tokens=amounts, fee=st.integers(0, 3), limit=amounts)
    def exchange(self, name: str, kind: ExchangeKind, tokens: int, fee: int, limit: int) -> None:
        """Somebody changes tokens and money."""
        money_limit = 0 if kind.gives_tokens else max(limit, 10**6)
        self.say(Exchange(link=LINK, participant=name, kind=kind, tokens=tokens, money_limit=money_limit, fee=fee))

    @rule(sender=names, receiver=names, amount=amounts)
    def transfer(self, sender: str, receiver: str, amount: int) -> None:
        """Tokens change hands."""
        self.say(Transfer(LINK, sender, receiver, amount))

    @rule(rate=rates, ahead_ms=st.integers(-1, 3 * INTERVAL_MS))
    def announce(self, rate: Rate, ahead_ms: int) -> None:
        """The regulator says what tokens will be worth."""
        self.say(RateRecord(LINK, self.now_ms + ahead_ms, rate))

    @rule(paid=st.dictionaries(names, st.integers(-400, 400).filter(bool), min_size=1))
    def pay_out(self, paid: dict[str, int]) -> None:
        """The bank has moved something."""
        self.say(Payout(LINK, "este-1", tuple(sorted(paid.items()))))

    @rule()
    def pay_out_all(self) -> None:
        """The bank has moved everything that was owed."""
        owed = tuple((name, units) for name in NAMES if (units := units_of(self.payment.money_owed_to(name))))
        if owed:
            assert self.say(Payout(LINK, "este-2", owed))
            assert all(abs(self.payment.money_owed_to(name)) < MILLIONTHS for name in NAMES)

    @rule(span_ms=st.integers(1, 4 * INTERVAL_MS))
    def wait(self, span_ms: int) -> None:
        """Time goes by."""
        self.now_ms += span_ms

    def say(self, message: Any) -> bool:
        """Put a record into a block of its own; a refused one changes nothing."""
        block = BlockTime(height=next(self.numbers) + 1, time_ms=self.now_ms)
        self.payment.begin_block(block)
        before, mark = self.rows(), self.journal.mark()
        author = SimpleNamespace(name="gw")
        envelope = SimpleNamespace(digest=block.height.to_bytes(32))
        try:
            list(self.payment.apply(cast("Record", AnyRecord(message, envelope, author)), block))
        except Refused:
            assert self.journal.mark() == mark and self.rows() == before
            return False
        return True

    def rows(self) -> Any:
        tables = self.payment.tables.values()
        return spell_rows((table, key) for table in tables for key, _ in table.items())

    @invariant()
    def nothing_is_lost(self) -> None:
        """Tokens and money are conserved to the unit, accounts within their bounds, no line oversold."""
        assert list(self.payment.broken_invariants()) == []

    @invariant()
    def nobody_owes_beyond_the_limit_of_credit(self) -> None:
        """Whatever is bought, and whatever a bank has moved."""
        assert all(-self.payment.money_owed_to(name) <= millionths_of(CREDIT_MAX) for name in NAMES)

    @invariant()
    def nobody_uses_more_of_the_line_than_it_has(self) -> None:
        """Whoever looks at any instant finds at most the rating sold."""
        ends = {at for _, one in self.payment.rights.channels.items() for at in (one.start_ms, one.end_ms - 1)}
        for at in ends:
            assert sum(self.payment.channel_w(name, "b1", at) for name in NAMES) <= RATING_W

    @invariant()
    def days_are_kept(self) -> None:
        """Nobody has bought or sold more in a day than the rules allow."""
        assert all(max(one.bought, one.sold) <= 150 for _, one in self.payment.exchanges.changed.items())


TestPayments = Payments.TestCase
TestPayments.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

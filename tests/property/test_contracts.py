"""Any history of agreements, breaches, ends, disputes and late data: money and tokens are conserved, all that is
confirmed can be, no contract leaves the table of states, and the same history gives the same books.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aggregator.chains.accounts.exchanges import Payout
from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.contracts.limits import limits_of
from aggregator.chains.contracts.rows import Contract
from aggregator.chains.five import wire
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.economy.contracts.bill import Bill, Party, Prices
from aggregator.economy.contracts.feasibility import Plan
from aggregator.economy.contracts.states import NEXT_STATE, State, Step
from aggregator.grid.interval import IntervalPhysics
from protocol.contract import PRICE_MAX
from protocol.messages import MessageType
from protocol.money import millionths_of, units_of
from protocol.refusals import RefusalCode
from tests.contract_village import EVEN, EVEN_W, GATEWAYS, PER_WH, Market, a_market_document, in_units
from tests.market_village import BUY, SELL, a_quote
from tests.village import INTERVAL_MS, REGION, a_grid

names = st.sampled_from(sorted(GATEWAYS))
watts = st.sampled_from([0, EVEN_W // 3, EVEN_W, EVEN_W + 7_000])
CREDIT_MAX = 300
"""Minor units: less than some contracts cost here."""
limits = st.sampled_from([0, 1, PER_WH // 3, PER_WH, PRICE_MAX])
ppm = st.sampled_from([0, 333_333, 1_000_000])

VERDICTS = {code for code in RefusalCode if RefusalCode.PARTY_FROZEN <= code <= RefusalCode.LINE_FULL} | {
    RefusalCode.NOT_APPROVED,
    RefusalCode.BEYOND_CREDIT,
}


class Contracts(RuleBasedStateMachine):
    """Participants, their meters and a regulator, each doing whatever comes to mind."""

    def __init__(self) -> None:
        super().__init__()
        document = a_market_document(
            rating_ma=40_000,
            time={"restate_after_ms": 0},
            tolerance_ppm=100_000,
            approval_from_wh=90,
            accounts={"credit_max": CREDIT_MAX},
        )
        document["rules"]["market"] = {"mechanism": "call", "gate_ms": INTERVAL_MS, "price_max": PRICE_MAX}
        grid = a_grid(**document)
        self.market = Market(grid=grid)
        self.market.live_even(1)
        self.moved = dict.fromkeys([*GATEWAYS, "reserve"], 0)
        """By a bank: what each account was paid, less what it has paid."""
        self.first_booked: dict[bytes, Bill] = {}
        self.late: list[bytes] = []
        self.kept: dict[bytes, Contract] = {}
        """As they stood last; some are forgotten as soon as they are settled."""

    @rule(
        seller=names,
        buyer=names,
        watts=st.integers(1, 60_000),
        ahead=st.integers(0, 3),
        intervals=st.integers(1, 4),
        price=st.one_of(limits, st.integers(0, PRICE_MAX)),
        shares=st.tuples(ppm, ppm),
        clean_only=st.booleans(),
    )
    def agree(self, seller: str, buyer: str, watts: int, ahead: int, intervals: int, price: int, **terms: Any) -> None:
        """Two participants agree on something."""
        start_ms = self.market.now_ms + ahead * INTERVAL_MS
        penalty_ppm, termination_ppm = terms.pop("shares")
        agreed = self.market.terms(
            seller=seller,
            buyer=buyer,
            quantity_wh=1 + watts * intervals * INTERVAL_MS // 3_600_000,
            start_ms=start_ms,
            end_ms=start_ms + intervals * INTERVAL_MS,
            price_per_mwh=price,
            penalty_ppm=penalty_ppm,
            termination_ppm=termination_ppm,
            nonce=self.market.five.operation.contracts.totals.agreed.to_bytes(16, "big"),
            **terms,
        )
        refusal = self.market.agree(agreed, GATEWAYS[seller], GATEWAYS[buyer])
        assert (refusal is None) is (seller != buyer)

    @rule(asks=st.permutations([1, PER_WH // 3, PER_WH]), bid=limits, wh=st.sampled_from([10, 50, 60]), wind=watts)
    def trade(self, asks: list[int], bid: int, wh: int, wind: int) -> None:
        """The network outside and the turbine sell what the home wants; the line may be too thin for it."""
        start_ms = (self.market.now_ms // INTERVAL_MS + 3) * INTERVAL_MS
        for who, side, limit in (("grid", SELL, asks[0]), ("wind", SELL, asks[1]), ("home", BUY, bid)):
            made = a_quote(self.market, who, side, start_ms=start_ms, quantity_wh=wh, price_per_mwh=limit)
            self.market.put(made, MessageType.QUOTE, "gw")
        self.market.live_even(3)
        self.market.live_even(1, wind=-wind, grid=wind - EVEN_W)

    @property
    def numbers(self) -> list[bytes]:
        """Of all contracts that are not forgotten."""
        return [contract.digest for contract in self.market.five.operation.contracts.book.in_order()]

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), who=names)
    def terminate(self, data: st.DataObject, who: str) -> None:
        """Somebody ends a contract, theirs or not."""
        self.step(Step.TERMINATE, data, lambda number: self.market.terminate(number, who, GATEWAYS[who]))

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), who=names)
    def dispute(self, data: st.DataObject, who: str) -> None:
        """Somebody disputes a contract, theirs or not."""
        self.step(Step.DISPUTE, data, lambda number: self.market.dispute(number, who, GATEWAYS[who]))

    @precondition(lambda self: self.numbers)
    @rule(data=st.data(), delivered_wh=st.integers(0, 100), responsible=st.sampled_from(Party))
    def arbitrate(self, data: st.DataObject, delivered_wh: int, responsible: Party) -> None:
        """The regulator decides, asked or not."""
        self.step(Step.ARBITRATE, data, lambda number: self.market.arbitrate(number, delivered_wh, responsible))

    @precondition(lambda self: self.numbers)
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        """The regulator approves a contract, whether it needs that or not."""
        self.step(Step.APPROVE, data, self.market.approve)

    @rule(who=names, is_frozen=st.booleans())
    def freeze(self, who: str, is_frozen: bool) -> None:
        """The regulator freezes somebody, or lets them go."""
        self.market.freeze(who, is_frozen=is_frozen)

    @rule(wind=watts, gas=watts, home=watts)
    def live(self, wind: int, gas: int, home: int) -> None:
        """Two intervals pass; the network outside makes up for the rest."""
        self.market.live_even(2, wind=-wind, gas=-gas, home=home, grid=wind + gas - home)

    @rule(wind=watts)
    def fall_silent(self, wind: int) -> None:
        """An interval passes whose readings come later."""
        batch = self.market.a_batch(EVEN | {"m-wind": -wind})
        self.market.now_ms += INTERVAL_MS
        self.market.close([])
        data = self.market.sign(batch, MessageType.BATCH)
        self.market.record(data)
        self.late.append(data)
        self.market.close_due()
        self.hear()

    @rule(energy_wh=st.integers(-30, 60), meter=st.sampled_from(["m-wind", "m-home"]), back=st.integers(3, 6))
    def correct(self, energy_wh: int, meter: str, back: int) -> None:
        """The regulator corrects what a meter counted."""
        link, start_ms = self.market.link("regulator"), self.market.now_ms - back * INTERVAL_MS
        change = (energy_wh, 0) if meter == "m-home" else (0, energy_wh)
        if energy_wh > 0 and start_ms >= self.market.five.data.horizon_ms:
            correction = Correction(link, meter, (Delta(start_ms, *change),), "tested")
            self.market.put(correction, MessageType.CORRECTION, "regulator")
            self.market.close_due()

    @rule()
    def pay(self) -> None:
        """A bank moves what is owed, in whole units."""
        owed = {name: units for name in GATEWAYS if (units := units_of(self.market.five.payment.money_owed_to(name)))}
        if owed:
            payout = Payout(self.market.link("regulator"), "este-1", tuple(sorted(owed.items())))
            assert self.market.put(payout, MessageType.PAYOUT, "regulator").refusal is None
            for name, units in (owed | {"reserve": -sum(owed.values())}).items():
                self.moved[name] += millionths_of(units)

    def hear(self) -> None:
        """What was held back comes, while the village waits."""
        self.market.now_ms += 3 * INTERVAL_MS
        self.market.close([])
        self.market.close_due()
        self.market.close([self.market.five.ledger.check(data) for data in self.late])
        self.late.clear()
        self.market.close_due()

    def step(self, step: Step, data: st.DataObject, take: Any) -> None:
        """Take a step with any contract; it is taken where the table has it, and else nothing changes."""
        number = data.draw(st.sampled_from(self.numbers))
        self.market.close([])  # what time alone brings about comes first
        before = self.market.contract(number)
        refusal = take(number)
        after = self.market.contract(number)
        if step is Step.TERMINATE and before.state is State.VERIFIED:
            step = Step.WITHDRAW  # by the same record
        if refusal is None:
            assert after.state is NEXT_STATE[before.state, step]
        else:
            assert after == before
            assert refusal is not RefusalCode.NO_SUCH_STEP or (before.state, step) not in NEXT_STATE

    @invariant()
    def all_money_is_somebody_s(self) -> None:
        """The books hold what contracts came to, and that is nothing all in all."""
        book, owed = self.market.five.operation.contracts.book, self.market.owed()
        assert sum(owed.values()) == 0
        expected = {name: -moved for name, moved in self.moved.items()}
        self.kept |= {contract.digest: contract for contract in book.in_order()}
        for digest, contract in self.kept.items():
            assert digest in book.rows or contract.never_began or contract.state is State.REJECTED
            bill = contract.booked if digest in book.rows else contract.bill(Prices(0, 0))
            expected[contract.terms.seller] += bill.seller
            expected[contract.terms.buyer] += bill.buyer
            expected["reserve"] += bill.clearing
        assert {name: in_units(amount) for name, amount in expected.items() if amount} == owed

    @invariant()
    def nobody_owes_beyond_the_limit_of_credit(self) -> None:
        """But by what meters and rulings bring: penalties, ends, imbalance, and what comes late."""
        beyond = dict.fromkeys(GATEWAYS, 0)  # what is forgotten was within the limit when it was ended
        for contract in self.market.five.operation.contracts.book.in_order():
            bill, terms = contract.booked, contract.terms
            first = self.first_booked.setdefault(contract.digest, bill) if contract.state is State.SETTLED else bill
            shares = (bill.penalty, bill.termination)
            beyond[terms.seller] += sum(max(0, share) for share in (*shares, -bill.surplus, first.price - bill.price))
            beyond[terms.seller] += max(0, first.surplus - bill.surplus)
            beyond[terms.buyer] += sum(max(0, -share) for share in (*shares, -bill.extra, first.price - bill.price))
        for name in GATEWAYS:
            owes = -self.market.five.payment.money_owed_to(name)
            assert owes <= millionths_of(CREDIT_MAX) + beyond[name]

    @invariant()
    def a_rejection_has_a_reason(self) -> None:
        """And nothing else has one."""
        for contract in self.market.five.operation.contracts.book.in_order():
            reason = contract.objection
            assert (reason is not None) is (contract.state is State.REJECTED)
            assert reason is None or reason.rule in VERDICTS or reason.rule is RefusalCode.WITHDRAWN

    def teardown(self) -> None:
        """Whoever reads the same history has the same books, and an index that is drawn up anew is the one kept."""
        five = wire(REGION, IntervalPhysics())
        for block in self.market.blocks:
            is_first = block.head.height == 1
            records = [
                open_genesis(outcome.record.envelope.data)
                if is_first
                else five.ledger.check(outcome.record.envelope.data)
                for outcome in block.outcomes
            ]
            five.ledger.finalize(block.head.time_ms, records)
            five.ledger.commit()
        assert five.ledger.head == self.market.five.ledger.head
        book = self.market.five.operation.contracts.book
        assert five.operation.contracts.book.awake() == book.awake()
        assert [one.digest for one in five.operation.contracts.book.in_order()] == self.numbers
        plan = Plan(limits_of(self.market.five.asset.region))
        for contract in reversed(book.bound()):
            assert plan.objection(contract.promise) is None
            plan.take(contract.promise)


TestContracts = Contracts.TestCase
TestContracts.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)

"""The payment chain: tokens minted, charged and moved; rights bought; the order of priority.

Kinds of record: *settlement* (one per settlement period, resting on analysis' factors), *adjustment* (of a settled
period that analysis has restated); by a participant's gateway *purchase* (of a right), *channel* (capacity of a line),
*transfer* (to another participant) and *exchange* (of tokens and money); by the regulator *rate* and *payout*. State:
accounts, totals, rights, ranks, rates, what is owed in money, and what settlements did that may be restated
(`aggregator.chains.periods.adjusting`). Feeds: the devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from aggregator.chains.accounts.deals import Deal
from aggregator.chains.accounts.deposits import Deposits
from aggregator.chains.accounts.exchanges import Exchanges, Payout, RateRecord, pay_out
from aggregator.chains.accounts.money import CLEARING, Money
from aggregator.chains.accounts.orders import ORDERS, deal_of
from aggregator.chains.accounts.rights import Rights
from aggregator.chains.accounts.rows import ACCOUNTS_TABLE, RANKS_TABLE, Account, PaymentTotals, Rank
from aggregator.chains.analysis import AnalysisChain
from aggregator.chains.congestion.relief import Relief
from aggregator.chains.intervals.restatement import PeriodAdjustment
from aggregator.chains.intervals.results import PeriodSettlement
from aggregator.chains.periods.adjusting import DueAdjustment, SettledPeriods, movement_leaf
from aggregator.chains.periods.settling import DueSettlement
from aggregator.chains.region import Region
from aggregator.economy.accounts import CEILING, Movement, MovementKind, effect_of, pay, settle
from aggregator.economy.adjustment import Settled
from aggregator.economy.bids import NO_BID, Bid
from aggregator.economy.channels import Channel
from aggregator.economy.credit import credit_left
from aggregator.economy.exchange import Changed, Rate
from aggregator.economy.rights import priority_order
from aggregator.economy.tokens_many import tokens_of_all
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Journal, Table, flat
from protocol.channel import ChannelPurchase
from protocol.checkpoint import ChainName
from protocol.exchange import Exchange
from protocol.merkle import root_of
from protocol.messages import MessageType, RightKind
from protocol.purchase import Purchase
from protocol.refusals import RefusalCode, Refused
from protocol.transfer import Transfer

TOTALS_TABLE: Final = 51


class PaymentChain:
    """Who earned, owes and holds what."""

    name = ChainName.PAYMENT
    decoders: ClassVar[Decoders] = {
        MessageType.SETTLEMENT: PeriodSettlement.decode,
        MessageType.ADJUSTMENT: PeriodAdjustment.decode,
        MessageType.PURCHASE: Purchase.decode,
        MessageType.TRANSFER: Transfer.decode,
        MessageType.CHANNEL: ChannelPurchase.decode,
        MessageType.EXCHANGE: Exchange.decode,
        MessageType.RATE: RateRecord.decode,
        MessageType.PAYOUT: Payout.decode,
    }

    def __init__(
        self,
        journal: Journal,
        region: Callable[[], Region],
        analysis: AnalysisChain,
        promised: Callable[[str], int] = lambda _: 0,
        crowding_w: Callable[[str, Channel], int] = lambda line, channel: 0,
    ) -> None:
        """Everybody begins with nothing. `crowding_w` asks contracts: see `Books`.

        `promised` tells what a participant's contracts may cost that are not settled: millionths of a minor unit.
        """
        self._promised = promised
        self.crowding_w = crowding_w
        self._region = region
        self._analysis = analysis
        spell_account, read_account = flat(Account)
        self.accounts: Table[str, Account] = Table(ACCOUNTS_TABLE, journal, spell=spell_account, read=read_account)
        spell_totals, read_totals = flat(PaymentTotals)
        self._totals: Table[int, PaymentTotals] = Table(TOTALS_TABLE, journal, spell=spell_totals, read=read_totals)
        self.rights = Rights(journal)
        self.exchanges = Exchanges(journal)
        spell_rank, read_rank = flat(Rank)
        self.ranks: Table[str, Rank] = Table(RANKS_TABLE, journal, spell=spell_rank, read=read_rank)
        self._settled = SettledPeriods(journal, region, analysis)
        self.relief = Relief(journal)
        self.money = Money(journal)
        self.deposits = Deposits(journal)
        self.tables: Mapping[int, Table[Any, Any]] = {
            ACCOUNTS_TABLE: self.accounts,
            TOTALS_TABLE: self._totals,
            RANKS_TABLE: self.ranks,
            **self._settled.tables,
            **self.relief.tables,
            **self.rights.tables,
            **self.exchanges.tables,
            **self.money.tables,
            **self.deposits.tables,
        }

    @property
    def totals(self) -> PaymentTotals:
        """The other sides of the books."""
        return self._totals.get(0) or PaymentTotals()

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""
        return (self.accounts.get(participant) or Account()).balance

    @property
    def for_sale(self) -> int:
        """Tokens of the region's own account that may be bought."""
        return self.totals.reserve - self.totals.overflow - self.deposits.held

    def take_fee(self, participant: str, fee: int, time_ms: int) -> list[bytes]:
        """Let a participant pay a fee that the account holds, for a record on another chain; the leaves say so."""
        leaves = self.move(pay({MovementKind.FEE: fee}, self.balance(participant), participant), time_ms)
        self._totals.put(0, replace(self.totals, fees=self.totals.fees + fee))
        return leaves

    def move(self, movements: Iterable[Movement], time_ms: int) -> list[bytes]:
        """Post movements that another chain brings about; the leaves say so."""
        start_ms, leaves = self._region().period_of(time_ms).span.start_ms, []
        for movement in movements:
            self._post(movement)
            leaves.append(movement_leaf(movement, start_ms))
        return leaves

    def book_money(self, about: bytes, amounts: Mapping[str, int]) -> list[bytes]:
        """Post what contracts bring to every account, in millionths of a minor unit; `about` is as in `Money.book`."""
        return self.money.book(about, amounts)

    def money_owed_to(self, participant: str) -> int:
        """What a participant is owed, in millionths of a minor unit; below 0, what they owe."""
        return self.money.owed_to(participant)

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit; below 0, nothing."""
        credit_max = self._region().rules.accounts.credit_max
        return credit_left(credit_max, self.money.owed_to(participant), self._promised(participant))

    def rate_at(self, instant_ms: int) -> Rate | None:
        """What tokens are worth at an instant, if the region says so."""
        return self.exchanges.rate_at(instant_ms)

    def changed_by(self, participant: str, day: int) -> Changed:
        """What a participant has bought and sold on a day."""
        return self.exchanges.changed_by(participant, day)

    def holds_at(self, participant: str, kind: RightKind, instant_ms: int) -> bool:
        """Whether somebody holds a right at an instant."""
        return (participant, kind.value, self._region().period_of(instant_ms).span.start_ms) in self.rights.held

    def channel_w(self, participant: str, branch: str, instant_ms: int) -> int:
        """Capacity of a branch that somebody has bought for an instant."""
        return self.rights.channel_w(participant, branch, instant_ms)

    def due_settlement(self) -> DueSettlement | None:
        """What the last period's factors bring to everybody, unless that is settled already."""
        cursor = self._analysis.cursor
        if cursor.periods == self.totals.periods:
            return None
        rules = self._region().rules_at(cursor.factors_start_ms)
        rows = [row for _, row in self._analysis.factors.items()]
        relief = {row.participant: self.relief.due(row.participant, row.relief_ppm, rules.congestion) for row in rows}
        deeds = [replace(row.deeds, relief_tokens=relief[row.participant].tokens) for row in rows]
        movements: list[Movement] = []
        everybody = tokens_of_all(deeds, rules.carbon, rules.tokens)
        for row, tokens in zip(rows, everybody, strict=True):
            movements += settle(self.balance(row.participant), tokens, rules.accounts.ceiling, row.participant)
        tokens_of = {row.participant: tokens for row, tokens in zip(rows, everybody, strict=True)}
        span = (cursor.factors_start_ms, cursor.factors_end_ms)
        return DueSettlement(*span, cursor.factors_root, tuple(movements), tokens_of, relief)

    @property
    def to_adjust(self) -> int | None:
        """Start of the oldest settled period whose tokens do not follow from its factors any more."""
        return self._settled.to_adjust()

    def due_adjustment(self) -> DueAdjustment | None:
        """What restated factors of a settled period bring to everybody; not while a settlement waits."""
        if self._analysis.cursor.periods != self.totals.periods:
            return None
        return self._settled.due(self.balance)

    def begin_block(self, block: BlockTime) -> None:
        """Channels end with their windows; other rights, with the settlement of the period that they are for."""
        self.rights.end_channels(block.time_ms)

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Settle a period, make up for a restated one, sell a right, or move tokens from one to another.

        Raises:
            Refused: out of turn, not what follows from the factors, or an order that breaks a rule (50 to 69).
        """
        match record.message:
            case PeriodSettlement() as settlement:
                return self._settle(settlement)
            case PeriodAdjustment() as adjustment:
                return self._adjust(adjustment)
            case RateRecord() as rate:
                self.exchanges.announce(rate, block.time_ms)
                return ()
            case Payout() as payout:
                return pay_out(payout, record.envelope.digest, self.money)
        return self._carry_out(deal_of(record, self._region(), self, block.time_ms), record.envelope.digest)

    def bid(self, record: Record, time_ms: int) -> Bid:
        """What a record offers for its place, if it would take effect at `time_ms` with everything as it stands."""
        if not isinstance(record.message, ORDERS):
            return NO_BID
        try:
            return deal_of(record, self._region(), self, time_ms).bid
        except Refused:
            return NO_BID

    def vet(self, record: Record) -> None:
        """The rule says it all; there is no physics here."""

    def broken_invariants(self) -> Iterable[str]:
        """Minted − burned is the sum of all accounts; each is within its bounds; nobody holds a right twice at once."""
        totals = self.totals
        held = totals.reserve + sum(account.balance for _, account in self.accounts.items())
        if totals.minted - totals.burned != held:
            yield f"{totals.minted} minted and {totals.burned} burned, but accounts hold {held}"
        held = self.deposits.held
        if not 0 <= totals.overflow <= totals.reserve - held:
            yield f"the reserve holds {totals.reserve}: {totals.overflow} exceeded ceilings, {held} are deposits"
        if len(self.accounts):
            ceiling = self._region().rules.accounts.ceiling
            for participant, account in self.accounts.items():
                if account.balance > ceiling:
                    yield f"{participant} holds {account.balance}, above the ceiling of {ceiling}"
        if len(self.rights.held) or len(self.rights.channels):
            yield from self.rights.broken_invariants(self._region().ratings_w)
        yield from self.money.broken_invariants()

    def _settle(self, settlement: PeriodSettlement) -> Iterable[bytes]:
        due = self.due_settlement()
        if due is None or (due.start_ms, due.end_ms) != (settlement.start_ms, settlement.end_ms):
            raise Refused(RefusalCode.OUT_OF_TURN, "no factors of that period wait to be settled")
        leaves = due.leaves
        given = (settlement.factors_root, settlement.minted, settlement.charged, settlement.movements_root)
        if given != (due.factors_root, due.minted, due.charged, root_of(leaves)):
            raise Refused(RefusalCode.RESULT_DIFFERS, "tokens other than those that follow from the factors")
        everybody = sorted({*self.accounts, *due.tokens})
        earned = {name: one.tokens for name, one in due.relief.items()}
        settled = [
            (name, Settled(self.balance(name), due.tokens.get(name, 0), earned.get(name, 0))) for name in everybody
        ]
        self._settled.keep(due.start_ms, settled)
        self.relief.carry(due.relief.values())
        for movement in due.movements:
            self._post(movement)
        totals = self.totals
        self._totals.put(0, replace(totals, periods=totals.periods + 1, settled_until_ms=due.end_ms))
        self.rights.end_periods(due.end_ms)
        self._draw_up_order(due.end_ms)
        return leaves

    def _carry_out(self, deal: Deal, about: bytes) -> Iterable[bytes]:
        for movement in deal.movements:
            self._post(movement)
        if deal.bought is not None:
            self.rights.held.put(*deal.bought)
        if deal.channel is not None:
            self.rights.open_channel(*deal.channel)
        if deal.changed is not None:
            self.exchanges.keep(deal.bid.payer, deal.changed)
        totals, is_purchase = self.totals, deal.bought is not None or deal.channel is not None
        counted = replace(
            totals,
            purchases=totals.purchases + is_purchase,
            transfers=totals.transfers + (not is_purchase and deal.changed is None),
            exchanges=totals.exchanges + (deal.changed is not None),
            fees=totals.fees + deal.bid.fee,
        )
        self._totals.put(0, counted)
        moved = [movement_leaf(movement, deal.period_start_ms) for movement in deal.movements]
        return moved + self.money.book(about, {deal.bid.payer: deal.money, CLEARING: -deal.money})

    def _adjust(self, adjustment: PeriodAdjustment) -> Iterable[bytes]:
        due = self.due_adjustment()
        span = (adjustment.start_ms, adjustment.end_ms, adjustment.restatements)
        if due is None or (due.start_ms, due.end_ms, due.restatements) != span:
            raise Refused(RefusalCode.OUT_OF_TURN, "no restatements of that period wait to be made up for")
        given = (adjustment.minted, adjustment.burned, adjustment.changes_root)
        if given != (due.minted, due.burned, root_of(due.leaves)):
            raise Refused(RefusalCode.RESULT_DIFFERS, "tokens other than those that follow from the restated factors")
        self._settled.settle_again(due)
        for movement in due.movements:
            self._post(movement)
        totals = self.totals
        self._totals.put(0, replace(totals, adjustments=totals.adjustments + 1))
        return due.leaves

    def _post(self, movement: Movement) -> None:
        effect = effect_of(movement.kind, movement.amount)
        balance = self.balance(movement.participant) + effect.participant
        assert balance == movement.balance, f"{movement.participant}: {balance} where {movement.balance} was foreseen"
        self.accounts.put(movement.participant, Account(balance))
        totals = self.totals
        self._totals.put(
            0,
            replace(
                totals,
                minted=totals.minted + effect.minted,
                burned=totals.burned + effect.burned,
                reserve=totals.reserve + effect.reserve,
                overflow=totals.overflow + (effect.reserve if movement.kind in CEILING else 0),
            ),
        )

    def _draw_up_order(self, from_ms: int) -> None:
        holders = self.rights.holders_at(from_ms)
        balances = {participant: self.balance(participant) for participant in self._region().participants}
        for place, participant in enumerate(priority_order(balances, holders), start=1):
            if self.ranks.get(participant) != Rank(place):
                self.ranks.put(participant, Rank(place))

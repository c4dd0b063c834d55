"""The five chains of one region, wired into one ledger: who reads whose state is said here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from aggregator.chains.analysis import AnalysisChain, Recompute
from aggregator.chains.asset import AssetChain
from aggregator.chains.congestion.curtailing import Curtailments
from aggregator.chains.data import DataChain
from aggregator.chains.operation import OperationChain
from aggregator.chains.payment import PaymentChain
from aggregator.chains.statements.standing import Standings
from aggregator.chains.statements.statements import Statements
from aggregator.economy.bids import NO_BID, Bid
from aggregator.ledger.ledger import Ledger
from aggregator.ledger.record import Record
from aggregator.ledger.table import Journal


@dataclass(frozen=True, slots=True)
class Five:
    """One region's chains and the ledger over them."""

    ledger: Ledger
    asset: AssetChain
    data: DataChain
    analysis: AnalysisChain
    operation: OperationChain
    payment: PaymentChain
    statements: Statements

    def bid(self, record: Record) -> Bid:
        """What a record offers for its place in the next block, as the last one has left things."""
        head = self.ledger.head
        if head is None:
            return NO_BID
        chain = self.operation if record.type in self.operation.decoders else self.payment
        return chain.bid(record, head.time_ms)

    def standings(self) -> Standings:
        """How everybody stands after the last block."""
        return Standings(self.asset, self.analysis, self.payment, self.operation.contracts.book)


def wire(region: str, recompute: Recompute) -> Five:
    """An empty ledger of a region, before its genesis. `recompute` does the physics of an interval."""
    journal = Journal()
    asset = AssetChain(journal)
    data = DataChain(journal, lambda: asset.region)
    operation = OperationChain(journal, lambda: asset.region, asset.author_of, lambda: payment)
    analysis = AnalysisChain(
        journal,
        lambda: asset.region,
        data,
        operation,
        recompute=recompute,
        curtailments=Curtailments(journal, lambda: asset.region, lambda: payment),
        settled_periods=lambda: payment.totals.periods,
        to_adjust=lambda: payment.to_adjust,
    )
    payment = PaymentChain(
        journal, lambda: asset.region, analysis, operation.contracts.book.costs_of, operation.contracts.crowding_w
    )
    statements = Statements(journal, asset, analysis, payment, operation.contracts.book)
    ledger = Ledger(region, [data, asset, analysis, operation, payment], journal, asset.author_of, statements)
    return Five(ledger, asset, data, analysis, operation, payment, statements)

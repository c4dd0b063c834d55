"""Answers about a ledger, read from its file while a node may be writing it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aggregator.chains.five import Five
from aggregator.ledger.record import Role
from aggregator.service.keeper import restore
from aggregator.service.store import Store
from protocol.messages import Standing


@dataclass(frozen=True, slots=True)
class Status:
    """A ledger at a glance."""

    region: str
    height: int
    last_block_ms: int
    readings_on_chain: int
    batches_on_chain: int
    batches_refused: int
    intervals_closed: int
    intervals_restated: int
    intervals_to_restate: int
    """That late energy waits for."""
    periods_settled: int
    periods_adjusted: int
    """How often a settled period was made up for."""
    corrections: int
    tokens_minted: int
    tokens_charged: int
    reserve: int
    purchases: int
    transfers: int
    fees: int
    """Tokens that were paid to go first; they are part of the reserve."""


@dataclass(frozen=True, slots=True)
class MeterView:
    """One meter, as the chains know it."""

    meter: str
    participant: str
    gateway: str
    profile: str
    serial: str
    readings: int
    unexplained: int
    last_ms: int | None
    imported_wh: int | None
    exported_wh: int | None


class LedgerFile:
    """A ledger, open for questions."""

    def __init__(self, folder: Path) -> None:
        """Read the state as of the last block.

        Raises:
            OperatorError: there is no ledger.
        """
        self.store = Store.open_read_only(folder)
        with self.store.frozen():
            self.five: Five = restore(self.store, folder)

    def close(self) -> None:
        """Let go of the file."""
        self.store.close()

    def status(self) -> Status:
        """The ledger at a glance."""
        five, head = self.five, self.five.ledger.head
        assert head is not None, "a restored ledger has a head"
        data, analysis, payment = five.data.totals, five.analysis.cursor, five.payment.totals
        return Status(
            region=five.ledger.region,
            height=head.height,
            last_block_ms=head.time_ms,
            readings_on_chain=data.readings,
            batches_on_chain=data.batches,
            batches_refused=self.store.refused(),
            intervals_closed=analysis.intervals,
            intervals_restated=self.five.analysis.totals.restatements,
            intervals_to_restate=len(self.five.data.late.waiting),
            periods_settled=payment.periods,
            periods_adjusted=payment.adjustments,
            corrections=data.corrections,
            tokens_minted=payment.minted,
            tokens_charged=payment.burned,
            reserve=payment.reserve,
            purchases=payment.purchases,
            transfers=payment.transfers,
            fees=payment.fees,
        )

    def standings(self) -> list[Standing]:
        """How everybody stands, first in the order of priority first."""
        everybody = self.five.standings()
        standings = [everybody.of(name) for name in self.five.asset.region.participants]
        return sorted(standings, key=lambda standing: (standing.rank, standing.participant))

    def meters(self) -> list[MeterView]:
        """Every meter, in the order of the grid file."""
        views = []
        for meter in self.five.asset.region.grid.meters:
            state = self.five.data.meters.get(meter.id)
            imported, exported = (state.imported, state.exported) if state else (None, None)
            views.append(
                MeterView(
                    meter=meter.id,
                    participant=meter.participant,
                    gateway=meter.gateway,
                    profile=meter.profile,
                    serial=state.serial if state else "",
                    readings=state.readings if state else 0,
                    unexplained=state.unexplained if state else 0,
                    last_ms=state.last_ms if state else None,
                    imported_wh=imported.trusted.value_wh if imported else None,
                    exported_wh=exported.trusted.value_wh if exported else None,
                )
            )
        return views

    def gateways(self) -> list[str]:
        """Every gateway with a live key, in the order of their names."""
        return [member.name for member in self.five.asset.members(Role.GATEWAY)]

    def not_enrolled(self) -> list[str]:
        """Every gateway that the grid names and that has no live key, in the order of their names."""
        enrolled = set(self.gateways())
        return [name for name in self.five.asset.region.grid.gateways if name not in enrolled]

    def regulator(self) -> str:
        """The regulator's name."""
        return self.five.asset.region.genesis.regulator.name

"""Late energy: what became known of an interval after it was frozen, until a restatement takes it up.

It is kept apart, interval by interval, as long as the interval lies within the horizon of restatement: in the running
settlement period, or in one of the last periods that the rules name. Of closed intervals there the root over their
rows is kept, so that a restatement can bring the rows back and nobody can bring other ones.

Time is measured by how far intervals have been frozen: the only clock that stands in the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.metering.correction import Delta
from aggregator.chains.metering.interval_energy import (
    Energies,
    IntervalEnergy,
    ProvenRow,
    energies_root,
    metered_leaf,
    row_hash,
)
from aggregator.ledger.table import Journal, Table, flat
from protocol.errors import ProofError
from protocol.merkle import verify_inclusion
from protocol.refusals import RefusalCode, Refused

LATE_TABLE: Final = 23
WAITING_TABLE: Final = 24
CLOSED_TABLE: Final = 25


@dataclass(frozen=True, slots=True)
class Waiting:
    """An interval that has late energy."""

    since_ms: int
    """How far intervals were frozen when the first of it came."""


@dataclass(frozen=True, slots=True)
class ClosedInterval:
    """What an interval was closed with, or restated with last."""

    height: int
    """Of the block that did it: there the rows stand, in a leaf."""
    meters: int
    energies_root: bytes


class LateEnergy:
    """Energy that waits for a restatement, and what the intervals to restate were closed with."""

    def __init__(self, journal: Journal) -> None:
        """Nothing is late yet."""
        spell, read = flat(IntervalEnergy)
        self.rows: Table[tuple[int, str], IntervalEnergy] = Table(LATE_TABLE, journal, spell=spell, read=read)
        spell_waiting, read_waiting = flat(Waiting)
        self.waiting: Table[int, Waiting] = Table(WAITING_TABLE, journal, spell=spell_waiting, read=read_waiting)
        spell_closed, read_closed = flat(ClosedInterval)
        self.closed: Table[int, ClosedInterval] = Table(CLOSED_TABLE, journal, spell=spell_closed, read=read_closed)
        self.tables: Mapping[int, Table[Any, Any]] = {
            LATE_TABLE: self.rows,
            WAITING_TABLE: self.waiting,
            CLOSED_TABLE: self.closed,
        }

    def add(self, start_ms: int, meter: str, row: Sequence[int], frozen_until_ms: int) -> None:
        """Let more become known of a meter in a frozen interval: the fields of `IntervalEnergy`, in their order."""
        before = self.rows.get((start_ms, meter)) or IntervalEnergy()
        self.rows.put((start_ms, meter), before.plus(row))
        if start_ms not in self.waiting:
            self.waiting.put(start_ms, Waiting(frozen_until_ms))

    def of(self, start_ms: int, meters: Iterable[str]) -> dict[str, IntervalEnergy]:
        """What waits for an interval, in the order of the meters' names."""
        found = ((meter, self.rows.get((start_ms, meter))) for meter in sorted(meters))
        return {meter: row for meter, row in found if row is not None}

    def due(self, frozen_until_ms: int, horizon_ms: int, wait_ms: int) -> int | None:
        """Start of the interval to be restated next: the oldest whose wait is over, or whose period is leaving."""
        for start_ms, waiting in self.waiting.items():
            is_ripe = start_ms < horizon_ms or waiting.since_ms + wait_ms <= frozen_until_ms
            if is_ripe and start_ms in self.closed:
                return start_ms
        return None

    def waits_before(self, horizon_ms: int) -> bool:
        """Whether something waits for an interval whose period is leaving."""
        return any(start_ms < horizon_ms for start_ms in self.waiting)

    def close(self, start_ms: int, energies: Energies, height: int) -> list[bytes]:
        """Keep what an interval was closed with.

        Returns:
            The leaf that states it, unless there was no energy.
        """
        self.closed.put(start_ms, ClosedInterval(height, len(energies), energies_root(energies)))
        return [metered_leaf(start_ms, energies)] if energies else []

    def take_up(self, start_ms: int, meters: Iterable[str]) -> None:
        """Forget what waited for an interval: its restatement holds it now."""
        for meter in self.of(start_ms, meters):
            self.rows.remove((start_ms, meter))
        self.waiting.remove(start_ms)

    def check_former(self, start_ms: int, energies: Energies) -> None:
        """See that an interval was closed with these rows.

        Raises:
            Refused: with other ones.
        """
        closed = self.closed.get(start_ms)
        if closed is None or (closed.meters, closed.energies_root) != (len(energies), energies_root(energies)):
            raise Refused(RefusalCode.OTHER_PAST, f"the interval from {start_ms} was closed with other energy")

    def check_correction(self, meter: str, delta: Delta, unclosed: IntervalEnergy | None) -> None:
        """See that a correction takes no more than there is.

        Args:
            meter: whose.
            delta: of one interval, which is frozen.
            unclosed: what is known of the meter in the interval, if analysis has not closed that yet.

        Raises:
            Refused: it takes more, or shows another row than the interval was closed with.
        """
        known = unclosed or IntervalEnergy()
        if delta.known is not None:
            self._check_row(meter, delta.start_ms, delta.known)
            known = delta.known.energy
        waiting = self.rows.get((delta.start_ms, meter)) or IntervalEnergy()
        for what, there_wh, change_wh in (
            ("imported", known.imported_wh + waiting.imported_wh, delta.imported_wh),
            ("exported", known.exported_wh + waiting.exported_wh, delta.exported_wh),
        ):
            if change_wh < 0 and there_wh + change_wh < 0:
                detail = f"{meter}: {-change_wh} Wh {what} less from {delta.start_ms}, where {there_wh} Wh are shown"
                raise Refused(RefusalCode.MORE_THAN_THERE_IS, detail)

    def forget_before(self, horizon_ms: int) -> None:
        """Forget what intervals were closed with that nobody will restate."""
        for start_ms in [start for start in self.closed if start < horizon_ms]:
            self.closed.remove(start_ms)

    def _check_row(self, meter: str, start_ms: int, shown: ProvenRow) -> None:
        closed = self.closed.get(start_ms)
        try:
            if closed is None:
                raise ProofError("the interval is not closed")
            verify_inclusion(
                hash_of_leaf=row_hash(meter, shown.energy),
                index=shown.index,
                size=closed.meters,
                proof=shown.path,
                root=closed.energies_root,
            )
        except ProofError as error:
            raise Refused(RefusalCode.OTHER_PAST, f"{meter} in the interval from {start_ms}: {error}") from error

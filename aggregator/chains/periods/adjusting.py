"""What settled periods did to every account, as long as they may be restated, and what a restatement makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aggregator.chains.analysis import AnalysisChain
from aggregator.chains.region import Region
from aggregator.economy.accounts import Movement, MovementKind
from aggregator.economy.adjustment import Settled, adjust, settle_again
from aggregator.economy.tokens_many import tokens_of_all
from aggregator.ledger.table import Journal, Table, flat
from protocol.canonical import encode

SETTLED_TABLE: Final = 54
ADJUSTED_TABLE: Final = 55


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A settled period."""

    restatements: int = 0
    """How many of its restatements have been made up for."""


@dataclass(frozen=True, slots=True)
class TokenChange:
    """A participant whom a settled period should have brought something else."""

    participant: str
    before: int
    after: int
    balance: int
    """That should follow, today."""
    periods: tuple[tuple[int, Settled], ...]
    """By their start: what the account's settlements should have been."""

    def leaf(self, period_start_ms: int) -> bytes:
        """The leaf that states it. The movements that it takes stand behind it."""
        delta = self.after - self.before
        return encode(["adjusted", self.participant, period_start_ms, self.before, self.after, delta])


@dataclass(frozen=True, slots=True)
class DueAdjustment:
    """A settled period that was restated, and what has to be made up for."""

    start_ms: int
    end_ms: int
    restatements: int
    changes: tuple[TokenChange, ...]
    movements: tuple[Movement, ...]
    leaves: tuple[bytes, ...]

    @property
    def minted(self) -> int:
        """Tokens that it mints."""
        return sum(move.amount for move in self.movements if move.kind is MovementKind.ADJUSTMENT_UP)

    @property
    def burned(self) -> int:
        """Tokens that it burns."""
        return sum(move.amount for move in self.movements if move.kind is MovementKind.ADJUSTMENT_DOWN)


class SettledPeriods:
    """What settled periods did to every account, while they may be restated."""

    def __init__(self, journal: Journal, region: Callable[[], Region], analysis: AnalysisChain) -> None:
        """Nothing is settled yet."""
        self._region = region
        self._analysis = analysis
        spell, read = flat(Settled)
        self._settled: Table[tuple[int, str], Settled] = Table(SETTLED_TABLE, journal, spell=spell, read=read)
        spell_adjusted, read_adjusted = flat(Adjusted)
        self._adjusted: Table[int, Adjusted] = Table(ADJUSTED_TABLE, journal, spell=spell_adjusted, read=read_adjusted)
        self.tables: Mapping[int, Table[Any, Any]] = {SETTLED_TABLE: self._settled, ADJUSTED_TABLE: self._adjusted}

    def to_adjust(self) -> int | None:
        """Start of the oldest period that was restated since it was settled, or last made up for."""
        for start_ms, adjusted in self._adjusted.items():
            period = self._analysis.rows.periods.get(start_ms)
            if period is not None and period.restatements != adjusted.restatements:
                return start_ms
        return None

    def keep(self, start_ms: int, settled: Iterable[tuple[str, Settled]]) -> None:
        """Keep what a period's settlement did, and forget what nobody may restate any more."""
        restatable = self._analysis.rows.periods
        for start in [start for start in self._adjusted if start not in restatable]:
            self._adjusted.remove(start)
        for key in [key for key in self._settled if key[0] not in restatable]:
            self._settled.remove(key)
        if start_ms in restatable:
            self._adjusted.put(start_ms, Adjusted())
            for participant, one in settled:
                self._put(start_ms, participant, one)

    def due(self, balance_of: Callable[[str], int]) -> DueAdjustment | None:
        """What is to be made up for next. `balance_of` tells everybody's balance of today."""
        start_ms = self.to_adjust()
        if start_ms is None:
            return None
        rules, rows = self._region().rules_at(start_ms), self._analysis.rows.of(start_ms)
        settled = {participant: one for (start, participant), one in self._settled.items() if start == start_ms}
        former = {participant: one.tokens for participant, one in settled.items()}
        deeds = [
            replace(row.deeds, relief_tokens=settled.get(row.participant, Settled()).relief_tokens) for row in rows
        ]
        earned = tokens_of_all(deeds, rules.carbon, rules.tokens)
        tokens = {row.participant: one for row, one in zip(rows, earned, strict=True)}
        changes, movements, leaves = [], list[Movement](), list[bytes]()
        for participant in sorted({*tokens, *former}):
            before, after = former.get(participant, 0), tokens.get(participant, 0)
            if before == after:
                continue
            balance = balance_of(participant)
            change = self._change(start_ms, participant, after, balance)
            moves = adjust(balance, after - before, change.balance, participant)
            changes.append(change)
            movements += moves
            leaves += [change.leaf(start_ms), *(movement_leaf(move, start_ms) for move in moves)]
        period = self._analysis.rows.periods[start_ms]
        return DueAdjustment(
            start_ms, period.end_ms, period.restatements, tuple(changes), tuple(movements), tuple(leaves)
        )

    def settle_again(self, due: DueAdjustment) -> None:
        """Keep what the settlements should have been: the next adjustment starts from there."""
        for change in due.changes:
            for start_ms, settled in change.periods:
                self._put(start_ms, change.participant, settled)
        adjusted = self._adjusted[due.start_ms]
        self._adjusted.put(due.start_ms, replace(adjusted, restatements=due.restatements))

    def _change(self, start_ms: int, participant: str, tokens: int, balance: int) -> TokenChange:
        starts = [start for start, _ in self._adjusted.items() if start >= start_ms]
        periods: Sequence[Settled] = [self._settled.get((start, participant)) or Settled() for start in starts]
        ceilings = [self._region().rules_at(start).accounts.ceiling for start in starts]
        again, following = settle_again(periods, ceilings, tokens, balance)
        return TokenChange(participant, periods[0].tokens, tokens, following, tuple(zip(starts, again, strict=True)))

    def _put(self, start_ms: int, participant: str, settled: Settled) -> None:
        """Keep a row, unless it says that there was nothing and nothing came."""
        self._settled.put_or_drop((start_ms, participant), settled, is_kept=settled != Settled())


def movement_leaf(movement: Movement, period_start_ms: int) -> bytes:
    """The leaf that states one movement of tokens."""
    return encode(
        ["movement", movement.kind.value, movement.participant, movement.amount, movement.balance, period_start_ms]
    )

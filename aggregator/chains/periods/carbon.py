"""What everybody did in a settlement period, summed up, and the carbon factors that follow from it.

These are the rows that the analysis chain keeps and states; its rules are in `aggregator.chains.analysis`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from operator import add, attrgetter, neg

from aggregator.chains.admission.laws import Laws
from aggregator.economy.factors import Demand, Supply
from aggregator.economy.periods import Period
from aggregator.economy.settlement import Deeds, Factors, factors_of
from aggregator.ledger.table import flat
from config.rules import CarbonRule
from protocol.canonical import Value, encode


@dataclass(frozen=True, slots=True)
class PeriodSums:
    """What one participant did so far in the running settlement period."""

    used_wh: int = 0
    """Electricity."""
    clean_wh: int = 0
    fed_in_wh: int = 0
    """Electricity and heat."""
    emitted_mg: int = 0
    heat_wh: int = 0
    clean_heat_wh: int = 0
    response_wh: int = 0
    """Baseline − metered, in called events: below 0 where more was taken."""
    relief_ppm: int = 0
    """Factors for relieving congested branches. It may be below 0: what a restatement takes from a period whose factors
    are drawn up, it takes from the running one."""

    def plus(self, more: PeriodSums) -> PeriodSums:
        """With more of each; a difference may be below 0."""
        return PeriodSums(*map(add, self.amounts, more.amounts))

    @property
    def negated(self) -> PeriodSums:
        """What takes these away."""
        return PeriodSums(*map(neg, self.amounts))

    @property
    def amounts(self) -> list[int]:
        """All of them, in their order."""
        return list(_amounts(self))


_amounts: Callable[[PeriodSums], tuple[int, ...]] = attrgetter(*(field.name for field in fields(PeriodSums)))


@dataclass(frozen=True, slots=True)
class FactorRow:
    """One participant's carbon factors of one period, with everything that they follow from."""

    participant: str
    start_ms: int
    emitted_mg: int
    permitted_mg: int
    """0 for whoever has no permit to be measured by."""
    fed_in_wh: int
    used_wh: int
    clean_wh: int
    heat_wh: int = 0
    clean_heat_wh: int = 0
    response_wh: int = 0
    relief_ppm: int = 0
    supply_factor: str | None = None
    """Equation (1), spelled by `spell_fraction`; none where nothing was supplied under a permit."""
    demand_factor: str | None = None
    """Equation (2)."""

    @property
    def sums(self) -> PeriodSums:
        """What the participant did."""
        return PeriodSums(
            used_wh=self.used_wh,
            clean_wh=self.clean_wh,
            fed_in_wh=self.fed_in_wh,
            emitted_mg=self.emitted_mg,
            heat_wh=self.heat_wh,
            clean_heat_wh=self.clean_heat_wh,
            response_wh=self.response_wh,
            relief_ppm=self.relief_ppm,
        )

    @property
    def deeds(self) -> Deeds:
        """What the factors follow from: whoever did nothing, or has no permit, is not measured as a supplier."""
        is_measured = self.permitted_mg and (self.fed_in_wh or self.emitted_mg)
        demand = Demand(
            electricity_wh=self.used_wh,
            clean_electricity_wh=self.clean_wh,
            heat_wh=self.heat_wh,
            clean_heat_wh=self.clean_heat_wh,
            response_wh=max(0, self.response_wh),
        )
        return Deeds(
            supply=Supply(emitted_mg=self.emitted_mg, permitted_mg=self.permitted_mg) if is_measured else None,
            demand=demand if self.used_wh or self.heat_wh or demand.response_wh else None,
        )

    @property
    def factors(self) -> Factors:
        """The factors as fractions."""
        return Factors(_read_fraction(self.supply_factor), _read_fraction(self.demand_factor))


def with_factors(row: FactorRow, rule: CarbonRule) -> FactorRow:
    """Work out the factors of a row that has everything else."""
    factors = factors_of(row.deeds, rule)
    return replace(row, supply_factor=spell_fraction(factors.supply), demand_factor=spell_fraction(factors.demand))


def row_of(participant: str, sums: PeriodSums, period: Period, laws: Laws) -> FactorRow:
    """One participant's factors of a period, by what is laid down for it."""
    row = FactorRow(
        participant=participant,
        start_ms=period.span.start_ms,
        emitted_mg=sums.emitted_mg,
        permitted_mg=period.part_of(laws.permits_mg.get(participant, 0)),
        fed_in_wh=sums.fed_in_wh,
        used_wh=sums.used_wh,
        clean_wh=sums.clean_wh,
        heat_wh=sums.heat_wh,
        clean_heat_wh=sums.clean_heat_wh,
        response_wh=sums.response_wh,
        relief_ppm=sums.relief_ppm,
    )
    return with_factors(row, laws.rules.carbon)


@dataclass(frozen=True, slots=True)
class RestatedDeeds:
    """What the restatement of one interval changes for one participant."""

    participant: str
    interval_start_ms: int
    period_start_ms: int
    before: PeriodSums
    """Of the whole period."""
    delta: PeriodSums
    factors_before: FactorRow | None = None
    """None where there were none yet."""
    factors_after: FactorRow | None = None
    """None where they are not drawn up yet."""

    @property
    def after(self) -> PeriodSums:
        """The period's sums from now on."""
        return self.before.plus(self.delta)

    @property
    def leaf(self) -> bytes:
        """The leaf that states it. The original one stays."""
        return encode(
            [
                "restated",
                self.participant,
                self.interval_start_ms,
                self.period_start_ms,
                self.before.amounts,
                self.after.amounts,
                self.delta.amounts,
                _spelled_factors(self.factors_before),
                _spelled_factors(self.factors_after),
            ]
        )


def factor_leaf(row: FactorRow) -> bytes:
    """The leaf that states one participant's factors."""
    spell, _ = flat(FactorRow)
    return encode(["factors", *spell(row)])


def _spelled_factors(row: FactorRow | None) -> list[Value]:
    return [row.supply_factor, row.demand_factor] if row else [None, None]


def spell_fraction(factor: Fraction | None) -> str | None:
    """A factor in lowest terms, such as ``-7/20``: its terms may need more than 64 bits."""
    return None if factor is None else f"{factor.numerator}/{factor.denominator}"


def _read_fraction(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)

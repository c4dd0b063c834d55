"""What the regulator of a region lays down: how time is cut, what contribution is worth, what an account may hold."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfoNotFoundError

from pydantic import Field, model_validator

from config.model import Exact, Listed, Model, Natural, Positive, mistake
from config.time_zone import zone_of
from protocol.contract import PRICE_MAX
from protocol.messages import RightKind
from protocol.units import PPM

DAY_MS: Final = 86_400_000

CREDIT_MAX: Final = 10**9
"""Minor money units: so much from each of 18,000 participants still fits one account of the books."""


class CarbonRule(Model):
    """Coefficients of equations (1) and (2)."""

    alpha: Exact
    beta: Exact
    gamma: Exact
    sigma: Exact
    demand_response: Annotated[tuple[Annotated[tuple[Natural, Exact], Listed], ...], Listed] = ((0, Decimal(0)),)
    """f of equation (2): points (Wh, value) of a piecewise-linear function, flat beyond its ends."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        starts = [point[0] for point in self.demand_response]
        if not starts or starts != sorted(set(starts)):
            raise mistake("demand_response points with rising watt-hours, at least one")
        if min(self.alpha, self.beta, self.gamma, self.sigma) < 0:
            raise mistake("coefficients of 0 or more")
        values = [point[1] for point in self.demand_response]
        if values != sorted(values) or values[0] < 0:
            raise mistake("demand_response values of 0 or more that never fall: more response never earns less")
        return self


class CongestionRule(Model):
    """What relieving a congested branch is worth (paper 1, §3.4)."""

    steps: Annotated[tuple[Annotated[tuple[Positive, Exact], Listed], ...], Listed]
    """(W, factor): from so much relief on, an interval of it counts so much; below the first, nothing."""
    threshold: Exact
    """Factors add up; every time their sum reaches it, the award is due, and the rest carries over."""
    award: Positive
    """Tokens."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        watts, factors = [step[0] for step in self.steps], [step[1] for step in self.steps]
        if not watts or watts != sorted(set(watts)) or factors != sorted(factors) or factors[0] < 0:
            raise mistake("steps with rising watts and factors of 0 or more that never fall, at least one")
        if any(factor * PPM % 1 for factor in (*factors, self.threshold)) or self.threshold <= 0:
            raise mistake("factors and a threshold above 0, of whole millionths")
        return self

    def factor_ppm(self, relief_w: int) -> int:
        """What one interval with so much relief counts, in millionths."""
        return max((int(factor * PPM) for watts, factor in self.steps if relief_w >= watts), default=0)

    @property
    def threshold_ppm(self) -> int:
        """The threshold, in millionths."""
        return int(self.threshold * PPM)


class TokenRule(Model):
    """Coefficients of equation (3)."""

    penalty: Exact
    """ϑ: tokens owed for a factor below 0."""
    reward: Exact
    """ξ: tokens earned for a factor above `factor_low`."""
    factor_low: Exact
    """F1: below it nothing is earned."""
    factor_high: Exact
    """F2: from it on, the most is earned."""
    tokens_max: Natural
    """N_max: the most that one participant is awarded in a settlement period."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 <= self.factor_low < self.factor_high:
            raise mistake("0 ≤ factor_low < factor_high", f"{self.factor_low} and {self.factor_high}")
        if min(self.penalty, self.reward) < 0:
            raise mistake("coefficients of 0 or more")
        if self.factor_high > 20 or max(self.penalty, self.reward) > 10**9:
            raise mistake("factor_high up to 20, and coefficients up to 1,000,000,000")
        return self


class AccountRule(Model):
    """How much may be held, and what owing means."""

    ceiling: Positive
    """Tokens above it go to the reserve: an account is not for hoarding."""
    restricted_ppm: Annotated[int, Field(ge=0, lt=PPM)]
    """Share of a device's rated power that is left to a participant with a balance below 0."""
    credit_max: Annotated[int, Field(ge=0, le=CREDIT_MAX)] = 1_000_000
    """Minor money units that a participant may owe, with what unsettled contracts may cost them, buying or selling."""


class ContractRule(Model):
    """How contracts are judged and settled."""

    imbalance_per_mwh: Annotated[int, Field(ge=0, le=PRICE_MAX)]
    """Minor money units: what is fed in or taken beyond contracts is settled with the region at this price."""
    dispute_ms: Natural
    """How long, behind a contract's end, either party may dispute what was measured, before it is settled."""
    lines_ppm: Annotated[int, Field(gt=0, le=PPM)] = PPM
    """Share of a line's rating that contracts may promise; the rest is for losses, reactive power, and all others."""
    tolerance_ppm: Annotated[int, Field(ge=0, lt=PPM)] = 0
    """Share of what was due that may be missing without breach."""
    approval_from_wh: Positive | None = None
    """A contract needs the regulator's approval if the two agree on so much energy and more within a day; none: no
    contract does."""
    dispute_deposit: Natural = 10
    """Tokens that a party puts down with a dispute; they come back if the arbitration is more to their favour than
    what was measured, or if there is none."""
    arbitration_ms: Natural = 14 * DAY_MS
    """How long the regulator has to arbitrate a dispute, before the contract is settled as it was measured."""


class CurtailmentRule(Model):
    """How participants are limited for the sake of a congested power line."""

    relief_min_ppm: Annotated[int, Field(gt=0, le=PPM)] = 50_000
    """Whoever relieves the line by less than this share of what they give up is left alone."""
    release_ppm: Annotated[int, Field(gt=0, le=PPM)] = 950_000
    """Loading of the line up to which limits are given back: below its rating, so that they do not come and go."""
    step_ppm: Annotated[int, Field(gt=0, le=PPM)] = 250_000
    """By how much a limit rises at a time, as a share of what somebody's devices are rated for."""


class ExchangeRule(Model):
    """How much of tokens and money may be exchanged; debts may be paid without limit."""

    bought_per_day: Natural
    """Tokens that one participant may buy for money in a day of the rules."""
    sold_per_day: Natural
    """Tokens that one participant may change for money in a day of the rules."""


class RightPrice(Model):
    """What one right costs for one settlement period; `channel_use`, what a kilowatt of a power line costs an hour."""

    right: str
    price: Positive

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.right not in (kind.name.lower() for kind in RightKind):
            raise mistake(f"a right out of {', '.join(kind.name.lower() for kind in RightKind)}")
        return self

    @property
    def kind(self) -> RightKind:
        """The right's number on the wire."""
        return RightKind[self.right.upper()]


class TimeRule(Model):
    """How time is cut."""

    interval_ms: Annotated[int, Field(ge=1000, le=DAY_MS)]
    """Metering interval; its boundaries are multiples of it since 1970."""
    grace_ms: Natural
    """How long after its end an interval waits for readings before it is closed."""
    period_ms: Positive | None = None
    """Settlement period; none means the calendar month of `time_zone`."""
    time_zone: str = "Etc/UTC"
    future_max_ms: Natural = 10_000
    """How far ahead of the block's time a reading may be: clocks differ, but not by more."""
    restate_after_ms: Natural = 3_600_000
    """How long late energy of an interval waits for more of it, before the interval is restated."""
    restate_periods: Annotated[int, Field(ge=0, le=24)] = 2
    """How many settlement periods that are over may still be restated."""
    day_ms: Annotated[int, Field(ge=1000, le=DAY_MS)] = DAY_MS
    """After so long, intervals are alike again: the day of baselines. Shorter in a simulation, where it knows neither
    days off nor the clock of `time_zone`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if DAY_MS % self.interval_ms:
            raise mistake("an interval that divides the day")
        if self.day_ms % self.interval_ms:
            raise mistake("a day_ms of whole intervals")
        if self.period_ms is not None and self.period_ms % self.interval_ms:
            raise mistake("a settlement period of whole intervals")
        try:
            zone_of(self.time_zone)
        except ZoneInfoNotFoundError as error:
            raise mistake("a time zone of the tz database, such as Europe/Berlin") from error
        return self


class Mechanism(StrEnum):
    """How quotes meet."""

    CONTINUOUS = "continuous"
    """As they come: by price, then by time."""
    CALL = "call"
    """All of an interval's at once, when its gate closes, within what the network carries."""


class Pricing(StrEnum):
    """What a call auction's energy costs."""

    UNIFORM = "uniform"
    """Everybody at a node trades at its price."""
    PAY_AS_BID = "pay_as_bid"
    """Everybody trades at their own limit."""


class MarketRule(Model):
    """How energy is traded."""

    mechanism: Annotated[Mechanism, Field(strict=False)] = Mechanism.CONTINUOUS
    pricing: Annotated[Pricing, Field(strict=False)] = Pricing.UNIFORM
    """Of call auctions. In continuous trading, the price is that of the quote that stood."""
    gate_ms: Natural = 0
    """How long before an interval begins trading for it ends. A call auction needs that time: what is not cleared when
    the interval begins lapses."""
    ahead_ms: Positive = DAY_MS
    """How far ahead of an interval's beginning quotes are taken."""
    quotes_max: Annotated[int, Field(gt=0, le=1_000_000)] = 100_000
    """How many may stand at a time; each participant has an equal share, so that nobody can crowd out others."""
    quantity_min_wh: Positive = 1
    """The lot: nobody quotes less. It bounds into how many contracts others can cut a quote."""
    price_max: Annotated[int, Field(gt=0, le=PRICE_MAX)] = 1_000_000
    """The highest limit, in minor money units per MWh: a buyer who would pay anything says this. No contract that two
    agree on between them may be dearer."""
    penalty_ppm: Annotated[int, Field(ge=0, le=PPM)] = 100_000
    """Of the contracts that quotes come to: share of the price of what is not delivered."""
    termination_ppm: Annotated[int, Field(ge=0, le=PPM)] = 100_000
    """Of the same: share of the price of the rest, paid by whoever ends one early."""

    @model_validator(mode="after")
    def _leaves_time_to_clear(self) -> Self:
        if self.mechanism is Mechanism.CALL and not self.gate_ms:
            raise mistake("a gate_ms above 0 for call auctions: they are cleared between gate and delivery")
        return self


class Rules(Model):
    """What the regulator has laid down."""

    time: TimeRule
    carbon: CarbonRule
    tokens: TokenRule
    accounts: AccountRule
    rights: Annotated[tuple[RightPrice, ...], Listed] = ()
    congestion: CongestionRule | None = None
    """None: relieving a branch is not paid."""
    contracts: ContractRule | None = None
    """None: no contracts are made here."""
    market: MarketRule | None = None
    """None: nothing is quoted here; contracts are made between two."""
    curtailment: CurtailmentRule | None = None
    """None: nobody is limited because a branch is congested."""
    exchange: ExchangeRule | None = None
    """None: tokens and money are not exchanged."""

"""What the regulator of the simulated region has laid down: coefficients, ceilings, prices, and the engine's permit.

All numbers of the demo's economy stand here. They are chosen so that its story can be watched: the gas engine emits
1.6 times its permit and is charged; restricted to three tenths it stays within, earns, and is released again.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from config.rules import (
    DAY_MS,
    AccountRule,
    CarbonRule,
    CongestionRule,
    ContractRule,
    CurtailmentRule,
    ExchangeRule,
    MarketRule,
    Mechanism,
    RightPrice,
    Rules,
    TimeRule,
    TokenRule,
)
from firmware_sim.curves import GAS_ENGINE_MEAN

GRID_EMISSION_G_PER_KWH: Final = 400
GAS_EMISSION_G_PER_KWH: Final = 500
ENGINE_EMISSION_G_PER_KWH: Final = 900
"""Of the workshop's old engine, nearly three times what it is permitted: its factor is then about −1.9."""

OVER_PERMIT: Final = Decimal("1.6")
"""What the engine emits unrestricted, as a multiple of its permit: its factor is then about −0.6 (equation 1)."""

FEED_IN_PER_MWH: Final = 8_000
"""What the network outside pays for energy, in cents: 8 ct/kWh."""
RETAIL_PER_MWH: Final = 32_000
"""What it asks for some: 32 ct/kWh."""
LEFT_TO_DEBTORS_PPM: Final = 900_000
"""In a region that trades: so much that what they lose to a congested line can be told from what their debt costs."""

MONTH_MS: Final = 30 * DAY_MS
"""What a permit is sized for where the settlement period is the calendar month."""

_WATT_MS_PER_KWH: Final = 3_600_000 * 1_000


def region_rules(time: TimeRule) -> Rules:
    """The rules of the region, with time cut as the caller says."""
    return Rules(
        time=time,
        carbon=CarbonRule(alpha=Decimal(1), beta=Decimal(1), gamma=Decimal(1), sigma=Decimal(1)),
        tokens=TokenRule(
            penalty=Decimal(50),
            reward=Decimal(100),
            factor_low=Decimal("0.2"),
            factor_high=Decimal("1.2"),
            tokens_max=200,
        ),
        accounts=AccountRule(ceiling=500, restricted_ppm=300_000),
        congestion=CongestionRule(
            steps=((500, Decimal(1)), (2_000, Decimal(2)), (5_000, Decimal(3))), threshold=Decimal(1), award=20
        ),
        rights=(
            RightPrice(right="priority_generation", price=40),
            RightPrice(right="priority_purchase", price=40),
        ),
    )


def market_rules(time: TimeRule) -> Rules:
    """The rules of a region that trades, with time cut as the caller says. Money is in cents."""
    rules = region_rules(time)
    return rules.model_copy(
        update={
            "accounts": rules.accounts.model_copy(update={"restricted_ppm": LEFT_TO_DEBTORS_PPM}),
            "contracts": ContractRule(
                imbalance_per_mwh=RETAIL_PER_MWH,
                dispute_ms=time.interval_ms,
                lines_ppm=900_000,
                tolerance_ppm=50_000,
            ),
            "market": MarketRule(
                mechanism=Mechanism.CALL,
                gate_ms=time.interval_ms,
                ahead_ms=24 * time.interval_ms,
                price_max=4 * RETAIL_PER_MWH,
                penalty_ppm=200_000,
            ),
            "curtailment": CurtailmentRule(),
            "exchange": ExchangeRule(bought_per_day=100, sold_per_day=100),
        }
    )


def permit_g(rated_w: int, time: TimeRule) -> int:
    """Emission that a plant is permitted per settlement period, in grams; at least one.

    Every plant gets what is due to an engine of its size: a turbine, which emits nothing, is measured by the same rule.
    """
    mean_w = rated_w * Decimal(GAS_ENGINE_MEAN)
    energy_kwh = mean_w * (time.period_ms or MONTH_MS) / _WATT_MS_PER_KWH
    return max(1, round(energy_kwh * GAS_EMISSION_G_PER_KWH / OVER_PERMIT))

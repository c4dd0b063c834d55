"""A village in which contracts are made: wind and home have gateways of their own, and may sign for themselves alone.

All meters hang on the gateway of the village, as ever. `Market` signs offers and agreements, and lives through windows.
Intervals wait for the first reading behind them, so that nothing is late.
At 36 kW a meter counts exactly 50 Wh in each interval of five seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.chains.contracts.rows import Contract
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.states import State
from aggregator.ledger.block import Outcome
from config.grid_model import Grid
from protocol.agreement import Agreement, Dispute, Termination, seal_offer
from protocol.contract import Terms
from protocol.crypto import SoftwareKey
from protocol.messages import MessageType
from protocol.money import MILLIONTHS
from protocol.refusals import RefusalCode
from tests.village import (
    A_LIMITER,
    GRACE_MS,
    INTERVAL_MS,
    REGION,
    START_MS,
    Village,
    a_grid,
    a_grid_document,
    some_keys,
)

EVEN_W: Final = 36_000
EVEN_WH: Final = 50
"""What `EVEN_W` comes to in an interval."""
PER_WH: Final = 1_000_000
"""A price per MWh at which a watt-hour costs one minor unit."""
IMBALANCE: Final = 2
"""Minor units for a watt-hour beyond contracts."""
DISPUTE_MS: Final = 2 * INTERVAL_MS
BOOKED: Final = {"imbalance_per_mwh": IMBALANCE * PER_WH, "dispute_ms": DISPUTE_MS, "dispute_deposit": 0}
GATEWAYS: Final = {"wind": "gw-wind", "home": "gw-home", "gas": "gw", "grid": "gw"}
EVEN: Final = {"m-wind": -EVEN_W, "m-home": EVEN_W, "m-gas": 0, "m-grid": 0}
"""The turbine feeds in what the home takes."""


def a_market_document(
    rating_ma: int = 200_000,
    time: dict[str, Any] | None = None,
    accounts: dict[str, Any] | None = None,
    **contracts: Any,
) -> dict[str, Any]:
    """The grid file of a village with contracts. Nobody earns or owes tokens that nothing says so of."""
    document = a_grid_document()
    document["rules"]["accounts"] |= accounts or {}
    document["rules"]["contracts"] = BOOKED | contracts
    document["rules"]["time"] |= {"period_ms": 600_000, "grace_ms": INTERVAL_MS + GRACE_MS} | (time or {})
    document["branches"][0]["rating_ma"] = rating_ma
    document["devices"] += [
        A_LIMITER | {"id": f"limit-{name}", "participant": name, "gateway": GATEWAYS[name], "direction": direction}
        for name, direction in (("wind", "feeds_in"), ("home", "takes"))
    ]
    return document


def a_market_grid(**changes: Any) -> Grid:
    """The same, checked."""
    return a_grid(**a_market_document(**changes))


@dataclass
class Market(Village):
    """A village whose participants agree on contracts."""

    grid: Grid = field(default_factory=a_market_grid)
    keys: dict[str, SoftwareKey] = field(default_factory=lambda: some_keys("gw", "gw-wind", "gw-home"))

    def terms(self, **changes: Any) -> Terms:
        """Wind for the home, for two intervals that begin ten seconds from now: all that the turbine gives then."""
        start_ms = self.now_ms - self.now_ms % INTERVAL_MS + 2 * INTERVAL_MS
        plain = Terms(
            region=REGION,
            seller="wind",
            buyer="home",
            carrier="electricity",
            quantity_wh=2 * EVEN_WH,
            price_per_mwh=PER_WH,
            start_ms=start_ms,
            end_ms=start_ms + 2 * INTERVAL_MS,
            penalty_ppm=200_000,
            termination_ppm=100_000,
            expires_ms=self.now_ms,
            nonce=(len(self.blocks) << 64 | self.now_ms).to_bytes(16, "big"),
        )
        return replace(plain, **changes)

    def agreement(self, terms: Terms, offers: str = "gw-wind", agrees: str = "gw-home") -> Agreement:
        """Both sides sign."""
        return Agreement.to(self.link(agrees), seal_offer(terms, self.keys[offers]))

    def put(self, message: Any, type_: MessageType, author: str) -> Outcome:
        """Put a record into a block of its own."""
        return self.close([self.record(self.sign(message, type_, author))]).outcomes[0]

    def agree(self, terms: Terms | None = None, offers: str = "gw-wind", agrees: str = "gw-home") -> RefusalCode | None:
        """Agree on terms, and say what became of the record."""
        agreement = self.agreement(terms or self.terms(), offers, agrees)
        return self.put(agreement, MessageType.AGREEMENT, agrees).refusal

    def made(self, **changes: Any) -> bytes:
        """A contract that is agreed. Whoever has no gateway of their own signs with the village's."""
        terms = self.terms(**changes)
        refusal = self.agree(terms, GATEWAYS.get(terms.seller, "gw"), GATEWAYS.get(terms.buyer, "gw"))
        assert refusal is None, refusal.name
        return terms.digest

    def contract(self, digest: bytes) -> Contract:
        """A contract as the state has it."""
        return self.five.operation.contracts.book.rows[digest]

    def state(self, digest: bytes) -> State:
        """Where a contract stands."""
        return self.contract(digest).state

    def terminate(self, digest: bytes, participant: str = "wind", author: str = "gw-wind") -> RefusalCode | None:
        """Let a party end a contract."""
        order = Termination(self.link(author), digest, participant, "no wind is forecast")
        return self.put(order, MessageType.TERMINATION, author).refusal

    def dispute(self, digest: bytes, participant: str = "home", author: str = "gw-home") -> RefusalCode | None:
        """Let a party call the regulator."""
        order = Dispute(self.link(author), digest, participant, "the meter is wrong")
        return self.put(order, MessageType.DISPUTE, author).refusal

    def arbitrate(self, digest: bytes, delivered_wh: int, responsible: Party = Party.SELLER) -> RefusalCode | None:
        """Let the regulator decide."""
        order = Arbitration(self.link("regulator"), digest, delivered_wh, responsible, "the meter was tested")
        return self.put(order, MessageType.ARBITRATION, "regulator").refusal

    def approve(self, digest: bytes) -> RefusalCode | None:
        """Let the regulator approve a contract."""
        order = Approval(self.link("regulator"), digest, "a large one")
        return self.put(order, MessageType.APPROVAL, "regulator").refusal

    def freeze(self, participant: str = "wind", *, is_frozen: bool = True) -> RefusalCode | None:
        """Let the regulator freeze a participant, or allow contracts again."""
        order = Freeze(self.link("regulator"), participant, is_frozen, "an inquiry")
        return self.put(order, MessageType.FREEZE, "regulator").refusal

    def ledger_check(self, type_: MessageType, author: str = "gw-home") -> None:
        """Bring a freeze to the door, signed by somebody, as a record of some type."""
        order = Freeze(self.link(author), "wind", True, "envy")
        self.five.ledger.check(self.sign(order, type_, author))

    def live_even(self, intervals: int, **power_w: int) -> None:
        """Let intervals pass in which the turbine feeds in what the home takes; `wind=…` and so on change that."""
        changed = {f"m-{name}": watts for name, watts in power_w.items()}
        self.live(5 * intervals, EVEN | changed)

    def owed(self) -> dict[str, Fraction]:
        """Everybody's obligations in money, in minor units."""
        return {account: in_units(owed.amount) for account, owed in self.five.payment.money.accounts.items()}


def in_units(amount: int) -> Fraction:
    """An amount of the books in minor units, exactly."""
    return Fraction(amount, MILLIONTHS)


def settled(market: Market, digest: bytes, **power_w: int) -> Contract:
    """Live until a contract that was just made is settled."""
    market.live_even(2)
    market.live_even(2, **power_w)
    market.live_even(6)
    assert market.state(digest) is State.SETTLED, market.contract(digest).history
    return market.contract(digest)


assert START_MS % INTERVAL_MS == 0

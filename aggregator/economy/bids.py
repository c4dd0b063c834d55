"""What a record offers for its place in a block, and what stands behind the offer.

A fee is paid when its record takes effect, and only then. So that nobody gets to the front with fees that they never
pay, an offer counts only where the record would take effect as the last block has left things, and all offers of one
account in one block together only as far as it holds what they cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Bid:
    """One record's offer."""

    payer: str
    """Whose account it is paid from."""
    fee: int
    """Tokens."""
    cost: int
    """All tokens that leave the account if the record takes effect, the fee among them."""
    balance: int
    """What the account held at the end of the block before."""


NO_BID: Final = Bid("", 0, 0, 0)
"""Of a record that has no fee, or would not take effect."""

"""What a contract may make each of its parties owe, before and after meters have spoken. Integers only.

Energy beyond contracts is not in it, nor what late data, corrections and rulings change: nobody can foresee those.
Everything else that a bill says is: what was due and is measured as it was, what is still due at its worst.
"""

from __future__ import annotations

from typing import Final

from aggregator.economy.contracts.bill import Party, Prices, bill_of, share_of
from aggregator.economy.contracts.delivery import Amounts
from protocol.contract import Terms, price_of
from protocol.units import PPM

_STRICT_AND_LENIENT: Final = (Prices(0, 0), Prices(0, PPM))
"""With every penalty there can be, and without any: the rules' tolerance lies between, and changes nothing here."""


def worst_of(energy_wh: int, price_per_mwh: int, rent_per_mwh: int, share_ppm: int) -> tuple[int, int]:
    """What energy that is due may cost seller and buyer at most, in millionths of a minor unit.

    Each watt-hour costs the buyer its price with the rent, or a share of the price; the seller, a share of the price.

    Args:
        energy_wh: what is due.
        price_per_mwh: of the contract, in minor units.
        rent_per_mwh: what the buyer pays to the region beyond that, in minor units; may be below 0.
        share_ppm: of the price, whoever falls short or ends it, whichever costs more.
    """
    share = share_of(price_of(energy_wh, price_per_mwh), share_ppm)
    return share, max(share, price_of(energy_wh, price_per_mwh + rent_per_mwh))


def risks_of(
    terms: Terms, amounts: Amounts, all_due_wh: int, ended_by: Party = Party.NOBODY, rent_per_mwh: int = 0
) -> tuple[int, int]:
    """What seller and buyer may come to owe by a contract that is not settled, in millionths of a minor unit.

    What one of them is owed makes no room for what is still due.

    Args:
        terms: as agreed.
        amounts: what counts of its energy so far.
        all_due_wh: until it ends.
        ended_by: who ended it early: they owe for the rest by now, and nobody can end it again.
        rent_per_mwh: as in `worst_of`.
    """
    share_ppm = max(terms.penalty_ppm, terms.termination_ppm if ended_by is Party.NOBODY else 0)
    seller, buyer = worst_of(all_due_wh - amounts.due_wh, terms.price_per_mwh, rent_per_mwh, share_ppm)
    rest = share_of(price_of(terms.quantity_wh - all_due_wh, terms.price_per_mwh), terms.termination_ppm)
    paid = {Party.SELLER: rest, Party.BUYER: -rest, Party.NOBODY: 0}[ended_by]
    bills = [bill_of(terms, amounts, prices, rent_per_mwh=rent_per_mwh) for prices in _STRICT_AND_LENIENT]
    seller += max(0, *(paid - bill.seller for bill in bills))
    return seller, buyer + max(0, *(-paid - bill.buyer for bill in bills))

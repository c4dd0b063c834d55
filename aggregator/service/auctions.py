"""Clears call auctions for a compute node."""

from __future__ import annotations

import structlog

from aggregator.economy.market.clearing import Auction, Clearing
from aggregator.grid.clearing import Clearer, ClearingError

log = structlog.get_logger("este.auctions")


class AuctionClearing:
    """Clears whatever auction is due; a network is prepared once, and again when it has changed."""

    def __init__(self) -> None:
        """No network is prepared."""
        self._clearer: Clearer | None = None

    def __call__(self, auction: Auction) -> Clearing | None:
        """A clearing that `verify` accepts; None where none is found: then the quotes lapse."""
        if self._clearer is None or self._clearer.network is not auction.network:
            self._clearer = Clearer(auction.network)
        try:
            return self._clearer.clear(auction)
        except ClearingError as error:
            log.error("an auction cannot be cleared", quotes=len(auction.quotes), error=str(error))
            return None

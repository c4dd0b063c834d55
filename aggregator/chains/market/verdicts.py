"""What the market asks of contracts: the operation chain hands it somebody who knows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from aggregator.chains.market.rows import Deal, passed_over_leaf
from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import Objection, Site, SiteKey
from aggregator.economy.market.book import Book, trade
from aggregator.economy.market.clearing import Taken
from aggregator.economy.market.quotes import Match, OpenQuote
from aggregator.ledger.chain import BlockTime
from protocol.quote import TimeInForce
from protocol.refusals import RefusalCode, Refused


class Judged(Protocol):
    """Matches of one quote, judged one after the other."""

    @property
    def reason(self) -> Objection | None:
        """Why less of a match could be than quotes came to, the first time."""

    def allowed_wh(self, match: Match) -> int:
        """How much of a match can be a contract, beside those before it."""


class Verdicts(Protocol):
    """What the market asks of contracts."""

    def see_may_trade(self, participant: str) -> None:
        """See that a participant may make a contract now, or raise `Refused`."""

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit."""

    def site(self, region: Region, key: SiteKey) -> Site:
        """What a participant's devices can."""

    def free(self, region: Region, key: SiteKey, start_ms: int) -> Site:
        """What of that no contract promises yet in an interval."""

    def taken_w(self, region: Region, start_ms: int) -> tuple[Taken, ...]:
        """What contracts have of lines in an interval."""

    def trial(self, region: Region) -> AbstractContextManager[Judged | None]:
        """Judge matches for a while; None where the region's rules have no contracts."""

    def agreed(self, deal: Deal, block: BlockTime) -> Iterable[bytes]:
        """Take in a contract that quotes have come to; further leaves."""


def matched(
    book: Book, quote: OpenQuote, time_in_force: TimeInForce, judging: AbstractContextManager[Judged | None]
) -> tuple[list[Match], list[bytes]]:
    """What a quote trades at once, as far as that can be contracts, and a leaf if it could be more otherwise.

    Raises:
        Refused: it would trade with its own participant, or is to be filled at once and cannot; with the verdict's
            code, where that is why.
    """
    with judging as trial:
        if trial is None:
            return trade(book, quote, time_in_force), []
        try:
            matches = trade(book, quote, time_in_force, trial.allowed_wh)
        except Refused as refused:
            if refused.code is RefusalCode.NOT_FILLED and trial.reason is not None:
                raise Refused(trial.reason.rule, trial.reason.said) from refused
            raise
        reason = trial.reason
    return matches, [passed_over_leaf(quote.digest, reason)] if reason is not None else []

"""The operation chain: demand-response events, contracts, and the market.

Kinds of record: *event* (participants are called), *cancellation* (of an event that has not begun), *agreement* (two
participants have signed the same terms), *termination* and *dispute* (of a contract, by a party), *approval*,
*arbitration* and *freeze* (by the regulator), *quote* and *quote-cancel* (by a participant's gateway), *clearing* (of a
call auction: the dispatch of an interval, by a compute node). State: the events whose intervals analysis has not all
closed, contracts (`aggregator.chains.contracts`), quotes (`aggregator.chains.market`), and counts. Feeds: analysis,
payment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from aggregator.chains.congestion.events import Cancellation, ResponseEvent
from aggregator.chains.contracts.contracts import Contracts
from aggregator.chains.contracts.metering import Stated
from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.chains.contracts.purse import Purse
from aggregator.chains.contracts.trial import QuoteVerdicts
from aggregator.chains.intervals.flows import EVENTS_MAX
from aggregator.chains.market.clearing import ClearingResult
from aggregator.chains.market.market import Market
from aggregator.chains.market.rows import Deal, passed_over_leaf
from aggregator.chains.region import Region
from aggregator.economy.bids import NO_BID, Bid
from aggregator.economy.contracts.feasibility import Objection
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import AuthorOf, Decoders, Record
from aggregator.ledger.table import Journal, Table, flat
from protocol.agreement import Agreement, Dispute, Termination
from protocol.canonical import Value
from protocol.checkpoint import ChainName
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval

EVENTS_TABLE: Final = 40
TOTALS_TABLE: Final = 41

CALLED_MAX: Final = 100_000
"""Participants that may be called at a time, by all events together: what an interval's record has room for."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event that was called."""

    start_ms: int
    end_ms: int
    branch: str
    participants: tuple[str, ...]
    """Empty: all that respond."""


@dataclass(frozen=True, slots=True)
class OperationTotals:
    """Counts since genesis."""

    called: int = 0
    """An event's number is the count with it."""
    cancelled: int = 0


CalledFor = tuple[int, Event]
"""Number of an event, and the event."""


class OperationChain:
    """What participants agree on, and are called for."""

    name = ChainName.OPERATION
    decoders: ClassVar[Decoders] = {
        MessageType.EVENT: ResponseEvent.decode,
        MessageType.CANCELLATION: Cancellation.decode,
        MessageType.AGREEMENT: Agreement.decode,
        MessageType.TERMINATION: Termination.decode,
        MessageType.DISPUTE: Dispute.decode,
        MessageType.ARBITRATION: Arbitration.decode,
        MessageType.FREEZE: Freeze.decode,
        MessageType.APPROVAL: Approval.decode,
        MessageType.QUOTE: Quote.decode,
        MessageType.QUOTE_CANCEL: QuoteCancel.decode,
        MessageType.CLEARING: ClearingResult.decode,
    }

    def __init__(
        self, journal: Journal, region: Callable[[], Region], author_of: AuthorOf, purse: Callable[[], Purse]
    ) -> None:
        """Nobody is called, nobody has agreed on anything, and nobody has quoted.

        `author_of` tells whose key signed an offer. `purse` looks downstream, at what payment has closed before.
        """
        self._region = region
        self.contracts = Contracts(journal, region, author_of, purse)
        self.market = Market(journal, region, QuoteVerdicts(self.contracts, self._take_in))
        self.events: Table[int, Event] = Table(EVENTS_TABLE, journal, spell=_spell_event, read=_read_event)
        """By number; those that are over are forgotten, once their last interval is closed."""
        spell, read = flat(OperationTotals)
        self._totals: Table[int, OperationTotals] = Table(TOTALS_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {
            EVENTS_TABLE: self.events,
            TOTALS_TABLE: self._totals,
            **self.contracts.tables,
            **self.market.tables,
        }

    @property
    def totals(self) -> OperationTotals:
        """Counts since genesis."""
        return self._totals.get(0) or OperationTotals()

    def on(self, interval: Interval) -> list[CalledFor]:
        """The events that are on in an interval, in the order of their numbers."""
        return [(number, event) for number, event in self.events.items() if _meet(event, interval)]

    def close_interval(self, interval: Interval, stated: Stated, about: bytes) -> list[bytes]:
        """Forget the events that are over, and measure contracts, now that analysis has closed an interval by a record.

        Returns:
            The leaves that state it.
        """
        for number in [number for number, event in self.events.items() if event.end_ms <= interval.end_ms]:
            self.events.remove(number)
        self.market.close_interval(interval.end_ms)
        return self.contracts.close_interval(interval, stated, about)

    def bid(self, record: Record, time_ms: int) -> Bid:
        """What a record offers for its place, if it would take effect at `time_ms` with everything as it stands."""
        if not isinstance(record.message, Agreement):
            return NO_BID
        try:
            self.market.see_unquoted(record.message.terms)
        except Refused:
            return NO_BID
        return self.contracts.bid(record, time_ms)

    def begin_block(self, block: BlockTime) -> None:
        """Let deliveries begin whose time has come, and quotes lapse whose time is over."""
        self.contracts.begin(block.time_ms)
        self.market.begin_block(block)

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Call an event or take one back, take a step with a contract, or let quotes meet.

        Raises:
            Refused: see the codes 40 to 45, 110 to 139, 150 to 169, and 190 to 199.
        """
        match record.message:
            case ResponseEvent() as called:
                self._call(called, block)
            case Cancellation() as cancellation:
                self._cancel(cancellation, block)
            case Agreement() as agreement:
                self.market.see_unquoted(agreement.terms)
                return self.contracts.apply(record, block.time_ms)
            case Quote():
                return self.market.quote(record, block)
            case QuoteCancel():
                return self.market.cancel(record, block)
            case ClearingResult():
                return self.market.clear(record, block)
            case _:
                return self.contracts.apply(record, block.time_ms)
        return ()

    def vet(self, record: Record) -> None:
        """See that a clearing is right before voting for it. For the rest, the rule says it all.

        Raises:
            Refused: it is not, with the codes 162 to 164.
        """
        if isinstance(record.message, ClearingResult):
            self.market.vet(record.message)

    def broken_invariants(self) -> Iterable[str]:
        """Every event is one that was called; and those of contracts."""
        yield from self.contracts.broken_invariants()
        for number, event in self.events.items():
            if not 0 < number <= self.totals.called or event.start_ms >= event.end_ms:
                yield f"event {number} was never called, or has no window"
        yield from self.market.broken_invariants()

    def _take_in(self, deal: Deal, block: BlockTime) -> Iterable[bytes]:
        """Judge the contract that two quotes have come to; the rent of full lines is a line of its bill."""
        book, parties = self.contracts.book, (deal.terms.seller, deal.terms.buyer)
        is_new = deal.terms.digest not in book.rows  # else the parties have signed the very same terms by themselves
        if self._region().rules.contracts is None or not is_new:
            return ()  # the match stands in its leaf, for whoever settles it elsewhere
        full = [who for who in parties if not book.has_room_for(who)]
        if full:
            reason = Objection(RefusalCode.TOO_MANY_CONTRACTS, full[0], deal.terms.start_ms, 0)
            return [passed_over_leaf(quote.digest, reason) for quote in (deal.match.sell, deal.match.buy)]
        return self.contracts.take_in(deal.terms, block.time_ms, deal.match.rent_per_mwh)

    def _call(self, called: ResponseEvent, block: BlockTime) -> None:
        region, event = self._region(), Event(called.start_ms, called.end_ms, called.branch, called.participants)
        rule = region.rules.time
        if event.start_ms < block.time_ms:
            raise Refused(RefusalCode.NOT_AHEAD, f"it begins at {event.start_ms}, and it is {block.time_ms} already")
        span_ms = event.end_ms - event.start_ms
        if event.start_ms % rule.interval_ms or event.end_ms % rule.interval_ms or not 0 < span_ms <= rule.day_ms:
            detail = f"from {event.start_ms} until {event.end_ms}: whole intervals, and a day at most, are asked for"
            raise Refused(RefusalCode.NO_SUCH_WINDOW, detail)
        if event.branch and event.branch not in region.lines:
            raise Refused(RefusalCode.UNKNOWN_BRANCH, f"no power line {event.branch} on the asset chain")
        others = [name for name in event.participants if name not in region.responding]
        if others:
            raise Refused(RefusalCode.NOT_RESPONDING, f"{others[0]} does not take part in demand response")
        window = Interval(start_ms=event.start_ms, end_ms=event.end_ms)  # type: ignore[arg-type]
        meanwhile = [other for _, other in self.on(window)]
        count = sum(len(one.participants or region.responding) for one in (event, *meanwhile))
        if len(self.events) >= EVENTS_MAX or count > CALLED_MAX:
            detail = f"{len(self.events)} events wait or are on; {count} participants would be called at that time"
            raise Refused(RefusalCode.TOO_MANY_CALLED, detail)
        totals = replace(self.totals, called=self.totals.called + 1)
        self._totals.put(0, totals)
        self.events.put(totals.called, event)

    def _cancel(self, cancellation: Cancellation, block: BlockTime) -> None:
        event = self.events.get(cancellation.event)
        if event is None:
            raise Refused(RefusalCode.NO_SUCH_EVENT, f"there is no event {cancellation.event}, or it is over")
        if event.start_ms < block.time_ms:
            raise Refused(RefusalCode.NOT_AHEAD, f"event {cancellation.event} began at {event.start_ms}")
        self.events.remove(cancellation.event)
        self._totals.put(0, replace(self.totals, cancelled=self.totals.cancelled + 1))


def _meet(event: Event, interval: Interval) -> bool:
    return event.start_ms < interval.end_ms and interval.start_ms < event.end_ms


def _spell_event(event: Event) -> Value:
    return [event.start_ms, event.end_ms, event.branch, list(event.participants)]


def _read_event(value: Value) -> Event:
    start_ms, end_ms, branch, participants = value
    return Event(start_ms, end_ms, branch, tuple(participants))

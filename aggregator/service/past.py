"""What the log says of intervals and settlement periods that are closed: all of it, and as it was stated last.

The state forgets; the log does not. Whatever is drawn, explained or certified afterwards is read from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aggregator.chains.congestion.relief import DueRelief
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.intervals.known import Known, read_inherited_leaf
from aggregator.chains.intervals.restatement import Restatement
from aggregator.chains.intervals.results import IntervalResult, PeriodFactors
from aggregator.chains.metering.interval_energy import LEAF_BYTES_MAX, Energies, read_metered_leaf
from aggregator.chains.periods.carbon import FactorRow, PeriodSums, row_of
from aggregator.chains.periods.deeds import Response
from aggregator.chains.region import Region
from aggregator.economy.accounts import Movement, MovementKind
from aggregator.economy.periods import Period
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.ledger.table import flat
from aggregator.service.store import Store
from aggregator.service.stored import StoredEntry, StoredLeaf
from protocol.batch import Batch
from protocol.canonical import decode
from protocol.checkpoint import BlockHead, ChainName
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError
from protocol.messages import MessageType

_STATING: Final[Mapping[str, Callable[[bytes], IntervalResult | Restatement]]] = {
    MessageType.INTERVAL: IntervalResult.decode,
    MessageType.RESTATEMENT: Restatement.decode,
}
_ARRAY, _TEXT = 4, 3
"""Major types of RFC 8949, §3.1."""


class NotInTheLogError(EsteError):
    """The ledger here does not reach back so far, or not yet."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the chains something stands."""

    chain: str
    height: int
    index: int


@dataclass(frozen=True, slots=True)
class StatedInterval:
    """A closed interval, as it was stated last."""

    start_ms: int
    end_ms: int
    flows: Flows
    place: Place
    restatements: int = 0
    """How often it was stated anew."""
    known: Known | None = None
    """What each meter counted, and what was inherited; None where the region keeps no such leaf, or nothing counted."""
    responses: tuple[Response, ...] = ()
    """Of everybody who was called."""

    @property
    def energies(self) -> Energies | None:
        """What each meter counted; None where the region keeps no such leaf, or nothing counted."""
        return self.known.energies if self.known else None


@dataclass(frozen=True, slots=True)
class StatedFactors:
    """One participant's factors of a period, as they were stated last."""

    row: FactorRow
    place: Place
    restatements: int = 0


@dataclass(frozen=True, slots=True)
class Posting:
    """One movement of tokens, and where it stands."""

    movement: Movement
    period_start_ms: int
    place: Place


@dataclass(frozen=True, slots=True)
class SignedReadings:
    """A batch with readings of one meter within an interval."""

    place: Place
    gateway: str
    sequence: int
    first_ms: int
    last_ms: int
    readings: int


class Past:
    """The log of a ledger, asked by time."""

    def __init__(self, store: Store) -> None:
        """`store` is read as of its newest block."""
        self._store = store
        self._begins_at = store.begins_at()

    def intervals(self, start_ms: int, end_ms: int, restatable_ms: int) -> list[StatedInterval]:
        """Every interval that begins in a span of time and is closed, oldest first.

        Args:
            start_ms: begin of the span.
            end_ms: its end.
            restatable_ms: how long after its end an interval may be restated.

        Raises:
            NotInTheLogError: the log begins later.
        """
        found: dict[int, StatedInterval] = {}
        is_past, is_wanted = False, False
        for leaf in self._leaves(ChainName.ANALYSIS, start_ms, end_ms + restatable_ms):
            if (envelope := _envelope(leaf.body)) is not None:
                is_wanted = envelope.type in _STATING and not (is_past and envelope.type == MessageType.INTERVAL)
                if not is_wanted:
                    continue
                result = _STATING[envelope.type](envelope.payload)
                is_past = is_past or (envelope.type == MessageType.INTERVAL and result.start_ms >= end_ms)
                is_wanted = start_ms <= result.start_ms < end_ms
                if is_wanted:
                    before = found.get(result.start_ms)
                    found[result.start_ms] = StatedInterval(
                        result.start_ms,
                        result.end_ms,
                        result.flows,
                        _place(leaf),
                        before.restatements + 1 if before else 0,
                        before.known if before else None,
                    )
                continue
            if not is_wanted:
                continue  # leaves stand behind the record that they belong to
            match _words(leaf.body):
                case ["metered", int(at_ms), _] if at_ms in found:
                    energies = read_metered_leaf(leaf.body, at_ms)
                    found[at_ms] = replace(found[at_ms], known=None if energies is None else Known(energies))
                case ["inherited", int(at_ms), *_] if at_ms in found:
                    inherited = read_inherited_leaf(leaf.body, at_ms, found[at_ms].energies or {})
                    found[at_ms] = replace(found[at_ms], known=inherited or found[at_ms].known)
                case ["response", who, at_ms, event, branch, *amounts] if at_ms in found:
                    response = Response(who, at_ms, event, branch or "", *amounts)
                    found[at_ms] = replace(found[at_ms], responses=(*found[at_ms].responses, response))
        return [found[start] for start in sorted(found)]

    def factors(self, region: Region, participant: str, period: Period) -> StatedFactors | None:
        """A participant's factors of a period that is drawn up; None if they did nothing at all in it."""
        stated: StatedFactors | None = None
        is_drawn_up, start_ms, restatements = False, period.span.start_ms, 0
        _, read = flat(FactorRow)
        for leaf in self._leaves(ChainName.ANALYSIS, period.span.end_ms):
            if (envelope := _envelope(leaf.body)) is not None and envelope.type == MessageType.FACTORS:
                is_drawn_up = is_drawn_up or PeriodFactors.decode(envelope.payload).start_ms == start_ms
            match _words(leaf.body, b"factors", b"restated"):
                case ["factors", *values] if values[0] == participant and is_drawn_up and stated is None:
                    row = read(values)
                    stated = StatedFactors(row, _place(leaf)) if row.start_ms == start_ms else None
                case ["restated", who, _, start, _, after, *_] if (who, start, is_drawn_up) == (
                    participant,
                    start_ms,
                    True,
                ):
                    row = row_of(participant, PeriodSums(*after), period, region.laws_at(start_ms))
                    restatements += 1
                    stated = StatedFactors(row, _place(leaf), restatements)
        return stated

    def postings(self, participant: str, start_ms: int) -> list[Posting]:
        """Every movement of tokens on a participant's account that belongs to a period, oldest first."""
        found = []
        for leaf in self._leaves(ChainName.PAYMENT, start_ms):
            match _words(leaf.body, b"movement"):
                case ["movement", kind, who, amount, balance, start] if (who, start) == (participant, start_ms):
                    movement = Movement(MovementKind(kind), who, amount, balance)
                    found.append(Posting(movement, start, _place(leaf)))
        return found

    def relief(self, participant: str, start_ms: int) -> DueRelief | None:
        """What a period's settlement made of a participant's relief of congested branches; None if there was none."""
        for leaf in self._leaves(ChainName.PAYMENT, start_ms):
            match _words(leaf.body, b"relief"):
                case ["relief", who, start, before, relief, awards, tokens, after] if (who, start) == (
                    participant,
                    start_ms,
                ):
                    return DueRelief(participant, before, relief, awards, tokens, after)
        return None

    def said(self, chain: ChainName, word: str, start_ms: int, end_ms: int) -> Iterator[tuple[Place, list[Any]]]:
        """What blocks of a span of time brought about themselves in a chain, of the leaves that begin with a word."""
        for leaf in self._leaves(chain, start_ms, end_ms):
            if words := _words(leaf.body, word.encode()):
                yield _place(leaf), words

    def records(
        self, chain: ChainName, type_: MessageType, start_ms: int, end_ms: int
    ) -> Iterator[tuple[Place, Envelope]]:
        """The records of one type that blocks of a span of time added to a chain, oldest first."""
        for leaf in self._leaves(chain, start_ms, end_ms):
            if (envelope := _envelope(leaf.body)) is not None and envelope.type == type_:
                yield _place(leaf), envelope

    def readings(self, gateway: str, meters: frozenset[str], stated: StatedInterval) -> dict[str, list[SignedReadings]]:
        """The batches of a gateway that hold readings from an interval, by meter, oldest first.

        None that came later than what was stated last: it does not rest on them.
        """
        start_ms, end_ms = stated.start_ms, stated.end_ms
        found: dict[str, list[SignedReadings]] = {meter: [] for meter in sorted(meters)}
        for entry in self._store.entries_of(gateway):
            if entry.chain is not ChainName.DATA or entry.code or entry.height > stated.place.height:
                continue
            batch = _batch(entry)
            if batch is None:
                continue
            spans = []
            for block in batch.meters:
                instants = [batch.clock.epoch_ms + block.first_ms + start for start in block.starts_ms]
                spans += instants
                within = [at for at in instants if start_ms <= at < end_ms]
                if within and block.meter in found:
                    place = Place("data", entry.height, entry.index)
                    signed = SignedReadings(place, gateway, entry.sequence, within[0], within[-1], len(within))
                    found[block.meter].insert(0, signed)
            if spans and max(spans) < start_ms:
                break
        return found

    def time_ms(self, height: int) -> int:
        """When a block was closed.

        Raises:
            NotInTheLogError: it is not here.
        """
        return self._head(height).time_ms

    def _leaves(self, chain: ChainName, from_ms: int, until_ms: int | None = None) -> Iterator[StoredLeaf]:
        """The leaves of a chain that blocks of a span of time added, oldest first."""
        first, last = self._index_at(chain, from_ms), self._head(self._newest).log(chain).size - 1
        if until_ms is not None:
            last = min(last, self._index_at(chain, until_ms, is_past=True) - 1)
        yield from self._store.leaves_between(chain, first, last)

    def _index_at(self, chain: ChainName, at_ms: int, *, is_past: bool = False) -> int:
        """How many leaves a chain had before the first block of an instant or later; with `is_past`, behind it."""
        low, high = self._begins_at, self._newest + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._head(middle).time_ms >= at_ms else (middle + 1, high)
        height = min(low, self._newest) if is_past else low - 1
        if height >= self._begins_at:
            return self._head(height).log(chain).size
        if self._begins_at > 1:
            raise NotInTheLogError(
                f"this ledger begins at block {self._begins_at}, with a snapshot: another node's reaches further back"
            )
        return 0

    @property
    def _newest(self) -> int:
        last = self._store.last_block()
        assert last is not None, "a ledger has a genesis"
        return last.height

    def _head(self, height: int) -> BlockHead:
        kept = self._store.block(height)
        if kept is None:
            raise NotInTheLogError(f"block {height} is missing")
        return BlockHead.decode(kept[0])


def _place(leaf: StoredLeaf) -> Place:
    return Place(leaf.chain.name.lower(), leaf.height, leaf.index)


def _envelope(body: bytes) -> Envelope | None:
    """A record; None for a leaf that a block brought about itself."""
    if _tag(body):
        return None
    try:
        return Envelope.parse(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None


def _tag(body: bytes) -> bytes:
    """The word that a block's own leaf begins with, without reading on; nothing for an envelope."""
    is_words = len(body) > 2 and body[0] >> 5 == _ARRAY and body[1] >> 5 == _TEXT
    return body[2 : 2 + (body[1] & 0x1F)] if is_words else b""


def _words(body: bytes, *wanted: bytes) -> list[Any]:
    """A leaf that a block brought about itself; nothing for an envelope, or a leaf that begins with another word."""
    if not (tag := _tag(body)) or (wanted and tag not in wanted):
        return []
    try:
        leaf = decode(body, size_max=LEAF_BYTES_MAX)
    except EncodingError:
        return []
    return leaf if type(leaf) is list else []


def _batch(entry: StoredEntry) -> Batch | None:
    envelope = Envelope.parse(entry.envelope)
    return Batch.decode(envelope.payload) if envelope.type == MessageType.BATCH else None

"""What the state has forgotten of an interval, found again in the log: what it was closed with, and what was stated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from aggregator.chains.analysis import AnalysisChain
from aggregator.chains.data import DataChain
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.intervals.known import NOTHING_INHERITED, Known, read_inherited_leaf
from aggregator.chains.intervals.restatement import Restatement
from aggregator.chains.intervals.results import IntervalResult
from aggregator.chains.metering.interval_energy import Energies, read_metered_leaf
from aggregator.ledger.record import RECORD_BYTES_MAX
from protocol.envelope import Envelope
from protocol.errors import EncodingError
from protocol.messages import MessageType


class LeafSource(Protocol):
    """Where the leaves of the log are found, block by block. An audit reads from a `history.History` instead."""

    def bodies_of_block(self, height: int) -> Iterable[bytes]:
        """All leaves that a block added to the chains: its accepted records, and what it brought about itself."""


def energies_of(source: LeafSource, data: DataChain, start_ms: int) -> Energies | None:
    """With what an interval was closed, or restated last; None where the log does not reach back so far.

    It must be an interval that may be restated.
    """
    closed = data.late.closed[start_ms]
    energies: Energies | None = None if closed.meters else {}
    for body in source.bodies_of_block(closed.height):
        if (found := read_metered_leaf(body, start_ms)) is not None:
            energies = found
    return energies


def known_of(source: LeafSource, analysis: AnalysisChain, data: DataChain, start_ms: int) -> Known | None:
    """All that an interval was closed with, or restated last; None where the log does not reach back so far.

    It must be an interval that may be restated.
    """
    energies = energies_of(source, data, start_ms)
    if energies is None:
        return None
    known = Known(energies) if analysis.stated[start_ms].inherited == NOTHING_INHERITED else None
    for body in source.bodies_of_block(data.late.closed[start_ms].height):
        if (found := read_inherited_leaf(body, start_ms, energies)) is not None:
            known = found
    return known


def flows_of(source: LeafSource, data: DataChain, start_ms: int) -> Flows | None:
    """What was stated last of an interval; None where the log does not reach back so far.

    It must be an interval that may be restated.
    """
    stated: Flows | None = None
    for body in source.bodies_of_block(data.late.closed[start_ms].height):
        if (found := _stated(body, start_ms)) is not None:
            stated = found
    return stated


_STATING: Final[Mapping[str, Callable[[bytes], IntervalResult | Restatement]]] = {
    MessageType.INTERVAL: IntervalResult.decode,
    MessageType.RESTATEMENT: Restatement.decode,
}


def _stated(body: bytes, start_ms: int) -> Flows | None:
    """What a leaf says of an interval, if it is a record that says it."""
    try:
        envelope = Envelope.parse(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None
    if envelope.type not in _STATING:
        return None
    result = _STATING[envelope.type](envelope.payload)
    return result.flows if result.start_ms == start_ms else None

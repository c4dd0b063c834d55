"""What the state has forgotten of an interval, found again in the log: the meters' rows, and what was stated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from aggregator.chains.data import DataChain
from aggregator.chains.flows import ParticipantFlow
from aggregator.chains.interval_energy import Energies, read_metered_leaf
from aggregator.chains.restatement import Restatement
from aggregator.chains.results import IntervalResult
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


def stated_of(source: LeafSource, data: DataChain, start_ms: int) -> tuple[ParticipantFlow, ...] | None:
    """What was stated last of everybody in an interval; None where the log does not reach back so far.

    It must be an interval that may be restated.
    """
    stated: tuple[ParticipantFlow, ...] | None = None
    for body in source.bodies_of_block(data.late.closed[start_ms].height):
        if (found := _stated(body, start_ms)) is not None:
            stated = found
    return stated


_STATING: Final[Mapping[str, Callable[[bytes], IntervalResult | Restatement]]] = {
    MessageType.INTERVAL: IntervalResult.decode,
    MessageType.RESTATEMENT: Restatement.decode,
}


def _stated(body: bytes, start_ms: int) -> tuple[ParticipantFlow, ...] | None:
    """What a leaf says everybody took and gave in an interval, if it is a record that says it."""
    try:
        envelope = Envelope.parse(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None
    if envelope.type not in _STATING:
        return None
    result = _STATING[envelope.type](envelope.payload)
    return result.flows.participants if result.start_ms == start_ms else None

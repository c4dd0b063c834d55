"""The audit of a ledger file: the replay of its history, and whether all that is kept beside it follows from it.

Outcomes, leaves, subtrees, state and statements are compared with what the replay makes of the records. The audit of an
exported ledger is the replay alone: an export holds nothing that would have to be compared.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Final

from aggregator.ledger.block import Block
from aggregator.service.history import HistoryError
from aggregator.service.portable import PortableLedger
from aggregator.service.proof import Proven
from aggregator.service.replay import AuditError, AuditReport, Progress, Replay, Terms
from aggregator.service.store import Store
from aggregator.service.store_history import StoreHistory
from aggregator.service.stored import StoreError
from protocol.checkpoint import ChainName
from protocol.cometbft.light import verify_commit
from protocol.crypto import PublicKey
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError, ProofError
from protocol.messages import MessageType, Statement
from protocol.quorum import Quorum
from protocol.seal import Commit, decode_seal, verify

__all__ = ["AuditError", "AuditReport", "audit", "audit_file"]

SETS_KEPT: Final = 4
"""Votes that change count two heights of consensus later, while at most as many blocks may have come."""

GARBAGE_OBJECTS: Final = 100_000
"""New objects after which Python looks for garbage in circles."""


def audit(
    store: Store,
    *,
    second_opinion: bool = False,
    regulator: PublicKey | None = None,
    quorum: Quorum | None = None,
    progress: Progress = lambda _done, _of: None,
) -> AuditReport:
    """Replay the history in a ledger file, and compare everything else in the file with it.

    Args:
        store: the ledger, read-only.
        second_opinion: verify every signature once more, with another library.
        regulator: the key that the genesis must be signed with, if the auditor knows it.
        quorum: who has to have signed each seal that is stored; without it, those who had a vote as the ledger says.
        progress: called after every block.

    Raises:
        AuditError: at the first thing that does not fit.
    """
    if broken := store.is_sound():
        raise AuditError("ledger file", broken)
    try:
        history = StoreHistory(store)
        beside = _Beside(store, quorum)
        ledger = Replay(Terms(second_opinion=second_opinion, regulator=regulator, progress=progress))
        with _collecting_seldom():
            ledger.run(history, beside.block)
        beside.end(ledger)
    except (HistoryError, StoreError, EncodingError) as error:
        raise AuditError("ledger file", str(error)) from error
    return ledger.report()


def audit_file(
    path: Path,
    *,
    second_opinion: bool = False,
    regulator: PublicKey | None = None,
    proven: Proven | None = None,
    progress: Progress = lambda _done, _of: None,
) -> AuditReport:
    """Replay an exported ledger, on the terms of `audit`.

    Args:
        path: of the export.
        second_opinion: see `audit`.
        regulator: see `audit`.
        proven: what a verified proof shows: the block that it ends in must be one of this history. An export holds no
            seals, so nothing else in it says that nodes decided on these blocks and on no others.
        progress: see `audit`.

    Raises:
        OperatorError: there is no such file.
        AuditError: at the first thing that does not fit.
    """

    def same(_: Replay, block: Block) -> None:
        if proven is not None and block.head.height == proven.height and block.head.digest != proven.head_digest:
            found = f"the proof ends in another one, {proven.head_digest.hex()}: there are two histories; keep both"
            raise AuditError(f"block {proven.height}", found)

    try:
        with PortableLedger(path) as history, _collecting_seldom():
            ledger = Replay(Terms(second_opinion=second_opinion, regulator=regulator, progress=progress))
            ledger.run(history, same)
    except HistoryError as error:
        raise AuditError("header", f"{error}: is this a file that export wrote?") from error
    if proven is not None and proven.height > ledger.five.ledger.height:
        raise AuditError("end", f"the proof ends in block {proven.height}, which is not in this file yet: export anew")
    return ledger.report()


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Look for garbage in circles seldom: a replay makes none, and looking takes a tenth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(GARBAGE_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Beside:
    """What a ledger file keeps beside its history."""

    def __init__(self, store: Store, quorum: Quorum | None) -> None:
        self._store = store
        self._quorum = quorum
        self._statements = {gateway: (number, data) for gateway, number, data in store.statements()}
        self._nodes = self._leaves = 0
        self._votes: deque[frozenset[tuple[bytes, int]]] = deque(maxlen=SETS_KEPT)
        """Who had a vote after each of the last blocks."""

    def block(self, ledger: Replay, block: Block) -> None:
        """Compare what is kept about one block."""
        place = f"block {block.head.height}"
        try:
            self._outcomes_of(block, place)
            self._leaves_of(block, place)
            self._nodes_of(block, place)
            self._statements_of(ledger, block.head.height)
            self._seal_of(ledger, block)
        except (StoreError, EncodingError) as error:
            raise AuditError(place, str(error)) from error

    def end(self, ledger: Replay) -> None:
        """Compare what the ledger amounts to: state, sizes, and that nothing is left over."""
        for ours, theirs in zip_longest(ledger.five.ledger.rows(), self._store.state()):
            if ours is None or theirs is None or (ours.key, ours.value) != theirs:
                key = ours.key if ours else theirs[0] if theirs else b""
                raise AuditError("state", f"row {key.hex()[:80]} is not the one that follows from the records")
        counts = self._store.counts()
        height = ledger.five.ledger.height
        expected = {"block": height, "entry": ledger.records, "leaf": self._leaves, "node": self._nodes}
        for table, count in expected.items():
            if counts[table] != count:
                raise AuditError(f"table {table}", f"{counts[table]} rows where {count} follow from the records")
        if self._statements:
            raise AuditError(f"statement to {min(self._statements)}", "of no block of this ledger")

    def _outcomes_of(self, block: Block, place: str) -> None:
        entries = self._store.entries(block.head.height)
        for position, (outcome, noted) in enumerate(zip(block.outcomes, entries, strict=True)):
            link = outcome.record.link
            became = (position, link.author, link.sequence, outcome.chain, outcome.index)
            if became != (noted.position, noted.author, noted.sequence, noted.chain, noted.index):
                raise AuditError(f"{place}, record {position}", "what is noted about it is not what became of it")

    def _leaves_of(self, block: Block, place: str) -> None:
        ours = {(leaf.chain, leaf.index): leaf.body for leaf in block.leaves}
        theirs = {(leaf.chain, leaf.index): leaf.body for leaf in self._store.leaves_of_block(block.head.height)}
        if ours != theirs:
            chain, index = min(set(ours.items()) ^ set(theirs.items()))[0]
            raise AuditError(f"{place}, {chain.name.lower()} leaf {index}", "not the one that follows from the records")
        self._leaves += len(ours)

    def _nodes_of(self, block: Block, place: str) -> None:
        ours: dict[tuple[ChainName, int], list[tuple[int, bytes]]] = {}
        for node in block.nodes:
            ours.setdefault((node.chain, node.level), []).append((node.position, node.hash))
        for (chain, level), made in ours.items():
            theirs = self._store.nodes(chain, level, made[0][0], made[-1][0])
            if made != theirs:
                position = min(set(made) ^ set(theirs))[0]
                where = f"{place}, {chain.name.lower()} subtree {level}/{position}"
                raise AuditError(where, "not the hash of its leaves")
            self._nodes += len(made)

    def _statements_of(self, ledger: Replay, height: int) -> None:
        """See that the last statements, if they are of this block, say how everybody stood."""
        made = {statement.gateway: statement for statement in ledger.five.statements.made}
        for gateway, (number, data) in list(self._statements.items()):
            place = f"statement {number} to {gateway}"
            payload = Envelope.parse(data).payload
            statement = Statement.decode(payload)
            if statement.height != height:
                continue
            ledger.from_aggregator(data, MessageType.STATEMENT, place)
            if (statement.gateway, statement.number) != (gateway, number):
                raise AuditError(place, f"it is statement {statement.number} to {statement.gateway}")
            ours = made.get(gateway)
            if ours is None or payload != ours.payload:
                raise AuditError(place, "tells another standing than the one that follows from the records")
            del self._statements[gateway]

    def _seal_of(self, ledger: Replay, block: Block) -> None:
        """See that a stored seal is of this block, and by those who had a vote, if it is one by votes.

        Raises:
            AuditError: it is not.
        """
        self._votes.append(frozenset((one.key, one.power) for one in ledger.five.asset.validators().values()))
        data, place = self._store.seal(block.head.height), f"block {block.head.height}, seal"
        if data is None or (self._quorum is None and not any(self._votes)):
            return
        try:
            seal = decode_seal(data)
            if self._quorum is not None:
                verify(seal, self._quorum, block.head)
            elif isinstance(seal, Commit):
                verify_commit(seal.block)
                self._hold_to_the_votes(seal, block)
        except EsteError as error:
            raise AuditError(place, str(error)) from error
        ledger.sealed += self._quorum is not None or isinstance(seal, Commit)

    def _hold_to_the_votes(self, seal: Commit, block: Block) -> None:
        """See that those who voted are those who had a vote, and that it was for this block.

        Raises:
            ProofError: it is not so.
        """
        voters = frozenset((one.key.point, one.power) for one in seal.block.validators.validators)
        if seal.block.header.app_hash != block.head.digest or voters not in self._votes:
            raise ProofError("votes for another block, or by others than had a vote")

"""A small application for tests of the CometBFT room: words under keys, in a file, with snapshots.

A transaction is `key=value`. `validator:<hex>=<power>` changes who votes; the key `bug` breaks the application.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from aggregator.engine.cometbft.application import (
    ChunkApplied,
    ChunkVerdict,
    Draft,
    Finalized,
    Founded,
    Genesis,
    OfferVerdict,
    OrderedBlock,
    Query,
    QueryAnswer,
    Snapshot,
    Standing,
    TxResult,
    Validator,
)

REFUSED = 7
CHUNK_BYTES = 64
VALIDATOR = "validator:"


@dataclass
class ToyChain:
    """What is in the file has been committed; everything else is forgotten with the process."""

    file: Path | None = None
    snapshot_every: int = 5
    told: list[str] = field(default_factory=list)
    """What was asked, in order."""
    before: Callable[[str], None] = lambda _: None
    """Called before each question that changes something, with its name."""

    def __post_init__(self) -> None:
        self.height, self.words = 0, dict[str, str]()
        self.snapshots: dict[int, bytes] = {}
        self._pending: tuple[int, dict[str, str]] | None = None
        self._coming: tuple[Snapshot, bytes, list[bytes]] | None = None
        if self.file is not None and self.file.exists():
            self.height, self.words = json.loads(self.file.read_text())

    def info(self) -> Standing:
        return Standing(self.height, self._hash_of(self.words) if self.height else b"", version="toy", app_version=3)

    def init_chain(self, genesis: Genesis) -> Founded:
        self._ask("init_chain")
        self.words = {"chain": genesis.chain_id, **json.loads(genesis.app_state or b"{}")}
        return Founded(self._hash_of(self.words))

    def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
        if tx.startswith(b"bug"):
            raise ValueError("a bug in check_tx")
        if b"=" not in tx:
            return TxResult(REFUSED, log="no key=value")
        return TxResult(data=b"again" if is_recheck else b"")

    def prepare_proposal(self, draft: Draft) -> Sequence[bytes]:
        self._ask("prepare_proposal")
        return [tx for tx in draft.txs if b"=" in tx]

    def process_proposal(self, block: OrderedBlock) -> bool:
        self._ask("process_proposal")
        return all(b"=" in tx for tx in block.txs)

    def finalize_block(self, block: OrderedBlock) -> Finalized:
        self._ask("finalize_block")
        assert block.height == self.height + 1 or self.height == 0
        words, validators = dict(self.words), []
        for tx in block.txs:
            key, _, value = tx.decode().partition("=")
            words[key] = value
            if key.startswith(VALIDATOR):
                validators.append(Validator(bytes.fromhex(key.removeprefix(VALIDATOR)), int(value)))
        self._pending = (block.height, words)
        return Finalized(self._hash_of(words), tuple(TxResult() for _ in block.txs), tuple(validators))

    def commit(self) -> int:
        self._ask("commit")
        assert self._pending is not None
        (self.height, self.words), self._pending = self._pending, None
        self._keep()
        if self.height % self.snapshot_every == 0:
            self.snapshots[self.height] = json.dumps(self.words).encode()
        return 0

    def query(self, query: Query) -> QueryAnswer:
        return QueryAnswer(self.words.get(query.data.decode(), "").encode(), height=self.height)

    def list_snapshots(self) -> Sequence[Snapshot]:
        return [
            Snapshot(height=height, format=1, chunks=len(_chunks(state)), hash=sha256(state).digest())
            for height, state in sorted(self.snapshots.items(), reverse=True)
        ]

    def offer_snapshot(self, snapshot: Snapshot, app_hash: bytes) -> OfferVerdict:
        self._ask("offer_snapshot")
        if snapshot.format != 1:
            return OfferVerdict.REJECT_FORMAT
        self._coming = (snapshot, app_hash, [])
        return OfferVerdict.ACCEPT

    def load_snapshot_chunk(self, height: int, format_: int, index: int) -> bytes:
        return _chunks(self.snapshots[height])[index] if height in self.snapshots else b""

    def apply_snapshot_chunk(self, index: int, chunk: bytes, sender: str) -> ChunkApplied:
        self._ask("apply_snapshot_chunk")
        assert self._coming is not None
        snapshot, app_hash, chunks = self._coming
        assert index == len(chunks)
        chunks.append(chunk)
        if len(chunks) == snapshot.chunks:
            words = json.loads(b"".join(chunks))
            if self._hash_of(words) != app_hash:
                return ChunkApplied(ChunkVerdict.REJECT_SNAPSHOT, reject_senders=(sender,))
            self.height, self.words = snapshot.height, words
            self._keep()
        return ChunkApplied(ChunkVerdict.ACCEPT)

    def _ask(self, question: str) -> None:
        self.before(question)
        self.told.append(question)

    def _keep(self) -> None:
        if self.file is not None:
            beside = self.file.with_suffix(".new")
            beside.write_text(json.dumps([self.height, self.words]))
            beside.replace(self.file)

    @staticmethod
    def _hash_of(words: dict[str, str]) -> bytes:
        return sha256(json.dumps(sorted(words.items())).encode()).digest()


def _chunks(state: bytes) -> list[bytes]:
    return [state[start : start + CHUNK_BYTES] for start in range(0, len(state), CHUNK_BYTES)]

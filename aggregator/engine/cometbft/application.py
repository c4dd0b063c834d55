"""What CometBFT asks of an application, and what it is answered, in plain values.

An application is a state machine that is handed everything. Its methods are plain functions. All but `check_tx` are
called in one thread, one after another, whichever connection asks; `check_tx` is called in other threads at any time,
so it may only read what a commit replaces as a whole. An application that raises is broken: CometBFT is told so, and
the node ends. "No" is an answer, not an exception.

Nothing may depend on what is not in the question: every node must answer `init_chain`, `process_proposal` and
`finalize_block` alike. State lasts from `commit` on and not before, since blocks are replayed after a fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

OK: Final = 0
"""The code of a transaction that is accepted; every other is a refusal."""

VALIDATOR_KEY_BYTES: Final = 32
"""An Ed25519 public key (RFC 8032 §5.1.5)."""

CHUNK_BYTES_MAX: Final = 16_000_000 - 1_000
"""The longest snapshot chunk: CometBFT's peers take messages of 16,000,000 bytes (statesync/messages.go)."""


@dataclass(frozen=True, slots=True)
class Validator:
    """A key that votes."""

    key: bytes
    """Ed25519, 32 bytes."""
    power: int
    """Its weight; 0 takes it out. Less than a third of the whole, or it can stop the network by itself."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an application has come, as of its last commit."""

    height: int
    """0 before genesis: then `init_chain` comes next."""
    app_hash: bytes
    version: str = ""
    """The software's, for people."""
    app_version: int = 0
    """The rules', part of every header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Genesis:
    """What the network begins with, as its genesis file says."""

    chain_id: str
    time_ms: int
    initial_height: int
    block_bytes_max: int
    validators: tuple[Validator, ...]
    app_state: bytes
    """JSON, as it stands in the genesis file."""


@dataclass(frozen=True, slots=True)
class Founded:
    """What the application makes of it."""

    app_hash: bytes
    validators: tuple[Validator, ...] = ()
    """Instead of the genesis file's; none to keep those."""


@dataclass(frozen=True, slots=True)
class TxResult:
    """What becomes of one transaction. Code and data are hashed into the next header; the log is for people."""

    code: int = OK
    data: bytes = b""
    log: str = ""


class VoteKind(IntEnum):
    """Whether a validator signed the block before."""

    UNKNOWN = 0
    ABSENT = 1
    COMMIT = 2
    NIL = 3


@dataclass(frozen=True, slots=True)
class Vote:
    """One validator's part in the commit of the block before."""

    address: bytes
    """The first 20 bytes of SHA-256 of its key."""
    power: int
    kind: VoteKind


@dataclass(frozen=True, slots=True)
class LastCommit:
    """Who signed the block before, and in which round it was agreed on."""

    round: int
    votes: tuple[Vote, ...]


class Offence(IntEnum):
    """What a validator was caught at."""

    UNKNOWN = 0
    DUPLICATE_VOTE = 1
    LIGHT_CLIENT_ATTACK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """Proof, checked by CometBFT, that a validator signed two things that exclude each other."""

    offence: Offence
    address: bytes
    power: int
    height: int
    time_ms: int
    total_power: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a block of ours may be made of: the transactions that wait, first come, first."""

    height: int
    time_ms: int
    txs: tuple[bytes, ...]
    txs_bytes_max: int
    """How much they may come to, protobuf's own bytes included: see `size_in_block`."""
    last_commit: LastCommit
    misbehaviour: tuple[Misbehaviour, ...]
    next_validators_hash: bytes
    proposer: bytes
    """Address of the validator that proposes: this node's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedBlock:
    """A block that is proposed, or decided on."""

    hash: bytes
    height: int
    time_ms: int
    """Median of the validators' clocks, never less than the block before's; for the first block, the genesis time."""
    txs: tuple[bytes, ...]
    last_commit: LastCommit
    misbehaviour: tuple[Misbehaviour, ...]
    next_validators_hash: bytes
    proposer: bytes


@dataclass(frozen=True, slots=True)
class Finalized:
    """What a decided block brings about."""

    app_hash: bytes
    """Of the state only. With the height or the time in it, every block would demand another one."""
    results: tuple[TxResult, ...]
    """One per transaction, in their order."""
    validators: tuple[Validator, ...] = ()
    """Those that change, each once; in force two heights later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question that somebody asked through CometBFT's RPC."""

    path: str
    data: bytes
    height: int
    """0 for the last one."""


@dataclass(frozen=True, slots=True)
class QueryAnswer:
    """What it is answered."""

    value: bytes = b""
    code: int = OK
    log: str = ""
    height: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A state that others can take up, in chunks. Two that differ in a field are two snapshots."""

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes = b""


class OfferVerdict(IntEnum):
    """What becomes of a snapshot that peers offer."""

    ACCEPT = 1
    ABORT = 2
    """Give up state sync altogether."""
    REJECT = 3
    REJECT_FORMAT = 4
    REJECT_SENDER = 5


class ChunkVerdict(IntEnum):
    """What becomes of a chunk."""

    ACCEPT = 1
    ABORT = 2
    """Give up state sync altogether."""
    RETRY = 3
    RETRY_SNAPSHOT = 4
    REJECT_SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class ChunkApplied:
    """What becomes of a chunk, which others are needed again, and who sent rubbish."""

    verdict: ChunkVerdict
    refetch: tuple[int, ...] = ()
    reject_senders: tuple[str, ...] = ()


class Application(Protocol):
    """A state machine under CometBFT. See the head of this file for who calls it where."""

    def info(self) -> Standing:
        """How far its last commit has come. CometBFT asks when it starts, and replays the blocks that are missing.

        Anybody may ask at any time, through CometBFT's RPC: even between `finalize_block` and `commit`, where it must
        neither count nor forget what is finalized.
        """

    def init_chain(self, genesis: Genesis) -> Founded:
        """Begin. Called once in the life of a network, or again while no block has been committed."""

    def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
        """Whether a transaction may wait for a block. In any thread, at any time.

        Args:
            tx: as somebody sent it.
            is_recheck: it waited through a block already, so its signature was found good.
        """

    def prepare_proposal(self, draft: Draft) -> Sequence[bytes]:
        """Choose the transactions of a block of ours, in order; ours may be among them."""

    def process_proposal(self, block: OrderedBlock) -> bool:
        """Whether this node votes for a block that somebody proposed. It must change nothing that lasts."""

    def finalize_block(self, block: OrderedBlock) -> Finalized:
        """Let a decided block take effect, in memory. It has been decided: it cannot be refused.

        If CometBFT falls before `commit`, the same block comes again: then it stands instead of the one before.
        """

    def commit(self) -> int:
        """Make what was finalized durable, height and app hash with it.

        Returns:
            The lowest height whose block CometBFT should keep; 0 to keep all.
        """

    def query(self, query: Query) -> QueryAnswer:
        """Answer a question about the last committed state."""

    def list_snapshots(self) -> Sequence[Snapshot]:
        """The snapshots that others may have of us."""

    def offer_snapshot(self, snapshot: Snapshot, app_hash: bytes) -> OfferVerdict:
        """Whether to take up a snapshot of others.

        Args:
            snapshot: as peers describe it; nothing in it is proven.
            app_hash: what it must come to: a light client has verified it.
        """

    def load_snapshot_chunk(self, height: int, format_: int, index: int) -> bytes:
        """A chunk of a snapshot of ours, at most `CHUNK_BYTES_MAX`; empty if it is gone."""

    def apply_snapshot_chunk(self, index: int, chunk: bytes, sender: str) -> ChunkApplied:
        """Take in a chunk of the snapshot that was accepted. With the last one, the app hash must be reached."""


def size_in_block(tx: bytes) -> int:
    """What a transaction comes to in a block: its bytes, their length in base 128, and one byte of field number."""
    length = len(tx)
    return 1 + max(1, -(-length.bit_length() // 7)) + length

"""A node among several: a keeper under consensus. CometBFT asks, and this is what the ledger answers.

    check_tx          may it wait?                         its envelope opens, and its number is still to come
    prepare_proposal  what would a block of ours hold?     what waits and fits, in the order of `engine.order`
    process_proposal  do we vote for theirs?               all fits, in that order; physics done again comes to the same
    finalize_block    let it take effect, in memory        what does not fit is skipped, alike on every node
    commit            keep it, then answer its authors

A block of consensus that changes nothing leaves no block in the ledger, and the app hash is the digest of the ledger's
last head: it stays the same while nothing happens. Physics enters by the proposer's hand alone, and a lie in it costs
the proposer its block.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import structlog

from aggregator.chains.admission.validators import Validator as Voter
from aggregator.chains.admission.validators import changed_powers
from aggregator.engine.cometbft.application import (
    ChunkApplied,
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
    size_in_block,
)
from aggregator.engine.cometbft.home import address_of
from aggregator.engine.cometbft.opened import Opened
from aggregator.engine.order import broken_order, by_number, in_order
from aggregator.engine.order_note import split_note
from aggregator.engine.waits import Waits
from aggregator.ledger.block import Block
from aggregator.ledger.record import Record
from aggregator.service.consensus.drafting import decided, fill
from aggregator.service.consensus.mempool import check_waits, is_ripe, see_waiting
from aggregator.service.consensus.snapshots import Snapshots
from aggregator.service.keeper import Keeper
from aggregator.service.notify import Outgoing
from protocol.checkpoint import BlockHead
from protocol.crypto import digest_of
from protocol.errors import EncodingError, OperatorError
from protocol.refusals import RefusalCode, Refused

OPENED_MAX: Final = 8192
"""Records kept open: several blocks' worth, at some ten kilobytes each; and"""

OPENED_BYTES_MAX: Final = 96 << 20
"""what their envelopes come to, or whoever is admitted could have a node hold 8 GiB of theirs."""

WAITING_MAX: Final = 100_000
"""Of so many records that wait it is remembered since when, at some hundred bytes each."""

REPLAYED_MAX: Final = 256
"""Of so many records with a number of before it is looked up, for a proposal, whether the chain has others."""

UNSEALED_MAX: Final = 1024
"""A seal that is missed is missed: one of a later block proves all before it."""

log = structlog.get_logger("este.replica")


class Unsealed(NamedTuple):
    """A block of the ledger that the validators are about to vote for."""

    height: int
    digest: bytes
    """Of its head: what they vote for."""
    engine_height: int
    """Where they do."""


class Replica:
    """The application under CometBFT; see `aggregator.engine.cometbft.application` for who calls what where."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        now_ms: Callable[[], int],
        entries_max: int,
        blocks_kept: int,
        tell: Callable[[list[Outgoing]], None],
        snapshots: Snapshots,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        """
        Args:
            keeper: this node's chains, file and word.
            now_ms: this node's clock, UTC; only asked for proposals of its own.
            entries_max: records of others in a block of this node's.
            blocks_kept: how many of its own blocks CometBFT keeps for others; 0 for all.
            tell: takes what is to be told after a commit. Called in the ledger's thread.
            snapshots: of this node's state, for others; and theirs, for this one.
            waiting_max: records of which it is remembered how long they have waited.
        """
        self._keeper = keeper
        self._now_ms = now_ms
        self._entries_max = entries_max
        self._blocks_kept = blocks_kept
        self._tell = tell
        self._snapshots = snapshots
        self._opened = Opened(self._check, OPENED_MAX, OPENED_BYTES_MAX)
        self._height = keeper.store.engine_height()
        self._finalized: tuple[int, Block | None] | None = None
        """What waits for `commit`: height, and the ledger's block if there is one."""
        self._waits = Waits(waiting_max)
        self._replayed: deque[Record] = deque(maxlen=REPLAYED_MAX)
        """Records that may wait no longer since their number is taken: by another one, if their author has lied."""
        self._decided: list[bytes] = []
        """Digests of the transactions of the block that was finalized last: they wait no longer."""
        self.unsealed: deque[Unsealed] = deque(maxlen=UNSEALED_MAX)
        """Blocks of the ledger whose votes have yet to be fetched, oldest first. One thread appends, another takes."""
        self._await_seal()

    def open(self, data: bytes) -> Record:
        """Open an envelope that came from the broker, once. In any thread.

        Raises:
            Refused: with the first rule that it breaks.
        """
        return self._opened.open(data)

    # -- What CometBFT asks

    def info(self) -> Standing:
        """How far the ledger file has come. Asked at any time, also while a block waits to be kept."""
        head = self._keeper.five.ledger.head
        app_hash = head.digest if head is not None and self._height else b""
        return Standing(self._height, app_hash, version="este")

    def init_chain(self, genesis: Genesis) -> Founded:
        """Begin with the region's genesis, which is in the ledger file already.

        Raises:
            OperatorError: the network is another region's.
        """
        five = self._keeper.five
        if genesis.chain_id != five.ledger.region or five.ledger.height != 1 or five.ledger.head is None:
            raise OperatorError("genesis.json", "chain_id", f"that of {five.ledger.region}", genesis.chain_id)
        named = self._keeper.store.entries(1)[0].envelope
        if digest_of(named).hex().encode() not in genesis.app_state:
            raise OperatorError("genesis.json", "app_state", "the region's genesis record", "another")
        validators = tuple(Validator(one.key, one.power) for one in five.asset.validators().values())
        return Founded(five.ledger.head.digest, validators)

    def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
        """Whether an envelope may wait. In any thread."""
        record = None
        try:
            record = self._opened.open(tx)
            check_waits(record, self._keeper.five)
            see_waiting(record, self._waits, self._height)
        except Refused as refused:
            self._waits.forget([digest_of(tx)])
            if record is not None and refused.code is RefusalCode.SEQUENCE_REPLAYED:
                self._replayed.append(record)
            return TxResult(refused.code.value, log=refused.detail)
        return TxResult()

    def prepare_proposal(self, draft: Draft) -> Sequence[bytes]:
        """What is due from this node, then what waits, in order; before them, how long each has waited."""
        while self._replayed:
            self._keeper.saw(self._replayed.popleft())
        five, own = self._keeper.five, self._own(draft.txs_bytes_max)
        records = [] if own is None else [self._opened.open(own)]
        records += by_number(self._ready(draft))
        fit, _ = five.ledger.propose(records)
        waited = [self._waits.waited(record.envelope.digest, self._height) for record in fit]
        places = islice(in_order(fit, waited, five.bid), self._entries_max + (own is not None))
        return fill(((fit[place], waited[place]) for place in places), draft.txs_bytes_max)

    def process_proposal(self, block: OrderedBlock) -> bool:
        """Whether every record fits, in the order that is due, and this node reckons what the proposer reckoned."""
        five = self._keeper.five
        try:
            waited, txs = split_note(block.txs)
            records = [self._opened.open(tx) for tx in txs]
            _, refused = five.ledger.propose(records)
            if refused:
                raise Refused(refused[0].code, refused[0].detail)
            if broken := broken_order(records, waited, five.bid):
                return self._vote_down(block, "ORDER", broken)
            for record in records:
                five.ledger.vet(record)
        except Refused as no:
            return self._vote_down(block, no.code.name, no.detail)
        except EncodingError as error:
            return self._vote_down(block, "ORDER_NOTE", str(error))
        return True

    def finalize_block(self, block: OrderedBlock) -> Finalized:
        """Let a block that was decided on take effect, without what does not fit."""
        self._forget_finalized()
        five = self._keeper.five
        before = five.asset.validators()
        _tell_offences(block, before)
        results, records, waited = self._open_decided(block.txs)
        made = five.ledger.finalize(block.time_ms, records, waited)
        for outcome in made.outcomes:
            if outcome.refusal is not None:
                results[outcome.record.envelope.digest] = TxResult(outcome.refusal.value, log=outcome.detail)
        head: BlockHead | None = made.head
        if not made.outcomes and not made.changes:
            five.ledger.abandon()
            head = five.ledger.head
        assert head is not None, "a region has its genesis"
        self._finalized = (block.height, made if head is made.head else None)
        self._decided = list(results)
        changed = changed_powers(before, five.asset.validators())
        told = tuple(results[digest_of(tx)] for tx in block.txs)
        return Finalized(head.digest, told, tuple(Validator(key, power) for key, power in changed))

    def commit(self) -> int:
        """Keep the block, then answer whoever sent its records.

        Raises:
            StoreError: the disk is full or failing. Nothing was kept, and the block will be replayed.
        """
        assert self._finalized is not None, "commit follows finalize_block"
        height, made = self._finalized
        if made is None:
            self._keeper.store.write_engine_height(height)
        else:
            self._keeper.keep(made, height)
            self._keeper.five.ledger.commit()
        self._finalized, self._height = None, height
        self._waits.forget(self._decided)
        if made is not None:
            self.unsealed.append(Unsealed(made.head.height, made.head.digest, height + 1))
            self._tell(self._keeper.answers(made))
        self._snapshots.take(height, self._keeper.five.ledger)
        return max(0, height - self._blocks_kept) if self._blocks_kept else 0

    def query(self, query: Query) -> QueryAnswer:
        """Questions are asked of the ledger file, not here."""
        return QueryAnswer(code=1, log="ask este-aggregator, which reads the ledger file", height=self._height)

    def list_snapshots(self) -> Sequence[Snapshot]:
        """What others may begin with."""
        return self._snapshots.on_offer()

    def load_snapshot_chunk(self, height: int, format_: int, index: int) -> bytes:
        """A part of one."""
        return self._snapshots.chunk(height, format_, index)

    def offer_snapshot(self, snapshot: Snapshot, app_hash: bytes) -> OfferVerdict:
        """Whether to begin with a snapshot of others: only a node that has lived through no block does.

        One that has taken up a snapshot and was ended before CometBFT knew is asked again, and takes the next one.
        """
        if self._height and not self._keeper.has_only_a_snapshot():
            return OfferVerdict.ABORT
        return self._snapshots.offer(snapshot, app_hash)

    def apply_snapshot_chunk(self, index: int, chunk: bytes, sender: str) -> ChunkApplied:
        """Take in a part of the snapshot that was accepted; with the last one, go on from there."""
        applied, taken = self._snapshots.apply(index, chunk, sender, self._keeper.five.ledger.region)
        if taken is not None:
            self._keeper.adopt(taken.five, taken.manifest, taken.height)
            self._height = taken.height
            self._waits.forget_all()
            self._await_seal()
        return applied

    # -- Steps

    def _own(self, bytes_max: int) -> bytes | None:
        """What is due from this node; not where it fits into no block: it would go first, and nothing would follow."""
        own = self._keeper.due_record()
        if own is None or size_in_block(own) <= bytes_max:
            return own
        log.error("a result is larger than a block may be", size=len(own), bytes_max=bytes_max)
        return None

    def _check(self, data: bytes) -> Record:
        """Open an envelope by the chains as they stand: a snapshot may have replaced them."""
        return self._keeper.five.ledger.check(data)

    def _ready(self, draft: Draft) -> Iterable[Record]:
        """What waits, opens, and is ripe."""
        now_ms = self._now_ms()
        for tx in draft.txs:
            try:
                record = self._opened.open(tx)
            except Refused:
                continue
            if is_ripe(record, self._keeper.five, block_ms=draft.time_ms, now_ms=now_ms):
                yield record

    def _open_decided(self, txs: Sequence[bytes]) -> tuple[dict[bytes, TxResult], list[Record], list[int]]:
        """What is to be said of each transaction of a decided block, by digest; and the records that fit.

        Returns:
            The results, the records, and how many blocks each of these has waited, as the block says.
        """
        opened = list[Record]()
        results, waited = decided(txs)
        for tx in waited:
            try:
                opened.append(self._opened.open(tx))
                results[opened[-1].envelope.digest] = TxResult()
            except Refused as refused:
                results[digest_of(tx)] = TxResult(refused.code.value, log=refused.detail)
        chosen, left_out = self._keeper.five.ledger.propose(opened)
        results |= {one.record.envelope.digest: TxResult(one.code.value, log=one.detail) for one in left_out}
        return results, chosen, [waited[record.envelope.data] for record in chosen]

    def _vote_down(self, block: OrderedBlock, code: str, why: str) -> bool:
        log.warning("voted down", height=block.height, proposer=block.proposer.hex(), code=code, why=why)
        return False

    def _await_seal(self) -> None:
        """Have the last block sealed, if it is not: every header since carries its head."""
        head = self._keeper.five.ledger.head
        if head is not None and self._height and self._keeper.store.seal(head.height) is None:
            self.unsealed.append(Unsealed(head.height, head.digest, self._height + 1))

    def _forget_finalized(self) -> None:
        """Take back a block that was never committed: it is going to be replayed."""
        if self._finalized is not None and self._finalized[1] is not None:
            self._keeper.five.ledger.abandon()
        self._finalized = None


def _tell_offences(block: OrderedBlock, voters: Mapping[str, Voter]) -> None:
    """Name whoever CometBFT proves to have voted twice. No key ends by itself: it was no word to the ledger."""
    names = {address_of(voter.key): name for name, voter in voters.items()}
    for one in block.misbehaviour:
        who = names.get(one.address, one.address.hex())
        log.error("voted twice: the regulator may take its vote", validator=who, at=one.height, kind=one.offence.name)

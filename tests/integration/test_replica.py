"""What the ledger answers when consensus asks, with CometBFT played by the test: every node alike, whoever proposes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from aggregator.chains.admission.membership import Cause, Revocation
from aggregator.chains.admission.validators import Validator, ValidatorChange
from aggregator.chains.intervals.results import IntervalResult
from aggregator.engine.cometbft.application import (
    Draft,
    Finalized,
    Genesis,
    LastCommit,
    Misbehaviour,
    Offence,
    OrderedBlock,
)
from aggregator.engine.cometbft.home import address_of
from aggregator.engine.waits import Waits
from aggregator.grid.interval import IntervalPhysics
from aggregator.service.audit import audit
from aggregator.service.consensus.mempool import AHEAD_MAX
from aggregator.service.consensus.replica import Replica
from aggregator.service.consensus.snapshots import Snapshots
from aggregator.service.keeper import Keeper, begin, restore
from aggregator.service.notify import Outgoing
from aggregator.service.store import Store
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.errors import OperatorError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.village import INTERVAL_MS, START_MS, Village

NAMES = ("node", "other")
NOBODY = LastCommit(0, ())


@dataclass
class OneNode:
    """A replica on its own file."""

    folder: Path
    name: str
    village: Village
    told: list[Outgoing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = Store.open(self.folder)
        self.keeper = Keeper(restore(self.store, self.folder), self.store, self.name, self.village.keys[self.name])
        self.replica = Replica(
            self.keeper,
            now_ms=lambda: self.village.now_ms,
            entries_max=100,
            blocks_kept=10,
            tell=self.told.extend,
            snapshots=Snapshots(self.folder / "snapshots", every=0, now_ms=lambda: self.village.now_ms),
        )


@dataclass
class Played:
    """Consensus among nodes, one height after another."""

    folder: Path
    village: Village
    height: int = 0
    nodes: list[OneNode] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in NAMES:
            (self.folder / name).mkdir()
            begin(self.folder / name, self.village.genesis, name, self.village.keys[name])
            self.nodes.append(OneNode(self.folder / name, name, self.village))

    def genesis(self, **changes: Any) -> Genesis:
        named = f'{{"genesis": "{digest_of(self.village.genesis).hex()}"}}'.encode()
        genesis = Genesis(
            chain_id="village",
            time_ms=START_MS,
            initial_height=1,
            block_bytes_max=1 << 20,
            validators=(),
            app_state=named,
        )
        return replace(genesis, **changes)

    def draft(self, *txs: bytes, **changes: Any) -> Draft:
        draft = Draft(
            height=self.height + 1,
            time_ms=self.village.now_ms,
            txs=txs,
            txs_bytes_max=1 << 20,
            last_commit=NOBODY,
            misbehaviour=(),
            next_validators_hash=b"",
            proposer=b"",
        )
        return replace(draft, **changes)

    def block(self, *txs: bytes) -> OrderedBlock:
        return OrderedBlock(
            hash=b"",
            height=self.height + 1,
            time_ms=self.village.now_ms,
            txs=txs,
            last_commit=NOBODY,
            misbehaviour=(),
            next_validators_hash=b"",
            proposer=b"",
        )

    def decide(self, *txs: bytes) -> Finalized:
        """Let a block be decided on everywhere, and see that everybody makes the same of it."""
        block = self.block(*txs)
        made = [node.replica.finalize_block(block) for node in self.nodes]
        for node in self.nodes:
            node.replica.commit()
        self.height += 1
        assert len({one.app_hash for one in made}) == 1
        assert len({tuple(result.code for result in one.results) for one in made}) == 1
        return made[0]

    def round(self, *waiting: bytes, proposer: int = 0) -> Finalized:
        """One node proposes out of what waits, the others vote, and the block is decided."""
        txs = self.nodes[proposer].replica.prepare_proposal(self.draft(*waiting))
        assert all(node.replica.process_proposal(self.block(*txs)) for node in self.nodes)
        return self.decide(*txs)

    def settle(self, rounds: int = 10) -> None:
        """Let nodes propose in turn until nothing is due any more."""
        for number in range(rounds):
            self.round(proposer=number % len(self.nodes))

    def batch(self) -> bytes:
        batch = self.village.a_batch()
        self.village.now_ms += 5_000
        data = self.village.sign(batch, MessageType.BATCH)
        self.village.record(data)
        return data


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    keys = {**Village().keys, "other": Village().keys["node"].from_secret(77)}
    with ExitStack() as stack:
        made = Played(tmp_path, Village(keys=keys))
        for node in made.nodes:
            stack.callback(node.store.close)
            node.replica.init_chain(made.genesis())
        yield made


def test_whoever_proposes_every_node_comes_to_the_same(played: Played) -> None:
    for number in range(8):
        played.round(played.batch(), proposer=number % 2)
        played.settle(4)
    one, other = played.nodes
    assert one.keeper.five.ledger.head == other.keeper.five.ledger.head
    assert one.keeper.five.payment.totals.periods == 1
    for node in played.nodes:
        audit(node.store)


def test_a_block_of_consensus_in_which_nothing_happens_leaves_none_in_the_ledger(played: Played) -> None:
    played.round(played.batch())
    played.settle()
    before = played.nodes[0].keeper.five.ledger.head
    assert before is not None
    assert played.round().app_hash == before.digest
    assert played.nodes[0].keeper.five.ledger.head == before
    assert played.nodes[0].replica.info().height == played.height


def test_a_proposal_with_other_physics_is_voted_down(played: Played) -> None:
    played.round(played.batch())
    played.village.now_ms += 10_000
    played.round(played.batch())  # which freezes the first interval
    liar, honest = played.nodes
    physics = IntervalPhysics()

    def lie(*arguments: Any) -> Any:
        flows = physics(*arguments)
        return replace(flows, branches=tuple(replace(one, flow_w=one.flow_w + 10**6) for one in flows.branches))

    liar.keeper._compute = replace(liar.keeper._compute, physics=lie)
    proposal = liar.replica.prepare_proposal(played.draft())
    assert proposal
    assert not honest.replica.process_proposal(played.block(*proposal))


@pytest.mark.parametrize(
    "span_ms",
    [
        pytest.param((0, 0), id="of no time"),
        pytest.param((0, -1), id="that ends before it begins"),
        pytest.param((INTERVAL_MS, 2 * INTERVAL_MS), id="that is not over"),
        pytest.param((0, 2 * INTERVAL_MS), id="of two"),
    ],
)
def test_a_result_of_an_interval_that_is_not_due_is_voted_down_and_breaks_nobody(
    played: Played, span_ms: tuple[int, int]
) -> None:
    """One proposer must not end the application of all the others: what raises there is taken for a bug of theirs."""
    played.round(played.batch())
    played.village.now_ms += 10_000
    played.round(played.batch())  # which freezes the first interval
    liar, honest = played.nodes
    (own,) = liar.replica.prepare_proposal(played.draft())
    result = IntervalResult.decode(Envelope.parse(own).payload)
    start, end = (result.start_ms + at_ms for at_ms in span_ms)
    lie = played.village.sign(replace(result, start_ms=start, end_ms=end), MessageType.INTERVAL, liar.name)
    assert honest.replica.process_proposal(played.block(own))
    assert not honest.replica.process_proposal(played.block(lie))


def test_records_that_arrive_out_of_order_are_put_in_order(played: Played) -> None:
    batches = [played.batch() for _ in range(3)]
    proposal = played.nodes[0].replica.prepare_proposal(played.draft(*reversed(batches)))
    assert list(proposal) == batches


def test_a_proposal_that_leaves_a_gap_is_voted_down(played: Played) -> None:
    first, second = played.batch(), played.batch()
    assert played.nodes[1].replica.process_proposal(played.block(first, second))
    assert not played.nodes[1].replica.process_proposal(played.block(second))


def test_what_does_not_fit_a_decided_block_is_skipped_alike_everywhere(played: Played) -> None:
    first, second, third = (played.batch() for _ in range(3))
    results = played.decide(third, b"rubbish", first, first, second).results
    codes = [result.code for result in results]
    assert codes == [RefusalCode.SEQUENCE_SKIPPED, RefusalCode.MALFORMED, 0, 0, 0]
    assert played.nodes[0].keeper.five.data.totals.batches == 2
    assert played.decide(first, third).results[0].code == RefusalCode.SEQUENCE_REPLAYED


def test_a_block_that_was_not_kept_is_replayed(played: Played) -> None:
    block = played.block(played.batch())
    node = played.nodes[0]
    first = node.replica.finalize_block(block)
    assert node.replica.info().height == 0, "asked in between, it has kept nothing"
    assert node.replica.finalize_block(block) == first
    node.store.close()
    again = OneNode(node.folder, node.name, played.village)
    played.nodes[0] = again
    assert again.replica.info().height == 0
    assert again.replica.finalize_block(block).app_hash == first.app_hash
    again.replica.commit()
    assert again.replica.info().app_hash == first.app_hash


def test_readings_that_only_seem_to_come_from_the_future_wait(played: Played) -> None:
    batch = played.batch()
    stale = played.draft(batch, time_ms=played.village.now_ms - 3_600_000)
    assert not played.nodes[0].replica.prepare_proposal(stale), (
        "the block before was an hour ago: they are not to blame"
    )
    assert played.nodes[0].replica.prepare_proposal(played.draft(batch))


def test_a_proposal_is_cut_where_the_block_is_full(played: Played) -> None:
    batches = [played.batch() for _ in range(3)]
    room = sum(len(batch) + 10 for batch in batches[:2])
    proposal = played.nodes[0].replica.prepare_proposal(played.draft(*batches, txs_bytes_max=room))
    assert list(proposal) == batches[:2]


def test_a_result_too_large_for_any_block_stops_no_record_of_others(played: Played) -> None:
    """A region can be larger than the network's blocks. Then its intervals stay open, loudly; readings go on."""
    played.round(played.batch())
    played.village.now_ms += 10_000
    played.round(played.batch())  # which freezes the first interval
    replica = played.nodes[0].replica
    order = played.village.sign(played.village.a_purchase(), MessageType.PURCHASE)
    own, *others = replica.prepare_proposal(played.draft(order))
    assert others == [order] and len(order) + 10 < len(own)
    with capture_logs() as lines:
        assert list(replica.prepare_proposal(played.draft(order, txs_bytes_max=len(order) + 10))) == [order]
    assert [line["log_level"] for line in lines] == ["error"]


def test_only_what_may_still_come_waits_in_the_mempool(played: Played) -> None:
    replica, village = played.nodes[0].replica, played.village
    first = played.batch()
    assert replica.check_tx(first, False).code == 0
    played.round(first)
    assert replica.check_tx(first, True).code == RefusalCode.SEQUENCE_REPLAYED
    far = village.a_batch(link=village.link(sequence=AHEAD_MAX + 3))
    assert replica.check_tx(village.sign(far, MessageType.BATCH), False).code == RefusalCode.SEQUENCE_SKIPPED
    played.village.now_ms += 10_000
    played.round(played.batch())
    (own,) = replica.prepare_proposal(played.draft())
    assert replica.check_tx(own, False).code == RefusalCode.NOT_THEIR_TYPE, "a node's own come with its proposals"


def test_whoever_floods_with_numbers_to_come_leaves_room_for_others(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number that comes next is never sent, so nothing of it ever gets into a block."""
    replica, village = played.nodes[0].replica, played.village
    monkeypatch.setattr(replica, "_waits", Waits(100, share_records_max=3))
    flood = [
        village.sign(village.a_batch(seconds=1, link=village.link(sequence=number)), MessageType.BATCH)
        for number in range(2, 7)
    ]
    assert [replica.check_tx(data, False).code for data in flood] == [0, 0, 0, *[RefusalCode.OVERSIZED] * 2]
    revocation = Revocation(village.link("regulator"), village.keys["gw"].public_key.thumbprint, "it floods")
    order = village.sign(revocation, MessageType.REVOCATION, "regulator")
    assert replica.check_tx(order, False).code == 0
    assert played.round(order).results[0].code == 0
    assert {replica.check_tx(data, True).code for data in flood} == {RefusalCode.UNKNOWN_KEY}


def test_two_records_with_one_number_convict_their_gateway_also_where_both_waited(played: Played) -> None:
    """Neither came again at the door, once the other was on the chain: only the mempool has seen both."""
    village = played.village
    batch = village.a_batch()
    honest, lie = (village.sign(one, MessageType.BATCH) for one in (batch, replace(batch, boot_id=bytes(16))))
    for data in (honest, lie):
        assert [node.replica.check_tx(data, False).code for node in played.nodes] == [0, 0]
    played.round(honest, lie)
    for node in played.nodes:
        assert node.replica.check_tx(lie, True).code == RefusalCode.SEQUENCE_REPLAYED
    assert [result.code for result in played.round().results] == [0]
    ended = played.nodes[1].keeper.five.asset.membership.ended(village.keys["gw"].public_key.thumbprint)
    assert ended is not None and ended.cause is Cause.EQUIVOCATED


def test_whoever_voted_twice_is_named_and_the_ledger_stays_alike_everywhere(played: Played) -> None:
    change = ValidatorChange(played.village.link("regulator"), "other", Validator(bytes(32), 10))
    played.round(played.village.sign(change, MessageType.VALIDATOR, "regulator"))
    caught = Misbehaviour(
        offence=Offence.DUPLICATE_VOTE, address=address_of(bytes(32)), power=10, height=1, time_ms=0, total_power=10
    )
    with capture_logs() as lines:
        heads = {
            node.replica.finalize_block(replace(played.block(), misbehaviour=(caught,))).app_hash
            for node in played.nodes
        }
    assert [(line["validator"], line["kind"]) for line in lines] == [("other", "DUPLICATE_VOTE")] * 2
    assert heads == {played.nodes[0].replica.info().app_hash}


def test_a_network_of_another_region_or_genesis_is_not_joined(played: Played) -> None:
    replica = played.nodes[0].replica
    for change in ({"chain_id": "elsewhere"}, {"app_state": b'{"genesis": "00"}'}):
        with pytest.raises(OperatorError):
            replica.init_chain(played.genesis(**change))


def test_authors_are_answered_once_the_block_is_kept(played: Played) -> None:
    played.nodes[0].replica.finalize_block(played.block(played.batch()))
    assert not played.nodes[0].told
    played.nodes[0].replica.commit()
    assert [str(message.topic).rpartition("/")[2] for message in played.nodes[0].told] == ["receipt"]


def test_every_node_makes_the_same_statements(played: Played) -> None:
    for _ in range(8):
        played.round(played.batch())
        played.settle(4)
    said = [
        [message.payload for message in node.told if str(message.topic).endswith("statement")] for node in played.nodes
    ]
    one, other = ([Envelope.parse(data).payload for data in node] for node in said)
    assert one == other
    assert one

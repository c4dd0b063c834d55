"""Under consensus the proposer says how long records waited, and whoever votes holds its order against that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from aggregator.chains.accounts.rows import Account
from aggregator.engine.cometbft.application import Draft, LastCommit, OrderedBlock, size_in_block
from aggregator.engine.order import STARVED_AFTER
from aggregator.engine.order_note import NOTE_TAG, is_note, spell_note, split_note
from aggregator.engine.waits import Waits
from aggregator.ledger.block import Block
from aggregator.service.consensus.replica import Replica
from config.grid_model import Grid
from config.load import check
from protocol.canonical import encode
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.village import Village, a_grid_document, some_keys

GATEWAYS = ("gas", "grid", "home", "wind")


class Node:
    """A replica over a village whose participants have a gateway each; what it keeps, it only remembers."""

    def __init__(self, village: Village, **settings: Any) -> None:
        self.village = village
        self.kept: list[Block] = []
        store = SimpleNamespace(engine_height=lambda: 0, write_engine_height=lambda height: None)
        keeper = SimpleNamespace(
            five=village.five,
            store=store,
            due_record=lambda: None,
            keep=lambda block, height: self.kept.append(block),
            answers=lambda block: [],
            saw=lambda record: None,
        )
        limits = {"entries_max": 100, "blocks_kept": 0} | settings
        self.replica = Replica(
            cast(Any, keeper),
            now_ms=lambda: village.now_ms,
            tell=lambda outgoing: None,
            snapshots=cast(Any, SimpleNamespace(take=lambda height, ledger: None)),
            **cast(Any, limits),
        )
        self.height = 0

    def draft(self, *txs: bytes, bytes_max: int = 1 << 20) -> Draft:
        return Draft(
            height=self.height + 1, time_ms=self.village.now_ms, txs=txs, txs_bytes_max=bytes_max,
            last_commit=LastCommit(0, ()), misbehaviour=(), next_validators_hash=b"", proposer=b"",
        )  # fmt: skip

    def block(self, *txs: bytes) -> OrderedBlock:
        return OrderedBlock(
            hash=b"", height=self.height + 1, time_ms=self.village.now_ms, txs=txs,
            last_commit=LastCommit(0, ()), misbehaviour=(), next_validators_hash=b"", proposer=b"",
        )  # fmt: skip

    def hear(self, *txs: bytes) -> None:
        assert [self.replica.check_tx(tx, False).code for tx in txs] == [0] * len(txs)

    def propose(self, *txs: bytes) -> list[bytes]:
        return list(self.replica.prepare_proposal(self.draft(*txs)))

    def votes_for(self, *txs: bytes) -> bool:
        return self.replica.process_proposal(self.block(*txs))

    def decide(self, *txs: bytes) -> list[int]:
        """Let a block take effect; the codes of its transactions."""
        done = self.replica.finalize_block(self.block(*txs))
        self.replica.commit()
        self.height += 1
        return [result.code for result in done.results]


@pytest.fixture
def village() -> Village:
    """Everybody has a gateway of their own."""
    document = a_grid_document()
    for meter in document["meters"]:
        meter["gateway"] = meter["participant"]
    return Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys("gw", *GATEWAYS))


@pytest.fixture
def node(village: Village) -> Node:
    return Node(village)


def batches(village: Village) -> dict[str, bytes]:
    """One batch of each gateway. Small, so that a test is about order only."""
    made = {}
    for name in GATEWAYS:
        batch = village.a_batch(link=village.link(name), meters=(village.a_block_of(f"m-{name}", 0, seconds=1),))
        made[name] = village.sign(batch, MessageType.BATCH, name)
    village.now_ms += 5_000
    return made


def test_a_block_in_which_nothing_has_waited_carries_no_note(node: Node) -> None:
    sent = batches(node.village)
    node.hear(*sent.values())
    assert node.propose(*sent.values()) == list(sent.values())
    assert node.votes_for(*sent.values())


def test_what_has_waited_is_told_first_and_counts_in_the_ledger_s_block(node: Node) -> None:
    sent = batches(node.village)
    node.hear(sent["gas"])
    node.decide()
    node.decide()
    node.hear(sent["home"])
    note, *records = node.propose(sent["home"], sent["gas"])
    assert split_note([note, *records])[0] == [2, 0]
    assert records == [sent["gas"], sent["home"]]
    assert node.votes_for(note, *records)
    assert node.decide(note, *records) == [0, 0, 0]
    assert [outcome.waited for outcome in node.kept[-1].outcomes] == [2, 0]


def test_a_record_waits_no_longer_once_it_is_in_a_block(node: Node) -> None:
    sent = batches(node.village)
    node.hear(sent["gas"])
    node.decide(sent["gas"])
    assert node.replica.check_tx(sent["gas"], True).code == RefusalCode.SEQUENCE_REPLAYED
    assert node.propose(sent["gas"]) == []


def test_a_proposal_out_of_the_order_of_its_own_claims_is_voted_down(node: Node) -> None:
    gas, grid, home, _ = batches(node.village).values()
    note = spell_note([0, STARVED_AFTER, 0])
    assert note is not None
    assert not node.votes_for(note, gas, grid, home)
    assert node.votes_for(spell_note([STARVED_AFTER, 0, 0]) or b"", grid, gas, home)


@pytest.mark.parametrize(
    "spoilt",
    [
        spell_note([1, 0]),
        spell_note([1, 0, 0, 0]),
        b"\xd9" + NOTE_TAG.to_bytes(2) + encode([0, 0, 0]),
        b"\xd9" + NOTE_TAG.to_bytes(2) + encode([1, 0, -1]),
        b"\xd9" + NOTE_TAG.to_bytes(2) + encode({1: 1}),
        b"\xd9" + NOTE_TAG.to_bytes(2) + encode([1, 0, 0]) + b"\x00",
        b"\xd9" + NOTE_TAG.to_bytes(2),
    ],
    ids=["too short", "too long", "of nothing", "below 0", "no list", "with something behind it", "empty"],
)
def test_a_note_that_is_none_for_its_block_is_voted_down_and_harms_nobody(node: Node, spoilt: bytes) -> None:
    gas, grid, home, _ = batches(node.village).values()
    assert not node.votes_for(spoilt, gas, grid, home)
    assert node.decide(spoilt, gas, grid, home) == [RefusalCode.MALFORMED, 0, 0, 0]
    assert [outcome.waited for outcome in node.kept[-1].outcomes] == [0, 0, 0]


def test_a_note_anywhere_but_in_front_is_voted_down(node: Node) -> None:
    gas, grid, *_ = batches(node.village).values()
    note = spell_note([1, 0])
    assert note is not None and not node.votes_for(gas, note, grid)
    assert not node.votes_for(note, note, gas)


def test_nobody_sends_a_note_into_the_mempool(node: Node) -> None:
    note = spell_note([1])
    assert note is not None and is_note(note)
    assert node.replica.check_tx(note, False).code == RefusalCode.MALFORMED


def test_the_note_s_bytes_are_part_of_the_block_s(node: Node) -> None:
    sent = list(batches(node.village).values())
    node.hear(*sent)
    node.decide()
    bytes_max = sum(size_in_block(tx) for tx in sent) + 20
    proposed = node.replica.prepare_proposal(node.draft(*sent, bytes_max=bytes_max))
    assert is_note(proposed[0]) and 1 < len(proposed) < 1 + len(sent)
    assert sum(size_in_block(tx) for tx in proposed) <= bytes_max


def test_a_fee_goes_first_and_a_proposer_that_passes_it_over_is_voted_down(node: Node) -> None:
    village = node.village
    village.five.payment.accounts.put("wind", Account(100))
    gas = batches(village)["gas"]
    paid = village.sign(village.a_transfer(fee=3, link=village.link("wind")), MessageType.TRANSFER, "wind")
    assert node.propose(gas, paid) == [paid, gas]
    assert node.votes_for(paid, gas)
    assert not node.votes_for(gas, paid)


def test_a_fee_that_the_account_does_not_hold_buys_nothing(node: Node) -> None:
    village = node.village
    gas = batches(village)["gas"]
    boast = village.sign(village.a_transfer(fee=3, link=village.link("wind")), MessageType.TRANSFER, "wind")
    assert node.propose(gas, boast) == [gas, boast]
    assert node.decide(gas, boast) == [0, RefusalCode.NOT_COVERED]


def test_waits_are_remembered_up_to_a_bound_and_the_oldest_keep_their_place() -> None:
    waits = Waits(2)
    for n in range(3):
        waits.see(bytes([n]), 5, "gas", 1)
    assert len(waits) == 2
    for height in range(6, 11):  # asked about again after every block
        waits.see(b"\x00", height, "gas", 1)
        waits.see(b"\x01", height, "gas", 1)
        waits.see(b"\x02", height, "gas", 1)
    assert [waits.waited(bytes([n]), 10) for n in range(3)] == [5, 5, 0]
    waits.forget([b"\x00"])
    assert (len(waits), waits.waited(b"\x00", 10)) == (1, 0)
    waits.forget_all()
    assert waits.waited(b"\x01", 10) == 0


def test_what_left_the_mempool_unseen_makes_room_when_room_is_needed() -> None:
    waits = Waits(2)
    waits.see(b"gone", 5, "gas", 1)
    for height in range(5, 9):
        waits.see(b"waits", height, "gas", 1)
    waits.see(b"new", 8, "gas", 1)
    assert [waits.waited(digest, 9) for digest in (b"gone", b"waits", b"new")] == [0, 4, 1]


def test_a_note_is_spelled_in_one_way() -> None:
    assert spell_note([0, 0]) is None
    assert spell_note([]) is None
    note = spell_note([3, 0])
    assert note == bytes.fromhex("d96573820300")
    assert split_note([note, b"a", b"b"]) == ([3, 0], [b"a", b"b"])
    assert split_note([b"a"]) == ([0], [b"a"])
    with pytest.raises(EncodingError):
        split_note([note])

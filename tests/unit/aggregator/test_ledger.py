"""The ledger as such: rolling back, abandoning, replaying, and proving a row of the state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aggregator.ledger.state_tree import RowProof, StateTree
from aggregator.ledger.table import Change
from protocol.checkpoint import ChainName
from protocol.errors import ProofError
from protocol.merkle import leaf_hash, root_of
from protocol.messages import MessageType
from tests.village import Village


def test_an_abandoned_block_leaves_no_trace() -> None:
    village = Village()
    village.live(35)
    ledger = village.five.ledger
    before = (ledger.head, ledger.state.root, ledger.rows())
    record = village.record(village.sign(village.a_batch(), MessageType.BATCH))
    ledger.finalize(village.now_ms + 5_000, [record])
    ledger.abandon()
    assert (ledger.head, ledger.state.root, ledger.rows()) == before
    village.now_ms += 5_000
    village.close([record])  # and the same record fits into the next one


def test_two_nodes_that_are_handed_the_same_blocks_agree_on_every_digest() -> None:
    one, other = Village(), Village()
    for village in (one, other):
        village.live(70, {"m-gas": -45_000})
    assert [block.head.digest for block in one.blocks] == [block.head.digest for block in other.blocks]


def test_a_head_binds_the_past() -> None:
    village = Village()
    village.live(10)
    heads = [block.head for block in village.blocks]
    assert [head.previous for head in heads[1:]] == [head.digest for head in heads[:-1]]
    assert len({replace(heads[-1], time_ms=heads[-1].time_ms + 1).digest, heads[-1].digest}) == 2


def test_time_never_runs_backwards_in_the_ledger() -> None:
    village = Village()
    village.live(10)
    later = village.now_ms
    village.now_ms = later - 60_000
    block = village.close([])
    assert block.head.time_ms == village.blocks[-2].head.time_ms


def test_the_logs_hold_what_the_blocks_say() -> None:
    village = Village()
    village.live(35)
    bodies: dict[ChainName, dict[int, bytes]] = {chain: {} for chain in ChainName}
    for block in village.blocks:
        for outcome in block.outcomes:
            if outcome.refusal is None:
                bodies[outcome.chain][outcome.index] = outcome.record.envelope.data
        for leaf in block.leaves:
            assert leaf.index not in bodies[leaf.chain]
            bodies[leaf.chain][leaf.index] = leaf.body
    head = village.blocks[-1].head
    for chain, leaves in bodies.items():
        assert head.log(chain).root == root_of(leaves[index] for index in range(len(leaves)))


def a_tree(rows: int) -> tuple[StateTree, list[Change]]:
    changes = [Change(b"key-%d" % i, b"value-%d" % i) for i in range(rows)]
    tree = StateTree()
    tree.apply(changes)
    return tree, changes


def test_any_row_of_the_state_can_be_proven() -> None:
    tree, changes = a_tree(5_000)
    for change in changes[::250]:
        assert change.value is not None
        tree.prove(change.key, change.value).verify(tree.root)


@pytest.mark.parametrize("field", ["key", "value", "before", "after", "path"])
def test_a_proof_with_anything_changed_proves_nothing(field: str) -> None:
    tree, changes = a_tree(5_000)
    proof = tree.prove(changes[7].key, changes[7].value or b"")
    value = getattr(proof, field)
    changed: object
    if isinstance(value, bytes):
        changed = value + b"x"
    else:
        changed = (leaf_hash(b"x"), *value[1:]) if value else (leaf_hash(b"x"),)
    lie: RowProof = replace(proof, **{field: changed})
    with pytest.raises(ProofError):
        lie.verify(tree.root)


def test_a_row_that_is_not_there_cannot_be_proven() -> None:
    tree, _ = a_tree(10)
    with pytest.raises(ProofError):
        tree.prove(b"key-3", b"another value")


def test_the_state_root_does_not_depend_on_the_order_of_writing() -> None:
    tree, changes = a_tree(500)
    other = StateTree()
    for change in reversed(changes):
        other.apply([change])
    assert other.root == tree.root


def test_a_deleted_row_leaves_no_trace_in_the_root() -> None:
    tree, _ = a_tree(500)
    before = tree.root
    tree.apply([Change(b"more", b"1")])
    assert tree.root != before
    tree.apply([Change(b"more", None)])
    assert tree.root == before

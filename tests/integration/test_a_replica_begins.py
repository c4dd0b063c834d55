"""How a node under consensus begins: with a snapshot of another's, after a restart, or again, cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.engine.cometbft.application import OfferVerdict, Snapshot
from aggregator.service.audit import AuditError, audit
from aggregator.service.consensus.snapshots import Snapshots
from aggregator.service.keeper import begin
from aggregator.service.proof import NothingToProveError, prove_reading
from tests.integration.test_replica import OneNode, Played, played

__all__ = ["played"]


@pytest.fixture
def newcomer(played: Played, tmp_path: Path) -> Iterator[OneNode]:
    """A third node that has nothing but the genesis; its word does not count."""
    folder = tmp_path / "newcomer"
    folder.mkdir()
    keys = played.village.keys
    begin(folder, played.village.genesis, "other", keys["other"])
    made = OneNode(folder, "other", played.village)
    yield made
    made.store.close()


def snapshot_of(played: Played) -> tuple[Snapshot, Snapshots]:
    """A snapshot of the first node as it stands."""
    node = played.nodes[0]
    made = Snapshots(node.folder / "snapshots", every=1, now_ms=lambda: 0, part_bytes_max=1000)
    made.take(played.height, node.keeper.five.ledger)
    return made.on_offer()[0], made


def take_up(node: OneNode, played: Played) -> OfferVerdict:
    """Offer a node what CometBFT would, behind a header that it has verified."""
    offered, made = snapshot_of(played)
    verdict = node.replica.offer_snapshot(offered, played.nodes[0].replica.info().app_hash)
    if verdict is OfferVerdict.ACCEPT:
        for index in range(offered.chunks):
            node.replica.apply_snapshot_chunk(index, made.chunk(offered.height, offered.format, index), "peer")
    return verdict


def test_who_begins_with_a_snapshot_goes_on_with_the_others(played: Played, newcomer: OneNode) -> None:
    first = played.batch()
    played.round(first)
    played.settle(4)
    assert take_up(newcomer, played) is OfferVerdict.ACCEPT
    assert newcomer.replica.info() == played.nodes[0].replica.info()
    head = played.nodes[0].keeper.five.ledger.head
    assert head is not None
    assert newcomer.store.begins_at() == head.height > 1
    assert [(one.height, one.digest, one.engine_height) for one in newcomer.replica.unsealed] == [
        (head.height, head.digest, played.height + 1)
    ]
    played.nodes.append(newcomer)
    for _ in range(4):
        played.round(played.batch(), proposer=2)
        played.settle(3)
    assert newcomer.keeper.five.ledger.head == played.nodes[0].keeper.five.ledger.head


def test_a_node_without_a_past_says_nothing_of_it(played: Played, newcomer: OneNode) -> None:
    first = played.batch()
    played.round(first)
    played.settle(2)
    take_up(newcomer, played)
    ledger, begins = newcomer.keeper.five.ledger, newcomer.store.begins_at()
    assert played.nodes[0].keeper.at_door(ledger.check(first)), "whoever has the past answers"
    assert newcomer.keeper.at_door(ledger.check(first)) == []
    with pytest.raises(AuditError, match=f"begins at block {begins}, with a snapshot: audit another node's"):
        audit(newcomer.store)
    with pytest.raises(NothingToProveError, match=f"this ledger begins at block {begins}"):
        prove_reading(newcomer.keeper.five, newcomer.store, "m-gas", None)


def test_a_snapshot_that_was_taken_up_is_taken_up_again_and_a_life_that_was_lived_is_not(
    played: Played, newcomer: OneNode
) -> None:
    """CometBFT may be ended between the last chunk and its own first block: then it asks again."""
    played.round(played.batch())
    take_up(newcomer, played)
    assert take_up(newcomer, played) is OfferVerdict.ACCEPT, "the same"
    played.round(played.batch())
    played.settle(2)
    assert take_up(newcomer, played) is OfferVerdict.ACCEPT
    assert newcomer.store.begins_at() == newcomer.keeper.five.ledger.height > 2
    played.nodes.append(newcomer)
    played.round(played.batch())
    assert take_up(newcomer, played) is OfferVerdict.ABORT


def test_after_a_restart_the_last_block_still_gets_its_seal(played: Played) -> None:
    played.round(played.batch())
    node = played.nodes[0]
    (waiting,) = list(node.replica.unsealed)[-1:]
    node.store.close()
    again = OneNode(node.folder, node.name, played.village)
    played.nodes[0] = again
    assert [one[:2] for one in again.replica.unsealed] == [waiting[:2]], "wherever its votes are"
    again.store.write_seal(waiting.height, b"seal")
    again.store.close()
    last = OneNode(node.folder, node.name, played.village)
    played.nodes[0] = last
    assert not last.replica.unsealed

"""The parts that proofs are made of: a row of the state, and a leaf of a log, each with its way to a block head."""

from __future__ import annotations

from typing import Any

from aggregator.chains.five import Five
from aggregator.ledger.state_tree import RowProof
from aggregator.ledger.table import Change
from aggregator.service.store import Store
from protocol.checkpoint import BlockHead, ChainName
from protocol.merkle import inclusion_proof, leaf_hash, verify_inclusion


def prove_row(five: Five, row: Change) -> RowProof:
    """Show that a row is in the state as of the last block."""
    assert row.value is not None, "a row that is there"
    return five.ledger.state.prove(row.key, row.value)


def row_json(proof: RowProof) -> dict[str, object]:
    """A row with its proof, as it stands in a file."""
    return {
        "key": proof.key.hex(),
        "value": proof.value.hex(),
        "before": [digest.hex() for digest in proof.before],
        "after": [digest.hex() for digest in proof.after],
        "path": [node.hex() for node in proof.path],
    }


def row_from_json(row: Any) -> RowProof:
    """Read what `row_json` wrote; nothing is verified yet."""
    return RowProof(
        key=bytes.fromhex(row["key"]),
        value=bytes.fromhex(row["value"]),
        before=tuple(bytes.fromhex(digest) for digest in row["before"]),
        after=tuple(bytes.fromhex(digest) for digest in row["after"]),
        path=tuple(bytes.fromhex(node) for node in row["path"]),
    )


def leaf_json(five: Five, store: Store, chain: ChainName, index: int, body: bytes) -> dict[str, object]:
    """A leaf of a chain's log with its proof, as it stands in a file."""
    path = inclusion_proof(store.node_source(chain), index, five.ledger.logs[chain].size)
    return {"index": index, "body": body.hex(), "path": [node.hex() for node in path]}


def leaf_from_json(leaf: Any, chain: ChainName, head: BlockHead) -> bytes:
    """Read what `leaf_json` wrote, having seen that it is in the log as of a head.

    Raises:
        ProofError: it is not.
    """
    body, log = bytes.fromhex(leaf["body"]), head.log(chain)
    verify_inclusion(
        hash_of_leaf=leaf_hash(body),
        index=leaf["index"],
        size=log.size,
        proof=[bytes.fromhex(node) for node in leaf["path"]],
        root=log.root,
    )
    return body

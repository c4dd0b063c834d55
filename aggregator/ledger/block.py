"""What a block is made of, and what becomes of each record in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from aggregator.ledger.record import Record
from aggregator.ledger.table import Change
from protocol.canonical import encode
from protocol.checkpoint import BlockHead, ChainName
from protocol.merkle import root_of
from protocol.refusals import RefusalCode


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record of a block."""

    record: Record
    chain: ChainName
    index: int
    """Its leaf on that chain's log: the record itself, or its refusal."""
    refusal: RefusalCode | None
    detail: str = ""
    waited: int = 0
    """Blocks that closed without it while it waited, as whoever ordered this block claims."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of a chain's log that the block itself brought about. An accepted record is a leaf by itself."""

    chain: ChainName
    index: int
    body: bytes


class Node(NamedTuple):
    """A perfect subtree of two leaves or more that this block completed in a chain's log, for proofs."""

    chain: ChainName
    level: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """Everything that one block adds, ready to be stored in one transaction."""

    head: BlockHead
    outcomes: tuple[Outcome, ...]
    leaves: tuple[Leaf, ...]
    nodes: tuple[Node, ...]
    changes: tuple[Change, ...]


def entries_root(outcomes: Iterable[Outcome]) -> bytes:
    """Merkle root over a block's envelopes, what became of them, and how long each had waited."""
    return root_of(
        encode([outcome.record.envelope.digest, outcome.refusal.value if outcome.refusal else 0, outcome.waited])
        for outcome in outcomes
    )


def refusal_leaf(outcome_of: Record, code: RefusalCode) -> bytes:
    """The leaf that stands for a refused record: who sent what, and which rule it broke."""
    return encode(["refused", outcome_of.author.name, outcome_of.link.sequence, outcome_of.envelope.digest, code.value])

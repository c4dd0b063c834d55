"""Merkle logs, against the proofs that another implementation publishes."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ProofError
from protocol.merkle import (
    EMPTY_ROOT,
    PROOF_HASHES_MAX,
    Range,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    subtree_root,
    verify_consistency,
    verify_inclusion,
)
from tests.vector_files import read_vectors

TREE = read_vectors("merkle/rfc6962_tree.json")
PUBLISHED = read_vectors("merkle/transparency_dev.json")

LEAVES = [bytes.fromhex(leaf) for leaf in TREE["leaves"]]
ROOTS = [bytes.fromhex(root) for root in TREE["roots"]]
HASHES = [bytes.fromhex(node) for node in PUBLISHED["hashes"]]

STRICTER = {"consistency/additional/sizes-are-equal-one-and-proof-is-empty"}
"""Published as holding, with the words "don't care 2" for roots: a hash that is none is refused here."""


def named(kind: str) -> list[dict[str, Any]]:
    return [dict(zip(PUBLISHED[f"{kind}_columns"], row, strict=True)) for row in PUBLISHED[kind]]


def nodes_of(leaves: list[bytes]) -> dict[tuple[int, int], bytes]:
    log, nodes = Range(), {}
    for leaf in leaves:
        nodes |= {(level, position): node for level, position, node in log.append(leaf_hash(leaf))}
    return nodes


NODES = nodes_of(LEAVES)


def source(level: int, position: int) -> bytes:
    return NODES[level, position]


@pytest.mark.parametrize("size", range(9))
def test_a_log_has_the_root_that_the_reference_tree_has(size: int) -> None:
    log = Range()
    for leaf in LEAVES[:size]:
        log.append(leaf_hash(leaf))
    assert log.root() == root_of(LEAVES[:size]) == ROOTS[size]
    assert log.size == size
    assert len(log.peaks) == size.bit_count()


def test_a_log_without_leaves_has_the_hash_of_nothing() -> None:
    assert Range().root() == EMPTY_ROOT == ROOTS[0]


@pytest.mark.parametrize("case", named("inclusion"), ids=lambda case: case["about"])
def test_published_inclusion_proofs_hold_exactly_if_they_should(case: dict[str, Any]) -> None:
    def verify() -> None:
        verify_inclusion(
            hash_of_leaf=HASHES[case["leaf_hash"]],
            index=case["index"],
            size=case["size"],
            proof=[HASHES[node] for node in case["proof"]],
            root=HASHES[case["root"]],
        )

    if case["holds"]:
        verify()
    else:
        with pytest.raises(ProofError):
            verify()


@pytest.mark.parametrize("case", named("consistency"), ids=lambda case: case["about"])
def test_published_consistency_proofs_hold_exactly_if_they_should(case: dict[str, Any]) -> None:
    def verify() -> None:
        verify_consistency(
            old_size=case["old_size"],
            size=case["size"],
            old_root=HASHES[case["old_root"]],
            root=HASHES[case["root"]],
            proof=[HASHES[node] for node in case["proof"]],
        )

    if case["holds"] and case["about"] not in STRICTER:
        verify()
    else:
        with pytest.raises(ProofError):
            verify()


def test_all_published_cases_are_here() -> None:
    assert (len(PUBLISHED["inclusion"]), len(PUBLISHED["consistency"])) == (98, 98)


PUBLISHED_PROOFS = [case for case in named("inclusion") if case["holds"] and 0 < case["size"] <= 8]


@pytest.mark.parametrize("case", PUBLISHED_PROOFS, ids=lambda case: case["about"])
def test_our_proofs_are_the_published_ones(case: dict[str, Any]) -> None:
    if HASHES[case["root"]] == ROOTS[case["size"]]:
        assert inclusion_proof(source, case["index"], case["size"]) == [HASHES[node] for node in case["proof"]]


def test_a_leaf_cannot_pass_for_an_inner_node() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)


def test_appending_tells_the_subtrees_that_it_completes() -> None:
    log = Range()
    assert [[(level, position) for level, position, _ in log.append(leaf_hash(leaf))] for leaf in LEAVES[:4]] == [
        [(0, 0)],
        [(0, 1), (1, 0)],
        [(0, 2)],
        [(0, 3), (1, 1), (2, 0)],
    ]


def test_a_copy_grows_on_its_own() -> None:
    log = Range()
    log.append(leaf_hash(b"a"))
    copy = log.copy()
    copy.append(leaf_hash(b"b"))
    assert (log.size, copy.size) == (1, 2)
    assert log.root() == root_of([b"a"])
    assert copy.root() == root_of([b"a", b"b"])


@pytest.mark.parametrize("size", range(1, 9))
def test_a_log_is_consistent_with_itself_without_proof(size: int) -> None:
    assert consistency_proof(source, size, size) == []
    verify_consistency(old_size=size, size=size, old_root=ROOTS[size], root=ROOTS[size], proof=[])
    with pytest.raises(ProofError, match="nothing has to be proven"):
        verify_consistency(old_size=size, size=size, old_root=ROOTS[size], root=ROOTS[size], proof=[ROOTS[1]])
    with pytest.raises(ProofError, match="two roots for one size"):
        verify_consistency(old_size=size, size=size, old_root=ROOTS[size - 1], root=ROOTS[size], proof=[])


def test_an_empty_log_is_consistent_with_an_empty_log_only() -> None:
    verify_consistency(old_size=0, size=0, old_root=EMPTY_ROOT, root=EMPTY_ROOT, proof=[])
    with pytest.raises(ProofError):
        verify_consistency(old_size=0, size=0, old_root=ROOTS[1], root=ROOTS[1], proof=[])
    with pytest.raises(ProofError):
        verify_consistency(old_size=0, size=1, old_root=EMPTY_ROOT, root=ROOTS[1], proof=[])


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (9, 8)])
def test_there_is_no_leaf_outside_the_log(index: int, size: int) -> None:
    with pytest.raises(ProofError, match="no leaf"):
        verify_inclusion(hash_of_leaf=leaf_hash(b""), index=index, size=size, proof=[], root=ROOTS[1])


@pytest.mark.parametrize(("old_size", "size"), [(-1, 8), (0, 8), (9, 8)])
def test_a_log_begins_with_no_more_leaves_than_it_has_and_with_at_least_one(old_size: int, size: int) -> None:
    with pytest.raises(ProofError, match="cannot be shown"):
        verify_consistency(old_size=old_size, size=size, old_root=ROOTS[1], root=ROOTS[8], proof=[])


def test_a_proof_is_bounded_before_anything_is_hashed() -> None:
    endless = [ROOTS[1]] * (PROOF_HASHES_MAX + 1)
    with pytest.raises(ProofError, match="at most"):
        verify_inclusion(hash_of_leaf=leaf_hash(b""), index=0, size=2**62, proof=endless, root=ROOTS[8])
    with pytest.raises(ProofError, match="at most"):
        verify_consistency(old_size=1, size=2**62, old_root=ROOTS[1], root=ROOTS[8], proof=endless)


@pytest.mark.parametrize("node", [b"", bytes(31), bytes(33)], ids=len)
def test_a_hash_has_32_bytes_wherever_it_stands(node: bytes) -> None:
    proof = inclusion_proof(source, 0, 8)
    good: dict[str, Any] = {
        "hash_of_leaf": leaf_hash(LEAVES[0]),
        "index": 0,
        "size": 8,
        "proof": proof,
        "root": ROOTS[8],
    }
    verify_inclusion(**good)
    for change in ({"hash_of_leaf": node}, {"root": node}, {"proof": [node, *proof[1:]]}):
        with pytest.raises(ProofError, match="32 bytes"):
            verify_inclusion(**good | change)


def test_a_proof_is_made_from_subtrees_alone() -> None:
    asked: list[tuple[int, int]] = []

    def noting(level: int, position: int) -> bytes:
        asked.append((level, position))
        return source(level, position)

    assert subtree_root(noting, 0, 8) == ROOTS[8]
    inclusion_proof(noting, 3, 8)
    assert len(asked) == 1 + 3, "one hash per level, never a leaf too many"


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8)])
def test_asking_for_a_proof_of_what_is_not_there_is_a_bug(index: int, size: int) -> None:
    with pytest.raises(AssertionError):
        inclusion_proof(source, index, size)
    with pytest.raises(AssertionError):
        consistency_proof(source, 0, size)

"""Merkle logs of every shape, against the definitions of RFC 6962 written out as they stand there."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProofError
from protocol.merkle import (
    Range,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# -- RFC 6962 §2.1, as it stands there: D[n] is a list, k the largest power of two smaller than n


def mth(d: list[bytes]) -> bytes:
    """Merkle tree hash, §2.1."""
    if len(d) == 0:
        return sha256().digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    """Audit path of the leaf with index m, §2.1.1."""
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def proof(m: int, d: list[bytes]) -> list[bytes]:
    """Consistency proof between the first m leaves and all, §2.1.2."""
    return subproof(m, d, True)


def subproof(m: int, d: list[bytes], b: bool) -> list[bytes]:
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


# -- Ours


class Log:
    """A log that keeps the hash of every subtree that is complete."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.range = Range()
        self.nodes: dict[tuple[int, int], bytes] = {}
        for leaf in leaves:
            self.nodes |= {(level, at): node for level, at, node in self.range.append(leaf_hash(leaf))}

    def source(self, level: int, position: int) -> bytes:
        return self.nodes[level, position]


leaves = st.lists(st.binary(max_size=3), min_size=1, max_size=70)


@given(st.lists(st.binary(max_size=3), max_size=70))
def test_the_root_is_the_merkle_tree_hash(d: list[bytes]) -> None:
    assert root_of(d) == Log(d).range.root() == mth(d)


@given(leaves, st.data())
def test_the_inclusion_proof_is_the_audit_path_and_holds(d: list[bytes], data: st.DataObject) -> None:
    log, m = Log(d), data.draw(st.integers(0, len(d) - 1))
    ours = inclusion_proof(log.source, m, len(d))
    assert ours == path(m, d)
    verify_inclusion(hash_of_leaf=leaf_hash(d[m]), index=m, size=len(d), proof=ours, root=mth(d))


@given(leaves, st.data())
def test_the_consistency_proof_is_the_subproof_and_holds(d: list[bytes], data: st.DataObject) -> None:
    log, m = Log(d), data.draw(st.integers(1, len(d)))
    ours = consistency_proof(log.source, m, len(d))
    assert ours == proof(m, d)
    verify_consistency(old_size=m, size=len(d), old_root=mth(d[:m]), root=mth(d), proof=ours)


@given(leaves, st.data())
def test_a_proof_holds_for_no_other_index_size_leaf_or_root(d: list[bytes], data: st.DataObject) -> None:
    m = data.draw(st.integers(0, len(d) - 1))
    right = {"hash_of_leaf": leaf_hash(d[m]), "index": m, "size": len(d), "proof": path(m, d), "root": mth(d)}
    other = {
        "hash_of_leaf": leaf_hash(d[m] + b"x"),
        "index": data.draw(st.integers(-1, len(d)).filter(lambda index: index != m)),
        "root": mth([*d, b"x"]),
        "proof": [*path(m, d), mth(d)],
    }
    for name, value in other.items():
        wrong = right | {name: value}
        if name == "index" and 0 <= value < len(d) and path(value, d) == path(m, d) and d[value] == d[m]:
            continue  # two equal leaves side by side, in a tree of two
        with pytest.raises(ProofError):
            verify_inclusion(**wrong)  # type: ignore[arg-type]


@given(leaves, leaves, st.data())
def test_a_rewritten_past_is_never_consistent(d: list[bytes], other: list[bytes], data: st.DataObject) -> None:
    m = data.draw(st.integers(1, len(d)))
    if mth(other[:m]) == mth(d[:m]):
        return
    with pytest.raises(ProofError):
        verify_consistency(old_size=m, size=len(d), old_root=mth(other[:m]), root=mth(d), proof=proof(m, d))


hashes = st.binary(min_size=32, max_size=32) | st.binary(max_size=40)


@given(hashes, st.integers(-1, 2**64), st.integers(-1, 2**64), st.lists(hashes, max_size=70), hashes)
def test_no_numbers_and_no_bytes_make_verification_fail_in_another_way(
    node: bytes, a: int, b: int, siblings: list[bytes], root: bytes
) -> None:
    for verify in (
        lambda: verify_inclusion(hash_of_leaf=node, index=a, size=b, proof=siblings, root=root),
        lambda: verify_consistency(old_size=a, size=b, old_root=node, root=root, proof=siblings),
    ):
        try:
            verify()
        except ProofError:
            continue
        assert node == root, "nobody guesses a proof, but the trivial one"

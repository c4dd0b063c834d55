"""Merkle logs as in RFC 6962 §2.1 and RFC 9162 §2.1: roots, inclusion and consistency.

`Range` is the state of a growing log, at most one hash per bit of its size (a *compact range*). Proofs are made
from any `NodeSource` that can tell the hash of a perfect subtree, so the log itself never has to be read.
Verification needs nothing but its arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from protocol.errors import ProofError

EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of a log without leaves (RFC 9162 §2.1.1)."""

HASH_BYTES: Final = 32

PROOF_HASHES_MAX: Final = 64
"""No proof is longer: a log has fewer than 2**63 leaves."""

NodeSource = Callable[[int, int], bytes]
"""(level, position) → hash of the perfect subtree of 2**level leaves that starts at position · 2**level."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf, set apart from inner nodes by a leading 00."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of two subtrees, set apart from leaves by a leading 01."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Range:
    """A growing log in as many hashes as its size has ones in binary."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)
    """Roots of the perfect subtrees that the log splits into, largest first."""

    def append(self, hash_of_leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf.

        Returns:
            The perfect subtrees that it completes, as (level, position, hash), the leaf itself first.
        """
        level, position, node = 0, self.size, hash_of_leaf
        made = [(level, position, node)]
        while position & 1:
            node = node_hash(self.peaks.pop(), node)
            level, position = level + 1, position >> 1
            made.append((level, position, node))
        self.peaks.append(node)
        self.size += 1
        return made

    def subtrees(self) -> list[tuple[int, int, bytes]]:
        """The perfect subtrees that the log splits into, as (level, position, hash), largest first."""
        found, start = [], 0
        levels = [level for level in range(self.size.bit_length() - 1, -1, -1) if self.size >> level & 1]
        for level, peak in zip(levels, self.peaks, strict=True):
            found.append((level, start >> level, peak))
            start += 1 << level
        return found

    def root(self) -> bytes:
        """Merkle tree hash of all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def copy(self) -> Range:
        """An independent range of the same log."""
        return Range(self.size, list(self.peaks))


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Merkle tree hash of a whole log."""
    log = Range()
    for leaf in leaves:
        log.append(leaf_hash(leaf))
    return log.root()


def subtree_root(source: NodeSource, start: int, end: int) -> bytes:
    """Hash of the leaves from `start` up to `end`, where `start` is a multiple of the power of two above."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return source(level, start >> level)
    level = (size - 1).bit_length() - 1
    return node_hash(source(level, start >> level), subtree_root(source, start + (1 << level), end))


def inclusion_proof(source: NodeSource, index: int, size: int) -> list[bytes]:
    """Audit path of leaf `index` in the log of `size` leaves (RFC 9162 §2.1.3.1), leaf side first."""
    assert 0 <= index < size, f"no leaf {index} in a log of {size}"
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        level = (end - start - 1).bit_length() - 1
        middle = start + (1 << level)
        if index < middle:
            path.append(subtree_root(source, middle, end))
            end = middle
        else:
            path.append(source(level, start >> level))  # the left part is perfect
            start = middle
    path.reverse()
    return path


def consistency_proof(source: NodeSource, old_size: int, size: int) -> list[bytes]:
    """Proof that the log of `old_size` leaves begins the log of `size` (RFC 9162 §2.1.4.1)."""
    assert 0 < old_size <= size, f"a log of {size} has no beginning of {old_size}"
    path: list[bytes] = []
    start, end = 0, size
    if old_size == size:
        return path
    while old_size != end:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(subtree_root(source, middle, end))
            end = middle
        else:
            path.append(subtree_root(source, start, middle))
            start = middle
    if start != 0:
        path.append(subtree_root(source, start, end))
    path.reverse()
    return path


def verify_inclusion(*, hash_of_leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """See that a leaf is in the log with `root` (RFC 9162 §2.1.3.2).

    Raises:
        ProofError: it is not, or the proof is not of this shape.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a log of {size}")
    _check_hashes(hash_of_leaf, root)
    node = hash_of_leaf
    for sibling, is_left in _climb(index, size - 1, proof):
        node = node_hash(sibling, node) if is_left else node_hash(node, sibling)
    if node != root:
        raise ProofError("the inclusion proof leads to another root")


def verify_consistency(*, old_size: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """See that the log with `old_root` begins the log with `root` (RFC 9162 §2.1.4.2).

    Raises:
        ProofError: it does not, or the proof is not of this shape.
    """
    if not 0 < old_size <= size and not old_size == size == 0:
        raise ProofError(f"a log of {size} cannot be shown to begin with {old_size} leaves")
    _check_hashes(old_root, root)
    if old_size == size:
        if proof:
            raise ProofError("nothing has to be proven between equal sizes")
        if old_root != root or (size == 0 and root != EMPTY_ROOT):
            raise ProofError("two roots for one size")
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise ProofError("the consistency proof is too short")
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_node = node = path[0]
    for sibling, is_left in _climb(fn, sn, path[1:]):
        if is_left:
            old_node, node = node_hash(sibling, old_node), node_hash(sibling, node)
        else:
            node = node_hash(node, sibling)
    if old_node != old_root or node != root:
        raise ProofError("the consistency proof leads to other roots")


def _climb(fn: int, sn: int, siblings: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Walk from a node to the root, by the numbers fn and sn of RFC 9162 §2.1.3.2.

    Yields:
        Each sibling, and whether it stands on the left.
    """
    if len(siblings) > PROOF_HASHES_MAX:
        raise ProofError(f"a proof is at most {PROOF_HASHES_MAX} hashes long")
    _check_hashes(*siblings)
    for sibling in siblings:
        if sn == 0:
            raise ProofError("the proof is too long")
        is_left = bool(fn & 1) or fn == sn
        yield sibling, is_left
        while is_left and not fn & 1 and fn:
            fn, sn = fn >> 1, sn >> 1
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError("the proof is too short")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(node) != HASH_BYTES for node in hashes):
        raise ProofError(f"a hash has {HASH_BYTES} bytes")


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1

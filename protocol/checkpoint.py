"""The head of a block: what binds five logs, the state and the past into one digest.

A *checkpoint* is a head in the envelope of a node that vouches for it. Whoever holds a checkpoint can check any
reading, award or balance against it with a proof of a few hashes, without asking anybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import digest_of
from protocol.errors import EncodingError
from protocol.fields import digest, items, name, row, uint

HEAD_BYTES_MAX: Final = 4096


class ChainName(IntEnum):
    """The five chains (paper 1, §3.2), in the order of their figure 2."""

    DATA = 1
    ASSET = 2
    ANALYSIS = 3
    OPERATION = 4
    PAYMENT = 5


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far one chain's log has grown."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class BlockHead:
    """One block, bound to everything before it."""

    region: str
    height: int
    """1 is the genesis block."""
    time_ms: int
    """When the block was proposed, UTC; never before the block under it."""
    previous: bytes
    """Digest of the head below."""
    logs: tuple[LogHead, ...]
    """In the order of `ChainName`, after this block."""
    state_root: bytes
    """Root over everything the chains remember, after this block."""
    entries: bytes
    """Digest over the block's envelopes and what became of them."""

    def encode(self) -> bytes:
        """Spell the head."""
        return encode(
            {
                1: self.region,
                2: self.height,
                3: self.time_ms,
                4: self.previous,
                5: [[log.size, log.root] for log in self.logs],
                6: self.state_root,
                7: self.entries,
            }
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the head: the block's identity."""
        return digest_of(self.encode())

    def log(self, chain: ChainName) -> LogHead:
        """How far one chain has grown."""
        return self.logs[chain - 1]

    @classmethod
    def decode(cls, payload: bytes) -> BlockHead:
        """Read a head.

        Raises:
            EncodingError: not the one spelling of a head.
        """
        fields = fields_of(decode(payload, size_max=HEAD_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), "block head")
        logs = tuple(map(_read_log, items(fields[5], "logs", len(ChainName))))
        if len(logs) != len(ChainName):
            raise EncodingError(f"logs: expected one per chain, {len(ChainName)} in all")
        return cls(
            region=name(fields[1], "region"),
            height=uint(fields[2], "height"),
            time_ms=uint(fields[3], "time"),
            previous=digest(fields[4], "previous"),
            logs=logs,
            state_root=digest(fields[6], "state root"),
            entries=digest(fields[7], "entries"),
        )


def _read_log(value: Value) -> LogHead:
    size, root = row(value, "log", 2)
    return LogHead(uint(size, "size"), digest(root, "root"))


def contradicts(a: BlockHead, b: BlockHead) -> str | None:
    """Why no honest node can have signed both heads, in words; None if one could have.

    Two heads that an honest node signs belong to one past: a height has one head, each head names the one below it,
    logs only grow, a log of one size has one root, and time does not run backwards. Heads of two regions have nothing
    to do with each other. The answer does not depend on the order of the two.
    """
    if a.region != b.region or a == b:
        return None
    below, above = sorted((a, b), key=lambda head: head.height)
    if below.height == above.height:
        return f"two heads of height {below.height}"
    if above.height == below.height + 1 and above.previous != below.digest:
        return f"height {above.height} does not stand on the head of height {below.height}"
    if above.time_ms < below.time_ms:
        return f"height {above.height} is dated before height {below.height}"
    return next(filter(None, (_shrunk_or_forked(chain, below, above) for chain in ChainName)), None)


def _shrunk_or_forked(chain: ChainName, below: BlockHead, above: BlockHead) -> str | None:
    fewer, more = below.log(chain), above.log(chain)
    if more.size < fewer.size:
        return f"the {chain.name.lower()} log shrinks between heights {below.height} and {above.height}"
    if more.size == fewer.size and more.root != fewer.root:
        return f"two roots of the {chain.name.lower()} log at size {more.size}"
    return None

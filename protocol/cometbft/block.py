"""Header, commit and validators of a CometBFT block, and what binds them to each other.

A `LightBlock` holds together by its making: its commit is for its header, its votes belong to its validators, its
validators are those that the header names. Whether anybody signed is another question (`protocol.cometbft.light`).
Source: CometBFT v0.38.25, spec/core/data_structures.md; proto/tendermint/types/{types,canonical,validator}.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from protocol.canonical import Value
from protocol.cometbft.protobuf import (
    bytes_field,
    delimited,
    message_field,
    sfixed64_field,
    timestamp,
    varint_field,
)
from protocol.crypto import ValidatorKey, digest_of
from protocol.errors import EncodingError, ProofError
from protocol.fields import name
from protocol.merkle import root_of

BLOCK_PROTOCOL: Final = 11
"""Version of the block format that 0.37 and 0.38 speak."""

CHAIN_ID_MAX: Final = 50
"""Longest name of a chain that CometBFT takes, in characters: shorter than the longest name of a region."""

VALIDATORS_MAX: Final = 100
"""What the RPC tells in one answer, and far more than a region has."""

POWER_MAX: Final = (2**63 - 1) // 8
"""Highest sum of all validators' power."""

ADDRESS_BYTES: Final = 20

_PRECOMMIT: Final = 2
"""SignedMsgType of a vote that commits."""


@dataclass(frozen=True, slots=True)
class BlockId:
    """What a vote is for: a header, and the parts in which its block was sent around."""

    hash: bytes
    """Of the header; empty below the first block."""
    parts_total: int
    parts_hash: bytes

    def message(self) -> bytes:
        """In protobuf: BlockID and CanonicalBlockID have the same bytes."""
        parts = varint_field(1, self.parts_total) + bytes_field(2, self.parts_hash)
        return bytes_field(1, self.hash) + message_field(2, parts)


@dataclass(frozen=True)
class Header:
    """The head of a CometBFT block, in the order in which its fields are hashed."""

    version_block: int
    version_app: int
    chain_id: str
    """Of este: the region's name."""
    height: int
    time_ns: int
    """Nanoseconds since 1970, UTC: the median of what the validators' clocks said."""
    last_block_id: BlockId
    last_commit_hash: bytes
    data_hash: bytes
    validators_hash: bytes
    """Of those who sign this height."""
    next_validators_hash: bytes
    """Of those who sign the next one."""
    consensus_hash: bytes
    app_hash: bytes
    """What the application's state was *before* this block. Of este: the digest of the last ledger block."""
    last_results_hash: bytes
    evidence_hash: bytes
    proposer_address: bytes

    @cached_property
    def hash(self) -> bytes:
        """Root over the fields, each in protobuf: the block's identity."""
        hashes = (
            self.last_commit_hash, self.data_hash, self.validators_hash, self.next_validators_hash,
            self.consensus_hash, self.app_hash, self.last_results_hash, self.evidence_hash, self.proposer_address,
        )  # fmt: skip
        return root_of(
            (
                varint_field(1, self.version_block) + varint_field(2, self.version_app),
                bytes_field(1, self.chain_id.encode()),
                varint_field(1, self.height),
                timestamp(self.time_ns),
                self.last_block_id.message(),
                *(bytes_field(1, value) for value in hashes),
            )
        )


@dataclass(frozen=True, slots=True)
class Vote:
    """One validator's precommit for the block."""

    address: bytes
    time_ns: int
    """What its clock said; part of what it signed."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The precommits that closed a height."""

    height: int
    round: int
    block_id: BlockId
    votes: tuple[Vote | None, ...]
    """In the order of the validators; None where one was absent, or voted for no block."""


@dataclass(frozen=True)
class SignedHeader:
    """A header and the commit that a node says is for it."""

    header: Header
    commit: Commit


@dataclass(frozen=True)
class Validator:
    """One who votes."""

    key: ValidatorKey
    power: int

    @cached_property
    def address(self) -> bytes:
        """The first 20 bytes of the SHA-256 of its key."""
        return digest_of(self.key.point)[:ADDRESS_BYTES]


@dataclass(frozen=True)
class ValidatorSet:
    """Those who vote at one height, in their own order: by power, then by address.

    Raises:
        ProofError: nobody, too many, too much power, or somebody twice.
    """

    validators: tuple[Validator, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.validators) <= VALIDATORS_MAX:
            raise ProofError(f"expected 1 to {VALIDATORS_MAX} validators, got {len(self.validators)}")
        if any(validator.power < 1 for validator in self.validators) or self.power > POWER_MAX:
            raise ProofError("the power of a validator, or of all together, is out of bounds")
        if len({validator.key.point for validator in self.validators}) < len(self.validators):
            raise ProofError("a validator stands twice in the set")

    @cached_property
    def power(self) -> int:
        """Of all together."""
        return sum(validator.power for validator in self.validators)

    @cached_property
    def hash(self) -> bytes:
        """Root over the validators: what a header names them by."""
        return root_of(
            message_field(1, bytes_field(1, validator.key.point)) + varint_field(2, validator.power)
            for validator in self.validators
        )

    def power_of(self, signers: tuple[Validator, ...]) -> int:
        """The power that those of `signers` have who are in this set; their power elsewhere does not count."""
        signed = {validator.key.point for validator in signers}
        return sum(validator.power for validator in self.validators if validator.key.point in signed)


@dataclass(frozen=True)
class LightBlock:
    """A header with everything that is needed to see who signed it.

    Raises:
        ProofError: the parts do not belong together.
    """

    header: Header
    commit: Commit
    validators: ValidatorSet

    def __post_init__(self) -> None:
        header, commit = self.header, self.commit
        if header.version_block != BLOCK_PROTOCOL:
            raise ProofError(f"block protocol {header.version_block} is not spoken here, only {BLOCK_PROTOCOL}")
        if commit.height != header.height or commit.block_id.hash != header.hash:
            raise ProofError(f"the commit is not for the header of height {header.height}")
        if self.validators.hash != header.validators_hash:
            raise ProofError(f"the validators are not those that the header of height {header.height} names")
        if len(commit.votes) != len(self.validators.validators):
            raise ProofError("the commit does not have one place per validator")
        for vote, validator in zip(commit.votes, self.validators.validators, strict=True):
            if vote is not None and vote.address != validator.address:
                raise ProofError("a vote stands in another validator's place")

    def sign_bytes(self, vote: Vote) -> bytes:
        """What a validator signed with its vote."""
        commit = self.commit
        return vote_sign_bytes(
            self.header.chain_id,
            height=commit.height,
            round_=commit.round,
            block_id=commit.block_id,
            time_ns=vote.time_ns,
        )


def chain_id(value: Value) -> str:
    """Read the name of a chain: a name of este, and no longer than CometBFT takes.

    Raises:
        EncodingError: it is not.
    """
    found = name(value, "chain id")
    if len(found) > CHAIN_ID_MAX:
        raise EncodingError(f"chain id: expected at most {CHAIN_ID_MAX} characters, got {len(found)}")
    return found


def vote_sign_bytes(
    chain_id: str, *, height: int, round_: int, block_id: BlockId | None, time_ns: int, type_: int = _PRECOMMIT
) -> bytes:
    """A CanonicalVote behind its length: the bytes under a validator's signature."""
    return delimited(
        varint_field(1, type_)
        + sfixed64_field(2, height)
        + sfixed64_field(3, round_)
        + (message_field(4, block_id.message()) if block_id is not None else b"")
        + message_field(5, timestamp(time_ns))
        + bytes_field(6, chain_id.encode())
    )

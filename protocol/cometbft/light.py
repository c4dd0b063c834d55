"""Whether to believe a header, by those who signed it. Source: CometBFT v0.38.25, spec/light-client/verification.

Two ways lead from a block that is trusted to a later one. *Adjacent*: the trusted header itself names the validators of
the next height. *Skipping*: more than a third of the trusted validators signed the later one, too; as long as less than
a third of them lie, one of those who signed is honest. Both hold only within the trusting period, in which a liar can
still be made to answer for it, and both end with more than two thirds of the later block's own validators.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from protocol.cometbft.block import LightBlock, Validator, Vote
from protocol.errors import ProofError, SignatureError

_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusting:
    """For how long, and how far ahead of our own clock."""

    period_ms: int
    """How long after its time a header can serve as trusted. Less than the time in which liars are punished."""
    drift_ms: int
    """How far a header's time may lie ahead of our clock."""


def signers(block: LightBlock) -> tuple[Validator, ...]:
    """The validators who signed the block, in the order of the set.

    Raises:
        ProofError: a signature does not fit its vote.
    """
    signed = []
    for vote, validator in zip(block.commit.votes, block.validators.validators, strict=True):
        if vote is None:
            continue
        if not _is_signed(block, vote, validator):
            raise ProofError(
                f"the vote of validator {validator.address.hex()} at height {block.header.height} is not signed by it"
            )
        signed.append(validator)
    return tuple(signed)


def without_unsigned(block: LightBlock) -> LightBlock:
    """The block without the votes that do not verify here: for whoever fetches a commit, and keeps it for others.

    CometBFT takes a signature in more spellings than RFC 8032 has (https://zips.z.cash/zip-0215), so whoever holds a
    validator's key can sign votes that count there, and verify nowhere else. One such vote must not spoil a commit that
    is decided without it. What is kept is held to all of its votes ever after.
    """
    votes = tuple(
        vote if vote is not None and _is_signed(block, vote, validator) else None
        for vote, validator in zip(block.commit.votes, block.validators.validators, strict=True)
    )
    return replace(block, commit=replace(block.commit, votes=votes))


def _is_signed(block: LightBlock, vote: Vote, validator: Validator) -> bool:
    try:
        validator.key.verify(vote.signature, block.sign_bytes(vote))
    except SignatureError:
        return False
    return True


def verify_commit(block: LightBlock) -> tuple[Validator, ...]:
    """See that more than two thirds of a block's own validators signed it.

    Returns:
        Those who signed.

    Raises:
        ProofError: too few did, or a signature is wrong.
    """
    signed = signers(block)
    power, total = block.validators.power_of(signed), block.validators.power
    if 3 * power <= 2 * total:
        raise ProofError(
            f"height {block.header.height} is signed by {power} of {total} power, more than two thirds are needed"
        )
    return signed


def verify_next(trusted: LightBlock, block: LightBlock, trusting: Trusting, now_ms: int) -> None:
    """See that `block` can be trusted since `trusted` is: adjacent or skipping, by their heights.

    Raises:
        ProofError: it cannot, and why.
    """
    _see_that_it_follows(trusted, block, trusting, now_ms)
    if block.header.height == trusted.header.height + 1:
        if block.header.validators_hash != trusted.header.next_validators_hash:
            raise ProofError(f"height {block.header.height} has other validators than the trusted header names for it")
        verify_commit(block)
        return
    signed = verify_commit(block)
    power, total = trusted.validators.power_of(signed), trusted.validators.power
    if 3 * power <= total:
        raise ProofError(
            f"height {block.header.height} is signed by {power} of {total} power of the validators trusted at height"
            f" {trusted.header.height}, more than a third is needed: verify a height in between first"
        )


def _see_that_it_follows(trusted: LightBlock, block: LightBlock, trusting: Trusting, now_ms: int) -> None:
    old, new, now_ns = trusted.header, block.header, now_ms * _NS_PER_MS
    if old.time_ns + trusting.period_ms * _NS_PER_MS <= now_ns:
        raise ProofError(f"the trusted header of height {old.height} is older than the trusting period")
    if new.chain_id != old.chain_id:
        raise ProofError(f"a header of {new.chain_id!r}, not of {old.chain_id!r}")
    if new.height <= old.height or new.time_ns <= old.time_ns:
        raise ProofError(f"height {new.height} does not come after the trusted height {old.height}")
    if new.time_ns >= now_ns + trusting.drift_ms * _NS_PER_MS:
        raise ProofError(f"height {new.height} is dated in the future")

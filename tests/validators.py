"""Validators with known keys, and light blocks that they sign: valid by default, break one thing per test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.cometbft.block import BlockId, Commit, Header, LightBlock, Validator, ValidatorSet, Vote
from protocol.crypto import ValidatorKey, digest_of
from tests.builders import EPOCH_MS, a_digest

FOUR = range(4)


@cache
def a_secret(number: int) -> Ed25519PrivateKey:
    """The private key of a validator."""
    return Ed25519PrivateKey.from_private_bytes(digest_of(b"validator %d" % number))


@cache
def a_validator_key(number: int) -> ValidatorKey:
    """The public key of a validator."""
    return ValidatorKey(a_secret(number).public_key().public_bytes_raw())


def a_set(numbers: Iterable[int], power: Mapping[int, int] | None = None) -> ValidatorSet:
    """Validators of power 1, but for those of whom `power` says otherwise."""
    return ValidatorSet(tuple(Validator(a_validator_key(n), (power or {}).get(n, 1)) for n in numbers))


@dataclass(frozen=True)
class Chain:
    """A chain of which any block can be made, without those between."""

    chain_id: str = "region-1"

    def block(
        self,
        height: int,
        *,
        validators: Iterable[int] = FOUR,
        next_validators: Iterable[int] | None = None,
        signing: Iterable[int] | None = None,
        power: Mapping[int, int] | None = None,
        app_hash: bytes | None = None,
        time_ns: int | None = None,
    ) -> LightBlock:
        """The block of a height, signed by all of its validators or by those that `signing` names."""
        numbers = list(validators)
        set_ = a_set(numbers, power)
        header = Header(
            version_block=11,
            version_app=1,
            chain_id=self.chain_id,
            height=height,
            time_ns=EPOCH_MS * 1_000_000 + height * 1_000_000_000 if time_ns is None else time_ns,
            last_block_id=BlockId(a_digest(f"block {height - 1}"), 1, a_digest("parts")),
            last_commit_hash=a_digest("last commit"),
            data_hash=a_digest("data"),
            validators_hash=set_.hash,
            next_validators_hash=set_.hash if next_validators is None else a_set(next_validators).hash,
            consensus_hash=a_digest("consensus"),
            app_hash=a_digest("app") if app_hash is None else app_hash,
            last_results_hash=a_digest("results"),
            evidence_hash=a_digest("evidence"),
            proposer_address=set_.validators[0].address,
        )
        signing = numbers if signing is None else list(signing)
        unsigned = [
            Vote(validator.address, header.time_ns + number, bytes(64)) if number in signing else None
            for number, validator in zip(numbers, set_.validators, strict=True)
        ]
        commit = Commit(height, 0, BlockId(header.hash, 1, a_digest("parts")), tuple(unsigned))
        block = LightBlock(header, commit, set_)
        votes = [
            replace(vote, signature=a_secret(number).sign(block.sign_bytes(vote))) if vote else None
            for number, vote in zip(numbers, unsigned, strict=True)
        ]
        return replace(block, commit=replace(commit, votes=tuple(votes)))


def a_light_block(count: int = 4, signing: Iterable[int] | None = None) -> LightBlock:
    """One block of `count` validators of power 1."""
    return Chain().block(3, validators=range(count), signing=signing)

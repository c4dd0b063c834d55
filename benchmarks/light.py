"""What it takes to see that a quorum signed: a light block from its bytes to a verdict, beside the bare signatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from benchmarks.figure import Figure, cpu_seconds
from protocol.cometbft.block import BlockId, Commit, Header, LightBlock, Validator, ValidatorSet, Vote
from protocol.cometbft.light import verify_commit
from protocol.cometbft.spelling import decode_light_block, encode_light_block
from protocol.crypto import ValidatorKey, digest_of

SIZES: Final = (4, 7, 16)
REPEATED: Final = 100
OVER_BARE_MAX: Final = 2.0
"""Hashes, protobuf and our own decoding cost no more than the signatures themselves."""


def measure() -> Iterator[Figure]:
    """Time both. The bare signatures have keys that are loaded already; ours come out of the bytes."""
    for size in SIZES:
        secrets = [Ed25519PrivateKey.from_private_bytes(digest_of(b"validator %d" % i)) for i in range(size)]
        block = _block(secrets)
        data = encode_light_block(block)
        signed = [
            (secret.public_key(), vote.signature, block.sign_bytes(vote))
            for secret, vote in zip(secrets, block.commit.votes, strict=True)
            if vote
        ]
        ours_s = cpu_seconds(partial(_ours, data))
        bare_s = cpu_seconds(partial(_bare, signed))
        note = (
            f"{ours_s / REPEATED * 1e6:.0f} µs from {len(data)} bytes, of which {bare_s / REPEATED * 1e6:.0f} µs bare"
        )
        what = f"commit of {size} validators: time, in bare Ed25519's"
        yield Figure(what, ours_s / bare_s, OVER_BARE_MAX, "×", note=note)


def _ours(data: bytes) -> None:
    for _ in range(REPEATED):
        verify_commit(decode_light_block(data))


def _bare(signed: list[tuple[Ed25519PublicKey, bytes, bytes]]) -> None:
    for _ in range(REPEATED):
        for key, signature, message in signed:
            key.verify(signature, message)


def _block(secrets: list[Ed25519PrivateKey]) -> LightBlock:
    keys = [ValidatorKey(secret.public_key().public_bytes_raw()) for secret in secrets]
    validators = ValidatorSet(tuple(Validator(key, 1) for key in keys))
    some, time_ns = digest_of(b"some"), 1_750_000_000_000_000_000
    header = Header(
        version_block=11,
        version_app=1,
        chain_id="valley",
        height=1000,
        time_ns=time_ns,
        last_block_id=BlockId(some, 1, some),
        last_commit_hash=some,
        data_hash=some,
        validators_hash=validators.hash,
        next_validators_hash=validators.hash,
        consensus_hash=some,
        app_hash=some,
        last_results_hash=some,
        evidence_hash=some,
        proposer_address=validators.validators[0].address,
    )
    unsigned = tuple(Vote(validator.address, time_ns, bytes(64)) for validator in validators.validators)
    commit = Commit(header.height, 0, BlockId(header.hash, 1, some), unsigned)
    block = LightBlock(header, commit, validators)
    votes = [
        replace(vote, signature=secret.sign(block.sign_bytes(vote)))
        for secret, vote in zip(secrets, unsigned, strict=True)
    ]
    return replace(block, commit=replace(commit, votes=tuple(votes)))

"""A light block in the bytes of our own files: what follows from the rest is left out.

Array of header, round, parts, validators (docs/spec/este.cddl, `light-block`). The commit's height and hash are the
header's, a vote's address is its validator's: a file has no room to contradict itself there.
"""

from __future__ import annotations

from typing import Final

from protocol.canonical import Value, decode, encode
from protocol.cometbft.block import (
    ADDRESS_BYTES,
    VALIDATORS_MAX,
    BlockId,
    Commit,
    Header,
    LightBlock,
    Validator,
    ValidatorSet,
    Vote,
    chain_id,
)
from protocol.cometbft.rpc import APP_HASH_BYTES_MAX, PARTS_MAX, ROUND_MAX, SIGNATURE_BYTES
from protocol.crypto import VALIDATOR_KEY_BYTES, ValidatorKey
from protocol.errors import EncodingError
from protocol.fields import DIGEST_BYTES, items, octets, row, uint

LIGHT_BLOCK_BYTES_MAX: Final = 1 << 15
"""100 validators take 13 KB."""


def encode_light_block(block: LightBlock) -> bytes:
    """Spell a light block."""
    header, commit = block.header, block.commit
    return encode(
        [
            [
                header.version_block, header.version_app, header.chain_id, header.height, header.time_ns,
                _spell(header.last_block_id), header.last_commit_hash, header.data_hash, header.validators_hash,
                header.next_validators_hash, header.consensus_hash, header.app_hash, header.last_results_hash,
                header.evidence_hash, header.proposer_address,
            ],
            commit.round,
            [commit.block_id.parts_total, commit.block_id.parts_hash],
            [
                [validator.key.point, validator.power, [vote.time_ns, vote.signature] if vote else None]
                for validator, vote in zip(block.validators.validators, commit.votes, strict=True)
            ],
        ]
    )  # fmt: skip


def decode_light_block(data: bytes) -> LightBlock:
    """Read a light block.

    Raises:
        EncodingError: not the one spelling of one.
        ProofError: the validators are not those that the header names.
    """
    first, round_, parts, listed = row(decode(data, size_max=LIGHT_BLOCK_BYTES_MAX), "light block", 4)
    header = _header(first)
    total, parts_hash = row(parts, "parts", 2)
    places = [_place(place) for place in items(listed, "validators", VALIDATORS_MAX)]
    commit = Commit(
        height=header.height,
        round=uint(round_, "round", ROUND_MAX),
        block_id=BlockId(header.hash, uint(total, "parts total", PARTS_MAX), _hash(parts_hash, "parts hash")),
        votes=tuple(vote for _, vote in places),
    )
    return LightBlock(header, commit, ValidatorSet(tuple(validator for validator, _ in places)))


def _spell(block_id: BlockId) -> list[Value]:
    return [block_id.hash, block_id.parts_total, block_id.parts_hash]


def _header(value: Value) -> Header:
    fields = row(value, "header", 15)
    hash_, total, parts_hash = row(fields[5], "last block id", 3)
    hashes = [_hash(field, "hash") for field in (*fields[6:11], *fields[12:14])]
    return Header(
        version_block=uint(fields[0], "block version"),
        version_app=uint(fields[1], "app version"),
        chain_id=chain_id(fields[2]),
        height=uint(fields[3], "height"),
        time_ns=uint(fields[4], "time"),
        last_block_id=BlockId(
            _hash(hash_, "last block"), uint(total, "parts", PARTS_MAX), _hash(parts_hash, "parts hash")
        ),
        last_commit_hash=hashes[0],
        data_hash=hashes[1],
        validators_hash=hashes[2],
        next_validators_hash=hashes[3],
        consensus_hash=hashes[4],
        app_hash=_octets_up_to(fields[11], "app hash", APP_HASH_BYTES_MAX),
        last_results_hash=hashes[5],
        evidence_hash=hashes[6],
        proposer_address=octets(fields[14], "proposer", ADDRESS_BYTES),
    )


def _place(value: Value) -> tuple[Validator, Vote | None]:
    point, power, voted = row(value, "validator", 3)
    validator = Validator(ValidatorKey(octets(point, "key", VALIDATOR_KEY_BYTES)), uint(power, "power"))
    if voted is None:
        return validator, None
    time_ns, signature = row(voted, "vote", 2)
    vote = Vote(validator.address, uint(time_ns, "time"), octets(signature, "signature", SIGNATURE_BYTES))
    return validator, vote


def _hash(value: Value, what: str) -> bytes:
    """A SHA-256, or nothing, as below the first block."""
    if value == b"":
        return b""
    return octets(value, what, DIGEST_BYTES)


def _octets_up_to(value: Value, what: str, length_max: int) -> bytes:
    if type(value) is not bytes or len(value) > length_max:
        raise EncodingError(f"{what}: expected at most {length_max} bytes, got {value!r:.40}")
    return value

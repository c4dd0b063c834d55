"""Strict readers of what a CometBFT node answers to ``/commit`` and ``/validators``, after JSON was taken apart.

Nothing that these answers say is believed for being said: `LightBlock` and `light` decide that. Here each value has one
type, one bound and one spelling, and what is not known is ignored, since other versions of CometBFT say more.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from calendar import timegm
from datetime import datetime
from typing import Any, Final

from protocol.cometbft.block import (
    ADDRESS_BYTES,
    VALIDATORS_MAX,
    BlockId,
    Commit,
    Header,
    LightBlock,
    SignedHeader,
    Validator,
    ValidatorSet,
    Vote,
    chain_id,
)
from protocol.crypto import VALIDATOR_KEY_BYTES, ValidatorKey
from protocol.errors import EncodingError
from protocol.fields import DIGEST_BYTES, UINT_MAX, items, text, uint

SIGNATURE_BYTES: Final = 64
APP_HASH_BYTES_MAX: Final = 64
ROUND_MAX: Final = 2**31 - 1
PARTS_MAX: Final = 2**32 - 1

_COMMIT_FLAG: Final = 2
"""BlockIDFlagCommit: a vote for this block. 1 is absent, 3 a vote for no block: both say nothing for it."""
_FLAGS: Final = (1, _COMMIT_FLAG, 3)
_ED25519: Final = "tendermint/PubKeyEd25519"
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)
_DECIMAL: Final = re.compile(r"0|[1-9]\d{0,18}", re.ASCII)


def read_light_block(commit: object, validators: object) -> LightBlock:
    """The light block out of the results of ``/commit?height=H`` and ``/validators?height=H&per_page=100``.

    Raises:
        EncodingError: not such results.
        ProofError: parts that do not belong together.
    """
    signed = read_signed_header(commit)
    return LightBlock(signed.header, signed.commit, read_validators(validators))


def read_signed_header(result: object) -> SignedHeader:
    """Header and commit out of the result of ``/commit``.

    Raises:
        EncodingError: not such a result.
    """
    signed = _part(result, "signed_header")
    return SignedHeader(_header(_part(signed, "header")), _commit(_part(signed, "commit")))


def read_validators(result: object) -> ValidatorSet:
    """The whole set out of the result of ``/validators``.

    Raises:
        EncodingError: not such a result, or only a page of it.
        ProofError: not a set that can vote.
    """
    listed = items(_part(result, "validators"), "validators", VALIDATORS_MAX)
    total = _decimal(_part(result, "total"), "total")
    if total != len(listed):
        raise EncodingError(f"{len(listed)} of {total} validators: ask for all of them, with per_page={VALIDATORS_MAX}")
    return ValidatorSet(tuple(map(_validator, listed)))


def _header(value: object) -> Header:
    version = _part(value, "version")
    return Header(
        version_block=_decimal(_part(version, "block"), "version.block"),
        version_app=_decimal(_part(version, "app", default="0"), "version.app"),
        chain_id=chain_id(_part(value, "chain_id")),
        height=_decimal(_part(value, "height"), "height"),
        time_ns=_time(_part(value, "time"), "time"),
        last_block_id=_block_id(_part(value, "last_block_id")),
        last_commit_hash=_hash(value, "last_commit_hash"),
        data_hash=_hash(value, "data_hash"),
        validators_hash=_hash(value, "validators_hash"),
        next_validators_hash=_hash(value, "next_validators_hash"),
        consensus_hash=_hash(value, "consensus_hash"),
        app_hash=_hex(_part(value, "app_hash"), "app_hash", range(APP_HASH_BYTES_MAX + 1)),
        last_results_hash=_hash(value, "last_results_hash"),
        evidence_hash=_hash(value, "evidence_hash"),
        proposer_address=_hex(_part(value, "proposer_address"), "proposer_address", (ADDRESS_BYTES,)),
    )


def _commit(value: object) -> Commit:
    return Commit(
        height=_decimal(_part(value, "height"), "commit.height"),
        round=uint(_part(value, "round"), "commit.round", ROUND_MAX),
        block_id=_block_id(_part(value, "block_id")),
        votes=tuple(map(_vote, items(_part(value, "signatures"), "commit.signatures", VALIDATORS_MAX))),
    )


def _vote(value: object) -> Vote | None:
    flag = uint(_part(value, "block_id_flag"), "block_id_flag")
    if flag not in _FLAGS:
        raise EncodingError(f"block_id_flag: expected one of {_FLAGS}, got {flag}")
    if flag != _COMMIT_FLAG:
        return None
    return Vote(
        address=_hex(_part(value, "validator_address"), "validator_address", (ADDRESS_BYTES,)),
        time_ns=_time(_part(value, "timestamp"), "timestamp"),
        signature=_base64(_part(value, "signature"), "signature", SIGNATURE_BYTES),
    )


def _validator(value: object) -> Validator:
    key = _part(value, "pub_key")
    if _part(key, "type") != _ED25519:
        raise EncodingError(f"pub_key.type: expected {_ED25519}, got {_part(key, 'type')!r:.40}")
    point = _base64(_part(key, "value"), "pub_key.value", VALIDATOR_KEY_BYTES)
    return Validator(ValidatorKey(point), _decimal(_part(value, "voting_power"), "voting_power"))


def _block_id(value: object) -> BlockId:
    parts = _part(value, "parts")
    return BlockId(
        hash=_hash(value, "hash"),
        parts_total=uint(_part(parts, "total"), "parts.total", PARTS_MAX),
        parts_hash=_hash(parts, "hash"),
    )


def _part(value: object, key: str, default: object = None) -> Any:
    if type(value) is not dict:
        raise EncodingError(f"expected an object with {key!r}, got {value!r:.40}")
    found = value.get(key, default)
    if found is None:
        raise EncodingError(f"{key}: expected a value, got nothing")
    return found


def _hash(value: object, key: str) -> bytes:
    """A SHA-256, or nothing, as below the first block."""
    return _hex(_part(value, key), key, (0, DIGEST_BYTES))


def _hex(value: Any, what: str, lengths: range | tuple[int, ...]) -> bytes:
    try:
        found = bytes.fromhex(text(value, what, 2 * APP_HASH_BYTES_MAX))
    except ValueError as error:
        raise EncodingError(f"{what}: expected hexadecimal digits, got {value!r:.40}") from error
    if len(found) not in lengths or found.hex().upper() != value:
        raise EncodingError(f"{what}: {len(found)} bytes are not its length, or not spelled in capitals")
    return found


def _base64(value: Any, what: str, length: int) -> bytes:
    try:
        found = b64decode(text(value, what, 2 * length), validate=True)
    except (Base64Error, ValueError) as error:
        raise EncodingError(f"{what}: expected base64, got {value!r:.40}") from error
    if len(found) != length or b64encode(found).decode() != value:
        raise EncodingError(f"{what}: expected the one spelling of {length} bytes, got {value!r:.40}")
    return found


def _decimal(value: Any, what: str) -> int:
    """An integer, which CometBFT spells as text."""
    if type(value) is not str or not _DECIMAL.fullmatch(value):
        raise EncodingError(f"{what}: expected an integer in quotes, got {value!r:.40}")
    return uint(int(value), what, UINT_MAX)


def _time(value: Any, what: str) -> int:
    """Nanoseconds since 1970 of an instant as RFC 3339 spells it, UTC."""
    match = _TIME.fullmatch(value) if type(value) is str else None
    try:
        seconds = timegm(datetime.fromisoformat(match[1]).timetuple()) if match else -1
    except ValueError as error:
        raise EncodingError(f"{what}: there is no such instant: {value!r:.40}") from error
    if match is None:
        raise EncodingError(f"{what}: expected an instant such as 2026-11-20T12:00:00.5Z, got {value!r:.40}")
    return uint(seconds * 1_000_000_000 + int((match[2] or "").ljust(9, "0")), what, UINT_MAX)

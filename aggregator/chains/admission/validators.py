"""Who has a vote when blocks are decided, and how much it weighs: the regulator's word, one row per validator.

A validator is an aggregator with a key of its engine (Ed25519, of CometBFT) and a power. The set is state like any
other, so every node sees the same one after a block; whoever drives an engine takes `changed_powers` from before and
after. A region under the local engine has none. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.ledger.table import Journal, Table, flat
from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import PublicKey, ValidatorKey
from protocol.errors import EncodingError
from protocol.fields import name, octets, optional, row, uint
from protocol.link import Link
from protocol.quorum import Member, Quorum, more_than_two_thirds
from protocol.refusals import RefusalCode, Refused

VALIDATORS_TABLE: Final = 13
MESSAGE_BYTES_MAX: Final = 4096

CONSENSUS_KEY_BYTES: Final = 32
"""An Ed25519 public key (RFC 8032)."""

POWER_TOTAL_MAX: Final = 1_000_000_000
"""All powers together. The engine halts above MaxInt64 / 8, and counts what comes before what goes: this is far below
also where every validator changes its key in one block. Nobody needs finer shares than a billionth."""


@dataclass(frozen=True, slots=True)
class Validator:
    """What one validator votes with."""

    key: bytes
    """Of the engine."""
    power: int
    """1 or more. More than two thirds of all power decide a block."""


@dataclass(frozen=True, slots=True)
class ValidatorChange:
    """The regulator gives an aggregator a vote, another weight or another key, or takes the vote away."""

    link: Link
    member: str
    validator: Validator | None
    """What it votes with from now on; None takes its vote."""

    def encode(self) -> bytes:
        """Spell the change."""
        key, power = (self.validator.key, self.validator.power) if self.validator else (None, 0)
        return encode(self.link.to_fields() | {5: self.member, 6: key, 7: power})

    @classmethod
    def decode(cls, payload: bytes) -> ValidatorChange:
        """Read a change.

        Raises:
            EncodingError: not the one spelling of a change: a key stands beside a power above 0, and only there.
        """
        what = "validator"
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), what)
        key, power = optional(fields[6], consensus_key, "consensus key"), uint(fields[7], "power", POWER_TOTAL_MAX)
        if (key is None) != (power == 0):
            raise EncodingError(f"{what}: a key with a power above 0, or none with 0")
        return cls(Link.from_fields(fields), name(fields[5], what), Validator(key, power) if key else None)


class Validators:
    """Everybody who has a vote."""

    def __init__(self, journal: Journal, is_aggregator: Callable[[str], bool]) -> None:
        """`is_aggregator` tells whether a name has a live key as an aggregator."""
        spell, read = flat(Validator)
        self._rows: Table[str, Validator] = Table(VALIDATORS_TABLE, journal, spell=spell, read=read)
        self._is_aggregator = is_aggregator
        self.tables: Mapping[int, Table[Any, Any]] = {VALIDATORS_TABLE: self._rows}

    def all(self) -> dict[str, Validator]:
        """Every validator, in the order of their names."""
        return dict(sorted(self._rows.items()))

    def found(self, validators: Mapping[str, Validator]) -> None:
        """Give a vote to those whom the genesis names."""
        for member, validator in validators.items():
            self._rows.put(member, validator)

    def change(self, change: ValidatorChange) -> None:
        """Let a vote count, or not, when the engine decides later blocks.

        Raises:
            Refused: not an aggregator, another's key, too much power, or there would be no vote left.
        """
        if change.validator is None:
            self._remove(change.member)
        else:
            self._set(change.member, change.validator)
            self.drop_ended()

    def drop_ended(self) -> None:
        """Take the vote of everybody whose key as an aggregator has ended, but for the last: blocks have to go on.

        Whoever is kept so goes as soon as somebody else has a vote.
        """
        for member in self.all():
            if not self._is_aggregator(member) and len(self._rows) > 1:
                self._rows.remove(member)

    def broken_invariants(self) -> Iterable[str]:
        """A key votes once, powers stay below their bound, and only a single validator may be nobody any more."""
        rows = self.all()
        if len({validator.key for validator in rows.values()}) != len(rows):
            yield "two validators vote with one key"
        if sum(validator.power for validator in rows.values()) > POWER_TOTAL_MAX:
            yield "the validators have more power together than there may be"
        for member in rows:
            if len(rows) > 1 and not self._is_aggregator(member):
                yield f"{member} has a vote, and no live key as an aggregator"

    def _set(self, member: str, validator: Validator) -> None:
        if not self._is_aggregator(member):
            raise Refused(RefusalCode.NOT_AN_AGGREGATOR, f"no aggregator by the name {member} has a live key")
        others = {other: row for other, row in self._rows.items() if other != member}
        for other, row_ in others.items():
            if row_.key == validator.key:
                raise Refused(RefusalCode.CONSENSUS_KEY_IN_USE, f"{other} votes with this key")
        total = sum(row_.power for row_ in others.values()) + validator.power
        if total > POWER_TOTAL_MAX:
            detail = f"{total} in all where {POWER_TOTAL_MAX} is the most"
            raise Refused(RefusalCode.TOO_MUCH_POWER, detail)
        self._rows.put(member, validator)

    def _remove(self, member: str) -> None:
        if member not in self._rows:
            raise Refused(RefusalCode.NOT_A_VALIDATOR, f"{member} has no vote")
        if len(self._rows) == 1:
            raise Refused(RefusalCode.LAST_VALIDATOR, f"{member} is the only validator: set another one first")
        self._rows.remove(member)


def quorum_of(
    region: str,
    validators: Mapping[str, Validator],
    node_keys: Mapping[str, PublicKey],
    required: Iterable[str] = (),
) -> Quorum:
    """Who has to have signed what is to be believed: more than two thirds of the power of those who vote.

    Args:
        region: its name.
        validators: by name.
        node_keys: what nodes sign checkpoints with, by name; whoever has no live key has none here.
        required: validators without whom nothing counts, such as the regulator's.
    """
    members = tuple(
        Member(name=member, power=one.power, node_key=node_keys.get(member), validator_key=ValidatorKey(one.key))
        for member, one in sorted(validators.items())
    )
    threshold = more_than_two_thirds(sum(one.power for one in validators.values()))
    return Quorum(region=region, members=members, threshold=threshold, required=tuple(required))


def changed_powers(before: Mapping[str, Validator], after: Mapping[str, Validator]) -> list[tuple[bytes, int]]:
    """What an engine has to be told: the power of every key that changed, 0 for one that goes, in the keys' order.

    One entry per key, whatever a block did to it and whoever's it was: a key named twice would halt the engine.
    """
    old = {validator.key: validator.power for validator in before.values()}
    new = {validator.key: validator.power for validator in after.values()}
    return [(key, new.get(key, 0)) for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]


def consensus_key(value: Value, what: str) -> bytes:
    """Read a public key of the engine.

    Raises:
        EncodingError: not 32 bytes.
    """
    return octets(value, what, CONSENSUS_KEY_BYTES)


def spell_validators(validators: Mapping[str, Validator]) -> list[Value]:
    """Validators as a genesis lists them."""
    return [[member, validator.key, validator.power] for member, validator in sorted(validators.items())]


def read_validators(rows: list[Value]) -> dict[str, Validator]:
    """Read the validators of a genesis.

    Raises:
        EncodingError: not in the order of their names, a key twice, or more power than there may be.
    """
    validators: dict[str, Validator] = {}
    for member, key, power in (row(one, "validator", 3) for one in rows):
        validators[name(member, "validator")] = Validator(
            consensus_key(key, "consensus key"), uint(power, "power", POWER_TOTAL_MAX)
        )
    if len(validators) != len(rows) or list(validators) != sorted(validators):
        raise EncodingError("validators: must stand once each, in the order of their names")
    return validators


def check_validators(validators: Mapping[str, Validator], aggregators: Iterable[str]) -> None:
    """See that the validators of a genesis could have been set one by one.

    Raises:
        EncodingError: one is no aggregator, a key twice, a power of 0, or more power than there may be.
    """
    if strangers := sorted(set(validators) - set(aggregators)):
        raise EncodingError(f"validators: {strangers[0]} is no aggregator among the members")
    if len({validator.key for validator in validators.values()}) != len(validators):
        raise EncodingError("validators: each needs a consensus key of its own")
    if any(validator.power < 1 for validator in validators.values()):
        raise EncodingError("validators: a power is 1 or more")
    if sum(validator.power for validator in validators.values()) > POWER_TOTAL_MAX:
        raise EncodingError(f"validators: at most {POWER_TOTAL_MAX} of power together")

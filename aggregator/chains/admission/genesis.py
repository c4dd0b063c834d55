"""The first record of a region: who regulates it, who may sign, what is there, and by which rules.

The regulator signs it with the key that it names, so it vouches for nothing but itself: whoever audits a region has to
know the regulator's key from elsewhere. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from pydantic import ValidationError

from aggregator.chains.admission.validators import Validator, check_validators, read_validators, spell_validators
from aggregator.ledger.record import RECORD_BYTES_MAX, Author, Record, Role, open_record
from config.grid_model import Grid
from config.meter_profile import MeterProfile
from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import PUBLIC_KEY_BYTES, PublicKey
from protocol.envelope import Envelope
from protocol.errors import EncodingError, SignatureError, SpellingError
from protocol.fields import items, name, octets, row, uint
from protocol.link import Link
from protocol.messages import MessageType

GENESIS_BYTES_MAX: Final = 64 << 20
MEMBERS_MAX: Final = 1_000_000
VALIDATORS_MAX: Final = 1000


@dataclass(frozen=True)
class Genesis:
    """A region as it begins."""

    link: Link
    time_ms: int
    """When the region begins; no earlier reading becomes energy of an earlier interval."""
    members: tuple[Author, ...]
    """Regulator, aggregators and gateways, in the order of their names. A gateway of the grid that is not among them
    has yet to enrol."""
    grid: Grid
    profiles: tuple[MeterProfile, ...]
    """Every profile that a meter of the grid is read by, in the order of their ids."""
    validators: Mapping[str, Validator] = field(default_factory=dict)
    """Aggregators that have a vote from the first block on, by name; none in a region under the local engine."""

    def encode(self) -> bytes:
        """Spell the genesis. Where nobody has a vote the last field is left out."""
        fields = self.link.to_fields() | {
            5: self.time_ms,
            6: [[member.name, member.role.value, member.key.point] for member in self.members],
            7: self.grid.pack(),
            8: [profile.pack() for profile in self.profiles],
        }
        return encode(fields | ({9: spell_validators(self.validators)} if self.validators else {}))

    @classmethod
    def decode(cls, payload: bytes) -> Genesis:
        """Read a genesis.

        Raises:
            EncodingError: not the one spelling of a genesis, or a region that does not hang together.
        """
        value = decode(payload, size_max=GENESIS_BYTES_MAX)
        votes = (9,) if isinstance(value, dict) and 9 in value else ()
        fields = fields_of(value, (1, 2, 3, 4, 5, 6, 7, 8, *votes), "genesis")
        if votes and fields[9] == []:
            raise SpellingError("genesis: without validators, the field is left out")
        try:
            genesis = cls(
                link=Link.from_fields(fields),
                time_ms=uint(fields[5], "time"),
                members=tuple(map(_read_member, items(fields[6], "members", MEMBERS_MAX))),
                grid=Grid.unpack(fields[7]),
                profiles=tuple(map(MeterProfile.unpack, items(fields[8], "profiles", 10_000))),
                validators=read_validators(items(fields[9], "validators", VALIDATORS_MAX)) if votes else {},
            )
        except ValidationError as error:
            raise EncodingError(f"genesis: {error.errors()[0]['msg']}") from error
        genesis.check()
        return genesis

    def check(self) -> None:
        """See that the region hangs together beyond the grid file.

        Raises:
            EncodingError: it does not, and why.
        """
        if self.grid.region != self.link.region:
            raise EncodingError(f"the grid is of region {self.grid.region}, the genesis of {self.link.region}")
        _in_order("members", [member.name for member in self.members])
        _in_order("profiles", [profile.id for profile in self.profiles])
        if len({member.key.thumbprint for member in self.members}) != len(self.members):
            raise EncodingError("members: each needs a key of its own")
        if [member.name for member in self.members if member.role is Role.REGULATOR] != [self.link.author]:
            raise EncodingError("members: exactly one regulator, who signs the genesis")
        if missing := {meter.profile for meter in self.grid.meters} - {profile.id for profile in self.profiles}:
            raise EncodingError(f"profiles: {min(missing)} is missing")
        check_validators(self.validators, [m.name for m in self.members if m.role is Role.AGGREGATOR])

    @cached_property
    def regulator(self) -> Author:
        """Who signs the genesis."""
        return next(member for member in self.members if member.role is Role.REGULATOR)


def open_genesis(data: bytes) -> Record:
    """Open the first record of a region: the one that brings its own key.

    Raises:
        Refused: the bytes, the signature or the content are not those of a genesis.
        EncodingError: not a genesis at all.
    """
    envelope = Envelope.parse(data, size_max=RECORD_BYTES_MAX)
    genesis = Genesis.decode(envelope.payload)
    regulator = genesis.regulator
    if envelope.key_id != regulator.key.thumbprint:
        raise EncodingError("the genesis is not signed with the key of the regulator that it names")
    return open_record(
        data,
        region=genesis.link.region,
        author_of={regulator.key.thumbprint: regulator}.get,
        decoders={MessageType.GENESIS: Genesis.decode},
    )


def members_in_order(members: Iterable[Author]) -> tuple[Author, ...]:
    """Members as a genesis lists them."""
    return tuple(sorted(members, key=lambda member: member.name))


def _read_member(value: Value) -> Author:
    member, role, point = row(value, "member", 3)
    try:
        return Author(
            name(member, "member"),
            Role(uint(role, "role")),
            PublicKey(octets(point, "public key", PUBLIC_KEY_BYTES)),
        )
    except (ValueError, SignatureError) as error:
        raise EncodingError(f"member {member!r:.40}: {error}") from error


def _in_order(what: str, names: list[str]) -> None:
    if names != sorted(set(names)):
        raise EncodingError(f"{what}: must stand once each, in the order of their names")

"""The asset chain: participants, meters, generators, network, permits, rules, and everybody's keys.

Kinds of record: *genesis*, *admission*, *revocation*, *rotation*, *validator*, *evidence*, *sealing key*. State: the
region as it is, who holds which key, who has a vote, and how to write to whom. Feeds: every other chain, the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final

from aggregator.chains.admission.evidence import acquittal
from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.admission.membership import Admission, Membership, Revocation
from aggregator.chains.admission.sealing_keys import SealingKeys
from aggregator.chains.admission.validators import Validator, ValidatorChange, Validators
from aggregator.economy.periods import Period, interval_start, period_of
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Author, Decoders, Record, Role
from aggregator.ledger.table import Journal, Table
from config.carriers import Carrier
from config.grid_model import Device, Generator, Grid, Meter, Source
from config.meter_profile import MeterProfile
from config.rules import Rules
from protocol.checkpoint import ChainName
from protocol.energy_register import RegisterLimit
from protocol.evidence import Evidence
from protocol.messages import MessageType
from protocol.partners import Partner, SealingKeyRecord
from protocol.refusals import RefusalCode, Refused
from protocol.registers import RegisterCodec
from protocol.rotation import Rotation
from protocol.units import Quantity

GENESIS_TABLE: Final = 10
MG_PER_GRAM: Final = 1000

DELAYED_MAX: Final = 3
"""Parcels that one pipe with a fixed delay hands to an interval: two, or three where it turned."""
RESTATED_ROWS_MAX: Final = 100_000
"""Meters, or branches, of the largest region that restates: a row takes 130, 160 (twice) and 90 bytes at most for a
meter, a participant and a branch, and all of them together less than a record may have."""


@dataclass(frozen=True, slots=True)
class MeterAsset:
    """A meter, with everything that it takes to judge its readings."""

    meter: Meter
    profile_digest: bytes
    energy_registers: tuple[tuple[Quantity, RegisterCodec, RegisterLimit], ...]
    generator: Generator | None
    is_at_home: bool = True
    """False for a heat meter in the electricity network: its readings are kept, and nothing is booked.

    In networks of gas and hydrogen it stands for a meter of theirs, as long as there is no profile of one."""

    def counts_export(self, quantity: Quantity) -> bool:
        """Whether an energy register counts what is fed in: the only one of a meter may, by the grid file."""
        is_one_way = len(self.energy_registers) == 1
        return quantity is Quantity.EXPORTED_WH or (is_one_way and self.meter.feeds_in)


class Region:
    """The region as the asset chain has it, indexed for those downstream."""

    def __init__(self, genesis: Genesis) -> None:
        """`genesis` has been checked."""
        self.genesis = genesis
        self.grid: Grid = genesis.grid
        self.rules = genesis.grid.rules

    def rules_at(self, instant_ms: int) -> Rules:
        """The rules that were in force at an instant: what is done again later is done by these.

        Today they are those of the genesis, whenever it was.
        """
        return self.rules

    @cached_property
    def can_restate(self) -> bool:
        """Whether an interval's restatement is sure to fit into one record."""
        branches, pipes = len(self.grid.branches), len(self.grid.pipes)
        return max(len(self.grid.meters), branches + pipes, DELAYED_MAX * pipes) <= RESTATED_ROWS_MAX

    @cached_property
    def begin_ms(self) -> int:
        """Start of the region's first interval."""
        return interval_start(self.genesis.time_ms, self.rules.time)

    def period_of(self, instant_ms: int) -> Period:
        """The settlement period that an instant belongs to."""
        return period_of(instant_ms, self.rules.time, self.begin_ms)

    @cached_property
    def meters(self) -> Mapping[str, MeterAsset]:
        """Every meter, by name."""
        profiles = {profile.id: profile for profile in self.genesis.profiles}
        generators = {generator.meter: generator for generator in self.grid.generators}
        return {
            meter.id: _asset_of(meter, profiles[meter.profile], generators, self.carriers[meter.node])
            for meter in self.grid.meters
        }

    @cached_property
    def participants(self) -> tuple[str, ...]:
        """Every participant, in the order of their names."""
        return tuple(sorted(participant.id for participant in self.grid.participants))

    @cached_property
    def gateways_of(self) -> Mapping[str, frozenset[str]]:
        """The gateways through which a participant is metered or controlled."""
        gateways: dict[str, set[str]] = {participant: set() for participant in self.participants}
        for meter in self.grid.meters:
            gateways[meter.participant].add(meter.gateway)
        for device in self.grid.devices:
            gateways[device.participant].add(device.gateway)
        return {participant: frozenset(names) for participant, names in gateways.items()}

    @cached_property
    def participants_of(self) -> Mapping[str, tuple[str, ...]]:
        """The participants behind each gateway, in the order of their names."""
        behind: dict[str, list[str]] = {gateway: [] for gateway in self.grid.gateways}
        for participant in self.participants:
            for gateway in sorted(self.gateways_of[participant]):
                behind[gateway].append(participant)
        return {gateway: tuple(participants) for gateway, participants in behind.items()}

    @cached_property
    def devices_of(self) -> Mapping[tuple[str, str], tuple[Device, ...]]:
        """The devices of a participant on a gateway, by (gateway, participant)."""
        devices: dict[tuple[str, str], list[Device]] = {}
        for device in sorted(self.grid.devices, key=lambda device: device.id):
            devices.setdefault((device.gateway, device.participant), []).append(device)
        return {place: tuple(found) for place, found in devices.items()}

    @cached_property
    def outside(self) -> frozenset[str]:
        """Participants who stand for the network outside: what the region sends out is not their consumption."""
        borders = {generator.meter for generator in self.grid.generators if generator.source is Source.GRID}
        return frozenset(meter.participant for meter in self.grid.meters if meter.id in borders)

    @cached_property
    def carriers(self) -> Mapping[str, Carrier]:
        """What flows at each node."""
        return {node.id: node.carrier for node in self.grid.nodes}

    @cached_property
    def meters_apart(self) -> frozenset[str]:
        """Meters that count nobody's use or feed-in: of converters and storages, and check meters."""
        apart = {meter.id for meter in self.grid.meters if meter.branch}
        for converter in self.grid.converters:
            apart.update(converter.meters)
        for storage in self.grid.storages:
            apart.update(storage.meters)
        return frozenset(apart)

    @cached_property
    def operators(self) -> Mapping[str, str]:
        """Whose each converter is, by its first input: what it burns, they emit."""
        return {one.id: self.meters[one.inputs[0]].meter.participant for one in self.grid.converters}

    @cached_property
    def responding(self) -> tuple[str, ...]:
        """Everybody who takes part in demand response, in the order of their names."""
        return tuple(sorted(participant.id for participant in self.grid.participants if participant.responds))

    @cached_property
    def electric_meters(self) -> Mapping[str, tuple[Meter, ...]]:
        """Every participant's meters of electricity, their converters' and storages' among them."""
        found: dict[str, list[Meter]] = {participant: [] for participant in self.participants}
        for meter in self.grid.meters:
            if not meter.branch and self.carriers[meter.node] is Carrier.ELECTRICITY:
                found[meter.participant].append(meter)
        return {participant: tuple(meters) for participant, meters in found.items()}

    @cached_property
    def lines(self) -> frozenset[str]:
        """Every power line."""
        return frozenset(branch.id for branch in self.grid.branches)

    @cached_property
    def ratings_w(self) -> Mapping[str, int]:
        """What every power line carries at its rated voltage and current."""
        return self.grid.ratings_w()

    @cached_property
    def limitable_w(self) -> Mapping[str, int]:
        """Rated power of all devices of each participant whose devices can be limited."""
        return self.grid.limitable_w()

    @cached_property
    def clean_ppm(self) -> Mapping[Source, int]:
        """How much of each source is clean; what is not here is not."""
        return {generator.source: generator.clean_share_ppm for generator in self.grid.generators}

    @cached_property
    def permits_mg(self) -> Mapping[str, int]:
        """S_permit of equation (1) in milligrams, by participant."""
        return {permit.participant: permit.grams * MG_PER_GRAM for permit in self.grid.permits}


class AssetChain:
    """Who and what is there."""

    name = ChainName.ASSET
    decoders: ClassVar[Decoders] = {
        MessageType.GENESIS: Genesis.decode,
        MessageType.ADMISSION: Admission.decode,
        MessageType.REVOCATION: Revocation.decode,
        MessageType.ROTATION: Rotation.decode,
        MessageType.VALIDATOR: ValidatorChange.decode,
        MessageType.EVIDENCE: Evidence.decode,
        MessageType.SEALING_KEY: SealingKeyRecord.decode,
    }

    def __init__(self, journal: Journal) -> None:
        """Before genesis, nobody is admitted."""
        self._genesis: Table[int, Genesis] = Table(
            GENESIS_TABLE, journal, spell=lambda genesis: genesis.encode(), read=Genesis.decode
        )
        self.membership = Membership(journal)
        self._validators = Validators(journal, self._is_aggregator)
        self._sealing_keys = SealingKeys(journal, self.membership)
        self.tables: Mapping[int, Table[Any, Any]] = {
            GENESIS_TABLE: self._genesis,
            **self.membership.tables,
            **self._validators.tables,
            **self._sealing_keys.tables,
        }
        self._region: Region | None = None

    @property
    def region(self) -> Region:
        """The region as it stands."""
        genesis = self._genesis[0]
        if self._region is None or self._region.genesis is not genesis:
            self._region = Region(genesis)
        return self._region

    def author_of(self, key_id: bytes) -> Author | None:
        """Who signs with the key of this thumbprint now, if anybody does."""
        return self.membership.author_of(key_id)

    def members(self, role: Role) -> list[Author]:
        """Everybody who may sign in a role now, in the order of their names."""
        return [author for author in self.membership.live() if author.role is role]

    def partner(self, gateway: str) -> Partner | None:
        """A gateway as others write to it; None if nobody of this name is a gateway now."""
        member = self.membership.live_of(gateway)
        if member is None or member.role is not Role.GATEWAY:
            return None
        behind = self.region.participants_of.get(gateway, ())
        return Partner(gateway, member.key, self._sealing_keys.key_of(gateway), behind)

    def validators(self) -> dict[str, Validator]:
        """Everybody who has a vote when blocks are decided, in the order of their names; nobody under the local engine.

        An engine compares the sets before and after a block: `aggregator.chains.admission.validators.changed_powers`.
        """
        return self._validators.all()

    def begin_block(self, block: BlockTime) -> None:
        """Time alone changes nothing here."""

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Found the region, or change who may sign in it from the next block on.

        Raises:
            Refused: it is founded already, or a rule of membership or of validators says no.
        """
        match record.message:
            case Admission() as admission:
                self.membership.admit(admission, block.height)
            case Revocation() as revocation:
                self.membership.revoke(revocation, block.height)
                self._validators.drop_ended()
            case Rotation():
                self.membership.rotate(record, block.height)
            case ValidatorChange() as change:
                self._validators.change(change)
            case Evidence() as evidence:
                self._convict(evidence, block.height)
            case SealingKeyRecord():
                self._sealing_keys.publish(record)
            case _:
                self._found(record.message)
        return ()

    def vet(self, record: Record) -> None:
        """The rule says it all; there is no physics here."""

    def broken_invariants(self) -> Iterable[str]:
        """Every name has one live key at most, and somebody regulates and keeps the chains."""
        if len(self._genesis):
            yield from self.membership.broken_invariants()
            yield from self._validators.broken_invariants()
            yield from self._sealing_keys.broken_invariants()

    def _found(self, genesis: Genesis) -> None:
        if len(self._genesis):
            raise Refused(RefusalCode.OUT_OF_TURN, "the region has its genesis")
        self._genesis.put(0, genesis)
        self.membership.found(genesis.members)
        self._validators.found(genesis.validators)

    def _convict(self, evidence: Evidence, height: int) -> None:
        """End the key that signed two pasts.

        Raises:
            Refused: the key is not live, the two envelopes prove nothing, or the region could not go on without it.
        """
        accused = self.membership.accused(evidence.first.key_id, height)
        if (
            reason := acquittal((evidence.first, evidence.second), self.membership, self.region.genesis.link.region)
        ) is not None:
            raise Refused(RefusalCode.NO_CONTRADICTION, reason)
        self.membership.convict(accused, height)
        self._validators.drop_ended()

    def _is_aggregator(self, name: str) -> bool:
        author = self.membership.live_of(name)
        return author is not None and author.role is Role.AGGREGATOR


def _asset_of(meter: Meter, profile: MeterProfile, generators: Mapping[str, Generator], carrier: Carrier) -> MeterAsset:
    registers = tuple(
        (quantity, profile.codecs[quantity], profile.register_limit(quantity, meter.power_max_w))
        for quantity in profile.energy_registers
    )
    is_at_home = Quantity.HEAT_WH not in profile.energy_registers or carrier is not Carrier.ELECTRICITY
    return MeterAsset(meter, profile.digest, registers, generators.get(meter.id), is_at_home)

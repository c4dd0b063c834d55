"""The asset chain: participants, meters, generators, network, permits, rules, and everybody's keys.

Kinds of record: *genesis*, *amendment* (of rules and permits), *admission*, *revocation*, *rotation*, *validator*,
*evidence*, *sealing key*. State: the region as it is, who holds which key, who has a vote, and how to write to whom.
Feeds: every other chain, the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final

from aggregator.chains.admission.amendments import Amendment, Amendments
from aggregator.chains.admission.evidence import acquittal
from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.admission.membership import Admission, Membership, Revocation
from aggregator.chains.admission.sealing_keys import SealingKeys
from aggregator.chains.admission.validators import Validator, ValidatorChange, Validators
from aggregator.chains.region import Region
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Author, Decoders, Record, Role
from aggregator.ledger.table import Journal, Table
from protocol.checkpoint import ChainName
from protocol.evidence import Evidence
from protocol.messages import MessageType
from protocol.partners import Partner, SealingKeyRecord
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import Rotation

GENESIS_TABLE: Final = 10


class AssetChain:
    """Who and what is there."""

    name = ChainName.ASSET
    decoders: ClassVar[Decoders] = {
        MessageType.GENESIS: Genesis.decode,
        MessageType.AMENDMENT: Amendment.decode,
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
        self._amendments = Amendments(journal, self._forget_region)
        self.tables: Mapping[int, Table[Any, Any]] = {
            GENESIS_TABLE: self._genesis,
            **self.membership.tables,
            **self._validators.tables,
            **self._sealing_keys.tables,
            **self._amendments.tables,
        }
        self._region: Region | None = None

    @property
    def region(self) -> Region:
        """The region as it stands."""
        genesis = self._genesis[0]
        if self._region is None or self._region.genesis is not genesis:
            self._region = Region(genesis, self._amendments.all(), self._amendments.in_force_ms)
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
        """Put amendments in force whose time has come."""
        self._amendments.begin_block(block.time_ms)

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Found the region, change who may sign in it from the next block on, or what holds from a later period on.

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
            case Amendment() as amendment:
                self._amendments.announce(amendment, self.region, block.time_ms)
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

    def _forget_region(self) -> None:
        self._region = None

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

"""To which key letters are sealed, by gateway: published by the gateway itself, and by nobody else.

A sealing key counts while the key that published it does, or one that its holder went over to by their own word. Where
the regulator gives a gateway another key, or ends one, letters would go to whoever held the old one: so the gateway
takes none until it publishes a sealing key again. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.admission.membership import Membership
from aggregator.ledger.record import Record
from aggregator.ledger.table import Journal, Table, WatchedTable, flat
from protocol.crypto import PublicKey
from protocol.partners import SealingKeyRecord
from protocol.refusals import RefusalCode, Refused

SEALING_KEYS_TABLE: Final = 14


@dataclass(frozen=True, slots=True)
class Published:
    """A gateway's sealing key."""

    point: bytes
    by: bytes
    """Thumbprint of the key that signed the record."""


class SealingKeys:
    """The sealing key of every gateway that has published one."""

    def __init__(self, journal: Journal, membership: Membership) -> None:
        self._membership = membership
        spell, read = flat(Published)
        self._published: Table[bytes, Published] = WatchedTable(
            SEALING_KEYS_TABLE, journal, spell=spell, read=read, watch=self._changed
        )
        """By the gateway's name."""
        self._holders: dict[bytes, str] = {}
        """By key: whose it is. No state, but an index of the table."""
        self.tables: Mapping[int, Table[Any, Any]] = {SEALING_KEYS_TABLE: self._published}

    def key_of(self, gateway: str) -> PublicKey | None:
        """What letters to a gateway are sealed to now; None where it takes none."""
        published = self._published.get(gateway.encode())
        if published is None or self._membership.author_of(self._membership.heir_of(published.by)) is None:
            return None
        return PublicKey(published.point)

    def publish(self, record: Record) -> None:
        """Have letters to a gateway sealed to another key.

        Raises:
            Refused: the key is for something else, or somebody else's.
        """
        told: SealingKeyRecord = record.message
        if (holder := self._membership.holder_of(told.key.thumbprint)) is not None:
            raise Refused(RefusalCode.SEALING_KEY_IN_USE, f"{holder.name} signs with it, or once did")
        gateway = self._holders.get(told.key.point, record.author.name)
        if gateway != record.author.name:
            raise Refused(RefusalCode.SEALING_KEY_IN_USE, f"letters to {gateway} are sealed to it")
        self._published.put(record.author.name.encode(), Published(told.key.point, record.envelope.key_id))

    def broken_invariants(self) -> Iterable[str]:
        """Whoever takes letters was a member when they said so."""
        for gateway, published in self._published.items():
            holder = self._membership.holder_of(published.by)
            if holder is None or holder.name.encode() != gateway:
                yield f"the sealing key of {gateway.decode()} was published by a key that was never theirs"

    def _changed(self, gateway: bytes, before: Published | None, after: Published | None) -> None:
        if before is not None:
            del self._holders[before.point]
        if after is not None:
            self._holders[after.point] = gateway.decode()

"""Amendments: the regulator changes rules and permits, from the beginning of a settlement period that is yet to come.

Whoever lives by rules sees them before they hold, and what is over is reckoned by those that held: an amendment never
changes an interval that has begun. The last word counts: one from an instant on takes the place of all that were to
hold from there on. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.admission.laws import Laws, broken_law
from aggregator.chains.region import Region
from aggregator.ledger.table import Journal, Table, WatchedTable, flat
from protocol.canonical import Value, decode, encode, fields_of
from protocol.fields import uint
from protocol.link import Link
from protocol.refusals import RefusalCode, Refused

AMENDMENTS_TABLE: Final = 15
IN_FORCE_TABLE: Final = 16

BYTES_MAX: Final = 16 << 20
AHEAD_MAX_MS: Final = 10 * 366 * 86_400_000
"""Nothing is laid down for longer ahead than ten years."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """Rules and permits from an instant on, whole: whoever reads one needs no other."""

    link: Link
    from_ms: int
    """Begin of a settlement period."""
    laws: Laws

    def encode(self) -> bytes:
        """Spell the record."""
        rules, permits = self.laws.pack()
        return encode(self.link.to_fields() | {5: self.from_ms, 6: rules, 7: permits})

    @classmethod
    def decode(cls, payload: bytes) -> Amendment:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one, or of rules that are none.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 8)), "amendment")
        return cls(Link.from_fields(fields), uint(fields[5], "from"), Laws.unpack(fields[6], fields[7]))


class Amendments:
    """All amendments that there were, and which of them is in force."""

    def __init__(self, journal: Journal, changed: Callable[[], None]) -> None:
        """The genesis is in force. `changed` is told whenever something else is, or will be."""
        self._laws: WatchedTable[bytes, Laws] = WatchedTable(
            AMENDMENTS_TABLE, journal, spell=Laws.pack, read=_read, watch=lambda *_: changed()
        )
        spell, read = flat(_InForce)
        self._in_force: WatchedTable[bytes, _InForce] = WatchedTable(
            IN_FORCE_TABLE, journal, spell=spell, read=read, watch=lambda *_: changed()
        )
        self.tables: Mapping[int, Table[Any, Any]] = {AMENDMENTS_TABLE: self._laws, IN_FORCE_TABLE: self._in_force}

    def all(self) -> dict[int, Laws]:
        """Every amendment, by the instant from which on it holds, in rising order."""
        return {int.from_bytes(key): laws for key, laws in sorted(self._laws.items())}

    @property
    def in_force_ms(self) -> int | None:
        """Since when the laws of now hold; None for those of the genesis."""
        row = self._in_force.get(_NOW)
        return None if row is None else row.since_ms

    def begin_block(self, time_ms: int) -> None:
        """Put in force what begins to hold."""
        begun = max((from_ms for from_ms in map(int.from_bytes, self._laws) if from_ms <= time_ms), default=None)
        if begun is not None and begun != self.in_force_ms:
            self._in_force.put(_NOW, _InForce(begun))

    def announce(self, amendment: Amendment, region: Region, time_ms: int) -> None:
        """Let laws hold from a settlement period on, instead of all that were to hold from then on.

        Raises:
            Refused: no period begins then that is yet to come, they permit somebody who is not here, or change what
                has to stay.
        """
        from_ms = amendment.from_ms
        if not time_ms < from_ms <= time_ms + AHEAD_MAX_MS or region.period_of(from_ms).span.start_ms != from_ms:
            raise Refused(RefusalCode.RULES_NOT_AHEAD, f"no settlement period that is yet to come begins at {from_ms}")
        nobody = [one.participant for one in amendment.laws.permits if one.participant not in region.participants]
        if nobody:
            raise Refused(RefusalCode.PERMIT_OF_NOBODY, f"no {min(nobody)} is in the region")
        if (broken := broken_law(region.laws_at(from_ms - 1), amendment.laws)) is not None:
            raise Refused(RefusalCode.LAW_STAYS, broken)
        for later_ms in self.all():
            if later_ms >= from_ms:
                self._laws.remove(_key(later_ms))
        self._laws.put(_key(from_ms), amendment.laws)


@dataclass(frozen=True, slots=True)
class _InForce:
    since_ms: int


_NOW: Final = b""


def _key(from_ms: int) -> bytes:
    return from_ms.to_bytes(8)


def _read(row: Value) -> Laws:
    rules, permits = row
    return Laws.unpack(rules, permits)

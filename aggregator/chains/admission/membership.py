"""Who may sign: admission, revocation and rotation, and the register of all keys that ever counted.

A row is never deleted: a key that has ended stays, with the block and the cause of its end, so that what it signed
before can be verified for ever, and so that it can never come back. A name has at most one live key, and keeps its role
and its sequence whichever key it signs with. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

from aggregator.ledger.record import Author, Record, Role
from aggregator.ledger.table import Change, Journal, Table, WatchedTable
from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import PublicKey
from protocol.errors import EncodingError, SignatureError
from protocol.fields import digest, name, optional, text, uint
from protocol.link import Link
from protocol.refusals import RefusalCode, Refused
from protocol.rotation import ROTATIONS_MAX, Rotation, read_key
from protocol.topics import AGGREGATOR

KEYS_TABLE: Final = 11
ENDED_TABLE: Final = 12
MESSAGE_BYTES_MAX: Final = 4096
REASON_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Admission:
    """The regulator admits a member with its key, or gives a member another key."""

    link: Link
    member: Author
    replaces: bytes | None
    """Key that ends with this one's beginning: of the same name and role."""

    def encode(self) -> bytes:
        """Spell the admission."""
        member = self.member
        return encode(
            self.link.to_fields() | {5: member.name, 6: member.role.value, 7: member.key.point, 8: self.replaces}
        )

    @classmethod
    def decode(cls, payload: bytes) -> Admission:
        """Read an admission.

        Raises:
            EncodingError: not the one spelling of an admission, or nobody who can be admitted.
        """
        what = "admission"
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7, 8), what)
        member, role = name(fields[5], "member"), uint(fields[6], "role")
        if role not in (Role.AGGREGATOR, Role.GATEWAY):
            raise EncodingError(f"role: an aggregator (2) or a gateway (3) can be admitted, got {role}")
        if member == AGGREGATOR:
            raise EncodingError(f"member: the name {AGGREGATOR} is reserved")
        replaces = optional(fields[8], digest, "replaced key")
        return cls(Link.from_fields(fields), Author(member, Role(role), read_key(fields[7])), replaces)


@dataclass(frozen=True, slots=True)
class Revocation:
    """From the next block on, nothing that this key signs counts, nor any key that it has gone over to."""

    link: Link
    key_id: bytes
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the revocation."""
        return encode(self.link.to_fields() | {5: self.key_id, 6: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Revocation:
        """Read a revocation.

        Raises:
            EncodingError: not the one spelling of a revocation.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4, 5, 6), "revocation")
        return cls(Link.from_fields(fields), digest(fields[5], "key id"), text(fields[6], "reason", REASON_MAX))


class Cause(IntEnum):
    """Why a key has ended."""

    REVOKED = 1
    REPLACED = 2
    """By the regulator, with another key of the same member."""
    ROTATED = 3
    """By its holder."""
    EQUIVOCATED = 4
    """Its holder signed what cannot both be honest."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A key that counts no more."""

    height: int
    """The last block in which what it signed counted."""
    cause: Cause
    heir: bytes | None
    """The key that its holder went over to."""


class Membership:
    """Every key that was ever admitted, and which of them have ended."""

    def __init__(self, journal: Journal) -> None:
        self._keys: Table[bytes, Author] = WatchedTable(
            KEYS_TABLE, journal, spell=_spell_author, read=_read_author, watch=self._key_changed
        )
        self._ended: Table[bytes, Ended] = WatchedTable(
            ENDED_TABLE, journal, spell=_spell_ended, read=_read_ended, watch=self._end_changed
        )
        self._live: dict[str, dict[bytes, Author]] = {}
        """By name: the keys that count. No state, but an index of the two tables."""
        self._roles: dict[str, dict[bytes, Role]] = {}
        """By name: the role of every key that it ever had."""
        self._heirs: dict[bytes, bytes] = {}
        """By key: the one whose holder went over to it."""
        self.tables: Mapping[int, Table[Any, Any]] = {KEYS_TABLE: self._keys, ENDED_TABLE: self._ended}

    def author_of(self, key_id: bytes) -> Author | None:
        """Who signs with this key now, if anybody."""
        return None if key_id in self._ended else self._keys.get(key_id)

    def holder_of(self, key_id: bytes) -> Author | None:
        """Who signs, or once signed, with this key."""
        return self._keys.get(key_id)

    def ended(self, key_id: bytes) -> Ended | None:
        """When and why a key ended; None for one that is live, or was never admitted."""
        return self._ended.get(key_id)

    def heir_of(self, key_id: bytes) -> bytes:
        """The key that its holder has last gone over to from this one by their own word; itself, if they have not."""
        while (ended := self._ended.get(key_id)) is not None and ended.heir is not None:
            key_id = ended.heir
        return key_id

    def rows_of(self, key_id: bytes) -> tuple[Change, Change]:
        """The rows of the state that admit a key and end it; the second has no value while the key is live."""
        return self._keys.change(key_id), self._ended.change(key_id)

    def live(self) -> list[Author]:
        """Everybody who may sign now, in the order of their names."""
        return [author for name_ in sorted(self._live) for author in self._live[name_].values()]

    def live_of(self, name_: str) -> Author | None:
        """The member of this name, with its live key."""
        return next(iter(self._live.get(name_, {}).values()), None)

    def all(self) -> list[tuple[Author, Ended | None]]:
        """Every key that was ever admitted, in the order of the members' names."""
        everybody = ((author, self._ended.get(key_id)) for key_id, author in self._keys.items())
        return sorted(everybody, key=lambda row: row[0].name)

    def found(self, members: Iterable[Author]) -> None:
        """Admit those whom the genesis names."""
        for member in members:
            self._keys.put(member.key.thumbprint, member)

    def admit(self, admission: Admission, height: int) -> None:
        """Let a member sign with its key from the next block on.

        Raises:
            Refused: the key or the name is taken, or what it replaces is not this member's.
        """
        member = admission.member
        self._check_unused(member.key)
        role = next(iter(self._roles.get(member.name, {}).values()), member.role)
        if role is not member.role:
            detail = f"{member.name} is known as a {role.name.lower()}; a name keeps its role"
            raise Refused(RefusalCode.OTHER_MEMBER, detail)
        if admission.replaces is not None:
            replaced = self._live_heir(admission.replaces)
            if self._keys[replaced].name != member.name:
                detail = f"the key to replace is that of {self._keys[replaced].name}, not of {member.name}"
                raise Refused(RefusalCode.OTHER_MEMBER, detail)
            self._ended.put(replaced, Ended(height, Cause.REPLACED, None))
        elif self.live_of(member.name) is not None:
            detail = f"{member.name} has a key already: revoke it, or say that this one replaces it"
            raise Refused(RefusalCode.NAME_TAKEN, detail)
        self._keys.put(member.key.thumbprint, member)

    def revoke(self, revocation: Revocation, height: int) -> None:
        """Let a key, and whatever its holder went over to from it, count no more from the next block on.

        Raises:
            Refused: no such key is live, or the region could not go on without it.
        """
        self._end(self._live_heir(revocation.key_id), Ended(height, Cause.REVOKED, None))

    def accused(self, key_id: bytes, height: int) -> bytes:
        """The live key that answers for what `key_id` signed: the key itself, if it counted when the block began.

        What its holder went over to in this very block answers for it too, or a liar could run away from the evidence.
        Whoever left a key earlier does not: an old key may be anybody's by now.

        Raises:
            Refused: no such key is live.
        """
        ended = self._ended.get(key_id)
        heir = ended.heir if ended is not None and ended.height == height else None
        if self.author_of(heir or key_id) is None:
            raise _no_such_key(key_id, ended)
        return heir or key_id

    def convict(self, key_id: bytes, height: int) -> None:
        """Let a key whose holder has equivocated count no more from the next block on.

        Raises:
            Refused: the region could not go on without it.
        """
        self._end(key_id, Ended(height, Cause.EQUIVOCATED, None))

    def rotate(self, record: Record, height: int) -> None:
        """Let a gateway go over to another key from the next block on.

        Raises:
            Refused: its key was ended in this very block, it has rotated too often since its admission, the new key is
                taken, or does not vouch for the step.
        """
        rotation: Rotation = record.message
        old = record.envelope.key_id
        if self.author_of(old) is None:
            raise Refused(RefusalCode.NO_SUCH_KEY, "the key that signs this has just been ended")
        self._check_unused(rotation.key)
        if self._rotations_before(old) >= ROTATIONS_MAX:
            detail = f"{record.author.name} has gone over {ROTATIONS_MAX} times: the regulator has to admit it anew"
            raise Refused(RefusalCode.TOO_MANY_ROTATIONS, detail)
        try:
            rotation.verify_possession(old)
        except SignatureError as error:
            raise Refused(RefusalCode.NOT_IN_POSSESSION, f"the new key: {error}") from error
        self._ended.put(old, Ended(height, Cause.ROTATED, rotation.key.thumbprint))
        self._keys.put(rotation.key.thumbprint, Author(record.author.name, record.author.role, rotation.key))

    def broken_invariants(self) -> Iterable[str]:
        """One live key per name, one regulator, an aggregator at least, and no end without a beginning."""
        live = self.live()
        names = [author.name for author in live]
        for twice in sorted({one for one, next_ in pairwise(names) if one == next_}):
            yield f"{twice} has more than one live key"
        if [author.role for author in live].count(Role.REGULATOR) != 1:
            yield "there is not exactly one regulator"
        if not any(author.role is Role.AGGREGATOR for author in live):
            yield "there is no aggregator"
        for key_id, ended in self._ended.items():
            if key_id not in self._keys or (ended.heir is not None and ended.heir not in self._keys):
                yield f"key {key_id.hex()[:16]}… has ended but was never admitted, or has an heir that was not"

    def _rotations_before(self, key_id: bytes) -> int:
        """How often its holder has gone over to another key since the admission, until it came to this one."""
        count = 0
        while key_id in self._heirs:
            key_id, count = self._heirs[key_id], count + 1
        return count

    def _key_changed(self, key_id: bytes, before: Author | None, after: Author | None) -> None:
        if before is not None:
            _drop(self._roles, before.name, key_id)
            _drop(self._live, before.name, key_id)
        if after is not None:
            self._roles.setdefault(after.name, {})[key_id] = after.role
            if key_id not in self._ended:
                self._live.setdefault(after.name, {})[key_id] = after

    def _end_changed(self, key_id: bytes, before: Ended | None, after: Ended | None) -> None:
        if before is not None and before.heir is not None:
            del self._heirs[before.heir]
        if after is not None and after.heir is not None:
            self._heirs[after.heir] = key_id
        author = self._keys.get(key_id)
        if author is None:
            return
        if after is None:
            self._live.setdefault(author.name, {})[key_id] = author
        else:
            _drop(self._live, author.name, key_id)

    def _check_unused(self, key: PublicKey) -> None:
        holder = self._keys.get(key.thumbprint)
        if holder is not None:
            detail = f"the key is or was that of {holder.name}: a key is used once, and never comes back"
            raise Refused(RefusalCode.KEY_IN_USE, detail)

    def _end(self, key_id: bytes, ended: Ended) -> None:
        """End a live key, unless nobody else could do its holder's part.

        Raises:
            Refused: the region could not go on without it.
        """
        role = self._keys[key_id].role
        if role is not Role.GATEWAY and [author.role for author in self.live()].count(role) == 1:
            detail = f"the region has one {role.name.lower()}, and cannot go on without"
            raise Refused(RefusalCode.LAST_OF_ITS_ROLE, detail)
        self._ended.put(key_id, ended)

    def _live_heir(self, key_id: bytes) -> bytes:
        """The key itself, or the one that its holder has meanwhile gone over to: a thief cannot run away from it."""
        key_id = self.heir_of(key_id)
        if self.author_of(key_id) is None:
            raise _no_such_key(key_id, self._ended.get(key_id))
        return key_id


def _no_such_key(key_id: bytes, ended: Ended | None) -> Refused:
    what = "has ended already" if ended else "was never admitted"
    return Refused(RefusalCode.NO_SUCH_KEY, f"key {key_id.hex()[:16]}… {what}")


def _drop(index: dict[str, dict[bytes, Any]], name_: str, key_id: bytes) -> None:
    keys = index.get(name_, {})
    keys.pop(key_id, None)
    if not keys:
        index.pop(name_, None)


def _spell_author(author: Author) -> Value:
    return [author.name, author.role.value, author.key.point]


def _read_author(value: Value) -> Author:
    name_, role, point = value
    return Author(name_, Role(role), PublicKey(point))


def _spell_ended(ended: Ended) -> Value:
    return [ended.height, ended.cause.value, ended.heir]


def _read_ended(value: Value) -> Ended:
    height, cause, heir = value
    return Ended(height, Cause(cause), heir)

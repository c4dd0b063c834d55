"""The link of a record: whose it is, which in their sequence, and what came before.

Everything that changes the ledger is signed by somebody, and everybody's records form one hash-linked sequence:
1, 2, 3, …, each naming the digest of the envelope before it. So nobody can rewrite their own past, nothing can be
replayed, and a gap shows. Two records with one number are a proof of bad faith, by their own signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import digest, name, uint

NO_RECORD: Final = bytes(32)
"""What the first record of a sequence names as the one before it."""


_KEYS: Final = frozenset((1, 2, 3, 4))


@dataclass(frozen=True, slots=True)
class Link:
    """Fields 1 to 4 of every record's payload."""

    region: str
    author: str
    """Gateway, aggregator or regulator, by the name it has on the asset chain."""
    sequence: int
    previous: bytes
    """Digest of the author's record before this one."""

    def to_fields(self) -> dict[int, Value]:
        """The first four fields of a payload."""
        return {1: self.region, 2: self.author, 3: self.sequence, 4: self.previous}

    @classmethod
    def from_fields(cls, fields: Value) -> Link:
        """Read the first four fields of a payload.

        Raises:
            EncodingError: they are not a link.
        """
        if type(fields) is not dict or not fields.keys() >= _KEYS:
            raise EncodingError("link: expected a map that begins with the keys 1 to 4")
        return cls(
            region=name(fields[1], "region"),
            author=name(fields[2], "author"),
            sequence=uint(fields[3], "sequence"),
            previous=digest(fields[4], "previous"),
        )

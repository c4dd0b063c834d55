"""The watch: a node that is shown two signed pasts brings them to the chain, where a rule convicts whoever signed both.

It is told of records that came for a number which the chain has from somebody already, and hands back what this node
should sign as a record of its own. It decides nothing that the rule does not decide again, and accuses only where the
rule would convict: a refusal of its evidence, because another node was faster, harms nobody. What it knows is lost with
the process; the liar's record comes again, as long as its sender waits for an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from aggregator.chains.five import Five
from aggregator.ledger.record import ONE_PER_NUMBER, Record, Role
from protocol.crypto import SigningKey
from protocol.envelope import Envelope, seal
from protocol.evidence import Evidence, contradiction, evidence_of
from protocol.link import Link
from protocol.messages import MessageType

ACCUSED_MAX: Final = 1024
"""Keys that wait to be accused. Beyond that the newest is not taken: it will lie again."""


@dataclass(slots=True)
class Watch:
    """What one node has seen and not yet brought to the chain."""

    name: str
    key: SigningKey
    _seen: OrderedDict[bytes, tuple[Envelope, Envelope]] = field(default_factory=OrderedDict)
    """By the key that signed both, oldest first."""

    def saw(self, ours: bytes, theirs: Record) -> bool:
        """Take note of a record whose number the chain has for another one, `ours`.

        Args:
            ours: envelope on the chain, of the same author and number.
            theirs: opened and verified, and refused as replayed.

        Returns:
            Whether the two contradict each other under one key.
        """
        found, author = evidence_of(ours, theirs.envelope.data), theirs.author
        if found is None or author.role is Role.REGULATOR:
            return False  # the region has one regulator: everybody is told, but the rule could not end its key
        records = ONE_PER_NUMBER[author.role]
        if contradiction(*found, region=theirs.link.region, name=author.name, records=records) is None:
            return False
        if len(self._seen) < ACCUSED_MAX:
            self._seen.setdefault(theirs.envelope.key_id, found)
        return True

    def due_record(self, five: Five) -> bytes | None:
        """The envelope of the evidence that is due, or None. It has to be on the chain before the next is asked for."""
        while self._seen:
            key_id, (first, second) = next(iter(self._seen.items()))
            if not _can_be_ended(five, key_id):
                del self._seen[key_id]  # convicted meanwhile, by this node or another; or nobody else would be left
                continue
            last = five.ledger.last_record(self.name)
            link = Link(five.ledger.region, self.name, last.sequence + 1, last.digest)
            evidence = Evidence(link, first, second).encode()
            return seal(self.key, region=five.ledger.region, type_=MessageType.EVIDENCE, payload=evidence)
        return None


def _can_be_ended(five: Five, key_id: bytes) -> bool:
    """Whether this key counts, and somebody else would be left to do what its holder does."""
    author = five.asset.author_of(key_id)
    return author is not None and (author.role is Role.GATEWAY or len(five.asset.members(author.role)) > 1)

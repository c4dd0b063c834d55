"""How many nodes have to say a thing before a gateway acts on it.

Where several nodes keep the chains, a third of them may lie: one that signs a receipt for a record that is on no chain
would make a gateway forget it, and one that states a debt that nobody has would cut off a house. So a word counts once
as many nodes have said it that at least one of them is honest. Nodes say the same about the same block, byte for byte
where they can; receipts may be gathered otherwise, so each record in them counts by itself. Where one node is enough,
everything passes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import Final, assert_never

from agent.inbox import Heard, Message
from protocol.messages import Receipt, Refusal, Statement
from protocol.partners import Card, Delivery

SAID_MAX: Final = 20_000
"""Things that some nodes have said and not yet enough; the oldest are forgotten, and said again when asked."""


def enough(nodes: int) -> int:
    """How many of so many nodes have to agree, if fewer than a third of them lie: one more than can."""
    return (nodes - 1) // 3 + 1


@dataclass(slots=True)
class Agreement:
    """Who has said what."""

    needed: int
    """1 or more."""
    _said: OrderedDict[Hashable, set[bytes]] = field(default_factory=OrderedDict)
    """By what was said: the keys of those who did."""

    def hear(self, heard: Heard) -> Message | None:
        """Take in one node's verified word.

        Returns:
            The part of it that enough nodes have said now; None if that is nothing.
        """
        if self.needed == 1:
            return heard.message
        signer = heard.envelope.key_id
        match heard.message:
            case Receipt() as receipt:
                records = tuple(one for one in receipt.records if self._agree((receipt.height, one), signer))
                return replace(receipt, records=records) if records else None
            case Refusal() as refusal:
                return refusal if self._agree((refusal.digest, refusal.code), signer) else None
            case Statement() | Card() | Delivery() as statement:
                return statement if self._agree(heard.envelope.payload, signer) else None
            case _:
                assert_never(heard.message)

    def _agree(self, said: Hashable, signer: bytes) -> bool:
        """Whether this signer is the one who makes it enough."""
        signers = self._said.setdefault(said, set())
        signers.add(signer)
        if len(signers) >= self.needed:
            del self._said[said]
            return True
        self._said.move_to_end(said)
        while len(self._said) > SAID_MAX:
            self._said.popitem(last=False)
        return False

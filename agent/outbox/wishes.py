"""Transfers, channels and exchanges that somebody at this machine has ordered and that are not signed yet.

A command leaves a wish in the outbox file, whether the agent runs or not, and needs neither the key nor the agent's
ear. The agent signs it within a second, or when it starts: the wish goes and the record comes in one durable
transaction, so each is signed once. Whoever may write the outbox file may order; nobody else may read or write it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.outbox.books import Books
from agent.outbox.file import FILE_NAME, OutboxFile
from agent.outbox.queue import Entry
from protocol.channel import ChannelPurchase
from protocol.errors import OperatorError
from protocol.exchange import Exchange
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.transfer import Transfer

WISHES_MAX: Final = 100
"""That may wait for an agent: one that runs leaves none."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Tokens of one participant for another."""

    sender: str
    receiver: str
    amount: int
    fee: int = 0


Order = ChannelPurchase | Exchange

ORDERS: Final[Mapping[MessageType, Callable[[bytes], Order]]] = {
    MessageType.CHANNEL: ChannelPurchase.decode,
    MessageType.EXCHANGE: Exchange.decode,
}
"""What may be ordered beside transfers, and how it is read again when it is signed."""

UNLINKED: Final = Link("none", "none", 1, NO_RECORD)
"""The link of an order until its agent knows which record it is."""

SealAs = Callable[[MessageType, bytes], bytes]
"""Puts a payload of a type into the gateway's envelope."""


def leave(folder: Path, wish: Wish | Order) -> None:
    """Leave a wish in the outbox in `folder` for its agent to sign.

    Raises:
        OperatorError: there is no outbox, it is not one of this version, or too many wishes wait in it.
        StorageError: the disk takes nothing more; then nothing was ordered.
    """
    with closing(OutboxFile.join(folder)) as file, file.transaction(durable=True):
        ((waiting,),) = file.rows("SELECT (SELECT count(*) FROM wish) + (SELECT count(*) FROM ordered)")
        if waiting >= WISHES_MAX:
            expected = f"at most {WISHES_MAX} orders that wait to be signed; start the agent"
            raise OperatorError(folder / FILE_NAME, "", expected, str(waiting))
        if isinstance(wish, Wish):
            sql = "INSERT INTO wish (sender, receiver, amount, fee) VALUES (?, ?, ?, ?)"
            file.execute(sql, wish.sender, wish.receiver, wish.amount, wish.fee)
            return
        type_ = MessageType.CHANNEL if isinstance(wish, ChannelPurchase) else MessageType.EXCHANGE
        file.execute("INSERT INTO ordered (type, payload) VALUES (?, ?)", type_.value, wish.encode())


class Wishes:
    """The wishes in the books that the agent holds."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def sign_next(self, seal: SealAs) -> Entry | None:
        """Sign the oldest wish as the gateway's next record, transfers first; None if there is none.

        Raises:
            KeyUnavailable: the key does not sign now; then the wish waits.
            StorageError: the disk takes nothing more; likewise.
        """
        rows = self._books.file.rows("SELECT id, sender, receiver, amount, fee FROM wish ORDER BY id LIMIT 1")
        if not rows:
            return self._sign_next_order(seal)
        ((number, *said),) = rows

        def payload(link: Link) -> bytes:
            return Transfer(link, *said).encode()

        with self._books.file.transaction(durable=True):
            self._books.file.execute("DELETE FROM wish WHERE id = ?", number)
            return self._books.append(payload, lambda spelled: seal(MessageType.TRANSFER, spelled))

    def _sign_next_order(self, seal: SealAs) -> Entry | None:
        rows = self._books.file.rows("SELECT id, type, payload FROM ordered ORDER BY id LIMIT 1")
        if not rows:
            return None
        ((number, said, spelled),) = rows
        type_ = MessageType(said)
        order = ORDERS[type_](spelled)
        with self._books.file.transaction(durable=True):
            self._books.file.execute("DELETE FROM ordered WHERE id = ?", number)
            return self._books.append(
                lambda link: replace(order, link=link).encode(), lambda payload: seal(type_, payload)
            )

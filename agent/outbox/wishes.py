"""Transfers that somebody at this machine has ordered and that are not signed yet.

A command leaves a wish in the outbox file, whether the agent runs or not, and needs neither the key nor the agent's
ear. The agent signs it within a second, or when it starts: the wish goes and the record comes in one durable
transaction, so each is signed once. Whoever may write the outbox file may order; nobody else may read or write it.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.outbox.books import Books, Seal
from agent.outbox.file import FILE_NAME, OutboxFile
from agent.outbox.queue import Entry
from protocol.errors import OperatorError
from protocol.link import Link
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


def leave(folder: Path, wish: Wish) -> None:
    """Leave a wish in the outbox in `folder` for its agent to sign.

    Raises:
        OperatorError: there is no outbox, it is not one of this version, or too many wishes wait in it.
        StorageError: the disk takes nothing more; then nothing was ordered.
    """
    with closing(OutboxFile.join(folder)) as file, file.transaction(durable=True):
        ((waiting,),) = file.rows("SELECT count(*) FROM wish")
        if waiting >= WISHES_MAX:
            expected = f"at most {WISHES_MAX} transfers that wait to be signed; start the agent"
            raise OperatorError(folder / FILE_NAME, "", expected, str(waiting))
        sql = "INSERT INTO wish (sender, receiver, amount, fee) VALUES (?, ?, ?, ?)"
        file.execute(sql, wish.sender, wish.receiver, wish.amount, wish.fee)


class Wishes:
    """The wishes in the books that the agent holds."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def sign_next(self, seal: Seal) -> Entry | None:
        """Sign the oldest wish as the gateway's next record; None if there is none.

        Raises:
            KeyUnavailable: the key does not sign now; then the wish waits.
            StorageError: the disk takes nothing more; likewise.
        """
        rows = self._books.file.rows("SELECT id, sender, receiver, amount, fee FROM wish ORDER BY id LIMIT 1")
        if not rows:
            return None
        ((number, *said),) = rows

        def payload(link: Link) -> bytes:
            return Transfer(link, *said).encode()

        with self._books.file.transaction(durable=True):
            self._books.file.execute("DELETE FROM wish WHERE id = ?", number)
            return self._books.append(payload, seal)

"""Quotes that somebody at this machine has ordered: those that wait to be signed, and those of intervals to come.

As with `agent.outbox.wishes`, a command leaves what is wanted in the outbox file, and the agent signs it within a
second, or when it starts, each once. A quote stays here after it is signed, so that it can be named, and taken back,
until its interval begins; the newest stays longer, so that its number is not given again. What became of it the chain
says, not this file.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from agent.outbox.books import Books
from agent.outbox.file import FILE_NAME, OutboxFile
from agent.outbox.queue import Entry
from agent.outbox.wishes import SealAs, Wishes
from agent.slips import see_ahead
from protocol.errors import OperatorError
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel
from protocol.refusals import RefusalCode

QUOTES_MAX: Final = 1000
"""Of intervals to come: of what is signed, and what waits to be."""

_FORGET: Final = """
    DELETE FROM quote WHERE id < (SELECT max(id) FROM quote)
        AND (start_ms <= ? OR (sequence IS NULL AND taken_back > 0))
    """

_STANDING: Final = """
    SELECT quote.id, quote, quote.sequence, taken_back, record.sequence, code, detail FROM quote
        LEFT JOIN record ON record.sequence = quote.sequence
        LEFT JOIN set_aside ON set_aside.sequence = quote.sequence
        WHERE start_ms > ? AND (quote.sequence IS NOT NULL OR taken_back = 0) ORDER BY quote.id
    """


@dataclass(frozen=True, slots=True)
class Ordered:
    """A quote as this gateway knows it."""

    number: int
    """Here; on the chain it has another one."""
    quote: Quote
    """Its link is that of nobody until it is signed."""
    sequence: int | None
    """Of the record; none while it waits to be signed."""
    is_taken_back: bool
    """Whether somebody has ordered that."""
    has_receipt: bool = False
    """Whether it is on the chain."""
    code: RefusalCode | None = None
    """Why it was refused, if so."""
    detail: str = ""
    """Of the refusal, for people."""

    @property
    def state(self) -> str:
        """Where it stands, as far as this gateway knows."""
        if self.code is not None:
            return "refused"
        return "waiting" if self.sequence is None else "recorded" if self.has_receipt else "signed"


def unsigned(region: str, gateway: str) -> Link:
    """The link of a quote that has yet to be signed."""
    return Link(region, gateway, 0, NO_RECORD)


def leave(folder: Path, quote: Quote, now_ms: int) -> int:
    """Leave a quote in the outbox in `folder` for its agent to sign; those whose interval has begun are forgotten.

    Returns:
        Its number here, which no quote had before.

    Raises:
        OperatorError: its interval has begun; there is no outbox, it is not one of this version, or too many quotes
            are in it.
        StorageError: the disk takes nothing more; then nothing was ordered.
    """
    see_ahead(quote.start_ms, now_ms)
    with closing(OutboxFile.join(folder)) as file, file.transaction(durable=True):
        file.execute(_FORGET, now_ms)
        ((last,),) = file.rows("SELECT coalesce(max(id), 0) FROM quote")
        count = len(_standing(file, now_ms))
        if count >= QUOTES_MAX:
            raise OperatorError(folder / FILE_NAME, "", f"at most {QUOTES_MAX} quotes of intervals to come", str(count))
        sql = "INSERT INTO quote (id, start_ms, quote, taken_back) VALUES (?, ?, ?, 0)"
        file.execute(sql, last + 1, quote.start_ms, quote.encode())
        return int(last) + 1


def take_back(folder: Path, number: int, now_ms: int) -> Ordered:
    """Order that a quote is taken back: the agent signs that, or, where it has not signed the quote, forgets it.

    Raises:
        OperatorError: there is no outbox of this version, or no such quote of an interval to come in it.
        StorageError: the disk takes nothing more; then nothing was ordered.
    """
    with closing(OutboxFile.join(folder)) as file, file.transaction(durable=True):
        found = [one for one in _standing(file, now_ms) if one.number == number]
        if not found:
            raise OperatorError(folder / FILE_NAME, "", "a quote of este-agent quote list", f"number {number}")
        file.execute("UPDATE quote SET taken_back = 1 WHERE id = ? AND taken_back = 0", number)
        return found[0]


def look(folder: Path, now_ms: int) -> list[Ordered]:
    """Every quote of an interval to come in the outbox in `folder`, oldest first, whether its agent runs or not.

    Raises:
        OperatorError: there is none, or it is not one of this version.
    """
    with closing(OutboxFile.look(folder)) as file:
        return _standing(file, now_ms)


class Orders:
    """All that was ordered and is not signed yet, in the books that the agent holds: quotes last."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._wishes = Wishes(books)

    def sign_next(self, seal_of: SealAs) -> Entry | None:
        """Sign what was ordered first as the gateway's next record; None if nothing is left.

        Raises:
            KeyUnavailable: the key does not sign now; then it waits.
            StorageError: the disk takes nothing more; likewise.
        """
        return self._wishes.sign_next(seal_of) or self._sign_quote(seal_of) or self._sign_cancel(seal_of)

    def _sign_quote(self, seal_of: SealAs) -> Entry | None:
        file = self._books.file
        rows = file.rows("SELECT id, quote FROM quote WHERE sequence IS NULL AND taken_back = 0 ORDER BY id LIMIT 1")
        if not rows:
            return None
        ((number, spelled),) = rows

        def payload(link: Link) -> bytes:
            return replace(Quote.decode(spelled), link=link).encode()

        with file.transaction(durable=True):
            entry = self._books.append(payload, partial(seal_of, MessageType.QUOTE))
            file.execute("UPDATE quote SET sequence = ?, digest = ? WHERE id = ?", entry.sequence, entry.digest, number)
            return entry

    def _sign_cancel(self, seal_of: SealAs) -> Entry | None:
        file = self._books.file
        rows = file.rows("SELECT id, digest FROM quote WHERE taken_back = 1 AND sequence IS NOT NULL LIMIT 1")
        if not rows:
            return None
        ((number, digest),) = rows
        with file.transaction(durable=True):
            file.execute("UPDATE quote SET taken_back = 2 WHERE id = ?", number)
            return self._books.append(
                lambda link: QuoteCancel(link, digest).encode(), partial(seal_of, MessageType.QUOTE_CANCEL)
            )


def _standing(file: OutboxFile, now_ms: int) -> list[Ordered]:
    """Of intervals to come, without what was taken back before it was signed."""
    return [
        Ordered(
            number=number,
            quote=Quote.decode(quote),
            sequence=sequence,
            is_taken_back=taken > 0,
            has_receipt=sequence is not None and waiting is None and code is None,
            code=None if code is None else RefusalCode(code),
            detail=detail or "",
        )
        for number, quote, sequence, taken, waiting, code, detail in file.rows(_STANDING, now_ms)
    ]

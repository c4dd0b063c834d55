"""What is remembered of offers, in the outbox file: so that an agreement's record and its offer change together.

Also holds what somebody at this machine has ordered and the agent has not done yet, as `agent.outbox.wishes` does for
transfers. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from agent.outbox.file import FILE_NAME, OutboxFile
from agent.trade.offers import Offer, Stage
from protocol.agreement import read_offer
from protocol.contract import Terms
from protocol.errors import OperatorError
from protocol.partners import Partner

WISHES_MAX: Final = 100
"""That may wait for an agent: one that runs leaves none."""

OFFERS_KEPT_MAX: Final = 1000
"""Offers that are remembered; the oldest of those that are over are forgotten."""


class Verb(StrEnum):
    """What may be ordered."""

    OPEN = "open"
    """Publish the sealing key."""
    OFFER = "offer"
    ACCEPT = "accept"
    COUNTER = "counter"
    DECLINE = "decline"
    END = "end"
    """A contract, before its window does."""
    DISPUTE = "dispute"
    """What was measured of a contract."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something that somebody at this machine wants of an offer."""

    verb: Verb
    number: bytes = b""
    """The offer that it is about."""
    terms: Terms | None = None
    """What is to be offered."""
    partner: str = ""
    """To whom."""
    reason: str = ""


def leave(folder: Path, wish: Wish) -> None:
    """Leave a wish in the outbox in `folder` for its agent.

    Raises:
        OperatorError: there is no outbox, it is not one of this version, or too many wishes wait in it.
        StorageError: the disk takes nothing more; then nothing was ordered.
    """
    with closing(OutboxFile.join(folder)) as file, file.transaction(durable=True):
        ((waiting,),) = file.rows("SELECT count(*) FROM trade_wish")
        if waiting >= WISHES_MAX:
            expected = f"at most {WISHES_MAX} orders that wait; start the agent"
            raise OperatorError(folder / FILE_NAME, "", expected, str(waiting))
        terms = wish.terms.encode() if wish.terms else None
        sql = "INSERT INTO trade_wish (verb, number, terms, partner, reason) VALUES (?, ?, ?, ?, ?)"
        file.execute(sql, wish.verb.value, wish.number, terms, wish.partner, wish.reason)


def look(folder: Path) -> list[Offer]:
    """Every offer that the outbox in `folder` knows, oldest first, whether its agent runs or not.

    Raises:
        OperatorError: there is none, or it is not one of this version.
    """
    with closing(OutboxFile.look(folder)) as file:
        return TradeBook(file).offers()


class TradeBook:
    """Offers, partners and wishes in an open outbox file."""

    def __init__(self, file: OutboxFile) -> None:
        self.file = file

    def next_wish(self) -> tuple[int, Wish] | None:
        """The oldest wish, by its place; None if there is none."""
        sql = "SELECT id, verb, number, terms, partner, reason FROM trade_wish ORDER BY id LIMIT 1"
        for place, verb, number, terms, partner, reason in self.file.rows(sql):
            return place, Wish(Verb(verb), number, Terms.decode(terms) if terms else None, partner, reason)
        return None

    def drop_wish(self, place: int) -> None:
        """It is done, or can never be; inside a transaction."""
        self.file.execute("DELETE FROM trade_wish WHERE id = ?", place)

    def offers(self) -> list[Offer]:
        """Everything that is remembered, oldest first."""
        return [_offer(row) for row in self.file.rows(_ALL)]

    def keep(self, offer: Offer) -> None:
        """Remember how an offer stands; inside a transaction."""
        self.file.execute(_KEEP, offer.number, *(getattr(offer, name) for name in _NAMES))

    def forget(self, numbers: Iterable[bytes]) -> None:
        """These offers are over for long; inside a transaction."""
        self.file.execute_many("DELETE FROM offer WHERE number = ?", [(number,) for number in numbers])

    def keep_partner(self, partner: Partner) -> None:
        """Remember a gateway by its newest keys; inside a transaction."""
        self.file.execute(
            "INSERT OR REPLACE INTO partner (gateway, card) VALUES (?, ?)", partner.gateway, partner.encode()
        )

    def partner(self, gateway: str) -> Partner | None:
        """A gateway that was met before."""
        rows = self.file.rows("SELECT card FROM partner WHERE gateway = ?", gateway)
        return Partner.decode(rows[0][0]) if rows else None


_NAMES: Final = (
    *("envelope", "is_ours", "stage", "partner", "gateway"),
    *("sequence", "detail", "reason", "sent_ms", "times"),
)
"""What of an offer stands in the columns, in their order."""

_ALL: Final = """
    SELECT envelope, is_ours, stage, partner, gateway, sequence, detail, reason, sent_ms, times FROM offer ORDER BY id
    """

_KEEP: Final = """
    INSERT INTO offer
        (number, envelope, is_ours, stage, partner, gateway, sequence, detail, reason, sent_ms, times)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (number) DO UPDATE SET
        envelope = ?2, stage = ?4, gateway = ?6, sequence = ?7, detail = ?8, reason = ?9, sent_ms = ?10, times = ?11
    """


def _offer(row: Iterable[Any]) -> Offer:
    fields = dict(zip(_NAMES, row, strict=True))
    _, terms = read_offer(fields["envelope"])  # it was verified before it was kept
    return Offer(**fields | {"terms": terms, "is_ours": bool(fields["is_ours"]), "stage": Stage(fields["stage"])})

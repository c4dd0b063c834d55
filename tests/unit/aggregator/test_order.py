"""Who goes first in a block: the starved, then whoever pays, then whoever came first; and a block shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aggregator.economy.bids import NO_BID, Bid
from aggregator.engine.order import STARVED_AFTER, broken_order, by_number, in_order
from aggregator.ledger.record import Record, Role
from protocol.link import NO_RECORD, Link


@dataclass(frozen=True)
class Entry:
    """A record of some author, as far as its place in a block goes."""

    name: str
    sequence: int = 1
    waited: int = 0
    fee: int = 0
    role: Role = Role.GATEWAY
    payer: str = ""
    balance: int = 1000

    @property
    def record(self) -> Record:
        author = SimpleNamespace(name=self.name, role=self.role)
        link = Link("village", self.name, self.sequence, NO_RECORD)
        return cast(Record, SimpleNamespace(author=author, link=link, message=self, entry=self))


def bid_of(record: Any) -> Bid:
    entry: Entry = record.entry
    return Bid(entry.payer or entry.name, entry.fee, entry.fee, entry.balance) if entry.fee else NO_BID


def ordered(*entries: Entry) -> list[Entry]:
    """The entries as a block would have them, with their waiting."""
    return [entries[place] for place in in_order([e.record for e in entries], [e.waited for e in entries], bid_of)]


def broken(*entries: Entry) -> str | None:
    return broken_order([e.record for e in entries], [e.waited for e in entries], bid_of)


def names(entries: list[Entry]) -> str:
    return " ".join(entry.name for entry in entries)


def test_without_fees_it_is_the_order_of_arrival() -> None:
    assert names(ordered(Entry("a", waited=2), Entry("b", waited=1), Entry("c"), Entry("d"))) == "a b c d"


def test_the_higher_fee_goes_first_and_equal_ones_as_they_came() -> None:
    assert names(ordered(Entry("a"), Entry("b", fee=1), Entry("c", fee=2), Entry("d", fee=1))) == "c b d a"


def test_no_fee_goes_before_what_has_starved() -> None:
    starved = Entry("a", waited=STARVED_AFTER)
    assert names(ordered(Entry("rich", fee=999), Entry("b", waited=STARVED_AFTER - 1), starved)) == "a rich b"


def test_the_starved_go_as_they_came_whatever_they_pay() -> None:
    late, early = Entry("late", waited=STARVED_AFTER, fee=9), Entry("early", waited=STARVED_AFTER + 1)
    assert names(ordered(late, early)) == "early late"


def test_the_regulator_s_word_cannot_be_outbid_and_pushes_no_starved_record_back() -> None:
    regulator = Entry("regulator", role=Role.REGULATOR)
    assert names(ordered(Entry("rich", fee=999), regulator, Entry("a", waited=STARVED_AFTER))) == "a regulator rich"


def test_what_the_node_itself_signs_goes_first() -> None:
    own = Entry("node", role=Role.AGGREGATOR)
    assert names(ordered(own, Entry("a", waited=STARVED_AFTER), Entry("rich", fee=9))) == "node a rich"


def test_nobody_overtakes_themselves() -> None:
    plain, paid = Entry("a", 1), Entry("a", 2, fee=9)
    assert ordered(plain, Entry("b", fee=5), paid) == [Entry("b", fee=5), plain, paid]


def test_a_fee_moves_its_own_record_and_not_what_is_queued_before_it() -> None:
    entries = ordered(Entry("b"), Entry("a", 1), Entry("a", 2, fee=9), Entry("c"))
    assert [(entry.name, entry.sequence) for entry in entries] == [("b", 1), ("a", 1), ("a", 2), ("c", 1)]


def test_fees_of_one_account_count_together_only_as_far_as_it_holds_them() -> None:
    spender = [Entry(f"gw-{n}", fee=50, payer="anna", balance=100) for n in range(3)]
    assert names(ordered(*spender, Entry("bert", fee=1))) == "gw-0 gw-1 bert gw-2"


def test_a_starved_order_draws_on_its_account_as_well() -> None:
    starved = Entry("gw-0", fee=60, payer="anna", balance=100, waited=STARVED_AFTER)
    assert names(ordered(starved, Entry("gw-1", fee=50, payer="anna", balance=100), Entry("b", fee=1))) == "gw-0 b gw-1"


def test_records_that_came_out_of_order_are_put_in_the_order_of_their_numbers() -> None:
    records = [Entry("a", 2).record, Entry("b", 1).record, Entry("a", 1).record]
    assert [(r.author.name, r.link.sequence) for r in by_number(records)] == [("a", 1), ("b", 1), ("a", 2)]


BLOCK = [
    Entry("node", role=Role.AGGREGATOR),
    Entry("a", waited=STARVED_AFTER + 2),
    Entry("b", waited=STARVED_AFTER),
    Entry("c", 1, fee=9),
    Entry("d", fee=4),
    Entry("e", 1, waited=3),
    Entry("e", 2, waited=3),
    Entry("f"),
]


def test_a_block_in_order_is_found_in_order_and_so_is_every_beginning_of_it() -> None:
    assert ordered(*BLOCK) == BLOCK
    for size in range(len(BLOCK) + 1):
        assert broken(*BLOCK[:size]) is None


@pytest.mark.parametrize("place", range(len(BLOCK) - 1))
def test_two_records_in_each_other_s_place_are_seen(place: int) -> None:
    swapped = [*BLOCK[:place], BLOCK[place + 1], BLOCK[place], *BLOCK[place + 2 :]]
    assert broken(*swapped) is not None


def test_a_fee_that_was_passed_over_is_told_with_its_place() -> None:
    said = broken(Entry("a"), Entry("b", fee=1))
    assert said == "record 1 of a stands at place 0, where record 1 of b comes first"


def test_a_claim_that_was_made_up_shows_where_it_contradicts_the_place() -> None:
    block = [Entry("late", waited=1), Entry("early", waited=1)]
    assert broken(*block) is None
    assert broken(replace(block[0], waited=0), block[1]) is not None

"""The law of records without a receipt."""

from __future__ import annotations

from typing import Any

import pytest

from agent.outbox.queue import (
    NEXT_STAGE,
    PATIENCE_DOUBLINGS_MAX,
    Alive,
    Answer,
    Effect,
    Entry,
    Event,
    Forget,
    Halt,
    LinkDown,
    LinkUp,
    Move,
    Outbox,
    Page,
    Paged,
    Publish,
    SetAside,
    Signed,
    Stage,
    Tell,
    Tick,
    answer_to,
)
from protocol.messages import Receipt, Received, Refusal
from protocol.refusals import RefusalCode
from tests.builders import a_digest, a_receipt, a_refusal

RESEND_MS = 10_000


def an_entry(sequence: int) -> Entry:
    return Entry(sequence, a_digest(f"record {sequence}"))


def a_receipt_for(*sequences: int, height: int = 7) -> Receipt:
    return a_receipt(height=height, records=tuple(Received(n, a_digest(f"record {n}"), n) for n in sequences))


def a_refusal_of(sequence: int, code: RefusalCode, **changes: Any) -> Refusal:
    return a_refusal(digest=a_digest(f"record {sequence}"), sequence=sequence, code=code, **changes)


class World:
    """An outbox and the disk under it."""

    def __init__(self, records: int = 3, in_flight_max: int = 32) -> None:
        self.disk = {n: an_entry(n) for n in range(1, records + 1)}
        self.outbox = Outbox(in_flight_max=in_flight_max, resend_after_ms=RESEND_MS, last_signed=records)
        self.now_ms = 0
        self.others: list[Effect] = []
        """Effects beside publishing and paging."""

    def on(self, event: Event) -> list[int]:
        """What is published because of `event`."""
        published = []
        todo = self.outbox.handle(event, self.now_ms)
        while todo:
            effect = todo.pop(0)
            match effect:
                case Publish(sequence):
                    published.append(sequence)
                case Page(after, count):
                    entries = [self.disk[n] for n in sorted(self.disk) if n > after][:count]
                    todo += self.outbox.handle(Paged(entries), self.now_ms)
                case Forget(entries):
                    for entry in entries:
                        del self.disk[entry.sequence]
                    self.others.append(effect)
                case SetAside(entry):
                    del self.disk[entry.sequence]
                    self.others.append(effect)
                case _:
                    self.others.append(effect)
        return published

    def sign(self) -> list[int]:
        """One more record."""
        entry = an_entry(max(self.disk, default=0) + 1)
        self.disk[entry.sequence] = entry
        return self.on(Signed(entry))

    def after(self, span_ms: int) -> list[int]:
        """What is published when `span_ms` have passed."""
        self.now_ms += span_ms
        return self.on(Tick())


class TestSending:
    """Oldest first, and never too many at once."""

    def test_without_a_link_nothing_is_published(self) -> None:
        world = World()
        assert world.on(Tick()) == []
        assert world.sign() == []

    def test_when_the_link_comes_all_waiting_records_go_out_in_order(self) -> None:
        assert World(records=3).on(LinkUp()) == [1, 2, 3]

    def test_a_new_record_goes_out_at_once(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        assert world.sign() == [2]

    def test_no_more_are_in_flight_than_allowed(self) -> None:
        world = World(records=5, in_flight_max=2)
        assert world.on(LinkUp()) == [1, 2]
        assert world.sign() == []

    def test_a_receipt_makes_room_for_the_next(self) -> None:
        world = World(records=5, in_flight_max=2)
        world.on(LinkUp())
        assert world.on(a_receipt_for(1)) == [3]
        assert world.on(a_receipt_for(2, 3)) == [4, 5]

    def test_a_new_link_sends_all_again(self) -> None:
        world = World(records=2)
        world.on(LinkUp())
        world.on(LinkDown("gone"))
        assert world.on(LinkUp()) == [1, 2]

    def test_what_was_signed_while_the_link_was_down_follows(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        world.on(LinkDown("gone"))
        world.sign()
        assert world.on(LinkUp()) == [1, 2]

    def test_a_gap_on_disk_is_stepped_over(self) -> None:
        world = World(records=4)
        del world.disk[2], world.disk[4]
        assert world.on(LinkUp()) == [1, 3]
        world.disk[4] = an_entry(4)
        assert world.sign() == [5]


class TestSendingAgain:
    """A record without a receipt is sent again, with growing patience."""

    def test_not_before_its_time(self) -> None:
        world = World(records=2)
        world.on(LinkUp())
        assert world.after(RESEND_MS - 1) == []
        assert world.after(1) == [1, 2]

    def test_one_with_a_receipt_is_not(self) -> None:
        world = World(records=2)
        world.on(LinkUp())
        world.on(a_receipt_for(1))
        assert world.after(RESEND_MS) == [2]

    def test_while_nothing_is_heard_the_wait_doubles_up_to_a_bound(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        waits = []
        for _ in range(8):
            waited = RESEND_MS
            while not world.after(RESEND_MS):
                waited += RESEND_MS
            waits.append(waited // RESEND_MS)
        assert waits == [1, 2, 4, 8, 16, 16, 16, 16]
        assert max(waits) == 1 << PATIENCE_DOUBLINGS_MAX

    @pytest.mark.parametrize("word", [Alive(), a_receipt_for(2)], ids=["a statement", "a receipt"])
    def test_a_word_from_the_aggregator_ends_the_long_wait(self, word: Event) -> None:
        world = World(records=2)
        world.on(LinkUp())
        for _ in range(3):
            world.after(RESEND_MS << 4)
        world.on(word)
        assert 1 in world.after(RESEND_MS)


class TestReceipts:
    """A record goes when its receipt names its number and its digest."""

    def test_what_it_names_is_forgotten(self) -> None:
        world = World(records=3)
        world.on(LinkUp())
        world.on(a_receipt_for(1, 3))
        assert world.others == [Forget((an_entry(1), an_entry(3)), height=7)]
        assert list(world.disk) == [2]

    def test_another_digest_under_our_number_forgets_nothing(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        world.on(a_receipt(records=(Received(1, a_digest("another"), 0),)))
        assert list(world.disk) == [1]

    def test_our_digest_under_another_number_forgets_nothing(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        world.on(a_receipt(records=(Received(2, a_digest("record 1"), 0),)))
        assert list(world.disk) == [1]

    def test_a_second_receipt_for_the_same_record_does_nothing(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        world.on(a_receipt_for(1))
        world.on(a_receipt_for(1))
        assert len(world.others) == 1

    def test_a_receipt_that_names_a_record_twice_forgets_it_once(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        world.on(a_receipt_for(1, 1))
        assert world.others == [Forget((an_entry(1),), height=7)]


class TestRefusals:
    """A refusal says what to do, or nothing at all."""

    @pytest.mark.parametrize("code", [code for code in RefusalCode if code.is_final])
    def test_a_final_one_sets_its_record_aside_and_the_others_go_on(self, code: RefusalCode) -> None:
        world = World(records=3, in_flight_max=2)
        world.on(LinkUp())
        refusal = a_refusal_of(1, code)
        assert world.on(refusal) == [3]
        assert world.others == [SetAside(an_entry(1), refusal)]

    def test_a_gap_is_filled_from_the_record_that_is_expected(self) -> None:
        world = World(records=4)
        world.on(LinkUp())
        assert world.on(a_refusal_of(3, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=2)) == [2, 3, 4]

    def test_once_however_many_records_behind_it_were_refused(self) -> None:
        world = World(records=4)
        world.on(LinkUp())
        world.on(a_refusal_of(3, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=2))
        assert world.on(a_refusal_of(4, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=2)) == []

    def test_and_again_after_the_next_round(self) -> None:
        world = World(records=4)
        world.on(LinkUp())
        world.on(a_refusal_of(3, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=2))
        world.after(RESEND_MS)
        assert world.on(a_refusal_of(4, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=2)) == [2, 3, 4]

    def test_a_gap_that_cannot_be_filled_is_told(self) -> None:
        world = World(records=4)
        world.on(LinkUp())
        world.on(a_receipt_for(1, 2))
        refusal = a_refusal_of(3, RefusalCode.SEQUENCE_SKIPPED, expected_sequence=1)
        assert world.on(refusal) == []
        assert world.others[-1] == Tell("aggregator waits for a record that is not in the outbox", refusal)

    @pytest.mark.parametrize("code", [RefusalCode.SEQUENCE_REPLAYED, RefusalCode.BROKEN_LINK])
    def test_when_somebody_else_signs_with_our_numbers_all_publishing_ends(self, code: RefusalCode) -> None:
        world = World(records=2)
        world.on(LinkUp())
        refusal = a_refusal_of(1, code)
        world.on(refusal)
        assert world.others == [Halt(refusal)]
        assert world.outbox.stage is Stage.HALTED
        assert world.sign() == world.after(RESEND_MS) == []
        world.on(LinkDown("gone"))
        assert world.on(LinkUp()) == []

    def test_that_is_told_once(self) -> None:
        world = World(records=2)
        world.on(LinkUp())
        world.on(a_refusal_of(1, RefusalCode.SEQUENCE_REPLAYED))
        world.on(a_refusal_of(2, RefusalCode.SEQUENCE_REPLAYED))
        assert len(world.others) == 1

    def test_a_receipt_still_counts_while_halted(self) -> None:
        world = World(records=2)
        world.on(LinkUp())
        world.on(a_refusal_of(2, RefusalCode.BROKEN_LINK))
        world.on(a_receipt_for(1))
        assert list(world.disk) == [2]

    def test_one_that_we_cannot_mend_leaves_the_record_waiting(self) -> None:
        world = World(records=1)
        world.on(LinkUp())
        refusal = a_refusal_of(1, RefusalCode.NOT_THEIR_TYPE)
        assert world.on(refusal) == []
        assert world.others == [Tell("record refused for now", refusal)]
        assert world.after(RESEND_MS) == [1]

    @pytest.mark.parametrize("code", [RefusalCode.SEQUENCE_REPLAYED, RefusalCode.UNKNOWN_METER])
    def test_one_of_a_record_that_is_not_ours_is_ignored(self, code: RefusalCode) -> None:
        world = World(records=1)
        world.on(LinkUp())
        assert world.on(a_refusal(digest=a_digest("another"), code=code)) == []
        assert world.others == []
        assert world.outbox.stage is Stage.UP


class TestTables:
    """The law can be read without running it."""

    def test_every_move_is_decided_in_every_stage(self) -> None:
        assert set(NEXT_STAGE) == {(stage, move) for stage in Stage for move in Move}

    def test_nothing_leads_out_of_a_halt(self) -> None:
        assert {NEXT_STAGE[Stage.HALTED, move] for move in Move} == {Stage.HALTED}

    def test_every_code_has_its_answer(self) -> None:
        told = {code: answer_to(code) for code in RefusalCode}
        assert told[RefusalCode.SEQUENCE_SKIPPED] is Answer.SEND_MISSING
        assert {code for code, answer in told.items() if answer is Answer.HALT} == {
            RefusalCode.SEQUENCE_REPLAYED,
            RefusalCode.BROKEN_LINK,
        }
        assert all((answer is Answer.SET_ASIDE) is code.is_final for code, answer in told.items())

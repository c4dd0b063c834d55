"""No honest gateway signs two records with one number under one key, whatever happens to it: that would be evidence.

Everything that could have left the machine, after each step, is kept here and held against everything else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

from agent.keys import enrolment, succession
from agent.keys.mark import EVERY, Mark
from agent.outbox.books import Books
from agent.outbox.queue import Entry
from aggregator.ledger.record import ONE_PER_NUMBER, Role
from protocol.envelope import Envelope, seal
from protocol.errors import OperatorError
from protocol.evidence import contradiction
from tests.builders import GATEWAY, REGION
from tests.integration.test_agent_enrolment import NOWHERE, Crash, Gateway, Ledger, a_slip, accept, crashing
from tests.unit.agent.builders import a_boot, readings


class Witness:
    """Somebody at the broker who keeps every record that a gateway could have sent."""

    def __init__(self) -> None:
        self.seen: dict[tuple[bytes, bytes], Envelope] = {}

    def look(self, gateway: Gateway) -> None:
        """Keep what stands in the outbox, and see that no two records contradict each other."""
        for data in waiting(gateway):
            envelope = Envelope.parse(data)
            self.seen.setdefault((envelope.key_id, envelope.payload), envelope)

    def lies(self) -> list[str]:
        """The contradictions between everything that was seen."""
        found = []
        seen = list(self.seen.values())
        for place, one in enumerate(seen):
            for other in seen[place + 1 :]:
                if one.key_id == other.key_id:
                    lie = contradiction(one, other, region=REGION, name=GATEWAY, records=ONE_PER_NUMBER[Role.GATEWAY])
                    found += [lie] if lie else []
        return found


def waiting(gateway: Gateway) -> list[bytes]:
    books = gateway.books()
    with closing(books.file):
        return [books.envelope(entry.sequence) or b"" for entry in books.page(0, 10_000)]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway.make(tmp_path / "gw")


def ran(gateway: Gateway, batches: int) -> None:
    """A run whose records leave, as the runner marks them."""
    gateway.run(batches)
    mark = Mark(gateway.settings, gateway.key.public_key)
    books = gateway.books()
    with closing(books.file):
        mark.check(books.last_signed())
        mark.move(books.last_signed())


def test_a_crash_between_signing_and_keeping_leaves_nothing_that_could_leave(gateway: Gateway) -> None:
    witness, books, key, made = Witness(), gateway.books(), gateway.key, []

    def dies(payload: bytes) -> bytes:
        made.append(seal(key, region=REGION, type_="batch", payload=payload))
        raise Crash

    with closing(books.file):
        books.journal(readings(3), a_boot("boot"))
        with pytest.raises(Crash):
            books.close_batch(4096, dies)
    assert made and waiting(gateway) == []
    gateway.run(2)
    witness.look(gateway)
    assert len(witness.seen) == 2 and witness.lies() == []


def test_a_key_does_not_sign_again_under_numbers_that_it_has_used(gateway: Gateway) -> None:
    """It ran before it was admitted, and further than the machine that it replaces had come."""
    witness = Witness()
    gateway.run(6)
    witness.look(gateway)
    slip = a_slip(gateway.key.public_key, Entry(4, bytes(range(32))))
    with pytest.raises(OperatorError, match=r"enrol --new-key.*got one that has signed another record 5"):
        accept(gateway, slip)
    witness.look(gateway)
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    ledger = Ledger(gateway.next_key, Entry(4, bytes(range(32))))
    assert accept(gateway, a_slip(gateway.next_key, ledger.last)).signed_again == 6
    witness.look(gateway)
    assert witness.lies() == []
    gateway.deliver(ledger)
    assert ledger.last.sequence == 10


@pytest.mark.parametrize("ahead", [0, 3])
def test_a_thiefs_records_never_make_the_owner_sign_a_number_twice(gateway: Gateway, ahead: int) -> None:
    witness, ledger = Witness(), Ledger(gateway.key.public_key)
    gateway.run(8)
    witness.look(gateway)
    gateway.deliver(ledger, 2)
    forged = Entry(3 + ahead, bytes(range(32)))
    with pytest.raises(OperatorError, match="enrol --new-key"):
        accept(gateway, a_slip(gateway.key.public_key, forged))
    witness.look(gateway)
    assert witness.lies() == []


def test_a_lost_outbox_is_noticed_before_anything_is_signed(gateway: Gateway) -> None:
    ran(gateway, 3)
    rmtree(gateway.home / "data")
    with pytest.raises(OperatorError, match=r"has signed 3 records.*got one that knows of 0"):
        Mark(gateway.settings, gateway.key.public_key).check(0)
    with pytest.raises(OperatorError, match="enrol --new-key"):
        accept(gateway, a_slip(gateway.key.public_key, Entry(2, bytes(32))))


def test_an_outbox_from_an_older_copy_is_noticed(gateway: Gateway) -> None:
    ran(gateway, 3)
    copytree(gateway.home / "data", gateway.home / "older")
    ran(gateway, 2)
    rmtree(gateway.home / "data")
    (gateway.home / "older").rename(gateway.home / "data")
    with pytest.raises(OperatorError, match=r"has signed 5 records.*got one that knows of 3"):
        ran(gateway, 0)


def test_a_whole_card_from_an_older_copy_is_noticed_where_it_is_enrolled_again(
    gateway: Gateway, tmp_path: Path
) -> None:
    ledger = Ledger(gateway.key.public_key)
    ran(gateway, 3)
    gateway.deliver(ledger)
    copytree(gateway.home, tmp_path / "copy")
    ran(gateway, 2)
    gateway.deliver(ledger)
    copy = Gateway(tmp_path / "copy", boots=9)
    with pytest.raises(OperatorError, match="this outbox is an older copy: este-agent enrol --new-key"):
        accept(copy, a_slip(ledger.key, ledger.last))
    enrolment.ask(copy.settings, copy.home, new_key=True)
    ledger.key = copy.next_key
    accept(copy, a_slip(ledger.key, ledger.last))
    ran(copy, 1)
    copy.deliver(ledger)
    assert ledger.last.sequence == 6


def test_a_whole_card_from_an_older_copy_that_is_simply_started_lies_and_that_is_what_the_docs_say(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Nothing on the machine can tell. The aggregator refuses, the agent halts, and the regulator admits it anew."""
    witness = Witness()
    ran(gateway, 3)
    copytree(gateway.home, tmp_path / "copy")
    copy = Gateway(tmp_path / "copy", boots=9)
    for one in (gateway, copy):
        ran(one, 1)
        witness.look(one)
    assert witness.lies() == [f"{GATEWAY} signed two records with number 4"]


def test_a_new_key_has_no_mark_and_the_mark_moves_seldom(gateway: Gateway) -> None:
    mark = Mark(gateway.settings, gateway.key.public_key)
    assert mark.sequence == 0 and mark.leaves(1)
    mark.move(1)
    assert [mark.leaves(n) for n in (1, 2, EVERY, EVERY + 1)] == [False, False, False, True]
    assert mark.left == EVERY + 1
    mark.move(7)
    mark.move(3)
    assert Mark(gateway.settings, gateway.key.public_key).sequence == 7
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    assert Mark(gateway.settings, gateway.next_key).sequence == 0


def test_a_place_that_cannot_be_written_stops_no_gateway(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    mark = Mark(gateway.settings, gateway.key.public_key)
    mark.path = gateway.home / "no" / "such" / "folder"
    mark.move(1)
    mark.move(2)
    assert mark.sequence == 2
    assert caplog.text.count("a lost outbox would not be noticed") == 1


@pytest.mark.parametrize("text", [b"", b"seven", b"\xff"])
def test_a_mark_that_is_none_is_told(gateway: Gateway, text: bytes) -> None:
    mark = Mark(gateway.settings, gateway.key.public_key)
    mark.path.write_bytes(text)
    with pytest.raises(OperatorError, match="a number, as the agent wrote it"):
        Mark(gateway.settings, gateway.key.public_key)


class Life:
    """A gateway to which everything happens, in an order that a seed decides."""

    def __init__(self, home: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.gateway = Gateway.make(home)
        self.ledger = Ledger(self.gateway.key.public_key)
        self.witness = Witness()

    def steps(self) -> Iterator[str]:
        """One thing after another."""
        for _ in range(12):
            step = self.dice.choice([self.run, self.run, self.deliver, self.lose_receipts, self.change_key, self.slip])
            step()
            self.witness.look(self.gateway)
            yield step.__name__
        self.deliver()

    def run(self) -> None:
        ran(self.gateway, self.dice.randint(0, 3))

    def deliver(self) -> None:
        with suppress(AssertionError):  # the key has ended: the ledger takes nothing
            self.gateway.deliver(self.ledger, self.dice.choice([None, 1, 2]))

    def lose_receipts(self) -> None:
        """Records get to the ledger, their receipts do not get back."""
        with suppress(AssertionError):
            for data in waiting(self.gateway)[: self.dice.randint(1, 3)]:
                self.ledger.take(data)

    def change_key(self) -> None:
        """The regulator admits another key; the program may die anywhere on the way, and be started in between."""
        gateway = self.gateway
        enrolment.ask(gateway.settings, gateway.home, new_key=True)
        self.ledger.key = gateway.next_key
        slip = a_slip(self.ledger.key, self.ledger.last)
        if self.dice.random() < 0.5:
            with pytest.MonkeyPatch.context() as patched:
                place: tuple[Any, str] = self.dice.choice(
                    [(succession, "_take_their_place"), (succession, "_sign_page"), (enrolment, "_put_in_force")]
                )
                crashing(patched, place, after=self.dice.random() < 0.5)
                with suppress(Crash):
                    accept(gateway, slip)
            self.witness.look(gateway)
            if (gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}").exists():
                gateway.run(self.dice.randint(0, 2))
                self.witness.look(gateway)
        accept(gateway, slip)

    def slip(self) -> None:
        """The same key, the same or another place in the sequence: taken up, or refused in one sentence."""
        forged = Entry(self.ledger.last.sequence + self.dice.randint(0, 3), bytes(range(32)))
        last = self.dice.choice([self.ledger.last, forged, NOWHERE])
        with suppress(OperatorError):
            accept(self.gateway, a_slip(self.gateway.key.public_key, last))
            self.ledger.last = forged if last == forged else self.ledger.last


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_nothing_that_left_contradicts_anything_else(tmp_path: Path, seed: int) -> None:
    life = Life(tmp_path / "gw", seed)
    story = list(life.steps())
    assert life.witness.lies() == [], story


def test_books_sign_no_number_twice_when_the_disk_is_full(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    witness = Witness()
    gateway.run(1)
    with monkeypatch.context() as patched:
        crashing(patched, (Books, "count"), after=False)
        with pytest.raises(Crash):
            gateway.run(1)
    witness.look(gateway)
    gateway.run(2)
    witness.look(gateway)
    assert len(witness.seen) == 3 and witness.lies() == []

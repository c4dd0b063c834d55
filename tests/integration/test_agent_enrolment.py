"""A gateway's keys: asked for, admitted, changed. Whenever the program dies on the way, nothing is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from agent.keys import enrolment, succession
from agent.keys.keystore import open_key
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.outbox.memory import Memory
from agent.outbox.queue import Entry
from agent.standing import Placed
from config import key_files
from config.admission import AdmissionSlip
from config.load import SettingsError, check, load
from config.settings.agent import AgentSettings
from protocol.canonical import decode
from protocol.crypto import PublicKey, SigningKey
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, seal
from protocol.errors import KeyUnavailable, OperatorError
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType, RightKind
from protocol.rotation import Rotation
from tests.builders import GATEWAY, REGION, a_key, a_purchase
from tests.unit.agent.builders import a_boot, readings, settings_document

NOWHERE = Entry(0, NO_RECORD)
AGGREGATOR = a_key(99)


class Crash(BaseException):
    """The program is gone, from one instruction to the next."""


@dataclass
class Ledger:
    """What the aggregator knows of one gateway: the key that counts, and how far its sequence has come."""

    key: PublicKey
    last: Entry = NOWHERE
    readings: list[int] = field(default_factory=list)

    def take(self, data: bytes) -> None:
        """Take one record, as the ledger would, or fail."""
        envelope = Envelope.parse(data)
        assert envelope.key_id == self.key.thumbprint, "signed with a key that does not count"
        envelope.verify(self.key, REGION)
        link = Link.from_fields(decode(envelope.payload, size_max=ENVELOPE_BYTES_MAX))
        assert Entry(link.sequence - 1, link.previous) == self.last, "does not follow"
        self.last = Entry(link.sequence, envelope.digest)
        if envelope.type == MessageType.ROTATION:
            rotation = Rotation.decode(envelope.payload)
            rotation.verify_possession(envelope.key_id)
            self.key = rotation.key
        elif envelope.type == MessageType.BATCH:
            self.readings.append(link.sequence)


@dataclass
class Gateway:
    """A gateway between two runs of its agent."""

    home: Path
    changes: dict[str, Any] = field(default_factory=dict)
    """Of its settings."""
    boots: int = 0

    @classmethod
    def make(cls, home: Path, **changes: Any) -> Gateway:
        """Settings, and a key."""
        home.mkdir(parents=True)
        gateway = cls(home, changes)
        key_files.create(home / "gateway.key.pem")
        return gateway

    @property
    def settings(self) -> AgentSettings:
        paths = {"data": "data", "key_file": "gateway.key.pem", "aggregator_key_file": "aggregator.pub.pem"}
        document = settings_document(**(paths | self.changes))
        return check(document, AgentSettings, self.home / "agent.yaml")

    @property
    def key(self) -> SigningKey:
        return open_key(self.settings)

    @property
    def next_key(self) -> PublicKey:
        return key_files.load(self.home / f"gateway.key.pem{succession.NEXT_SUFFIX}").public_key

    def books(self) -> Books:
        return Books(OutboxFile.open(self.settings.data, region=REGION, gateway=GATEWAY))

    def run(self, batches: int) -> None:
        """A run of the agent while the broker is away: so many batches are signed."""
        enrolment.settle(self.settings)
        key, books = self.key, self.books()
        with closing(books.file):
            for _ in range(batches):
                self.boots += 1
                books.journal(readings(3), a_boot(f"boot {self.boots}"))
                books.close_batch(4096, lambda payload: seal(key, region=REGION, type_="batch", payload=payload))

    def deliver(self, ledger: Ledger, count: int | None = None) -> None:
        """The broker is there: records go out, oldest first, and get their receipts."""
        books = self.books()
        with closing(books.file):
            for entry in books.page(0, 1000)[:count]:
                ledger.take(books.envelope(entry.sequence) or b"")
                books.forget([entry])

    def totals(self) -> Any:
        books = self.books()
        with closing(books.file):
            return books.totals()


def a_slip(key: PublicKey, last: Entry, **changes: Any) -> AdmissionSlip:
    return AdmissionSlip(
        **{
            "region": REGION,
            "gateway": GATEWAY,
            "key_id": key.thumbprint.hex(),
            "sequence": last.sequence,
            "previous": last.digest.hex(),
            "aggregator_key": AGGREGATOR.public_key.to_pem(),
        }
        | changes
    )


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway.make(tmp_path / "gw")


def accept(gateway: Gateway, slip: AdmissionSlip) -> enrolment.Accepted:
    return enrolment.accept(gateway.settings, slip, gateway.home)


def test_openssl_agrees_that_the_request_is_signed_with_the_key_that_it_asks_for(gateway: Gateway) -> None:
    asked = enrolment.ask(gateway.settings, gateway.home, new_key=False)
    command = ["openssl", "req", "-in", str(asked.file), "-noout", "-verify", "-subject", "-pubkey"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "verify OK" in done.stderr
    assert f"O = {REGION}, CN = {GATEWAY}" in done.stdout
    assert gateway.key.public_key.to_pem() in done.stdout


def test_what_was_signed_before_the_admission_is_delivered_after_it(gateway: Gateway) -> None:
    gateway.run(3)
    accept(gateway, a_slip(gateway.key.public_key, NOWHERE))
    ledger = Ledger(gateway.key.public_key)
    gateway.run(1)
    gateway.deliver(ledger)
    assert ledger.last.sequence == 4


def test_a_gateway_on_a_new_machine_goes_on_where_the_old_one_stopped(gateway: Gateway, tmp_path: Path) -> None:
    ledger = Ledger(gateway.key.public_key)
    gateway.run(5)
    gateway.deliver(ledger, 4)
    other = Gateway.make(tmp_path / "other")
    other.run(2)
    ledger.key = other.key.public_key
    assert accept(other, a_slip(ledger.key, ledger.last)).signed_again == 2
    other.run(1)
    other.deliver(ledger)
    assert ledger.last.sequence == 7


def test_a_new_machine_that_has_read_nothing_yet_goes_on_behind_the_old_one(gateway: Gateway) -> None:
    ledger = Ledger(gateway.key.public_key, Entry(57, bytes(range(32))))
    accept(gateway, a_slip(ledger.key, ledger.last))
    gateway.run(2)
    gateway.deliver(ledger)
    assert ledger.last.sequence == 59


@pytest.mark.parametrize("received", range(6))
def test_records_that_waited_when_the_key_ended_are_signed_again_and_none_is_lost(
    gateway: Gateway, received: int
) -> None:
    ledger = Ledger(gateway.key.public_key)
    gateway.run(6)
    books = gateway.books()
    for entry in books.page(0, received):  # on the ledger; the last two receipts are lost
        ledger.take(books.envelope(entry.sequence) or b"")
    books.forget(books.page(0, max(0, received - 2)))
    books.file.close()
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    ledger.key = gateway.next_key
    done = accept(gateway, a_slip(ledger.key, ledger.last))
    assert (done.is_other_key, done.signed_again) == (True, 6 - received)
    gateway.run(1)
    gateway.deliver(ledger)
    assert ledger.readings == list(range(1, 8))
    assert gateway.totals().records_waiting == 0


def test_a_thiefs_records_push_ours_back_but_not_out(gateway: Gateway) -> None:
    ledger = Ledger(gateway.key.public_key)
    gateway.run(4)
    gateway.deliver(ledger, 2)
    forged = Entry(4, bytes(range(32)))  # two records of the thief's, with the stolen key
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    ledger.key, ledger.last = gateway.next_key, forged
    assert accept(gateway, a_slip(ledger.key, forged)).signed_again == 2
    gateway.deliver(ledger)
    assert ledger.last.sequence == 6


def test_a_slip_that_is_taken_up_again_later_changes_nothing(gateway: Gateway) -> None:
    ledger = Ledger(gateway.key.public_key, Entry(57, bytes(range(32))))
    slip = a_slip(ledger.key, ledger.last)
    accept(gateway, slip)
    gateway.run(5)
    gateway.deliver(ledger, 3)
    assert accept(gateway, slip).signed_again == 0
    gateway.run(1)
    gateway.deliver(ledger)
    assert accept(gateway, slip).signed_again == 0
    gateway.run(1)
    gateway.deliver(ledger)
    assert ledger.last.sequence == 64


def test_a_purchase_keeps_its_record_when_that_gets_another_number(gateway: Gateway) -> None:
    books, key = gateway.books(), gateway.key
    memory = Memory(books)
    gateway_link: list[Link] = []

    def payload(link: Link) -> bytes:
        gateway_link.append(link)
        return a_purchase(link=link).encode()

    entry, placed = memory.sign_purchase(
        payload,
        lambda payload: seal(key, region=REGION, type_=MessageType.PURCHASE, payload=payload),
        participant="annia",
        right=RightKind.PRIORITY_PURCHASE,
    )
    books.file.close()
    assert (entry.sequence, placed.sequence) == (1, 1)
    accept(gateway, a_slip(key.public_key, Entry(57, bytes(range(32)))))
    books = gateway.books()
    kept: list[Placed] = list(Memory(books).placed())
    books.file.close()
    assert [placed.sequence for placed in kept] == [58]


# -- rotation by the gateway itself


def member(gateway: Gateway) -> Ledger:
    """A gateway whose records have been received."""
    ledger = Ledger(gateway.key.public_key)
    gateway.run(2)
    gateway.deliver(ledger)
    return ledger


def test_a_rotation_is_a_record_and_what_follows_has_the_new_key(gateway: Gateway) -> None:
    ledger = member(gateway)
    gateway.run(2)
    old = gateway.key.public_key
    new = enrolment.rotate(gateway.settings)
    assert new == gateway.key.public_key != old
    gateway.run(2)
    gateway.deliver(ledger)
    assert (ledger.key, ledger.readings) == (new, [1, 2, 3, 4, 6, 7])


def test_a_rotation_that_the_ledger_would_refuse_is_not_even_signed(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "ROTATIONS_MAX", 2)
    ledger = member(gateway)
    for _ in range(2):
        enrolment.rotate(gateway.settings)
    key = gateway.key.public_key
    with pytest.raises(OperatorError, match=r"at most 2 of them; now the regulator has to admit a key: .* --new-key"):
        enrolment.rotate(gateway.settings)
    gateway.deliver(ledger)
    assert (gateway.key.public_key, ledger.key) == (key, key)
    asked = enrolment.ask(gateway.settings, gateway.home, new_key=True)
    accept(gateway, a_slip(asked.key, ledger.last))
    assert enrolment.rotate(gateway.settings) != asked.key, "the regulator's word begins a new count"


def test_no_new_key_is_made_while_an_agent_runs(gateway: Gateway) -> None:
    member(gateway)
    with closing(gateway.books().file), pytest.raises(OperatorError, match="got an agent that is running"):
        enrolment.ask(gateway.settings, gateway.home, new_key=True)
    assert not list(gateway.home.glob(f"*{succession.NEXT_SUFFIX}"))
    with closing(gateway.books().file):
        enrolment.ask(gateway.settings, gateway.home, new_key=False)  # this only asks


STEPS: list[tuple[Any, str]] = [
    (enrolment, "_next_key"),
    (succession, "queue_rotation"),
    (enrolment, "_put_in_force"),
    (enrolment, "_sync_folder"),
]


def crashing(monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], *, after: bool) -> None:
    """Have the program die just before or just after one of its steps."""
    module, name = step
    original: Callable[..., Any] = getattr(module, name)

    def dies(*arguments: Any, **named: Any) -> Any:
        if after:
            original(*arguments, **named)
        raise Crash

    monkeypatch.setattr(module, name, dies)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step[1])
@pytest.mark.parametrize("again", [False, True])
def test_a_rotation_that_is_killed_between_any_two_steps_loses_nothing(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], after: bool, again: bool
) -> None:
    ledger = member(gateway)
    gateway.run(1)
    with monkeypatch.context() as patched:
        crashing(patched, step, after=after)
        with pytest.raises(Crash):
            enrolment.rotate(gateway.settings)
    gateway.run(1)
    if again:
        enrolment.rotate(gateway.settings)
        gateway.run(1)
    gateway.deliver(ledger)
    assert ledger.key == gateway.key.public_key
    assert len(ledger.readings) == 4 + again
    assert gateway.totals().records_waiting == 0


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    "step",
    [(succession, "take_up"), (enrolment, "_put_certificate"), (enrolment, "_put_in_force")],
    ids=lambda step: step[1],
)
@pytest.mark.parametrize("runs_between", [False, True])
def test_a_change_of_keys_that_is_killed_between_any_two_steps_can_be_done_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str], after: bool, runs_between: bool
) -> None:
    ledger = member(gateway)
    gateway.run(3)
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    ledger.key = gateway.next_key
    slip = a_slip(ledger.key, ledger.last, certificate="a certificate")
    with monkeypatch.context() as patched:
        crashing(patched, step, after=after)
        with pytest.raises(Crash):
            accept(gateway, slip)
    if runs_between:
        gateway.run(2)  # somebody starts the agent, with whichever key is in force
    accept(gateway, slip)
    gateway.run(1)
    gateway.deliver(ledger)
    assert len(ledger.readings) == 6 + 2 * runs_between
    assert (gateway.home / enrolment.CERTIFICATE_NAME).read_text() == "a certificate"
    assert not (gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}").exists()


class Chip:
    """A key that fails after so many signatures."""

    def __init__(self, key: SigningKey, good_for: int) -> None:
        self._key, self.good_for = key, good_for
        self.public_key = key.public_key

    def sign(self, message: bytes) -> bytes:
        if self.good_for == 0:
            raise KeyUnavailable("the chip does not answer")
        self.good_for -= 1
        return self._key.sign(message)


def take_up(gateway: Gateway, last: Entry, key: Any) -> int:
    books = gateway.books()
    with closing(books.file):
        return succession.take_up(books, last, key)


@pytest.mark.parametrize("runs_between", [False, True])
@pytest.mark.parametrize("last", [NOWHERE, Entry(57, bytes(range(32)))], ids=["another key", "another place"])
def test_a_chip_that_fails_now_and_then_gets_to_the_end(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, last: Entry, runs_between: bool
) -> None:
    monkeypatch.setattr(succession, "PAGE_RECORDS", 4)
    gateway.run(10)
    asked, signed, attempts = a_key(77) if last == NOWHERE else gateway.key, 0, 0
    while True:
        chip, attempts = Chip(asked, 5), attempts + 1
        with suppress(KeyUnavailable):
            take_up(gateway, last, chip)
            break
        assert attempts < 5, "what was signed is lost at each attempt"
        signed += 5
        if runs_between and attempts == 1:
            gateway.run(1)  # an agent is started between two attempts, with the key that has ended
    ledger = Ledger(asked.public_key, last)
    gateway.deliver(ledger)
    count = 10 + runs_between
    assert ledger.readings == list(range(last.sequence + 1, last.sequence + 1 + count))
    assert signed + 5 - chip.good_for <= count + attempts - 1, "at most one page is signed twice per failure"
    assert take_up(gateway, ledger.last, asked) == 0
    gateway.run(0)


def test_a_slip_of_another_place_does_not_take_what_was_signed_for_the_first(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "PAGE_RECORDS", 2)
    gateway.run(6)
    with pytest.raises(KeyUnavailable):
        take_up(gateway, Entry(57, bytes(range(32))), Chip(gateway.key, 5))
    other = Entry(58, bytes(reversed(range(32))))
    take_up(gateway, other, gateway.key)
    ledger = Ledger(gateway.key.public_key, other)
    gateway.deliver(ledger)
    assert ledger.last.sequence == 64


def test_a_record_that_was_set_aside_last_proves_that_the_ledger_has_those_before_it(gateway: Gateway) -> None:
    gateway.run(3)
    books = gateway.books()
    with closing(books.file):
        first, second, third = books.page(0, 9)
        books.set_aside(second, 33, "from the future")  # the receipt of the first is lost
    assert first.sequence == 1
    assert take_up(gateway, second, gateway.key) == 0
    ledger = Ledger(gateway.key.public_key, second)
    gateway.deliver(ledger)
    assert ledger.last == third


def test_an_older_copy_of_a_card_sends_again_what_its_slip_cannot_tell(gateway: Gateway, tmp_path: Path) -> None:
    """The slip names record 8 only, which the copy does not have: nothing is lost, and no energy counts twice."""
    ledger = Ledger(gateway.key.public_key)
    gateway.run(6)
    copytree(gateway.home, tmp_path / "copy")
    gateway.run(2)
    gateway.deliver(ledger)
    copy = Gateway(tmp_path / "copy", boots=6)
    assert accept(copy, a_slip(ledger.key, ledger.last)).signed_again == 6
    copy.deliver(ledger)
    assert ledger.last.sequence == 14


def test_an_empty_file_that_a_crash_left_for_the_next_key_is_no_key(gateway: Gateway) -> None:
    (gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}").touch()
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    assert gateway.next_key != gateway.key.public_key


@pytest.mark.parametrize("torn", [b"", b"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG"], ids=["empty", "torn"])
def test_a_waiting_key_that_a_power_cut_tore_is_set_aside_and_the_agent_goes_on(gateway: Gateway, torn: bytes) -> None:
    ledger = member(gateway)
    waiting = gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}"
    for number in (1, 2):
        waiting.write_bytes(torn)
        waiting.chmod(0o600)
        gateway.run(1)
        assert not waiting.exists()
        assert waiting.with_name(f"{waiting.name}.unusable-{number}").read_bytes() == torn
    enrolment.rotate(gateway.settings)
    gateway.run(1)
    gateway.deliver(ledger)
    assert ledger.key == gateway.key.public_key


def test_a_waiting_key_that_others_can_read_stays_where_it_is_and_the_agent_goes_on(gateway: Gateway) -> None:
    enrolment.ask(gateway.settings, gateway.home, new_key=True)
    waiting = gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}"
    waiting.chmod(0o644)
    gateway.run(1)
    assert waiting.exists()


def test_a_key_that_a_queued_rotation_leads_to_is_never_set_aside(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    member(gateway)
    with monkeypatch.context() as patched:
        crashing(patched, (enrolment, "_put_in_force"), after=False)
        with pytest.raises(Crash):
            enrolment.rotate(gateway.settings)
    waiting = gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}"
    waiting.write_bytes(b"torn")
    with pytest.raises(OperatorError, match="P-256 private key"):
        gateway.run(1)
    assert waiting.read_bytes() == b"torn"


# -- what is refused, in one sentence


def test_a_new_key_is_readable_by_its_owner_alone_and_nothing_secret_is_written_elsewhere(gateway: Gateway) -> None:
    asked = enrolment.ask(gateway.settings, gateway.home, new_key=True)
    path = gateway.home / f"gateway.key.pem{succession.NEXT_SUFFIX}"
    assert path.stat().st_mode & 0o777 == 0o600
    assert asked.file.stat().st_mode & 0o777 == 0o644
    assert b"PRIVATE" not in asked.pem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"region": "elsewhere"}, f"expected the slip of {GATEWAY} in {REGION}, got that of {GATEWAY} in elsewhere"),
        ({"gateway": "gw-2"}, f"expected the slip of {GATEWAY} in {REGION}, got that of gw-2 in {REGION}"),
        ({"key_id": "00" * 32}, "a slip for this gateway's key, got one for another key"),
        ({"aggregator_key": "not a key"}, "aggregator_key: expected public keys in PEM"),
    ],
)
def test_a_slip_that_is_not_for_this_gateway_is_refused(
    gateway: Gateway, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(OperatorError, match=message):
        accept(gateway, a_slip(gateway.key.public_key, NOWHERE, **changes))
    assert not (gateway.home / "data").exists()


def test_another_aggregator_than_the_one_that_is_believed_is_not_taken_from_a_slip(gateway: Gateway) -> None:
    key_files.write_new(gateway.home / "aggregator.pub.pem", a_key(98).public_key.to_pem().encode())
    with pytest.raises(OperatorError, match="move this file away if the slip is right, got others"):
        accept(gateway, a_slip(gateway.key.public_key, NOWHERE))


def test_nothing_is_changed_while_an_agent_runs(gateway: Gateway) -> None:
    member(gateway)
    with closing(gateway.books().file):
        with pytest.raises(OperatorError, match="an agent that is running"):
            accept(gateway, a_slip(gateway.key.public_key, NOWHERE))
        with pytest.raises(OperatorError, match="an agent that is running"):
            enrolment.rotate(gateway.settings)


def test_a_key_that_opens_the_brokers_door_too_is_not_rotated_behind_the_regulators_back(tmp_path: Path) -> None:
    tls = {"ca_file": "ca.pem", "certificate_file": "gateway.crt.pem", "key_file": "gateway.key.pem"}
    gateway = Gateway.make(tmp_path / "gw", broker={"host": "localhost", "tls": tls})
    with pytest.raises(OperatorError, match="este-agent enrol --new-key, got the key that signs"):
        enrolment.rotate(gateway.settings)


@pytest.mark.parametrize("way", ["linked", "copied"])
def test_the_brokers_door_is_known_by_its_key_and_not_by_its_path(tmp_path: Path, way: str) -> None:
    tls = {"ca_file": "ca.pem", "certificate_file": "gateway.crt.pem", "key_file": "tls.key.pem"}
    gateway = Gateway.make(tmp_path / "gw", broker={"host": "localhost", "tls": tls})
    tls_key = gateway.home / "tls.key.pem"
    if way == "linked":
        tls_key.symlink_to("gateway.key.pem")
    else:
        tls_key.write_bytes((gateway.home / "gateway.key.pem").read_bytes())
    member(gateway)
    with pytest.raises(OperatorError, match="este-agent enrol --new-key, got the key that signs"):
        enrolment.rotate(gateway.settings)


def test_a_certificate_never_takes_the_place_of_one_for_another_key(tmp_path: Path) -> None:
    tls = {"ca_file": "ca.pem", "certificate_file": "gateway.crt.pem", "key_file": "tls.key.pem"}
    gateway = Gateway.make(tmp_path / "gw", broker={"host": "localhost", "tls": tls})
    key_files.create(gateway.home / "tls.key.pem")
    (gateway.home / "gateway.crt.pem").write_text("for the TLS key")
    accept(gateway, a_slip(gateway.key.public_key, NOWHERE, certificate="for the key that signs"))
    assert (gateway.home / "gateway.crt.pem").read_text() == "for the TLS key"
    assert (gateway.home / enrolment.CERTIFICATE_BESIDE_NAME).read_text() == "for the key that signs"


@pytest.mark.parametrize("kind", ["ours", "another"])
def test_a_tls_key_of_its_own_is_no_hindrance(tmp_path: Path, kind: str) -> None:
    tls = {"ca_file": "ca.pem", "certificate_file": "gateway.crt.pem", "key_file": "tls.key.pem"}
    gateway = Gateway.make(tmp_path / "gw", broker={"host": "localhost", "tls": tls})
    if kind == "ours":
        key_files.create(gateway.home / "tls.key.pem")
    else:
        command = ["openssl", "genrsa", "-out", str(gateway.home / "tls.key.pem"), "2048"]
        subprocess.run(command, check=True, capture_output=True)
    member(gateway)
    before = gateway.key.public_key
    assert enrolment.rotate(gateway.settings) != before


def test_a_key_that_nobody_knows_cannot_vouch_for_another(gateway: Gateway) -> None:
    gateway.run(1)
    with pytest.raises(OperatorError, match="got no receipt yet"):
        enrolment.rotate(gateway.settings)


@pytest.mark.parametrize("text", ["", "- 1", "region: sunvale", "previous: zz"])
def test_a_file_that_is_no_slip_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "slip.yaml").write_text(text)
    with pytest.raises(SettingsError):
        load(tmp_path / "slip.yaml", AdmissionSlip)


def test_a_slip_survives_being_written_and_read(tmp_path: Path) -> None:
    slip = a_slip(a_key().public_key, Entry(57, bytes(range(32))), certificate="-----BEGIN …\n…\n")
    (tmp_path / "slip.yaml").write_text(slip.to_yaml())
    assert load(tmp_path / "slip.yaml", AdmissionSlip) == slip

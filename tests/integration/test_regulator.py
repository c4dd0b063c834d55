"""The regulator's commands: every wrong input is one clear sentence, nothing secret is told, nothing happens twice."""

from __future__ import annotations

import asyncio
import io
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from aggregator import cli as main_cli
from aggregator.founding.region import found
from aggregator.regulator import cli, desk
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed, is_fingerprint_of
from aggregator.regulator.rehearsal import WouldBeRefusedError
from aggregator.service import mqtt_port
from aggregator.service.node import Node
from aggregator.service.query import MeterView
from config import key_files
from config.load import load
from config.settings.aggregator import AggregatorSettings
from protocol.certificates import Request
from protocol.crypto import SoftwareKey, fingerprint
from protocol.errors import EsteError, OperatorError
from protocol.request import request_for
from protocol.topics import Kind, Topic, everybody
from tests.village import REGION, START_MS, a_grid_document

COMMAND = str(Path(sys.executable).with_name("este-aggregator"))
KEY, OTHER = SoftwareKey.from_secret(700), SoftwareKey.from_secret(701)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A founded region whose only gateway has yet to enrol, and that gateway's request."""
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(a_grid_document()))
    founded = found(
        tmp_path / "agg",
        tmp_path / "grid.yaml",
        name="node-1",
        gateways={},
        profile_folders=(),
        broker=("127.0.0.1", 9),
        time_ms=START_MS,
    )
    assert founded.not_enrolled == ("gw",)
    (tmp_path / "request.csr").write_bytes(request_for(KEY, region=REGION, gateway="gw"))
    return tmp_path


def settings_of(home: Path) -> AggregatorSettings:
    return load(home / "agg" / "aggregator.yaml", AggregatorSettings)


@pytest.fixture
def regulator(home: Path) -> Iterator[Regulator]:
    opened = Regulator(settings_of(home))
    yield opened
    opened.close()


@pytest.fixture
def regulators_key(home: Path) -> SoftwareKey:
    return key_files.load(home / "agg" / "regulator.key")


def take(home: Path, sealed: Sealed) -> None:
    """What a running node does with a record."""
    settings = settings_of(home)
    node = Node.open(settings.data, settings.name, key_files.load(settings.key_file), settings.blocks, 10)
    node.submit(node.check(sealed.envelope), START_MS)
    node.close_block(START_MS)
    node.close()


def anew(home: Path) -> Regulator:
    return Regulator(settings_of(home))


def a_request(key: SoftwareKey = KEY, **changes: Any) -> Request:
    return Request(**{"region": REGION, "gateway": "gw", "key": key.public_key} | changes)


def admitted(home: Path, regulators_key: SoftwareKey, key: SoftwareKey = KEY, *, replace: bool = False) -> Sealed:
    regulator = anew(home)
    sealed = regulator.admission(a_request(key), regulators_key, replace=replace)
    assert sealed is not None
    take(home, sealed)
    assert regulator.is_taken(sealed)
    regulator.close()
    return sealed


def test_an_admission_that_is_repeated_before_it_is_taken_is_the_same_record(
    regulator: Regulator, regulators_key: SoftwareKey
) -> None:
    first, again = (regulator.admission(a_request(), regulators_key, replace=False) for _ in range(2))
    assert first is not None and first == again
    assert not regulator.is_taken(first)


def test_an_admission_that_is_repeated_after_it_was_taken_is_none(home: Path, regulators_key: SoftwareKey) -> None:
    admitted(home, regulators_key)
    regulator = anew(home)
    assert regulator.admission(a_request(), regulators_key, replace=False) is None
    slip = regulator.slip(a_request(), None)
    regulator.close()
    assert (slip.gateway, slip.sequence, slip.previous) == ("gw", 0, "00" * 32)


def test_a_gateway_that_has_a_key_gets_another_only_where_that_is_said(home: Path, regulators_key: SoftwareKey) -> None:
    admitted(home, regulators_key)
    regulator = anew(home)
    with pytest.raises(RegulatorError, match="say --replace to end that one"):
        regulator.admission(a_request(OTHER), regulators_key, replace=False)
    regulator.close()
    admitted(home, regulators_key, OTHER, replace=True)
    regulator = anew(home)
    views = [(view.name, view.state.value) for view in regulator.members() if view.name == "gw"]
    regulator.close()
    assert views == [("gw", "live"), ("gw", "replaced")]


def test_what_the_ledger_would_refuse_is_not_signed(home: Path, regulators_key: SoftwareKey) -> None:
    admitted(home, regulators_key)
    regulator = anew(home)
    take(home, regulator.revocation("gw", "stolen", regulators_key))
    regulator.close()
    regulator = anew(home)
    before = regulator.members()
    with pytest.raises(WouldBeRefusedError, match="the ledger would refuse it: KEY_IN_USE: "):
        regulator.admission(a_request(), regulators_key, replace=False)
    assert regulator.members() == before, "nothing of the attempt stays"
    other = regulator.admission(a_request(OTHER), regulators_key, replace=False)
    assert other is not None
    take(home, other)
    assert regulator.is_taken(other), "and the next record is none the worse for it"
    regulator.close()


def test_a_record_that_the_ledger_refuses_in_the_end_is_told(home: Path, regulators_key: SoftwareKey) -> None:
    admitted(home, regulators_key)
    regulator = anew(home)
    take(home, regulator.revocation("gw", "stolen", regulators_key))
    regulator.close()
    regulator = anew(home)
    with pytest.MonkeyPatch.context() as meanwhile:
        meanwhile.setattr(desk, "rehearse", lambda five, envelope: None)
        back = regulator.admission(a_request(), regulators_key, replace=False)
    assert back is not None
    take(home, back)
    with pytest.raises(RegulatorError, match="the ledger refuses it: KEY_IN_USE"):
        regulator.is_taken(back)
    regulator.close()


def test_a_number_that_another_command_has_used_meanwhile_is_told(home: Path, regulators_key: SoftwareKey) -> None:
    regulator = anew(home)
    late = regulator.admission(a_request(OTHER), regulators_key, replace=False)
    assert late is not None
    admitted(home, regulators_key)
    with pytest.raises(RegulatorError, match="used elsewhere meanwhile"):
        regulator.is_taken(late)
    regulator.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"region": "elsewhere"}, "the request is for region elsewhere, this is village"),
        ({"gateway": "gw-7"}, "no meter or device of the grid hangs on gw-7; it names gw"),
    ],
)
def test_a_request_that_does_not_belong_here_is_told(
    regulator: Regulator, regulators_key: SoftwareKey, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RegulatorError, match=message):
        regulator.admission(a_request(**changes), regulators_key, replace=False)


def test_only_the_regulators_key_admits(regulator: Regulator) -> None:
    with pytest.raises(RegulatorError, match="the key is not the regulator's of village, whose fingerprint is"):
        regulator.admission(a_request(), OTHER, replace=False)


def test_whoever_has_no_key_cannot_be_revoked(regulator: Regulator, regulators_key: SoftwareKey) -> None:
    with pytest.raises(RegulatorError, match="nobody by the name gw has a live key"):
        regulator.revocation("gw", "", regulators_key)


def test_nothing_is_published_while_no_node_runs(home: Path, regulator: Regulator) -> None:
    with pytest.raises(OperatorError, match="a node that runs on this ledger"):
        regulator.check_running()
    settings = settings_of(home)
    node = Node.open(settings.data, settings.name, key_files.load(settings.key_file), settings.blocks, 10)
    regulator.check_running()
    node.close()


@pytest.mark.parametrize("spelled", [str, str.upper, lambda text: text.replace(" ", ""), lambda t: t.replace(" ", ":")])
def test_a_fingerprint_may_be_told_in_any_grouping(spelled: Any) -> None:
    key_id = KEY.public_key.thumbprint
    assert is_fingerprint_of(key_id, spelled(fingerprint(key_id)))
    assert not is_fingerprint_of(key_id, spelled(fingerprint(OTHER.public_key.thumbprint)))
    assert not is_fingerprint_of(key_id, fingerprint(key_id)[:-1])


def test_the_slip_needs_no_private_key_of_the_node(home: Path, regulators_key: SoftwareKey) -> None:
    """The chain says whose receipts count, so the node's key may lie in a chip, or on another machine."""
    admitted(home, regulators_key)
    node = key_files.load(home / "agg" / "aggregator.key").public_key
    (home / "agg" / "aggregator.key").unlink()
    regulator = anew(home)
    slip = regulator.slip(a_request(), None)
    regulator.close()
    assert slip.aggregator_key == node.to_pem()


def test_nothing_is_signed_for_a_node_that_the_chain_does_not_know(home: Path, regulators_key: SoftwareKey) -> None:
    regulator = Regulator(settings_of(home).model_copy(update={"name": "node-7"}))
    with pytest.raises(RegulatorError, match="node-7 is no aggregator of the region, node-1 is"):
        regulator.admission(a_request(), regulators_key, replace=False)
    regulator.close()


# -- what anybody may put before the regulator's eyes

FORGED = "[bold red]gw-1 admitted[/]"


def a_foreign_request(name: str, version: int = 0) -> bytes:
    """A request with any name, such as another program may leave at the broker."""
    der = request_for(KEY, region=REGION, gateway="x" * len(name)).splitlines()[1:-1]
    body = b64decode(b"".join(der)).replace(b"x" * len(name), name.encode())
    body = body.replace(b"\x02\x01\x00", bytes([2, 1, version]), 1)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + b64encode(body) + b"\n-----END CERTIFICATE REQUEST-----\n"


def test_one_bad_request_is_a_row_of_its_own_and_never_markup(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {
        "gw": (home / "request.csr").read_bytes(),
        "version": a_foreign_request("gw", 7),
        "broken": a_foreign_request("[/x]"),
        "forged": a_foreign_request(FORGED),
        "screen": a_foreign_request("\x1b[2J"),
    }
    monkeypatch.setattr(cli, "_listen", lambda settings: kept)
    monkeypatch.setattr(cli, "out", Console(file=(shown := io.StringIO()), width=200, force_terminal=True))
    monkeypatch.setattr(cli, "_checked", _unread(cli._checked))
    cli.requests(home / "agg" / "aggregator.yaml")
    text = shown.getvalue()
    assert fingerprint(KEY.public_key.thumbprint) in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "[/x]" in text and FORGED in text
    assert "\x1b[2J" not in text and "?[2J" in text


def _unread(checked: Any) -> Any:
    """As `_checked`, but whatever a request says of itself is in its error."""

    def check(payload: bytes, gateway: str) -> Any:
        try:
            return checked(payload, gateway)
        except EsteError as error:
            names = [name for name in ("[/x]", FORGED, "\x1b[2J") if name.encode() in _der(payload)]
            raise RegulatorError(f"{error} {' '.join(names)}") from error

    return check


def _der(pem: bytes) -> bytes:
    return b64decode(b"".join(pem.splitlines()[1:-1]))


def test_what_an_error_says_of_others_is_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def fails() -> None:
        raise RegulatorError(f"{FORGED} [/x]")

    monkeypatch.setattr(main_cli, "err", Console(file=(shown := io.StringIO()), width=200))
    with pytest.raises(SystemExit):
        main_cli._run(fails)
    assert f"error: {FORGED} [/x]" in shown.getvalue()


def test_what_a_meter_says_of_itself_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    serial = "[/x][green]fine[/]"
    view = MeterView("m", "p", "gw", "abb", serial, 1, 0, 0, 0, None)
    monkeypatch.setattr(main_cli, "_open", lambda data: SimpleNamespace(meters=lambda: [view]))
    monkeypatch.setattr(main_cli, "out", Console(file=(shown := io.StringIO()), width=200))
    main_cli.devices(acl=False)
    assert serial in shown.getvalue()


# -- the broker's keepsakes


class ABroker:
    """A client of a broker that keeps what it is given."""

    def __init__(self, kept: dict[str, bytes]) -> None:
        self.kept = kept
        self.beside: dict[str, bytes] = {}
        """By topic: what it delivers to whoever asked for something else."""
        self.wanted = ""

    async def __aenter__(self) -> ABroker:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def subscribe(self, wanted: str, qos: int) -> None:
        self.wanted = wanted

    @property
    async def messages(self) -> AsyncIterator[SimpleNamespace]:
        for topic, payload in self.beside.items():
            yield SimpleNamespace(topic=SimpleNamespace(value=topic), payload=payload)
        for name, payload in self.kept.items():
            topic = str(Topic(REGION, name, Kind.ENROL))
            if self.wanted in (topic, everybody(REGION, Kind.ENROL)):
                yield SimpleNamespace(topic=SimpleNamespace(value=topic), payload=payload)
        await asyncio.sleep(60)


async def test_a_broker_that_keeps_too_much_is_not_taken_in_whole(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    kept = {"gw-0": b"x" * 101, **{f"gw-{n}": b"x" * 100 for n in range(1, 9)}}
    visit = mqtt_port.Visit(settings_of(home).broker, REGION)
    monkeypatch.setattr(visit._access, "client", lambda: ABroker(kept))
    monkeypatch.setattr(mqtt_port, "RETAINED_MAX", 5)
    assert list(await visit.retained(Kind.ENROL, 0.5, bytes_max=100)) == [f"gw-{n}" for n in range(1, 6)]
    assert list(await visit.retained(Kind.ENROL, 0.5, bytes_max=100, name="gw-8")) == ["gw-8"]
    assert await visit.retained(Kind.ENROL, 0.1, bytes_max=100, name="gw-0") == {}


async def test_what_a_broker_delivers_beside_what_was_asked_for_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    """A retained statement is no record, whatever the broker thinks that the filter says."""
    broker = ABroker({"gw-1": b"request"})
    broker.beside = {str(Topic(REGION, "gw-1", Kind.STATEMENT)): b"statement"}
    visit = mqtt_port.Visit(settings_of(home).broker, REGION)
    monkeypatch.setattr(visit._access, "client", lambda: broker)
    assert await visit.retained(Kind.ENROL, 0.1, bytes_max=100) == {"gw-1": b"request"}


# -- the commands


def este(home: Path, *command: str, status: int) -> str:
    """Run a command; what it says of a mistake is one sentence, and never a secret or a traceback."""
    whole = [COMMAND, "regulator", *command, f"--settings={home / 'agg' / 'aggregator.yaml'}"]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and "PRIVATE" not in done.stdout + done.stderr
    if status == 1:
        assert done.stderr.count("\n") == 1, done.stderr
    return done.stdout + done.stderr


def test_every_wrong_input_of_admit_is_one_sentence(home: Path) -> None:
    request, key = str(home / "request.csr"), f"--key={home / 'agg' / 'regulator.key'}"
    right = f"--fingerprint={fingerprint(KEY.public_key.thumbprint)}"
    assert "no such file" in este(home, "admit", request, f"--key={home / 'none.key'}", status=1)
    assert "nobody is here to compare" in este(home, "admit", request, key, status=1)
    assert "another fingerprint" in este(home, "admit", request, key, "--fingerprint=0123", status=1)
    assert "No such file" in este(home, "admit", str(home / "none.csr"), key, right, status=1)
    assert "PKCS #10" in este(home, "admit", str(home / "grid.yaml"), key, right, status=1)
    assert "not the regulator's" in este(
        home, "admit", request, f"--key={home / 'agg' / 'aggregator.key'}", right, status=1
    )
    assert "nothing is ever overwritten" in este(home, "admit", request, key, right, f"-o{request}", status=1)
    assert "a folder to write" in este(home, "admit", request, key, right, f"-o{home / 'none' / 'slip'}", status=1)
    assert "got none" in este(home, "admit", request, key, right, f"-o{home / 'slip'}", status=1)
    assert "--ca and --ca-key together" in este(home, "admit", request, key, right, f"--ca={request}", status=2)
    both = [f"--ca={request}", f"--ca-key={request}"]
    assert "the certificate of an authority" in este(home, "admit", request, key, right, *both, status=1)


def test_the_other_commands_tell_what_they_find_and_what_they_lack(home: Path) -> None:
    key = f"--key={home / 'agg' / 'regulator.key'}"
    assert "not enrolled" in este(home, "members", status=0)
    assert '"state": "not enrolled"' in este(home, "members", "--json", status=0)
    assert "cannot be reached" in este(home, "requests", status=1)
    assert "cannot be reached" in este(home, "admit", "gw", key, status=1)
    assert "nobody by the name gw has a live key" in este(home, "revoke", "gw", key, status=1)
    assert "at most 300 characters" in este(home, "revoke", "gw", key, f"--reason={'x' * 301}", status=2)
    assert "Is a directory" in este(home, "crl", f"--ca={home}", f"--ca-key={home}", status=1)


def test_a_request_on_the_topic_of_another_gateway_is_not_taken() -> None:
    pem = request_for(KEY, region=REGION, gateway="gw")
    with pytest.raises(EsteError, match="on the topic of gw-2 stands a request of gw"):
        cli._checked(pem, "gw-2")

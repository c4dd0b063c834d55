"""``este-agent trade``, while no agent runs: what it leaves, and what it says of a slip."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from agent.commands.cli import app
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.outbox.memory import HeardStatement, Memory, look
from agent.trade.book import TradeBook, Verb, Wish
from agent.trade.offers import Offer, Stage
from agent.trade.orders import terms_of
from protocol.agreement import seal_offer
from protocol.contract import Terms
from tests.builders import EPOCH_MS, GATEWAY, REGION, a_key, a_sealed, a_standing, a_statement
from tests.unit.agent.builders import settings_document
from tests.unit.agent.test_offers import some_terms

FAR_MS = 4 * 10**12
"""In the year 2096."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The settings of an agent that has run: annia is behind it, and its last statement says so."""
    bus = {"host": "127.0.0.1", "meters": [{"id": "m-1", "profile": "sdm630", "unit": 1}]}
    document = settings_document(data=str(tmp_path / "data"), key_file=str(tmp_path / "gateway.key.pem"), buses=[bus])
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(document))
    (tmp_path / "gateway.key.pem").write_bytes(a_key().to_pem())
    (tmp_path / "gateway.key.pem").chmod(0o600)
    with closing(OutboxFile.open(tmp_path / "data", region=REGION, gateway=GATEWAY)) as file:
        statement = a_statement(standings=(a_standing(participant="annia"),))
        data = a_sealed(statement.encode(), key=99, type_="statement")
        Memory(Books(file)).keep_statement(HeardStatement(data, bytes(16), 0))
    return tmp_path / "agent.yaml"


def trade(home: Path, *command: str) -> Result:
    return CliRunner().invoke(app, ["trade", *command, f"--settings={home}"])


def an_order(**changes: str | None) -> list[str]:
    """Annia asks carla for energy."""
    options: dict[str, str | None] = {
        "seller": "carla",
        "buyer": "annia",
        "wh": "5000",
        "price": "250000",
        "start": "2096-01-01T12:00Z",
        "end": "2096-01-01T14:00+01:00",
    }
    return [f"--{name}={value}" for name, value in (options | changes).items() if value is not None]


def wishes(home: Path) -> list[Wish]:
    """Everything that waits for the agent."""
    with closing(OutboxFile.join(home.parent / "data")) as file:
        found, keeper = [], TradeBook(file)
        with file.transaction():
            while (waiting := keeper.next_wish()) is not None:
                found.append(waiting[1])
                keeper.drop_wish(waiting[0])
    return found


def known(home: Path, stage: Stage = Stage.OPEN, **changes: Any) -> Offer:
    """An offer that the agent has dealt with."""
    window = {"start_ms": FAR_MS, "end_ms": FAR_MS + 3_600_000, "expires_ms": FAR_MS}
    terms: Terms = some_terms(**window | changes)
    envelope = seal_offer(terms, a_key(2))
    offer = Offer(terms=terms, envelope=envelope, is_ours=False, stage=stage, partner="carla", gateway="gw-2")
    with closing(OutboxFile.join(home.parent / "data")) as file, file.transaction():
        TradeBook(file).keep(offer)
    return offer


@pytest.fixture
def opened(home: Path) -> Iterator[Path]:
    """One that takes letters."""
    assert trade(home, "open").exit_code == 0
    assert [wish.verb for wish in wishes(home)] == [Verb.OPEN]
    return home


def test_the_key_that_opens_letters_is_made_once_for_its_owner_alone(home: Path) -> None:
    told = trade(home, "open").stdout
    path = home.parent / "gateway.key.pem.sealing"
    assert told.endswith(f", in {path}: the agent does it when it starts\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert trade(home, "open").stdout == told
    path.chmod(0o644)
    again = trade(home, "open")
    assert (again.exit_code, again.stdout) == (1, "")
    assert f"chmod 600 {path}" in again.stderr


def test_an_offer_is_left_for_the_agent(opened: Path) -> None:
    done = trade(opened, "offer", *an_order(), "--clean-only", "--penalty-ppm=100000", "--fee=3", "--carrier=heat")
    assert done.exit_code == 0, done.stderr
    ((wish),) = wishes(opened)
    assert (wish.verb, wish.partner, wish.terms) == (Verb.OFFER, "carla", wish.terms)
    terms = wish.terms
    assert terms is not None
    assert (terms.quantity_wh, terms.price, terms.carrier, terms.clean_only, terms.fee) == (
        5000,
        1_250_000_000,
        "heat",
        True,
        3,
    )
    assert (terms.end_ms - terms.start_ms, terms.penalty_ppm) == (3_600_000, 100_000)
    assert done.stdout.startswith(f"offer {terms.digest.hex()[:12]} to carla: carla delivers 5000 Wh of heat to annia")


def test_two_offers_alike_are_two(opened: Path) -> None:
    for _ in range(2):
        trade(opened, "offer", *an_order())
    one, other = wishes(opened)
    assert one.terms is not None and other.terms is not None
    assert one.terms.nonce != other.terms.nonce


@pytest.mark.parametrize(
    "change",
    [
        {"wh": "0"},
        {"wh": "-1"},
        {"wh": str(1 << 70)},
        {"wh": None},
        {"price": "-1"},
        {"price": str(1 << 70)},
        {"start": "tomorrow"},
        {"start": "2096-01-01T12:00"},
        {"end": None},
        {"carrier": "steam"},
        {"fee": str(1 << 60)},
        {"penalty-ppm": "1000001"},
        {"valid-s": "0"},
        {"seller": None},
    ],
    ids=str,
)
def test_a_slip_is_told_before_anything_is_left(opened: Path, change: dict[str, str | None]) -> None:
    assert trade(opened, "offer", *an_order(**change)).exit_code == 2
    assert wishes(opened) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"end": "2096-01-01T12:00Z"}, "--end: expected an instant after the start at 2096-01-01 12:00:00Z"),
        ({"end": "2096-01-01T11:00Z"}, "got 2096-01-01 11:00:00Z"),
        ({"end": "2096-01-03T12:00Z"}, "a day at most is asked for"),
        ({"start": "2020-01-01T12:00Z"}, "--start: expected an instant to come (it is 20"),
        ({"start": "1960-01-01T12:00Z"}, "got 1960-01-01 12:00:00Z"),
        ({"buyer": "carla"}, "one of ours and one of another gateway (behind this one: annia)"),
        ({"seller": "annia"}, "one of ours and one of another gateway"),
        ({"seller": "no name!"}, "expected a name"),
    ],
    ids=str,
)
def test_what_is_no_contract_is_told_in_one_sentence(opened: Path, change: dict[str, str], said: str) -> None:
    done = trade(opened, "offer", *an_order(**change))
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert wishes(opened) == []


def test_whoever_takes_no_letters_offers_nothing(home: Path) -> None:
    done = trade(home, "offer", *an_order())
    assert done.exit_code == 1
    assert "este-agent trade open makes and publishes it" in done.stderr


def test_the_inbox_shows_what_waits_and_the_list_everything(home: Path) -> None:
    assert trade(home, "inbox").stdout == "nothing waits for a decision\n"
    assert trade(home, "list").stdout == "no offers yet\n"
    waiting, over = known(home), known(home, Stage.DECLINED, quantity_wh=7)
    (line,) = trade(home, "inbox").stdout.splitlines()
    assert line.startswith(
        f"offer {waiting.number.hex()[:12]} from carla: carla delivers 5000 Wh of electricity to annia"
    )
    assert look(home.parent / "data", unix_ms=0).offers_open == 1
    assert [one["number"] for one in json.loads(trade(home, "inbox", "--json").stdout)] == [waiting.number.hex()]
    document = json.loads(trade(home, "list", "--json").stdout)
    assert [(one["number"], one["stage"]) for one in document] == [
        (waiting.number.hex(), "open"),
        (over.number.hex(), "declined"),
    ]


def test_decisions_are_left_for_the_agent(home: Path) -> None:
    offer = known(home)
    name = offer.number.hex()[:8].upper()
    assert "accepted; the agent does it when it starts" in trade(home, "accept", name).stdout
    assert "declined; the agent does it when it starts" in trade(home, "decline", name, "--reason=too dear").stdout
    assert wishes(home) == [Wish(Verb.ACCEPT, offer.number), Wish(Verb.DECLINE, offer.number, reason="too dear")]


def test_a_counter_offer_keeps_what_it_does_not_change(opened: Path) -> None:
    offer = known(opened, penalty_ppm=5)
    assert trade(opened, "counter", offer.number.hex(), "--price=1", "--clean-only").exit_code == 0
    (wish,) = wishes(opened)
    assert wish.terms is not None
    own = {"expires_ms": wish.terms.expires_ms, "answers": offer.number}
    assert wish.terms == replace(offer.terms, price_per_mwh=1, clean_only=True, **own)
    assert (wish.verb, wish.number, wish.partner) == (Verb.COUNTER, offer.number, "carla")
    assert trade(opened, "counter", offer.number.hex()).exit_code == 2


def test_a_contract_is_ended_or_disputed_by_its_number(home: Path) -> None:
    offer = known(home, Stage.RECORDED)
    for verb in ("end", "dispute"):
        done = trade(home, verb, offer.number.hex()[:6], "--reason=no wind")
        assert f": {verb}, for annia; the agent does it when it starts" in done.stdout
    assert wishes(home) == [Wish(verb, offer.number, reason="no wind") for verb in (Verb.END, Verb.DISPUTE)]


@pytest.mark.parametrize(
    ("verb", "stage", "said"),
    [
        ("accept", Stage.DECLINED, "got one that is declined"),
        ("decline", Stage.RECORDED, "got one that is recorded"),
        ("counter", Stage.EXPIRED, "got one that is expired"),
        ("end", Stage.OPEN, "got an offer that is open"),
        ("dispute", Stage.REJECTED, "got an offer that is rejected"),
    ],
)
def test_nothing_is_decided_where_nothing_waits(opened: Path, verb: str, stage: Stage, said: str) -> None:
    offer = known(opened, stage)
    change = ["--price=1"] if verb == "counter" else []
    done = trade(opened, verb, offer.number.hex(), *change)
    assert done.exit_code == 1
    assert said in done.stderr
    assert wishes(opened) == []


def test_no_offer_outlives_the_start_of_its_window() -> None:
    terms = some_terms()
    for valid_s, good_s in ((7200, 3600), (1800, 1800)):
        made = terms_of(REGION, asdict(terms), bytes(32), valid_s, EPOCH_MS)
        assert made.expires_ms == EPOCH_MS + good_s * 1000


def test_an_offer_whose_window_has_begun_is_too_late_to_be_accepted(home: Path) -> None:
    offer = known(home, start_ms=EPOCH_MS, end_ms=EPOCH_MS + 1)
    assert "open; too late, its window has begun" in trade(home, "inbox").stdout
    done = trade(home, "accept", offer.number.hex())
    assert (done.exit_code, wishes(home)) == (1, [])
    assert "got one whose window began at 2025-06-15 15:06:40Z" in done.stderr


START = ("--start=2096-01-01T12:00Z", "--limit=1")


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (("quote", "sell", "5", "--for=carla", "--meter=m-1", *START), "--for: expected a participant of this gateway"),
        (
            ("quote", "sell", "5", "--for=annia", "--meter=m-foo", *START),
            "expected a meter of this gateway (m-1), got m-foo",
        ),
        (("exchange", "sell", "5", "--for=carla", "--money=1"), "a participant of this gateway (annia), got carla"),
        (("transfer", "annia", "5", "--from=carla"), "--from: expected a participant of this gateway (annia)"),
    ],
    ids=lambda order: order[0] if isinstance(order, tuple) else "",
)
def test_an_order_for_whom_or_what_is_not_behind_this_gateway_is_refused_at_home(
    home: Path, order: tuple[str, ...], said: str
) -> None:
    done = CliRunner().invoke(app, [*order, f"--settings={home}"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_before_the_first_statement_nobody_knows_who_is_behind_a_gateway(home: Path) -> None:
    with closing(OutboxFile.join(home.parent / "data")) as file, file.transaction():
        file.execute("DELETE FROM statement")
    order = ("quote", "sell", "5", "--for=carla", "--meter=m-1", *START)
    assert CliRunner().invoke(app, [*order, f"--settings={home}"]).exit_code == 0


def test_an_offer_is_named_by_enough_of_its_number(home: Path) -> None:
    known(home)
    known(home, quantity_wh=7)
    for prefix, count in (("", 2), ("ffff", 0)):
        done = trade(home, "accept", prefix)
        assert done.exit_code == 1
        assert f"got {count} whose number begins with '{prefix}'" in done.stderr


def test_an_offer_that_has_expired_waits_for_nobody(home: Path) -> None:
    offer = known(home)
    old = replace(offer, terms=replace(offer.terms, expires_ms=EPOCH_MS))
    with closing(OutboxFile.join(home.parent / "data")) as file, file.transaction():
        TradeBook(file).keep(replace(old, envelope=seal_offer(old.terms, a_key(2))))
    done = trade(home, "accept", old.number.hex())
    assert "got one that has expired" in done.stderr
    assert len(json.loads(trade(home, "inbox", "--json").stdout)) == 1


def test_a_reason_is_short_enough_for_a_letter(home: Path) -> None:
    offer = known(home)
    assert trade(home, "decline", offer.number.hex(), f"--reason={'x' * 201}").exit_code == 2
    assert trade(home, "decline", offer.number.hex(), f"--reason={'x' * 200}").exit_code == 0

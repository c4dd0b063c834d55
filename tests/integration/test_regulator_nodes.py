"""The regulator's desk and aggregators: admitted from their requests, replaced, given votes; no number signed twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from aggregator.chains.admission.validators import POWER_TOTAL_MAX, Validator
from aggregator.regulator import runner
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed, State
from aggregator.regulator.files import read_envelope
from aggregator.regulator.nodes.cli import validators
from aggregator.regulator.nodes.desk import admission_of_node, check_node_request, no_vote, validators_of, vote
from aggregator.regulator.rehearsal import WouldBeRefusedError
from aggregator.regulator.runner import SENT_NAME, earlier_than, keep
from aggregator.service.mqtt_port import Visit
from aggregator.service.query import LedgerFile
from config.key_files import load
from config.load import load as load_file
from config.quorum import QuorumFile
from protocol.crypto import PublicKey, SoftwareKey, ValidatorSigner
from protocol.envelope import seal
from protocol.errors import OperatorError
from protocol.messages import MessageType
from protocol.node_request import NodeRequest, read_node_request, request_of_node
from tests.integration.test_regulator import a_request as a_gateway_s_request
from tests.integration.test_regulator import anew, home, settings_of, take
from tests.village import REGION

__all__ = ["home"]

NODE_2, NODE_2B = SoftwareKey.from_secret(710), SoftwareKey.from_secret(711)
VOTES = {name: ValidatorSigner(bytes([n]) * 32) for n, name in enumerate(("node-1", "node-2", "node-2b"))}


@pytest.fixture
def key(home: Path) -> SoftwareKey:
    return load(home / "agg" / "regulator.key")


@pytest.fixture
def node_1(home: Path) -> NodeRequest:
    """The founding node asks for a vote as any other."""
    return a_request("node-1", load(home / "agg" / "aggregator.key"), VOTES["node-1"])


def a_request(
    name: str = "node-2",
    key: SoftwareKey = NODE_2,
    consensus: ValidatorSigner | None = VOTES["node-2"],
    region: str = REGION,
) -> NodeRequest:
    return read_node_request(request_of_node(region=region, name=name, key=key, consensus=consensus))


class Desk:
    """A regulator for whom every record is taken by the node at once."""

    def __init__(self, home: Path, key: SoftwareKey) -> None:
        self.home, self.key = home, key

    def do(self, act: Any, *arguments: Any, **named: Any) -> Sealed | None:
        regulator = anew(self.home)
        try:
            sealed: Sealed | None = act(regulator, *arguments, self.key, **named)
            if sealed is not None:
                take(self.home, sealed)
                assert regulator.is_taken(sealed)
            return sealed
        finally:
            regulator.close()

    def admit(self, request: NodeRequest, *, replace: bool = False) -> Sealed | None:
        return self.do(admission_of_node, request, replace=replace)

    def votes(self) -> dict[str, Validator]:
        regulator = anew(self.home)
        found = regulator.asset.validators()
        regulator.close()
        return found


@pytest.fixture
def desk(home: Path, key: SoftwareKey) -> Desk:
    return Desk(home, key)


@pytest.fixture
def regulator(home: Path) -> Iterator[Regulator]:
    opened = anew(home)
    yield opened
    opened.close()


def test_a_node_is_admitted_from_its_request_and_given_a_vote(desk: Desk, node_1: NodeRequest) -> None:
    assert desk.admit(a_request()) is not None
    assert desk.admit(a_request()) is None  # said again
    desk.do(lambda r, k: vote(r, "node-2", 5, k, request=a_request()))
    desk.do(lambda r, k: vote(r, "node-1", 10, k, request=node_1))
    first, second = (VOTES[name].public_key.point for name in ("node-1", "node-2"))
    assert desk.votes() == {"node-1": Validator(first, 10), "node-2": Validator(second, 5)}
    assert desk.do(lambda r, k: vote(r, "node-2", 5, k)) is None
    desk.do(lambda r, k: vote(r, "node-2", 10, k))
    assert desk.votes()["node-2"] == Validator(second, 10)
    desk.do(lambda r, k: no_vote(r, "node-2", k))
    assert list(desk.votes()) == ["node-1"]


def test_a_replaced_node_goes_on_voting_with_the_key_of_its_request(desk: Desk) -> None:
    desk.admit(a_request())
    desk.do(lambda r, k: vote(r, "node-2", 5, k, request=a_request()))
    other = a_request(key=NODE_2B, consensus=VOTES["node-2b"])
    with pytest.raises(RegulatorError, match="say --replace to end that one"):
        desk.admit(other)
    with pytest.raises(RegulatorError, match="names no key to go on voting with"):
        desk.admit(a_request(key=NODE_2B, consensus=None), replace=True)
    desk.admit(other, replace=True)
    desk.do(lambda r, k: vote(r, "node-2", 5, k, request=other))
    assert desk.votes() == {"node-2": Validator(VOTES["node-2b"].public_key.point, 5)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"region": "elsewhere"}, "the request is for region elsewhere, this is village"),
        ({"name": "gw"}, "the name gw is not for an aggregator"),
        ({"name": "regulator"}, "the name regulator is not for an aggregator"),
        ({"name": "aggregator"}, "the name aggregator is not for an aggregator"),
    ],
)
def test_a_request_that_the_region_cannot_have_is_told(
    regulator: Regulator, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RegulatorError, match=message):
        check_node_request(regulator, a_request(**changes))


def test_a_vote_needs_a_member_and_a_key_whose_holder_is_known(desk: Desk, node_1: NodeRequest) -> None:
    with pytest.raises(RegulatorError, match="admit it first"):
        desk.do(lambda r, k: vote(r, "node-2", 5, k, request=a_request()))
    with pytest.raises(RegulatorError, match="has no vote yet: give its --request"):
        desk.do(lambda r, k: vote(r, "node-1", 5, k))
    desk.admit(a_request())
    for wrong in (node_1, a_request(key=NODE_2B)):
        with pytest.raises(RegulatorError, match="not that of node-2 with the key that is admitted"):
            desk.do(lambda r, k, wrong=wrong: vote(r, "node-2", 5, k, request=wrong))


def test_the_last_vote_and_one_that_is_none_are_not_taken(desk: Desk, node_1: NodeRequest) -> None:
    with pytest.raises(RegulatorError, match="node-1 has no vote"):
        desk.do(lambda r, k: no_vote(r, "node-1", k))
    desk.do(lambda r, k: vote(r, "node-1", 10, k, request=node_1))
    with pytest.raises(RegulatorError, match="node-1 is the only validator"):
        desk.do(lambda r, k: no_vote(r, "node-1", k))


def test_everybody_who_could_stop_the_region_alone_is_named(
    desk: Desk, node_1: NodeRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    data = settings_of(desk.home).data
    validators(data)
    assert "Nobody has a vote" in capsys.readouterr().out
    desk.admit(a_request())
    desk.do(lambda r, k: vote(r, "node-1", 2, k, request=node_1))
    desk.do(lambda r, k: vote(r, "node-2", 1, k, request=a_request()))
    validators(data)
    shown = capsys.readouterr().out
    assert "66.7%" in shown and "33.3%" in shown
    assert shown.count("a third of the power or more: without it no block is decided") == 2
    desk.do(lambda r, k: vote(r, "node-1", 3, k))
    validators(data, as_json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["power"], row["share"], row["blocks_alone"]) for row in rows] == [
        ("node-1", 3, 0.75, True),
        ("node-2", 1, 0.25, False),
    ]


def test_a_gateway_is_told_the_keys_of_all_who_vote_and_of_nobody_else(desk: Desk, node_1: NodeRequest) -> None:
    def believed() -> tuple[PublicKey, ...]:
        regulator = anew(desk.home)
        slip = regulator.slip(a_gateway_s_request(), None)
        regulator.close()
        return PublicKey.all_from_pem(slip.aggregator_key)

    mine = node_1.key
    desk.admit(a_request())
    assert believed() == (mine,), "nobody votes: this node orders the blocks by itself"
    desk.do(lambda r, k: vote(r, "node-1", 2, k, request=node_1))
    assert believed() == (mine,), "node-2 follows, and may be away"
    desk.do(lambda r, k: vote(r, "node-2", 1, k, request=a_request()))
    assert believed() == (mine, NODE_2.public_key)


def test_the_quorum_of_those_who_vote_is_printed(
    desk: Desk, node_1: NodeRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = settings_of(desk.home).data
    with pytest.raises(RegulatorError, match="nobody has a vote"):
        validators(data, quorum=True)
    desk.admit(a_request())
    desk.do(lambda r, k: vote(r, "node-1", 2, k, request=node_1))
    desk.do(lambda r, k: vote(r, "node-2", 2, k, request=a_request()))
    with pytest.raises(RegulatorError, match="node-9 has no vote, node-1, node-2 have"):
        validators(data, quorum=True, required=["node-9"])
    with pytest.raises(typer.BadParameter, match="is for --quorum"):
        validators(data, required=["node-1"])
    validators(data, quorum=True, required=["node-2"])
    file = tmp_path / "quorum.yaml"
    file.write_text(capsys.readouterr().out)
    read = load_file(file, QuorumFile).quorum()
    assert (read.threshold, read.required) == (3, ("node-2",))
    assert [(one.name, one.power, one.node_key) for one in read.members] == [
        ("node-1", 2, node_1.key),
        ("node-2", 2, NODE_2.public_key),
    ]


def test_a_vote_that_outlives_its_member_is_told(
    desk: Desk, node_1: NodeRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.admit(a_request())
    desk.do(lambda r, k: vote(r, "node-2", 1, k, request=a_request()))
    desk.do(lambda r, k: r.revocation("node-2", "stolen", k))
    validators(settings_of(desk.home).data)
    assert "node-2 is no aggregator any more" in capsys.readouterr().out
    regulator = anew(desk.home)
    assert [view.is_member for view in validators_of(regulator.asset)] == [False]
    regulator.close()


# -- two pasts under one key


def two_heads(home: Path, key: SoftwareKey) -> tuple[bytes, bytes]:
    """Checkpoints of one height, as somebody may have kept them."""
    ledger = LedgerFile(settings_of(home).data)
    head = ledger.five.ledger.head
    ledger.close()
    assert head is not None
    heads = (head, replace(head, entries=bytes(32)))
    first, second = (seal(key, region=REGION, type_=MessageType.CHECKPOINT, payload=one.encode()) for one in heads)
    return first, second


def test_a_node_that_signed_two_heads_is_accused_by_the_regulator(desk: Desk) -> None:
    desk.admit(a_request())
    first, second = two_heads(desk.home, NODE_2)
    desk.do(lambda r, k: r.accusation(second, first, k))
    regulator = anew(desk.home)
    states = [view.state for view in regulator.members() if view.name == "node-2"]
    with pytest.raises(RegulatorError, match="has ended already"):
        regulator.accusation(first, second, desk.key)
    regulator.close()
    assert states == [State.EQUIVOCATED]


def test_what_proves_nothing_is_not_signed(desk: Desk) -> None:
    desk.admit(a_request())
    first, second = two_heads(desk.home, NODE_2)
    stranger, _ = two_heads(desk.home, NODE_2B)
    strange = two_heads(desk.home, NODE_2B)
    forged = second[:-40] + bytes([second[-40] ^ 1]) + second[-39:]
    regulator = anew(desk.home)
    for pair, message in (
        ((first, first), "not two envelopes of one key that say different things"),
        ((first, stranger), "not two envelopes of one key"),
        ((first, b"rubbish"), "not two envelopes of one key"),
        (strange, "a key that was never admitted"),
        ((first, forged), "not both signed by node-2 for village"),
    ):
        with pytest.raises(RegulatorError, match=message):
            regulator.accusation(*pair, desk.key)
    regulator.close()


def test_an_envelope_that_is_not_there_is_told(home: Path) -> None:
    with pytest.raises(OperatorError, match="an envelope, as it was sent"):
        read_envelope(home / "nothing")


# -- no two records of the regulator have one number


def another(regulator: Regulator, key: SoftwareKey, name: str = "node-3") -> Sealed:
    """A record with the same number as the first that these tests sign, and other words."""
    sealed = admission_of_node(regulator, a_request(name, NODE_2B, VOTES["node-2b"]), key, replace=False)
    assert sealed is not None
    return sealed


def test_a_command_that_comes_while_another_is_on_its_way_sends_that_one_first(
    home: Path, key: SoftwareKey, regulator: Regulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, sent = settings_of(home), []

    def send(sealed: Sealed, *_: Any) -> None:
        sent.append(sealed.envelope)
        if len(sent) == 1:
            raise RegulatorError("the node has not taken the record within 0 s")
        take(home, sealed)

    monkeypatch.setattr(runner, "_send", send)
    monkeypatch.setattr(Regulator, "check_running", lambda self: None)
    first = admission_of_node(regulator, a_request(), key, replace=False)
    other = another(regulator, key)
    assert first is not None and first.sequence == other.sequence and first.topic == other.topic
    with pytest.raises(RegulatorError, match="has not taken"):
        runner.bring_about(first, settings, regulator, 0)
    with pytest.raises(RegulatorError, match=r"record 2 of an earlier command was still on its way.*say this command"):
        runner.bring_about(other, settings, regulator, 0)
    assert sent == [first.envelope, first.envelope]
    again = anew(home)
    runner.bring_about(another(again, key), settings, again, 0)
    again.close()
    assert len(sent) == 3 and sent[2] != other.envelope


def test_a_command_that_is_repeated_sends_the_same_record(home: Path, key: SoftwareKey, regulator: Regulator) -> None:
    path = settings_of(home).data / SENT_NAME
    sealed = another(regulator, key)
    assert earlier_than(sealed, path, REGION) is None
    keep(sealed, path)
    assert earlier_than(sealed, path, REGION) is None
    found = earlier_than(another(regulator, key, "node-4"), path, REGION)
    assert found == sealed


def test_a_record_of_another_key_or_number_is_none_of_ours(home: Path, key: SoftwareKey, regulator: Regulator) -> None:
    path = settings_of(home).data / SENT_NAME
    keep(another(regulator, key), path)
    (home / "agg" / "data" / "other").mkdir()
    desk = Desk(home, key)
    desk.admit(a_request())
    later = anew(home)
    assert earlier_than(another(later, key), path, REGION) is None
    later.close()


def test_a_torn_file_of_what_was_sent_is_told_and_nothing_is_sent(
    home: Path, key: SoftwareKey, regulator: Regulator
) -> None:
    path = settings_of(home).data / SENT_NAME
    path.write_bytes(b"torn")
    with pytest.raises(OperatorError, match="the record that was sent last"):
        earlier_than(another(regulator, key), path, REGION)
    with pytest.raises(OperatorError, match="a place to keep what the regulator signs"):
        keep(another(regulator, key), path / "no" / "folder")


def test_a_vote_that_weighs_more_than_may_be_is_not_signed_and_the_next_command_goes_its_way(desk: Desk) -> None:
    desk.admit(a_request())
    with pytest.raises(WouldBeRefusedError, match=r"would refuse it: PAYLOAD_MALFORMED: power: expected an integer"):
        desk.do(vote, "node-2", POWER_TOTAL_MAX + 1, request=a_request())
    desk.do(vote, "node-2", POWER_TOTAL_MAX, request=a_request())
    with pytest.raises(WouldBeRefusedError, match="would refuse it: TOO_MUCH_POWER"):
        desk.do(
            vote, "node-1", 1, request=a_request("node-1", load(desk.home / "agg" / "aggregator.key"), VOTES["node-1"])
        )
    assert desk.votes()["node-2"].power == POWER_TOTAL_MAX


@pytest.mark.parametrize("has_votes", [True, False])
def test_where_no_block_is_decided_that_is_why_nothing_is_taken(
    home: Path, desk: Desk, key: SoftwareKey, monkeypatch: pytest.MonkeyPatch, *, has_votes: bool
) -> None:
    async def nothing(*_: Any) -> None:
        """The broker takes it, and that is all that happens."""

    monkeypatch.setattr(Visit, "publish", nothing)
    monkeypatch.setattr(Regulator, "check_running", lambda self: None)
    desk.admit(a_request())
    if has_votes:
        desk.do(vote, "node-2", 10, request=a_request())
    regulator = anew(home)
    with pytest.raises(RegulatorError) as found:
        runner.bring_about(another(regulator, key), settings_of(home), regulator, 0)
    regulator.close()
    assert ("no block has been decided meanwhile" in str(found.value)) is has_votes
    assert str(found.value).endswith("the command can be repeated")

"""Proofs that rest on many: seals in a ledger file, cosignatures of auditors, and what is refused for want of them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from aggregator.service.audit import AuditError, audit, audit_file
from aggregator.service.cosigning import ForkedError, cosign
from aggregator.service.proof import NothingToProveError, NotSealedError, prove_balance, prove_reading, verify
from aggregator.service.query import LedgerFile
from aggregator.service.sqlite_port import FILE_NAME
from aggregator.service.store import Store
from config.key_files import keep
from config.quorum import to_yaml
from protocol.checkpoint import BlockHead
from protocol.crypto import SoftwareKey
from protocol.errors import EsteError, OperatorError, ProofError, SignatureError
from protocol.quorum import Member, Quorum
from protocol.seal import Checkpoints, Commit, encode_seal
from tests.integration.test_ledger_file import Running
from tests.validators import Chain, a_validator_key

REGULATOR = SoftwareKey.from_secret(77)
VALIDATORS = Quorum(
    region="village",
    members=tuple(Member(name=f"node-{i}", validator_key=a_validator_key(i)) for i in range(4)),
    threshold=3,
    required=("node-0",),
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Running]:
    """A ledger with a settled period, which the tests copy."""
    running = Running(tmp_path_factory.mktemp("lived"))
    running.live(40)
    running.node.close()
    return running.folder, running


@pytest.fixture
def ledger(lived: tuple[Path, Running], tmp_path: Path) -> Path:
    return Path(shutil.copytree(lived[0], tmp_path / "data"))


@pytest.fixture
def view(ledger: Path) -> Iterator[LedgerFile]:
    view = LedgerFile(ledger)
    yield view
    view.close()


@pytest.fixture
def both(lived: tuple[Path, Running]) -> Quorum:
    """The node and the regulator, who have to agree."""
    node = lived[1].village.keys["node"].public_key
    members = (Member(name="node", node_key=node), Member(name="regulator", node_key=REGULATOR.public_key))
    return Quorum(region="village", members=members, threshold=2, required=("regulator",))


def head_of(folder: Path, height: int | None = None) -> BlockHead:
    with closing(Store.open_read_only(folder)) as store:
        last = store.last_block()
        assert last is not None
        found = store.block(height or last.height)
        assert found is not None
        return BlockHead.decode(found[0])


def seal_by_validators(folder: Path, height: int, head: BlockHead | None = None) -> None:
    """What a node does that has fetched a commit."""
    carried = head or head_of(folder, height)
    block = Chain("village").block(10 + height, app_hash=carried.digest, signing=(0, 1, 3))
    with closing(Store.open(folder)) as store:
        store.write_seal(height, encode_seal(Commit(block)))


def proofs(folder: Path, **cosignatures: Any) -> list[dict[str, Any]]:
    with closing(LedgerFile(folder)) as view:
        return [
            prove_balance(view.five, view.store, "wind", **cosignatures),
            prove_reading(view.five, view.store, "m-gas", None, **cosignatures),
        ]


# -- Sealed by validators


def test_what_validators_sealed_is_proven_by_their_keys_alone(ledger: Path, lived: tuple[Path, Running]) -> None:
    last = head_of(ledger).height
    seal_by_validators(ledger, last)
    for document in proofs(ledger):
        proven = verify(json.loads(json.dumps(document)), VALIDATORS)
        assert (proven.height, proven.signed_by) == (last, ("node-0", "node-1", "node-3"))
        with pytest.raises(ProofError, match="a quorum with their keys is needed"):
            verify(document, lived[1].village.keys["node"].public_key)


def test_what_is_not_sealed_yet_is_not_proven_with_less(ledger: Path) -> None:
    last = head_of(ledger).height
    seal_by_validators(ledger, last - 1)
    with pytest.raises(
        NotSealedError, match=f"block {last} is not sealed yet, the last one that is is {last - 1}: wait"
    ):
        proofs(ledger)


def test_a_seal_of_another_block_proves_nothing(ledger: Path) -> None:
    last = head_of(ledger)
    seal_by_validators(ledger, last.height, head=head_of(ledger, last.height - 1))
    for document in proofs(ledger):
        with pytest.raises(ProofError, match="does not carry the head"):
            verify(document, VALIDATORS)


def test_a_sealed_proof_with_anything_changed_proves_nothing(ledger: Path) -> None:
    seal_by_validators(ledger, head_of(ledger).height)
    document = proofs(ledger)[0]
    for place in range(0, len(document["seal"]["light_block"]), 7):
        spelled = document["seal"]["light_block"]
        digit = format(int(spelled[place], 16) ^ 1, "x")
        with pytest.raises(EsteError):
            verify(
                document
                | {"seal": {"kind": "cometbft", "light_block": spelled[:place] + digit + spelled[place + 1 :]}},
                VALIDATORS,
            )


@pytest.mark.parametrize(
    "seal",
    [
        *(None, {}, {"kind": "oath"}, {"kind": "checkpoint"}, {"kind": "checkpoint", "envelopes": "aa"}),
        *({"kind": "cometbft"}, {"kind": "cometbft", "light_block": "zz"}, {"kind": "cometbft", "light_block": "80"}),
    ],
)
def test_a_proof_with_no_seal_in_it_is_refused(view: LedgerFile, seal: object) -> None:
    document = prove_balance(view.five, view.store, "wind") | {"seal": seal}
    with pytest.raises(EsteError):
        verify(document, VALIDATORS)


def test_an_audit_holds_every_seal_against_the_quorum(ledger: Path) -> None:
    last = head_of(ledger).height
    for height in (last - 1, last):
        seal_by_validators(ledger, height)
    with closing(Store.open_read_only(ledger)) as store:
        assert audit(store, quorum=VALIDATORS).sealed == 2
        assert audit(store).sealed == 0
    seal_by_validators(ledger, last - 1, head=head_of(ledger, last))
    with closing(Store.open_read_only(ledger)) as store, pytest.raises(AuditError, match=f"block {last - 1}, seal"):
        audit(store, quorum=VALIDATORS)


def a_cosignature(folder: Path, key: SoftwareKey = REGULATOR, before: bytes | None = None) -> bytes:
    with closing(Store.open_read_only(folder)) as store:
        return cosign(store, key, before)[0]


def test_a_region_of_one_node_is_vouched_for_by_its_regulator(ledger: Path, both: Quorum) -> None:
    for document in proofs(ledger):
        with pytest.raises(ProofError, match="is not signed by regulator, whose signature is required"):
            verify(document, both)
    for document in proofs(ledger, cosignatures=[a_cosignature(ledger)]):
        assert verify(document, both).signed_by == ("node", "regulator")
        assert verify(document, REGULATOR.public_key).signed_by == ("the key that was given",)


def test_a_cosignature_that_a_ledger_keeps_is_in_its_proofs(ledger: Path, both: Quorum) -> None:
    last = head_of(ledger).height
    with closing(Store.open(ledger)) as store:
        found = store.block(last)
        assert found is not None
        store.write_seal(last, encode_seal(Checkpoints((found[1], a_cosignature(ledger)))))
    for document in proofs(ledger):
        assert verify(document, both).signed_by == ("node", "regulator")


def test_a_cosignature_of_an_older_block_is_not_taken_for_one_of_the_newest(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.send(running.batch())
    running.node.close()
    old = a_cosignature(tmp_path)
    younger = Path(shutil.copytree(tmp_path, tmp_path / "younger"))
    running.node = running.open()
    running.send(running.batch())
    running.node.close()
    with closing(LedgerFile(tmp_path)) as view, pytest.raises(ProofError, match="a cosignature is of another head"):
        prove_reading(view.five, view.store, "m-gas", None, [old])
    new = a_cosignature(tmp_path, before=old)
    with pytest.raises(ForkedError, match="the ledger ends before block"):
        a_cosignature(younger, before=new)


def test_nobody_vouches_for_two_histories(ledger: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Running(tmp_path / "other")
    other.village.now_ms += 1
    other.send(other.batch())
    other.node.close()
    before = a_cosignature(other.folder)
    with pytest.raises(ForkedError, match="two heads of height 2"):
        a_cosignature(ledger, before=before)
    with pytest.raises(SignatureError):
        a_cosignature(ledger, SoftwareKey.from_secret(78), before=a_cosignature(ledger))


def test_what_fails_the_audit_is_not_cosigned(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger / FILE_NAME)) as db:
        db.execute("UPDATE block SET checkpoint = x'00' WHERE height = 2")
        db.commit()
    with pytest.raises(AuditError, match="block 2, checkpoint"):
        a_cosignature(ledger)


# -- Commands


def este_aggregator(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_regulator_cosigns_a_copy_and_a_third_party_verifies_with_a_file(
    ledger: Path, tmp_path: Path, both: Quorum
) -> None:
    key, cosignature, proof, quorum = (tmp_path / name for name in ("regulator.key", "cosignature", "proof", "quorum"))
    keep(key, REGULATOR)
    quorum.write_text(to_yaml(both), encoding="utf-8")
    done = este_aggregator("cosign", "--data", ledger, "--key", key, "-o", cosignature)
    assert done.exit_code == 0, done.output
    assert "is cosigned in" in done.stdout
    again = este_aggregator("cosign", "--data", ledger, "--key", key, "--after", cosignature, "-o", tmp_path / "second")
    assert again.exit_code == 0, again.output
    prove = ("prove", "--data", ledger, "--balance", "wind", "--cosignature", cosignature, "-o", proof)
    assert "verify" in este_aggregator(*prove).stdout
    verified = este_aggregator("verify", proof, "--quorum", quorum)
    assert verified.exit_code == 0, verified.output
    assert "signed by node, regulator" in verified.stdout


def test_whoever_verifies_says_whom_they_trust(ledger: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof.json"
    assert este_aggregator("prove", "--data", ledger, "--balance", "wind", "-o", proof).exit_code == 0
    for trusted in ((), ("--key", tmp_path / "key", "--quorum", tmp_path / "quorum")):
        done = este_aggregator("verify", proof, *trusted)
        assert done.exit_code == 2
        assert "either --key or --quorum" in done.output


def test_the_audit_tells_how_many_blocks_the_quorum_sealed(ledger: Path, tmp_path: Path) -> None:
    quorum = tmp_path / "quorum.yaml"
    quorum.write_text(to_yaml(VALIDATORS), encoding="utf-8")
    seal_by_validators(ledger, head_of(ledger).height)
    done = este_aggregator("audit", "--data", ledger, "--quorum", quorum)
    assert done.exit_code == 0, done.output
    assert "1 blocks have seals" in done.stdout
    assert json.loads(este_aggregator("audit", "--data", ledger, "--quorum", quorum, "--json").stdout)["sealed"] == 1


def test_an_export_is_held_against_what_a_quorum_has_signed(ledger: Path, tmp_path: Path) -> None:
    quorum, proof, export = (tmp_path / name for name in ("quorum.yaml", "proof.json", "village.este"))
    quorum.write_text(to_yaml(VALIDATORS), encoding="utf-8")
    height = head_of(ledger).height
    seal_by_validators(ledger, height)
    assert este_aggregator("prove", "--data", ledger, "--balance", "wind", "-o", proof).exit_code == 0
    assert este_aggregator("export", "--data", ledger, "-o", export).exit_code == 0
    held = ("audit", export, "--quorum", quorum, "--proof", proof)
    done = este_aggregator(*held)
    assert done.exit_code == 0, done.output
    assert f"block {height} is the one that " in done.stdout
    proven = verify(json.loads(proof.read_text()), VALIDATORS)
    assert audit_file(export, proven=proven).blocks == height
    with pytest.raises(AuditError, match=f"block {height}: the proof ends in another one, 00.*there are two histories"):
        audit_file(export, proven=replace(proven, head_digest=bytes(32)))
    with pytest.raises(AuditError, match=f"end: the proof ends in block {height + 1}, which is not in this file yet"):
        audit_file(export, proven=replace(proven, height=height + 1))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--quorum=quorum.yaml"], "an export has no seals: --quorum needs a --proof"),
        (["--proof=proof.json"], "an export has no seals: --quorum needs a --proof"),
        (["--data=data"], "give either an exported ledger or --data"),
    ],
)
def test_what_an_audit_of_an_export_cannot_look_at_is_not_passed_over(
    tmp_path: Path, options: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("quorum.yaml").write_text(to_yaml(VALIDATORS), encoding="utf-8")
    Path("village.este").touch()
    done = este_aggregator("audit", "village.este", *options)
    assert done.exit_code == 2 and told in " ".join(done.output.replace("│", " ").split())


def test_a_folder_is_no_export_and_its_ledger_needs_no_proof(ledger: Path, tmp_path: Path) -> None:
    done = este_aggregator("audit", ledger)
    assert done.exit_code == 1 and isinstance(done.exception, OperatorError)
    assert "a ledger's folder goes with --data, got a folder" in str(done.exception)
    assert "for an exported ledger" in " ".join(este_aggregator("audit", "--proof", tmp_path).output.split())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "No such file"),
        (b"", "no JSON, or not all of it"),
        (b'{"format": "este-pr', "no JSON, or not all of it"),
        (b"\xff\xfe\x00", "no JSON, or not all of it"),
        (b"[" * 100_000, "no JSON, or not all of it"),
        (b"{}", "not a proof of este"),
        (b'{"format": "este-region-1"}', "not a proof of este: expected the format este-proof-2, got 'este-region-1'"),
    ],
    ids=["missing", "empty", "cut short", "no text", "nested", "no format", "an invitation"],
)
def test_a_file_that_is_no_proof_is_told_in_a_sentence(tmp_path: Path, content: bytes | None, told: str) -> None:
    proof, quorum = tmp_path / "proof.json", tmp_path / "quorum.yaml"
    quorum.write_text(to_yaml(VALIDATORS), encoding="utf-8")
    if content is not None:
        proof.write_bytes(content)
    done = este_aggregator("verify", proof, "--quorum", quorum)
    assert done.exit_code == 1 and isinstance(done.exception, EsteError)
    assert told in str(done.exception)


def test_a_proof_with_something_added_is_not_as_it_was_made(view: LedgerFile, lived: tuple[Path, Running]) -> None:
    node = lived[1].village.keys["node"].public_key
    document = prove_balance(view.five, view.store, "wind")
    assert verify(document, node).height == view.five.ledger.height
    for change, told in (
        ({"balance": 1000}, "somebody has changed it: 'balance'"),
        ({"region": "hill"}, "says 'hill'"),
    ):
        with pytest.raises(EsteError, match=told):
            verify(document | change, node)


def test_what_cannot_be_proven_is_told_with_what_can(view: LedgerFile) -> None:
    with pytest.raises(
        NothingToProveError, match="no participant wint on the asset chain: see este-aggregator balances"
    ):
        prove_balance(view.five, view.store, "wint")
    with pytest.raises(NothingToProveError, match="no meter m-gax on the asset chain: see este-aggregator devices"):
        prove_reading(view.five, view.store, "m-gax", None)
    with pytest.raises(NothingToProveError, match="no reading of m-gas at or before that time is on the chain"):
        prove_reading(view.five, view.store, "m-gas", 0)


def test_a_file_that_is_no_cosignature_is_named(ledger: Path, tmp_path: Path) -> None:
    key, other = tmp_path / "regulator.key", tmp_path / "other"
    keep(key, REGULATOR)
    for command in (
        ("cosign", "--data", ledger, "--key", key, "-o", tmp_path / "new", "--after", other),
        ("prove", "--data", ledger, "--balance", "wind", "--cosignature", other),
    ):
        done = este_aggregator(*command)
        assert isinstance(done.exception, OperatorError)
        assert f"{other}: expected a cosignature, as este-aggregator cosign writes it" in str(done.exception)
        other.write_bytes(b"something else")

"""The quorum file: what it takes, what it refuses, and that it comes back as it was printed."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from config.load import SettingsError, check, load
from config.quorum import QuorumFile, to_yaml
from protocol.quorum import Member, Quorum
from tests.builders import a_key
from tests.validators import a_validator_key

PEM = a_key(1).public_key.to_pem()
VOTES = b64encode(a_validator_key(1).point).decode()


def a_file(**changes: Any) -> dict[str, Any]:
    """A regulator with one key, and a node with two."""
    members = [
        {"name": "regulator", "validator_key": VOTES},
        {"name": "node-1", "power": 2, "node_key": PEM, "validator_key": b64encode(bytes(32)).decode()},
    ]
    return {"region": "valley", "members": members, "required": ["regulator"]} | changes


def test_a_quorum_takes_more_than_two_thirds_where_nothing_is_said() -> None:
    quorum = check(a_file(), QuorumFile, "quorum.yaml").quorum()
    assert (quorum.power, quorum.threshold, quorum.required) == (3, 3, ("regulator",))
    assert quorum.members[1].node_key == a_key(1).public_key
    assert quorum.members[0].validator_key == a_validator_key(1)


def test_a_printed_quorum_is_read_as_it_was(tmp_path: Path) -> None:
    quorum = Quorum(
        region="valley",
        members=(
            Member(name="on", power=1, validator_key=a_validator_key(1)),
            Member(name="7", power=3, node_key=a_key(1).public_key, validator_key=a_validator_key(2)),
        ),
        threshold=4,
        required=("on",),
    )
    path = tmp_path / "quorum.yaml"
    path.write_text(to_yaml(quorum), encoding="utf-8")
    assert load(path, QuorumFile).quorum() == quorum
    assert "node_key: |\n    -----BEGIN PUBLIC KEY-----\n" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"members": []}, "at least 1 item"),
        ({"members": [{"name": "a"}]}, "a node_key, a validator_key, or both"),
        ({"members": [{"name": "a", "node_key": "key"}]}, "a P-256 public key in PEM"),
        ({"members": [{"name": "a", "validator_key": "AAAA"}]}, "an Ed25519 public key in base64"),
        ({"members": [{"name": "a", "validator_key": VOTES[:-2] + "x="}]}, "one spelling in base64"),
        ({"members": [{"name": "a b", "validator_key": VOTES}]}, "a name of letters and digits"),
        ({"members": [{"name": "a", "validator_key": VOTES, "power": 0}]}, "greater than 0"),
        ({"members": [{"name": n, "validator_key": VOTES} for n in "ab"]}, "a validator_key of their own"),
        ({"members": [{"name": n, "node_key": PEM + n} for n in (" ", "\n")]}, "a name of letters"),
        ({"members": [{"name": "a", "validator_key": VOTES}, {"name": "a", "node_key": PEM}]}, "different names"),
        ({"threshold": 4}, "at most 3"),
        ({"threshold": 0}, "greater than 0"),
        ({"required": ["nobody"]}, "nobody is none"),
        ({"members_max": 3}, "a known key"),
    ],
)
def test_a_quorum_that_nobody_could_mean_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check(a_file(**changes), QuorumFile, "quorum.yaml")


def test_one_key_in_two_spellings_does_not_count_twice() -> None:
    members = [{"name": "a", "node_key": PEM}, {"name": "b", "node_key": PEM + "\n"}]
    with pytest.raises(SettingsError, match="a node_key of their own"):
        check(a_file(members=members, required=[]), QuorumFile, "quorum.yaml")

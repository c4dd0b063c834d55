"""The quorum file: who has to have signed before a proof counts (docs/reference/quorum-file.md).

Whoever verifies keeps it, from a source that they trust; `este-aggregator validators --quorum` prints one.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from typing import Annotated, Any, Final, Self

import yaml
from pydantic import AfterValidator, Field, model_validator

from config.model import Listed, Model, Name, Positive, mistake
from protocol.crypto import PublicKey, ValidatorKey
from protocol.errors import SignatureError
from protocol.quorum import MEMBERS_MAX, Member, Quorum, more_than_two_thirds


def _to_node_key(pem: str) -> str:
    try:
        PublicKey.from_pem(pem)
    except SignatureError as error:
        raise mistake("a P-256 public key in PEM, as aggregator.pub.pem has it") from error
    return pem


def _to_validator_key(text: str) -> str:
    try:
        point = ValidatorKey(b64decode(text, validate=True)).point
    except (SignatureError, binascii.Error, ValueError) as error:
        raise mistake("an Ed25519 public key in base64, as CometBFT's genesis.json has it") from error
    if b64encode(point).decode() != text:
        raise mistake("an Ed25519 public key in its one spelling in base64")
    return text


class QuorumMember(Model):
    """One whose signature counts."""

    name: Name
    power: Positive = 1
    node_key: Annotated[str, AfterValidator(_to_node_key)] | None = None
    validator_key: Annotated[str, AfterValidator(_to_validator_key)] | None = None

    @model_validator(mode="after")
    def _any_key(self) -> Self:
        if self.node_key is None and self.validator_key is None:
            raise mistake("a node_key, a validator_key, or both")
        return self

    def member(self) -> Member:
        """As the rule takes it."""
        return Member(
            name=self.name,
            power=self.power,
            node_key=None if self.node_key is None else PublicKey.from_pem(self.node_key),
            validator_key=None if self.validator_key is None else ValidatorKey(b64decode(self.validator_key)),
        )


class QuorumFile(Model):
    """Members, and how much of them it takes."""

    region: Name
    members: Annotated[tuple[QuorumMember, ...], Listed, Field(min_length=1, max_length=MEMBERS_MAX)]
    threshold: Positive | None = None
    """Power that has to have signed, at least; more than two thirds where nothing is said."""
    required: Annotated[tuple[Name, ...], Listed] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [member.name for member in self.members]
        if len(set(names)) < len(names):
            raise mistake("members of different names")
        for kind in ("node_key", "validator_key"):
            keys = [key for member in self.members if (key := getattr(member.member(), kind)) is not None]
            if len(set(keys)) < len(keys):
                raise mistake(f"a {kind} of their own for each member, or one would count twice")
        if self.threshold is not None and self.threshold > self._power:
            raise mistake(f"a threshold of at most {self._power}, the power of all members together")
        if unknown := [name for name in self.required if name not in names]:
            raise mistake(f"required names of members; {unknown[0]} is none")
        return self

    @property
    def _power(self) -> int:
        return sum(member.power for member in self.members)

    def quorum(self) -> Quorum:
        """As the rule takes it."""
        return Quorum(
            region=self.region,
            members=tuple(member.member() for member in self.members),
            threshold=self.threshold or more_than_two_thirds(self._power),
            required=self.required,
        )


class _Dumper(yaml.SafeDumper):
    """YAML with keys in PEM as they stand in their files."""


def _block_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block_text)

_HEAD: Final = "# Who has to have signed before a proof counts. Keep it where nobody else writes.\n"


def to_yaml(quorum: Quorum) -> str:
    """A quorum as a file that `config.load` reads again."""
    members: list[dict[str, Any]] = []
    for member in quorum.members:
        entry: dict[str, Any] = {"name": member.name, "power": member.power}
        if member.node_key is not None:
            entry["node_key"] = member.node_key.to_pem()
        if member.validator_key is not None:
            entry["validator_key"] = b64encode(member.validator_key.point).decode()
        members.append(entry)
    document = {"region": quorum.region, "threshold": quorum.threshold, "required": list(quorum.required)}
    return _HEAD + yaml.dump(document | {"members": members}, Dumper=_Dumper, sort_keys=False, width=120)

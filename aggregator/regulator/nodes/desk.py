"""What the regulator signs about aggregators: admitted and replaced from their operators' requests, and given votes.

A vote's key is taken from a request only, since that proves who holds it. Decides nothing that the rules of the asset
chain do not decide again: what is said here is said before anything is signed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aggregator.chains.admission.validators import Validator, ValidatorChange, quorum_of
from aggregator.chains.asset import AssetChain
from aggregator.ledger.record import Author, Role
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from protocol.crypto import SigningKey
from protocol.messages import MessageType
from protocol.node_request import NodeRequest
from protocol.quorum import Quorum
from protocol.topics import AGGREGATOR


@dataclass(frozen=True, slots=True)
class ValidatorView:
    """One validator, as people and machines are shown it."""

    name: str
    power: int
    share: float
    """Of all power; for reading only."""
    key: str
    """Of the engine, in hexadecimal digits."""
    blocks_alone: bool
    """Whether it has a third of the power or more: without it no block is decided."""
    is_member: bool
    """Whether it has a live key as an aggregator; the last validator stays without one."""


def validators_of(asset: AssetChain) -> list[ValidatorView]:
    """Everybody who has a vote, in the order of their names."""
    votes = asset.validators()
    total = sum(validator.power for validator in votes.values())
    aggregators = {author.name for author in asset.members(Role.AGGREGATOR)}
    return [
        ValidatorView(
            name=name,
            power=validator.power,
            share=round(validator.power / total, 4),
            key=validator.key.hex(),
            blocks_alone=3 * validator.power >= total,
            is_member=name in aggregators,
        )
        for name, validator in votes.items()
    ]


def current_quorum(region: str, asset: AssetChain, required: Collection[str] = ()) -> Quorum:
    """Who has to have signed what is to be believed, as the chain has it.

    Args:
        region: its name.
        asset: the asset chain.
        required: validators without whom nothing counts, such as the regulator's.

    Raises:
        RegulatorError: nobody has a vote, or one who is required has none.
    """
    votes = asset.validators()
    if not votes:
        raise RegulatorError("nobody has a vote: what the one node says is verified with --key")
    if without := sorted(set(required) - set(votes)):
        raise RegulatorError(f"{without[0]} has no vote, {', '.join(votes)} have")
    keys = {author.name: author.key for author in asset.members(Role.AGGREGATOR)}
    return quorum_of(region, votes, keys, required)


def check_node_request(regulator: Regulator, request: NodeRequest) -> None:
    """See that a request is for an aggregator that this region can have.

    Raises:
        RegulatorError: it is not.
    """
    if request.region != regulator.region:
        raise RegulatorError(f"the request is for region {request.region}, this is {regulator.region}")
    member = regulator.member(request.name)
    is_taken = request.name == AGGREGATOR or request.name in regulator.asset.region.grid.gateways
    if is_taken or (member is not None and member.role is not Role.AGGREGATOR):
        raise RegulatorError(
            f"the name {request.name} is not for an aggregator: somebody else has it, or it is reserved"
        )


def admission_of_node(regulator: Regulator, request: NodeRequest, key: SigningKey, *, replace: bool) -> Sealed | None:
    """Sign the admission of an aggregator; None if it is admitted with this very key already.

    Raises:
        RegulatorError: the name is taken and is not to be replaced, the vote of the one to replace would stay with its
            old key, or `key` is not the regulator's.
    """
    check_node_request(regulator, request)
    present, votes = regulator.member(request.name), regulator.asset.validators()
    is_replaced = replace and present is not None and present.key != request.key
    if is_replaced and request.consensus_key is None and request.name in votes:
        raise RegulatorError(f"{request.name} has a vote, and the request names no key to go on voting with")
    return regulator.admit(Author(request.name, Role.AGGREGATOR, request.key), key, replace=replace)


def vote(
    regulator: Regulator, name: str, power: int, key: SigningKey, *, request: NodeRequest | None = None
) -> Sealed | None:
    """Sign that an aggregator votes with so much power; None if it does already.

    Args:
        regulator: with the state as of the last block.
        name: of the aggregator.
        power: 1 or more.
        key: the regulator's.
        request: where the key to vote with is taken from; without one it stays as it is.

    Raises:
        RegulatorError: there is no key to vote with, it is another member's, or `key` is not the regulator's.
    """
    member, present = regulator.member(name), regulator.asset.validators().get(name)
    if member is None or member.role is not Role.AGGREGATOR:
        raise RegulatorError(f"no aggregator by the name {name} has a live key: admit it first")
    if request is not None:
        check_node_request(regulator, request)
        if request.name != name or request.key != member.key:
            raise RegulatorError(f"the request is not that of {name} with the key that is admitted")
    point = request.consensus_key.point if request and request.consensus_key else present.key if present else None
    if point is None:
        raise RegulatorError(f"{name} has no vote yet: give its --request, which names the key to vote with")
    validator = Validator(point, power)
    if validator == present:
        return None
    return regulator.seal(lambda link: ValidatorChange(link, name, validator).encode(), MessageType.VALIDATOR, key)


def no_vote(regulator: Regulator, name: str, key: SigningKey) -> Sealed:
    """Sign that an aggregator votes no more.

    Raises:
        RegulatorError: it has no vote, it has the only one, or `key` is not the regulator's.
    """
    votes = regulator.asset.validators()
    if name not in votes:
        raise RegulatorError(f"{name} has no vote: see este-aggregator validators")
    if len(votes) == 1:
        raise RegulatorError(f"{name} is the only validator, and no block would be decided without: set another first")
    return regulator.seal(lambda link: ValidatorChange(link, name, None).encode(), MessageType.VALIDATOR, key)

"""What the regulator signs about contracts, and contracts as people are shown them.

Decides nothing that the rules of the operation chain do not decide again: what is said here is said before anything is
signed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Final

from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.chains.contracts.rows import Contract
from aggregator.chains.five import Five
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.states import MAKER, steps_from
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from aggregator.service.named import find
from protocol.crypto import SigningKey, digest_of
from protocol.messages import MessageType

SHORT: Final = 16
"""Digits of a contract's number that people are shown."""


@dataclass(frozen=True, slots=True)
class ContractView:
    """One contract, with all that became of it. Energy in watt-hours, instants in ms UTC.

    Prices are minor money units per MWh, amounts of money millionths of a minor unit.
    """

    contract: str
    """Its number, in hexadecimal digits."""
    state: str
    seller: str
    buyer: str
    carrier: str
    quantity_wh: int
    price_per_mwh: int
    clean_only: bool
    start_ms: int
    end_ms: int
    ended_ms: int
    """End of what is left of it."""
    ended_by: str
    penalty_ppm: int
    termination_ppm: int
    fee: int
    rent_per_mwh: int
    """What the buyer pays to the region beyond the price, where the market found a line full."""
    place: int
    history: tuple[tuple[str, int], ...]
    rejected_because: str
    """Rule, line or participant, interval, and by how much; empty unless it is rejected."""
    measured: Mapping[str, int]
    ruling: Mapping[str, int | str] | None
    """What the regulator has said."""
    booked_millionths: Mapping[str, int]
    """What is in the books, line by line."""
    next_steps: tuple[str, ...]
    """What can happen to it, each with who makes it."""


def contracts_of(five: Five) -> list[ContractView]:
    """Every contract that is not forgotten, first agreed first."""
    return [_view(contract) for contract in five.operation.contracts.book.in_order()]


def frozen_in(five: Five) -> dict[str, str]:
    """Who makes no contracts by the regulator's word, and why."""
    return {who: frozen.reason for who, frozen in five.operation.contracts.frozen.items()}


def view(five: Five, number: str) -> ContractView:
    """One contract.

    Raises:
        ContractError: there is none, or several.
    """
    return _view(find(five, number))


def arbitrate(
    regulator: Regulator,
    number: str,
    delivered_wh: int,
    responsible: Party,
    reason: str,
    *,
    key: SigningKey,
    evidence: bytes | None = None,
) -> Sealed:
    """Sign what counts of a disputed contract; `evidence` is the digest of the file that it rests on.

    Raises:
        ContractError: there is no such contract, or several.
        RegulatorError: the key is not the regulator's.
        WouldBeRefusedError: it is not disputed, or less was due.
    """
    contract = find(regulator.five, number).digest
    return regulator.seal(
        lambda link: Arbitration(link, contract, delivered_wh, responsible, reason, evidence).encode(),
        MessageType.ARBITRATION,
        key,
    )


def digest_of_evidence(regulator: Regulator, number: str, file: bytes) -> bytes:
    """The digest of a file of evidence, which a ruling names for ever.

    Raises:
        ContractError: there is no such contract, or several.
        RegulatorError: the file is no evidence, or that of another contract.
    """
    contract = find(regulator.five, number).digest.hex()
    try:
        document = json.loads(file)
        about = document["contract"] if document["kind"] == "contract" else None
    except (ValueError, LookupError, TypeError, RecursionError):
        about = None
    if about != contract:
        raise RegulatorError(f"not the evidence of contract {contract[:12]}…: prove --contract writes it")
    return digest_of(file)


def approve(regulator: Regulator, number: str, reason: str, *, key: SigningKey) -> Sealed:
    """Sign that a contract that needs approval has it.

    Raises:
        ContractError: there is no such contract, or several.
        RegulatorError: the key is not the regulator's.
        WouldBeRefusedError: it does not wait for approval.
    """
    contract = find(regulator.five, number).digest
    return regulator.seal(lambda link: Approval(link, contract, reason).encode(), MessageType.APPROVAL, key)


def freeze(regulator: Regulator, participant: str, reason: str, *, is_frozen: bool, key: SigningKey) -> Sealed:
    """Sign that a participant makes no more contracts, or does so again.

    Raises:
        RegulatorError: there is no such participant, or the key is not the regulator's.
        WouldBeRefusedError: it is so already.
    """
    if participant not in regulator.asset.region.participants:
        raise RegulatorError(f"there is no participant {participant}")
    return regulator.seal(lambda link: Freeze(link, participant, is_frozen, reason).encode(), MessageType.FREEZE, key)


def _view(contract: Contract) -> ContractView:
    terms, ruling, reason = contract.terms, contract.ruling, contract.objection
    said: Mapping[str, int | str] | None = None
    if ruling is not None:
        said = {"delivered_wh": ruling.delivered_wh, "responsible": _name(ruling.responsible)}
    return ContractView(
        contract=contract.digest.hex(),
        state=_name(contract.state),
        seller=terms.seller,
        buyer=terms.buyer,
        carrier=terms.carrier,
        quantity_wh=terms.quantity_wh,
        price_per_mwh=terms.price_per_mwh,
        clean_only=terms.clean_only,
        start_ms=terms.start_ms,
        end_ms=terms.end_ms,
        ended_ms=contract.ended_ms,
        ended_by="" if contract.ended_by is Party.NOBODY else _name(contract.ended_by),
        penalty_ppm=terms.penalty_ppm,
        termination_ppm=terms.termination_ppm,
        fee=terms.fee,
        rent_per_mwh=contract.rent_per_mwh,
        place=contract.place,
        history=tuple((_name(state), at_ms) for state, at_ms in contract.history),
        rejected_because=f"{reason.rule.name}: {reason.said}" if reason else "",
        measured=asdict(contract.amounts),
        ruling=said,
        booked_millionths=asdict(contract.booked),
        next_steps=tuple(f"{_name(step)} by {MAKER[step].said}" for step in steps_from(contract.state)),
    )


def _name(of: IntEnum) -> str:
    return of.name.lower()

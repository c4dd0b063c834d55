"""Commands about contracts: which there are, what became of one, what counts of a disputed one, who makes none."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from aggregator.regulator.shared import KeyOption, WaitOption, bring_about, open_desk
from aggregator.terminal import AsJson, DataFolder, SettingsOption, instant, out, plain
from config.tables import Cell, Column, Table, show

if TYPE_CHECKING:
    from aggregator.regulator.contracts.desk import ContractView

CONTRACTS: Final = (
    Column(heading="contract"),
    Column(heading="state"),
    Column(heading="seller"),
    Column(heading="buyer"),
    Column(heading="carrier", drop=3),
    Column(heading="Wh", is_right=True),
    Column(heading="delivered", is_right=True, drop=1),
    Column(heading="per MWh", is_right=True, drop=2),
    Column(heading="from (UTC)"),
    Column(heading="until", drop=4),
)


class Responsible(StrEnum):
    """Who answers for what was not delivered."""

    NOBODY = "nobody"
    SELLER = "seller"
    BUYER = "buyer"


def contracts(
    contract: Annotated[
        str, typer.Argument(help="Number of one contract, or how it begins.", show_default="all contracts")
    ] = "",
    data: DataFolder = Path("data"),
    as_json: AsJson = False,
) -> None:
    """Show contracts: where each stands. Or one of them, with its history; energy in Wh, money in minor units."""
    from aggregator.regulator.contracts.desk import contracts_of, frozen_in, view
    from aggregator.service.query import LedgerFile

    with closing(LedgerFile(data)) as ledger:
        one = view(ledger.five, contract) if contract else None
        views, frozen = contracts_of(ledger.five), frozen_in(ledger.five)
    if as_json:
        print(json.dumps(asdict(one) if one else [asdict(each) for each in views], indent=1))
        return
    if one is not None:
        _tell(one)
        return
    if views:
        show(Table(CONTRACTS, [_row(each) for each in views]), out)
    else:
        out.print("There are no contracts.")
    for who, reason in frozen.items():
        out.print(f"{plain(who)} is frozen: {plain(reason) or 'no reason given'}", soft_wrap=True)


def arbitrate(
    contract: Annotated[str, typer.Argument(help="Number of a disputed contract, or how it begins.")],
    key: KeyOption,
    delivered_wh: Annotated[int, typer.Option(min=0, help="Energy that counts as delivered, in Wh.")],
    responsible: Annotated[Responsible, typer.Option(help="Who answers for the rest.")],
    reason: Annotated[str, typer.Option(help="For people; it stands on the operation chain for ever.")],
    evidence: Annotated[
        Path | None, typer.Option(help="File that `prove --contract` wrote: its digest stands in the record.")
    ] = None,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Say what counts of a disputed contract. It is settled by that with the next interval."""
    from aggregator.economy.contracts.bill import Party
    from aggregator.regulator.contracts import desk
    from aggregator.service.proof import PROOF_BYTES_MAX
    from aggregator.terminal import read_bounded
    from config.key_files import load

    _check_reason(reason)
    party, regulators_key = Party[responsible.name], load(key)
    file = read_bounded(evidence, "evidence of the contract", PROOF_BYTES_MAX) if evidence else None
    with open_desk(settings) as (read, regulator):
        shown = None if file is None else desk.digest_of_evidence(regulator, contract, file)
        sealed = desk.arbitrate(regulator, contract, delivered_wh, party, reason, key=regulators_key, evidence=shown)
        bring_about(sealed, read, regulator, wait_s)
    out.print(f"{delivered_wh} Wh count as delivered; {responsible} answers for the rest.")


def approve(
    contract: Annotated[str, typer.Argument(help="Number of a verified contract, or how it begins.")],
    key: KeyOption,
    reason: Annotated[str, typer.Option(help="For people; it stands on the operation chain for ever.")] = "",
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Approve a contract that is so large that it needs that. Else it lapses when its window begins."""
    from aggregator.regulator.contracts import desk
    from config.key_files import load

    if reason:
        _check_reason(reason)
    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(desk.approve(regulator, contract, reason, key=regulators_key), read, regulator, wait_s)
    out.print("The contract is confirmed.")


def freeze(
    participant: Annotated[str, typer.Argument(help="Who is to make no more contracts.")],
    key: KeyOption,
    reason: Annotated[str, typer.Option(help="For people; it stands on the operation chain for ever.")],
    lift: Annotated[bool, typer.Option("--lift", help="Allow it again.")] = False,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Keep a participant from making contracts. Those that are confirmed go on."""
    from aggregator.regulator.contracts import desk
    from config.key_files import load

    _check_reason(reason)
    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        sealed = desk.freeze(regulator, participant, reason, is_frozen=not lift, key=regulators_key)
        bring_about(sealed, read, regulator, wait_s)
    out.print(f"{plain(participant)} {'makes contracts again' if lift else 'is frozen'}.")


def _check_reason(reason: str) -> None:
    from protocol.agreement import REASON_MAX

    if not 0 < len(reason) <= REASON_MAX:
        raise typer.BadParameter(f"1 to {REASON_MAX} characters", param_hint="--reason")


def _row(one: ContractView) -> list[Cell]:
    from aggregator.regulator.contracts.desk import SHORT

    style = "red" if one.state in ("rejected", "breached", "disputed", "terminated") else ""
    return [
        one.contract[:SHORT], Text(one.state, style=style), one.seller, one.buyer, one.carrier, str(one.quantity_wh),
        str(one.measured["delivered_wh"]), str(one.price_per_mwh), _second(one.start_ms), _second(one.end_ms),
    ]  # fmt: skip


def _tell(one: ContractView) -> None:
    from protocol.money import said as money

    clean = ", clean only" if one.clean_only else ""
    lines = [
        ("contract", one.contract),
        ("seller", one.seller),
        ("buyer", one.buyer),
        ("energy", f"{one.quantity_wh} Wh of {one.carrier}{clean}"),
        ("price", f"{one.price_per_mwh} per MWh; penalty {_percent(one.penalty_ppm)} of what is not delivered"),
        *([("rent", f"{one.rent_per_mwh} per MWh to the region")] if one.rent_per_mwh else []),
        ("ending early", f"{_percent(one.termination_ppm)} of the price of the rest"),
        ("fee", f"{one.fee} tokens"),
        ("window (UTC)", f"{_second(one.start_ms)} to {_second(one.end_ms)}"),
    ]
    if one.ended_by:
        lines.append(("ended", f"by the {one.ended_by}, at {_second(one.ended_ms)}"))
    if one.rejected_because:
        lines.append(("rejected", one.rejected_because))
    lines += [(state, f"since {instant(at_ms)}") for state, at_ms in one.history]
    lines += [
        (f"{name.removesuffix('_wh').replace('_', ' ')} (Wh)", str(value)) for name, value in one.measured.items()
    ]
    if one.ruling is not None:
        lines.append(("ruling", ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in one.ruling.items())))
    lines += [(f"{name} (booked)", money(value)) for name, value in one.booked_millionths.items() if value]
    lines += [("next", step) for step in one.next_steps]
    room = max(len(name) for name, _ in lines) + 2
    for name, said in lines:
        out.print(f"{name:{room}}{plain(said)}", soft_wrap=True, highlight=False)


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:g} %"


def _second(at_ms: int) -> str:
    return instant(at_ms).partition(".")[0]

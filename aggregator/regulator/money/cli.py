"""Commands about money: what tokens are worth, who is owed what, and a file by which a bank moves it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from aggregator.regulator.shared import KeyOption, WaitOption, bring_about, open_desk
from aggregator.terminal import AsJson, DataFolder, SettingsOption, instant, instant_ms, out, plain
from config.tables import Column, Table, show

CSV_BYTES_MAX: Final = 64 << 20

RATES: Final = (
    Column(heading="from (UTC)"),
    Column(heading="1,000 tokens bring", is_right=True),
    Column(heading="cost", is_right=True),
    Column(heading=""),
)
OWED: Final = (
    Column(heading="participant"),
    Column(heading="is owed", is_right=True),
    Column(heading="owes", is_right=True),
)


class Format(StrEnum):
    """What a bank, or a person, reads."""

    CSV = "csv"
    PAIN_001 = "pain.001"


def rate(
    key: KeyOption,
    since: Annotated[str, typer.Option("--from", help="When it begins to hold, such as 2026-12-01T00:00:00Z.")],
    brings: Annotated[int, typer.Option(min=0, help="Minor units of money that 1,000 tokens bring.")],
    costs: Annotated[int, typer.Option(min=1, help="Minor units of money that 1,000 tokens cost; not less.")],
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Announce what tokens are worth in money. From an instant on that is yet to come."""
    from aggregator.economy.exchange import RATE_MAX, Rate
    from aggregator.regulator.money import desk
    from config.key_files import load

    if max(brings, costs) > RATE_MAX:
        raise typer.BadParameter(f"at most {RATE_MAX} minor units for 1,000 tokens")
    from_ms, regulators_key = instant_ms(since, "--from"), load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(desk.announce(regulator, from_ms, Rate(brings, costs), regulators_key), read, regulator, wait_s)
    out.print(f"From {instant(from_ms)} UTC on, 1,000 tokens bring {brings} and cost {costs}.")


def paid(
    file: Annotated[Path, typer.Argument(help="The settlement file as CSV, without the rows that a bank did not pay.")],
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Take off the books what a bank has moved by a settlement file."""
    from aggregator.regulator.money import desk
    from aggregator.regulator.money.bank_file import read_csv
    from aggregator.terminal import read_bounded
    from config.key_files import load

    reference, amounts = read_csv(read_bounded(file, "a settlement file", CSV_BYTES_MAX))
    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(desk.paid(regulator, reference, amounts, regulators_key), read, regulator, wait_s)
    out.print(f"{plain(reference)}: {len(amounts)} amounts are off the books.")


def money(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show what tokens are worth in money, and who is owed how much. In minor units; instants are UTC."""
    from aggregator.regulator.money.desk import money_of
    from aggregator.service.query import LedgerFile
    from protocol.money import said

    with closing(LedgerFile(data)) as ledger:
        view = money_of(ledger.five)
    if as_json:
        print(json.dumps(asdict(view), indent=1))
        return
    if view.rates:
        rows = [
            [instant(one.from_ms), str(one.brings), str(one.costs), "in force" if one.is_in_force else ""]
            for one in view.rates
        ]
        show(Table(RATES, rows), out)
    else:
        out.print("No rate was announced.")
    if not view.owed_millionths:
        out.print("Nobody is owed money, and nobody owes any.")
        return
    owed = [
        [name, said(amount) if amount > 0 else "", said(-amount) if amount < 0 else ""]
        for name, amount in view.owed_millionths.items()
    ]
    show(Table(OWED, owed), out)


def bank_file(
    accounts: Annotated[Path, typer.Option(help="File with everybody's bank accounts.")],
    format_: Annotated[Format, typer.Option("--format", help="CSV for people, pain.001 for a bank.")] = Format.CSV,
    on: Annotated[str, typer.Option(help="Day on which a bank is to pay; none means that of the last block.")] = "",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; none prints it.")] = None,
    data: DataFolder = Path("data"),
) -> None:
    """Write what a bank is to move. It is everybody's money as of the last block."""
    from aggregator.regulator.money.bank_file import settlement_file, to_csv, to_pain_001
    from aggregator.regulator.money.desk import money_of
    from aggregator.service.query import LedgerFile
    from config.bank_accounts import BankAccounts
    from config.key_files import write_new
    from config.load import load

    bank = load(accounts, BankAccounts)
    with closing(LedgerFile(data)) as ledger:
        head, view = ledger.five.ledger.head, money_of(ledger.five)
    assert head is not None, "a restored ledger has a head"
    settlement = settlement_file(
        view.owed_millionths, bank, region=head.region, height=head.height, made_ms=head.time_ms
    )
    last = datetime.fromtimestamp(head.time_ms / 1000, tz=UTC).date()
    day = _day(on) if on else last
    if day < last:
        raise typer.BadParameter(f"no bank pays on {day} any more: the last block is of {last}", param_hint="--on")
    document = to_csv(settlement) if format_ is Format.CSV else to_pain_001(settlement, day)
    if output is None:
        print(document.decode(), end="")
        return
    write_new(output, document)
    out.print(
        f"{plain(settlement.reference)}: {len(settlement.payments)} amounts, {len(settlement.to_pay)} to be paid."
    )


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise typer.BadParameter(f"expected a day such as 2026-12-01, got {text!r}", param_hint="--on") from error

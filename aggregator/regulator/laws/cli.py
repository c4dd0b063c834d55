"""Commands about what is laid down: rules and permits as they are, and how the regulator changes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aggregator.regulator.shared import KeyOption, WaitOption, bring_about, open_desk
from aggregator.terminal import AsJson, DataFolder, SettingsOption, instant, instant_ms, out, plain
from config.tables import Column, Table, show

if TYPE_CHECKING:
    from aggregator.regulator.laws.desk import Difference

NEXT: Final = "next"

LAWS: Final = (Column(heading="law"), Column(heading="value"))
CHANGES: Final = (Column(heading="law"), Column(heading="until then"), Column(heading="from then on"))


def amend(
    file: Annotated[Path, typer.Argument(help="The sections that change, as in a grid file.")],
    key: KeyOption,
    since: Annotated[
        str, typer.Option("--from", help="Beginning of a settlement period, such as 2026-12-01T00:00:00Z.")
    ] = NEXT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and sign nothing.")] = False,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Change rules or permits. From a settlement period on that is yet to come."""
    from aggregator.regulator.laws import desk
    from config.amendment import AmendmentFile
    from config.key_files import load as load_key
    from config.load import load

    sections, regulators_key = load(file, AmendmentFile), load_key(key)
    with open_desk(settings) as (read, regulator):
        from_ms = desk.next_period_ms(regulator.five) if since == NEXT else instant_ms(since, "--from")
        laws = desk.amended(regulator, sections, from_ms)
        changes = list(desk.differences(regulator.asset.region.laws_at(from_ms), laws))
        sealed = desk.amend(regulator, laws, from_ms, regulators_key)
        _tell(changes)
        if dry_run:
            out.print(f"Nothing is signed. It could hold from {instant(from_ms)} UTC on.")
            return
        bring_about(sealed, read, regulator, wait_s)
    out.print(f"It holds from {instant(from_ms)} UTC on, and everybody can read it: este-aggregator rules")


def rules(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show the rules and permits in force, and those to come."""
    from aggregator.regulator.laws.desk import laws_of
    from aggregator.service.query import LedgerFile

    with closing(LedgerFile(data)) as ledger:
        view = laws_of(ledger.five)
    if as_json:
        print(json.dumps(asdict(view), indent=1))
        return
    out.print(f"In force since {instant(view.since_ms)} UTC:")
    show(Table(LAWS, [[plain(law), plain(value)] for law, value in view.now.items()]), out)
    for amendment in view.amendments:
        out.print(
            f"\n{'Changed' if amendment.is_in_force else 'To be changed'} from {instant(amendment.from_ms)} UTC on:"
        )
        _tell(amendment.differences)


def _tell(differences: Iterable[Difference]) -> None:
    rows = [[plain(one.law), plain(one.before or ""), plain(one.after or "")] for one in differences]
    show(Table(CHANGES, rows), out)

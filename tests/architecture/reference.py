"""The tables of docs/reference, drawn from the models that read the files.

Name, type and default come from the code; the last column is written by people, in the page itself, and is kept.
To bring the pages up to date after a change of a model:

    .venv/bin/python -m tests.architecture.reference

then write what the new settings mean where the page says TODO.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from config import bank_accounts, carriers, grid_model, meter_profile, model, quorum, rules, self_check
from config.settings import agent, aggregator, broker, bus, fleet, places
from tests.architecture.house import ROOT

REFERENCE = ROOT / "docs/reference"
TODO = "TODO"
HEAD = ("| setting | type and bounds | default | meaning |", "| --- | --- | --- | --- |")

NAMED_TYPES = {
    model.Name: "name",
    model.Exact: "decimal",
    places.FilePath: "path",
    places.Host: "host name or address",
    meter_profile.Pattern: "integer, 1 … 2⁶⁴ − 1",
    str: "text",
    int: "integer",
    bool: "true or false",
}
"""Type → what the pages call it, where its own shape does not say it."""

PAGES: dict[str, tuple[type[model.Model], ...]] = {
    "settings.md": (
        *(agent.AgentSettings, agent.Batching, bus.Bus, bus.SerialPort, bus.MeterAddress, bus.DeviceAddress),
        *(
            agent.StandingOrder,
            aggregator.AggregatorSettings,
            aggregator.Blocks,
            aggregator.CometBft,
            aggregator.StateSync,
            broker.Broker,
            broker.Tls,
        ),
        *(agent.ChipKey, agent.HomeAssistant, agent.Metrics, fleet.FleetSettings),
    ),
    "bank-file.md": (bank_accounts.BankAccounts, bank_accounts.BankAccount),
    "quorum-file.md": (quorum.QuorumFile, quorum.QuorumMember),
    "meter-profile.md": (
        *(meter_profile.MeterProfile, meter_profile.Block, meter_profile.Register, meter_profile.NotAvailable),
        *(meter_profile.SerialNumber, meter_profile.PowerLimit, self_check.FixedWord, self_check.SelfCheck),
    ),
    "grid-file.md": (
        *(grid_model.Grid, grid_model.Participant, grid_model.Node, grid_model.Branch, grid_model.Meter),
        *(grid_model.Generator, grid_model.Device, grid_model.Permit, rules.Rules, rules.TimeRule),
        *(rules.CarbonRule, rules.TokenRule, rules.AccountRule, rules.CongestionRule, rules.CurtailmentRule),
        *(rules.ExchangeRule, rules.RightPrice, rules.ContractRule, rules.MarketRule),
        *(carriers.Pipe, carriers.Converter, carriers.ConverterOutput, carriers.Storage),
    ),
}
"""Page → the models whose fields it lists, one table each, behind the marker ``<!-- fields of Model -->``."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    name: str
    type: str
    default: str
    meaning: str

    def __str__(self) -> str:
        return f"| `{self.name}` | {self.type} | {self.default} | {self.meaning} |"


def rows_of(kind: type[model.Model]) -> Iterator[Row]:
    """What a model says of its fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    for name, field in kind.model_fields.items():
        yield Row(name, type_of(hints[name]), default_of(field.default), TODO)


def type_of(hint: Any) -> str:
    """A type and its bounds, in words."""
    if hint in NAMED_TYPES:
        return NAMED_TYPES[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_of(arguments[0]) + bounds_of(arguments[1:])
    if origin in {typing.Union, types.UnionType}:
        return " or ".join(type_of(part) for part in arguments if part is not type(None))
    if origin is tuple:
        items = [type_of(part) for part in arguments if part is not Ellipsis]
        return f"list of {plural(items[0])}" if Ellipsis in arguments else f"[{', '.join(items)}]"
    if origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, Enum)):
        return ", ".join(f"`{getattr(choice, 'value', choice)}`" for choice in arguments or hint)
    assert issubclass(hint, model.Model), f"no word for {hint}: add it to NAMED_TYPES"
    return f"[{hint.__name__}](#{anchor_of(hint.__name__)})"


def plural(word: str) -> str:
    """Several of it; a link and a number with bounds stay as they are."""
    return f"{word}s" if word.isalpha() and word != "text" else word


def bounds_of(metadata: tuple[Any, ...]) -> str:
    """The bounds of a number, as its field declares them."""
    found: dict[str, Any] = {}
    for part in metadata:
        for inner in getattr(part, "metadata", [part]):
            found |= {key: getattr(inner, key) for key in ("ge", "gt", "le", "lt", "pattern") if hasattr(inner, key)}
    if pattern := found.get("pattern"):
        return f": {pattern.strip('^$()').replace('|', ' or ')}"
    low = found["ge"] if "ge" in found else found["gt"] + 1 if "gt" in found else None
    high = found["le"] if "le" in found else found["lt"] - 1 if "lt" in found else None
    return "" if low is None else f", {spelled(low)} … {spelled(high)}"


def spelled(number: int) -> str:
    """A number as people read it."""
    return "10¹⁵" if number == 10**15 else f"{number:,}"


def default_of(value: Any) -> str:
    """What is in force where a file says nothing."""
    if value is PydanticUndefined:
        return "**required**"
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, model.Model):
        return "as below"
    return f"`{flow(value)}`"


def flow(value: object) -> str:
    """A value as a file would spell it."""
    return f"[{', '.join(map(flow, value))}]" if isinstance(value, tuple) else str(value)


def anchor_of(heading: str) -> str:
    """Where a heading is found in its page, as GitHub spells it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def brought_up_to_date(page: str, kinds: tuple[type[model.Model], ...]) -> str:
    """The text of a page with all its tables as the models say, and the meanings as the page says."""
    for kind in kinds:
        marker = f"<!-- fields of {kind.__name__} -->\n"
        assert page.count(marker) == 1, f"the page needs one line {marker.strip()!r}"
        before, after = page.split(marker)
        found = re.match(r"\n*(?:\|.*\n)*", after)
        table, rest = (after[: found.end()], after[found.end() :]) if found else ("", after)
        meanings = dict(re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", table, re.MULTILINE))
        rows = [Row(row.name, row.type, row.default, meanings.get(row.name, TODO)) for row in rows_of(kind)]
        page = before + marker + "\n" + "\n".join([*HEAD, *map(str, rows)]) + "\n\n" + rest.lstrip("\n")
    return page.rstrip("\n") + "\n"


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page: where it is, what stands there, and what should."""
    for name, kinds in PAGES.items():
        path = REFERENCE / name
        text = path.read_text(encoding="utf-8")
        yield path, text, brought_up_to_date(text, kinds)


if __name__ == "__main__":
    for path, _, wanted in pages():
        path.write_text(wanted, encoding="utf-8")

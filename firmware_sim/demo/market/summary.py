"""The market's story in numbers, and whether all of it really happened. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from firmware_sim.demo.market.found import Breach, Found, Refusal
from firmware_sim.lane import VILLA, WORKSHOP
from protocol.money import said


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSummary:
    """What `--market --json` prints."""

    readings_read: int
    readings_on_chain: int
    readings_lost: int
    intervals_closed: int
    periods_settled: int
    statements_verified: int
    quotes: int
    """That gateways were told to sign."""
    matches: int
    """Contracts that auctions came to."""
    energy_traded_wh: int
    price_lowest: int | None
    """Of all auctions, in minor units per MWh."""
    price_highest: int | None
    contracts_settled: int
    """Of the market's, up to the end of its chapter."""
    contract_refused: Refusal | None
    """That the network does not carry."""
    breach: Breach | None
    """That was not kept, and what it cost."""
    limited_first: str
    """Whose devices were limited first when the line was full; empty if nobody's were."""
    heat_pump_kept_on: str
    """Whose heat pump went on all the while, by right."""
    line_relieved: bool
    """Whether the line carried no more than it may afterwards."""
    money_owed_millionths: Mapping[str, int]
    """By participant, in millionths of a minor unit; below 0, they owe."""
    money_sums_to_zero: bool
    """With the region's clearing account."""
    audit: str
    is_whole_story: bool = False
    """Whether every part of it happened."""

    @property
    def missing(self) -> list[str]:
        """What should have happened and did not; empty if the whole story was told."""
        wants = {
            "readings were read": self.readings_read > 0,
            "every reading is on the chain": self.readings_lost == 0,
            "a settlement period was settled": self.periods_settled > 0,
            "gateways verified statements": self.statements_verified > 0,
            "people quoted": self.quotes > 0,
            "an auction came to contracts": self.matches > 0 and self.energy_traded_wh > 0,
            "a contract of the market was settled": self.contracts_settled > 0,
            "a contract was refused for a line's limit": self.contract_refused is not None
            and self.contract_refused.rule == "LINE_FULL"
            and self.contract_refused.by_w > 0,
            "a breach was settled with its penalty": self.breach is not None
            and self.breach.missing_wh > 0
            and self.breach.penalty_millionths > 0,
            "whoever owes tokens was limited first": self.limited_first == WORKSHOP,
            "a heat pump stayed on by right": self.heat_pump_kept_on == VILLA,
            "the line was relieved": self.line_relieved,
            "money adds up to 0": self.money_sums_to_zero and bool(self.money_owed_millionths),
            "the audit re-derived everything": self.audit == "ok",
        }
        return [want for want, came_true in wants.items() if not came_true]


def summed_up(
    found: Found, *, agents: list[Mapping[str, Any]], ledger: Mapping[str, Any], money: Mapping[str, Any], audit: str
) -> MarketSummary:
    """What the programs' own commands say at the end, beside what was found on the way.

    Args:
        found: on the way.
        agents: `este-agent status` of every gateway.
        ledger: `este-aggregator status`.
        money: `este-aggregator money`.
        audit: `ok`, or what is wrong.
    """
    read = sum(agent["readings_read"] for agent in agents)
    limited = found.limited
    counted: dict[str, Any] = {
        "readings_read": read,
        "readings_on_chain": ledger["readings_on_chain"],
        "readings_lost": read - ledger["readings_on_chain"],
        "intervals_closed": ledger["intervals_closed"],
        "periods_settled": ledger["periods_settled"],
        "statements_verified": sum(agent["statements_verified"] for agent in agents),
        "quotes": found.quotes,
        "matches": found.matches,
        "energy_traded_wh": found.traded_wh,
        "price_lowest": found.low,
        "price_highest": found.high,
        "contracts_settled": found.settled,
        "contract_refused": found.refusal,
        "breach": found.breach,
        "limited_first": limited.participant if limited else "",
        "heat_pump_kept_on": limited.kept_on if limited else "",
        "line_relieved": found.relieved,
        "money_owed_millionths": money["owed_millionths"],
        "money_sums_to_zero": sum(money["owed_millionths"].values()) + money["clearing_millionths"] == 0,
        "audit": audit,
    }
    return MarketSummary(**counted, is_whole_story=not MarketSummary(**counted).missing)


def market_table(summary: MarketSummary) -> RenderableType:
    """The end of the story, for people."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    for name, told in facts_of(summary):
        table.add_row(name, Text(told, style="bold"))
    return table


def facts_of(summary: MarketSummary) -> list[tuple[str, str]]:
    """What was counted, in words."""
    refused, breach = summary.contract_refused, summary.breach
    nothing = "–"
    broken = f"{breach.missing_wh} Wh missing, a penalty of {ct(breach.penalty_millionths)}" if breach else nothing
    traded = f"{summary.quotes} quotes, {summary.matches} contracts, {summary.energy_traded_wh} Wh"
    if summary.price_lowest is not None and summary.price_highest is not None:
        traded += f", {ct_per_kwh(summary.price_lowest)} to {ct_per_kwh(summary.price_highest)}"
    return [
        ("readings", f"{summary.readings_read} read, {summary.readings_lost} lost"),
        ("market", traded),
        ("refused", f"{refused.rule}: {refused.branch} by {refused.by_w} W" if refused else nothing),
        ("broken", broken),
        ("limited first", summary.limited_first or nothing),
        ("heat pump kept on", summary.heat_pump_kept_on or nothing),
        ("line relieved", "yes" if summary.line_relieved else "no"),
        ("money", "adds up to 0" if summary.money_sums_to_zero else "does not add up"),
        ("audit", summary.audit),
    ]


def ct_per_kwh(per_mwh: int) -> str:
    """A price for people, in cents."""
    return f"{per_mwh / 1000:.1f} ct/kWh"


def ct(millionths: int) -> str:
    """Money for people, in cents."""
    return f"{said(millionths)} ct"

"""Where the market's story can be followed afterwards: commands to paste, and what each of them shows. Pure."""

from __future__ import annotations

from typing import Final

from firmware_sim.demo.market.found import Found
from firmware_sim.lane import VILLA

NUMBER_DIGITS: Final = 12
"""Of a contract's number: enough to name it."""

Try = tuple[str, tuple[str, ...]]
"""What a command of este-aggregator shows, and its arguments."""


def clues_of(found: Found, sold: str, at: str) -> list[Try]:
    """What there is to look at, of what was found.

    Args:
        found: on the way.
        sold: a quote that was traded, as ``gateway/sequence``; empty where none is known.
        at: an instant in the interval in which the line was full; empty where it never was.
    """
    tries: list[Try] = [("every contract, and where it stands", ("contracts",))]
    if found.refusal is not None:
        tries.append(("the one that the line refused, and by how much", ("contracts", _short(found.refusal.number))))
    if found.breach is not None:
        tries.append(("the one that was broken: measured, and booked", ("contracts", _short(found.breach.number))))
    if sold:
        tries.append(("what became of one quote", ("market", "quote", sold)))
    tries.append(("prices of what was traded last", ("market", "prices")))
    tries.append(("who is limited now for a full line", ("limits",)))
    if at:
        tries.append(("whose energy the villa used while its line was full", ("explain", VILLA, "--interval", at)))
    tries.append(("who is owed how much money", ("money",)))
    return tries


def _short(number: str) -> str:
    return number[:NUMBER_DIGITS]

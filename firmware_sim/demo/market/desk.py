"""Everything that the story's people do, through the commands that anybody would type. Knows no time of day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from firmware_sim.demo.children import ChildError, output_of, program
from firmware_sim.demo.market.strategies import Quoted
from firmware_sim.demo.stage import Stage
from firmware_sim.demo.theatre import ask

OVER: Final = ("rejected", "refused", "expired")
"""Stages of an offer that comes to no contract."""

_OFFER: Final = re.compile(r"^offer ([0-9a-f]+)")


class Desk:
    """Runs commands for participants, each at the gateway that their meter is behind."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._gateway_of = {one.site.meter: one.place.gateway for one in stage.scenario.connections}

    def gateway(self, meter: str) -> str:
        """The gateway that a meter is behind."""
        return self._gateway_of[meter]

    async def open_letterbox(self, meter: str) -> None:
        """Take part in sealed offers."""
        await self._agent(meter, "trade", "open")

    async def quote(self, quoted: Quoted) -> None:
        """Make a quote."""
        side = "sell" if quoted.is_sale else "buy"
        words = ["quote", side, str(quoted.quantity_wh), f"--for={quoted.participant}", f"--meter={quoted.meter}"]
        limit = [f"--limit={quoted.price_per_mwh}", f"--start={iso(quoted.start_ms)}"]
        await self._agent(quoted.meter, *words, *limit)

    async def offer(self, meter: str, *terms: str) -> str:
        """Make an offer; how its number begins."""
        said = await self._agent(meter, "trade", "offer", *terms)
        found = _OFFER.match(said)
        if found is None:
            raise ChildError(f"este-agent trade offer said no number: {said!r:.200}")
        return found[1]

    async def letter(self, meter: str, number: str) -> str | None:
        """Number of the offer that begins like this, once it has come."""
        inbox = await self._ask_agent(meter, "trade", "inbox")
        return next((one["number"] for one in inbox if one["number"].startswith(number)), None)

    async def answer(self, meter: str, number: str) -> str | None:
        """Number of the offer that answers another one, once it has come."""
        inbox = await self._ask_agent(meter, "trade", "inbox")
        return next((one["number"] for one in inbox if one["terms"]["answers"] == number), None)

    async def told(self, meter: str, number: str) -> dict[str, Any] | None:
        """An offer of which a gateway was told what has become of its contract, or that there is to be none."""
        offers = await self._ask_agent(meter, "trade", "list")
        ours = next((one for one in offers if one["number"] == number), None)
        return ours if ours and (ours["contract"] or ours["stage"] in OVER) else None

    async def records(self, meter: str) -> tuple[str, ...]:
        """Signed quotes of a meter's gateway for intervals to come, each as ``gateway/sequence``."""
        quotes = await self._ask_agent(meter, "quote", "list")
        return tuple(one["record"] for one in quotes if one["record"])

    async def counter(self, meter: str, number: str, *changes: str) -> None:
        """Answer an offer by another one."""
        await self._agent(meter, "trade", "counter", number, *changes)

    async def accept(self, meter: str, number: str) -> None:
        """Agree."""
        await self._agent(meter, "trade", "accept", number)

    async def transfer(self, meter: str, giver: str, to: str, tokens: int) -> None:
        """Give tokens away."""
        await self._agent(meter, "transfer", to, str(tokens), f"--from={giver}")

    async def save(self, meter: str, for_s: float) -> None:
        """Have what can be switched off behind a meter be off for a while; a moment switches it on again."""
        await output_of(
            [program("este-fleet"), "save", meter, f"--for={for_s}", f"--settings={self._stage.fleet_settings}"]
        )

    async def contracts(self) -> list[dict[str, Any]]:
        """Every contract, as the ledger has it."""
        found: list[dict[str, Any]] = await self._ask_ledger("contracts")
        return found

    async def _agent(self, meter: str, *command: str) -> str:
        settings = self._stage.agent_settings(self.gateway(meter))
        return await output_of([program("este-agent"), *command, f"--settings={settings}"])

    async def _ask_agent(self, meter: str, *command: str) -> Any:
        return await ask("este-agent", *command, f"--settings={self._stage.agent_settings(self.gateway(meter))}")

    async def _ask_ledger(self, *command: str) -> Any:
        return await ask("este-aggregator", *command, f"--data={self._stage.ledger}")


def iso(instant_ms: int) -> str:
    """An instant as commands take it."""
    return datetime.fromtimestamp(instant_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def window(start_ms: int, end_ms: int) -> Sequence[str]:
    """A delivery's window, as commands take it."""
    return (f"--start={iso(start_ms)}", f"--end={iso(end_ms)}")

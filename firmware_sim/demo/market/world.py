"""What chapters act in: somebody to run commands, what was heard, a clock that is handed in, and ways to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from rich.markup import escape

from firmware_sim.demo.children import ChildError
from firmware_sim.demo.market.desk import Desk
from firmware_sim.demo.market.scene import MarketScene
from firmware_sim.demo.market.strategies import Trader

ASK_S: Final = 0.7
"""Between two commands that ask for the same."""
SAID_MAX: Final = 160
"""Characters that are told of a command that failed."""

T = TypeVar("T")


@dataclass(slots=True)
class World:
    """One region, and who acts in it."""

    desk: Desk
    scene: MarketScene
    traders: tuple[Trader, ...]
    seed: int
    interval_ms: int
    gate_ms: int
    """How long before an interval its auction is cleared."""
    now_ms: Callable[[], int]
    """UTC."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Have all who wait look at what has changed."""
        self._news.set()
        self._news.clear()

    async def until(self, is_so: Callable[[], T | None]) -> T:
        """Wait until something is so; what it is then. It is looked at whenever there is news."""
        while not (found := is_so()):
            await self._news.wait()
        return found

    async def newer(self, than_ms: int) -> int:
        """Wait until an interval is published that began later; when that was."""
        return await self.until(lambda: self.scene.at_ms if self.scene.at_ms > than_ms else None)

    async def asked(self, ask: Callable[[], Awaitable[T | None]]) -> T:
        """Ask again and again, until there is an answer; a command that fails is given again, too."""
        while True:
            try:
                if found := await ask():
                    return found
            except ChildError as error:
                self.scene.tell(f"[dim]again: {escape(str(error).splitlines()[-1][:SAID_MAX])}[/]")
            await asyncio.sleep(ASK_S)

    async def done(self, do: Callable[[], Awaitable[object]]) -> None:
        """Do something; if it cannot be done yet, a little later."""

        async def once() -> bool:
            await do()
            return True

        await self.asked(once)

    def start_after(self, ahead_ms: int) -> int:
        """Start of the first interval that begins so much later."""
        return -(-(self.now_ms() + ahead_ms) // self.interval_ms) * self.interval_ms

    def contract(self, number: str) -> dict[str, Any] | None:
        """The contract whose number begins like this, once it is on the chain."""
        return next((one for key, one in self.scene.contracts.items() if key.startswith(number)), None)

    def stands(self, number: str, *states: str) -> dict[str, Any] | None:
        """The same, if it is in one of these states."""
        found = self.contract(number)
        return found if found and found["state"] in states else None

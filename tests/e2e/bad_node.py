"""A node that is not honest, or that dies at the worst moment: an honest one, with one thing changed.

python -m tests.e2e.bad_node lie|die:<question> run --settings=…
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

from aggregator import cli
from aggregator.grid.interval import IntervalPhysics
from aggregator.service.consensus.replica import Replica
from aggregator.service.keeper import Keeper


def lie() -> None:
    """Reckon that everybody's import was wind, and vote for whatever is proposed."""
    honest = IntervalPhysics.__call__

    def reckon(self: IntervalPhysics, *arguments: Any) -> Any:
        flows = honest(self, *arguments)
        return replace(flows, branches=tuple(replace(one, flow_w=one.flow_w + 10**6) for one in flows.branches))

    IntervalPhysics.__call__ = reckon  # type: ignore[method-assign]
    Replica.process_proposal = lambda self, block: True  # type: ignore[method-assign]


def die_at(question: str) -> None:
    """Be killed in the middle of a question, once there is something in a block."""

    def killed(*_: object) -> NoReturn:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("dead")

    if question == "kept":  # the file has the block, and nobody has heard of it
        Keeper.answers = killed  # type: ignore[method-assign,assignment]
    elif question == "keep":  # neither the file nor anybody has it
        Keeper.keep = killed  # type: ignore[method-assign,assignment]
    else:
        honest: Callable[..., Any] = getattr(Replica, question)

        def answer(self: Replica, asked: Any) -> Any:
            said = honest(self, asked)
            return killed() if asked.txs else said

        setattr(Replica, question, answer)


def main() -> None:
    """Become what the first argument says, then run as a node does."""
    what = sys.argv.pop(1)
    if what == "lie":
        lie()
    else:
        die_at(what.removeprefix("die:"))
    cli.main()


if __name__ == "__main__":
    main()

"""``python -m benchmarks [NAME ...]``: measure everything, or what is named.

Exit status 1 if a figure misses its limit.
"""

from __future__ import annotations

import sys

from benchmarks import (
    agent,
    backlog,
    contracts,
    dead_meters,
    engine,
    grid,
    ingest,
    ledger,
    light,
    many_meters,
    market,
    peers,
    settlement,
    validators,
)

MEASURES = {
    "ingest": ingest.measure,
    "ledger": ledger.measure,
    "engine": engine.measure,
    "validators": validators.measure,
    "settlement": settlement.measure,
    "contracts": contracts.measure,
    "grid": grid.measure,
    "market": market.measure,
    "light": light.measure,
    "agent": agent.measure,
    "backlog": backlog.measure,
    "many_meters": many_meters.measure,
    "dead_meters": dead_meters.measure,
    "peers": peers.measure,
}


def main(names: list[str]) -> int:
    """Print each figure as it is measured."""
    unknown = sorted(set(names) - set(MEASURES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(MEASURES)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names or MEASURES:
        for figure in MEASURES[name]():
            print(figure, flush=True)
            missed += not figure.holds
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

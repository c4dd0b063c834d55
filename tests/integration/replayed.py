"""Replays an exported ledger and prints every block's digest: run as a program of its own, on a Python of any kind.

    python -m tests.integration.replayed FILE [--pure-decimal] [--physics]

It makes each block anew from its envelopes, whatever digest the file tells. It needs no more than the pure rooms do;
with ``--physics`` it also does the physics of every interval again, as an audit does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if "--pure-decimal" in sys.argv:
    sys.modules["_decimal"] = None  # type: ignore[assignment]  # decimal then falls back to Python's own code

import decimal

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.five import wire
from aggregator.service.history import PastBlock, PastEntry
from aggregator.service.portable import PortableLedger
from protocol.checkpoint import BlockHead


def digests(path: Path) -> list[str]:
    """The digest of every block, from the envelopes alone."""
    made = []
    with PortableLedger(path) as history:
        five, items = None, history.items()
        for block in items:
            assert isinstance(block, PastBlock)
            envelopes = [
                entry.envelope for entry in (next(items) for _ in range(block.records)) if isinstance(entry, PastEntry)
            ]
            if five is None:
                records = [open_genesis(envelopes[0])]
                five = wire(records[0].link.region, _nobody_asks)
            else:
                records = [five.ledger.check(envelope) for envelope in envelopes]
            made.append(five.ledger.finalize(BlockHead.decode(block.head).time_ms, records).head.digest.hex())
            five.ledger.commit()
    return made


def _nobody_asks(*_: object) -> object:
    raise NotImplementedError("physics is done again before a vote, and here nobody votes")


def main(path: Path) -> None:
    """Print what was made, and on what."""
    if "--physics" in sys.argv:
        from aggregator.service.audit import audit_file

        audit_file(path)
    is_pure = decimal.Decimal.__module__ == "_pydecimal" or "_decimal" not in sys.modules or not sys.modules["_decimal"]
    told = {"python": sys.version_info[:2], "pure_decimal": is_pure, "optimized": sys.flags.optimize}
    print(json.dumps(told | {"digests": digests(path)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

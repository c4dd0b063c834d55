"""What the regulator's commands share: their options, the open desk, a person who compares, a record brought about."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.terminal import err

if TYPE_CHECKING:
    from aggregator.regulator.desk import Regulator, Sealed
    from config.settings.aggregator import AggregatorSettings
    from protocol.crypto import PublicKey

KeyOption = Annotated[Path, typer.Option("--key", help="The regulator's private key.")]
WaitOption = Annotated[float, typer.Option("--wait-s", min=0, help="How long to wait until the node has taken it.")]


@contextmanager
def open_desk(settings: Path) -> Iterator[tuple[AggregatorSettings, Regulator]]:
    """The settings of a node, and the regulator in front of its ledger as of the last block.

    Raises:
        OperatorError: the settings are wrong, or there is no such ledger.
    """
    from aggregator.regulator.desk import Regulator
    from config.load import load
    from config.settings.aggregator import AggregatorSettings

    read = load(settings, AggregatorSettings)
    regulator = Regulator(read)
    try:
        yield read, regulator
    finally:
        regulator.close()


def compare(key: PublicKey, told: str | None, who: str) -> None:
    """See that a person has seen this key's fingerprint where it was made.

    Raises:
        RegulatorError: it is another one, or nobody is here to compare.
    """
    from aggregator.regulator.desk import RegulatorError, is_fingerprint_of

    if told is not None:
        if not is_fingerprint_of(key.thumbprint, told):
            raise RegulatorError("the request's key has another fingerprint than the one that was given")
        return
    if not sys.stdin.isatty():
        raise RegulatorError(f"nobody is here to compare: give --fingerprint as {who} shows it")
    if not typer.confirm(f"Does {who} show the same?"):
        raise RegulatorError("not admitted: the fingerprints differ")


def bring_about(sealed: Sealed, settings: AggregatorSettings, regulator: Regulator, wait_s: float) -> None:
    """Publish a record, and wait until the ledger has it.

    Raises:
        EsteError: it is not there in time, or never will be.
    """
    from aggregator.regulator import runner

    with err.status(f"record {sealed.sequence} goes to the broker; waiting for the node's next block …"):
        runner.bring_about(sealed, settings, regulator, wait_s)

"""A record of the regulator's on its way: published, looked for in the ledger, and kept until it is there.

The regulator signs no two records with one number. A command that was broken off has signed one that may still be on
its way; so what was signed is kept beside the ledger before it leaves, and if it is not in the ledger when the next
command comes, it is sent again before anything else is signed in its place.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from aggregator.service.mqtt_port import Visit
from config.settings.aggregator import AggregatorSettings
from protocol.canonical import decode
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope
from protocol.errors import EncodingError, OperatorError
from protocol.link import Link
from protocol.topics import Kind, Topic

TAKEN_EVERY_S: Final = 0.2
"""How often the ledger is asked whether a record is there."""

SENT_NAME: Final = "regulator.sent"
"""In the folder of the ledger: the envelope that was signed last."""


def bring_about(sealed: Sealed, settings: AggregatorSettings, regulator: Regulator, wait_s: float) -> None:
    """Publish a record, and wait until the ledger has it.

    Raises:
        OperatorError: no node runs on this ledger, or what is sent cannot be kept.
        RegulatorError: another record with this number was on its way, and is in the ledger now; or this one does not
            get there in time, or is refused.
    """
    regulator.check_running()
    earlier = earlier_than(sealed, settings.data / SENT_NAME, regulator.region)
    if earlier is not None:
        _send(earlier, settings, regulator, wait_s)
        raise RegulatorError(
            f"record {earlier.sequence} of an earlier command was still on its way, and is in the ledger now: look at"
            " the members, and say this command again"
        )
    keep(sealed, settings.data / SENT_NAME)
    _send(sealed, settings, regulator, wait_s)


def earlier_than(sealed: Sealed, path: Path, region: str) -> Sealed | None:
    """What was signed before under the number of `sealed`, with other words; None if nothing was.

    Raises:
        OperatorError: the file of what was sent last cannot be read.
    """
    try:
        kept = Envelope.parse(path.read_bytes())
        link = Link.from_fields(decode(kept.payload, size_max=ENVELOPE_BYTES_MAX))
    except FileNotFoundError:
        return None
    except (OSError, EncodingError) as error:
        raise OperatorError(path, "", "the record that was sent last", str(error)) from error
    new = Envelope.parse(sealed.envelope)
    if kept.key_id != new.key_id or kept.data == new.data or link.sequence != sealed.sequence:
        return None
    return Sealed(link.sequence, kept.data, str(Topic(region, link.author, Kind.RECORD)))


def keep(sealed: Sealed, path: Path) -> None:
    """Write down what is about to be sent.

    Raises:
        OperatorError: it cannot be written; then it must not be sent.
    """
    aside = path.with_name(path.name + ".new")
    try:
        with aside.open("wb") as file:
            file.write(sealed.envelope)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        expected = "a place to keep what the regulator signs"
        raise OperatorError(path, "", expected, error.strerror or str(error)) from error


def _send(sealed: Sealed, settings: AggregatorSettings, regulator: Regulator, wait_s: float) -> None:
    height = regulator.height
    asyncio.run(Visit(settings.broker, settings.region).publish(sealed.topic, sealed.envelope))
    until_s = time.monotonic() + wait_s
    while not regulator.is_taken(sealed):
        if time.monotonic() > until_s:
            raise RegulatorError(
                f"the node has not taken the record within {wait_s:g} s: {_why_not(sealed, regulator, height)}; the"
                " command can be repeated"
            )
        time.sleep(TAKEN_EVERY_S)


def _why_not(sealed: Sealed, regulator: Regulator, height: int) -> str:
    """What may keep a record from the ledger, as far as is seen from beside it."""
    if regulator.asset.validators() and regulator.height == height:
        return "no block has been decided meanwhile, so see whether nodes with more than two thirds of the votes run"
    return f"see its log, and whether the broker's access list lets it write {sealed.topic}"

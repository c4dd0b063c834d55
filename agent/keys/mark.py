"""How far a key has signed, remembered beside the key: an outbox that knows less is not the one that it signed from.

A number is signed once per key: two records with one number, under one key, are evidence that ends it. The outbox sees
to that as long as it is the one that it was. If its folder is lost, or put back from an older copy, it would begin
again with numbers that the key has used; so the highest of them is written down in another place, at the first record
that leaves, at every thousandth, and at start and end. Where key and outbox are put back together from one old copy,
nothing on the machine can tell: docs/how-to/enrol-a-gateway.md says what to do then.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from agent.log import Log
from config import key_files
from config.settings.agent import AgentSettings
from protocol.crypto import PublicKey
from protocol.errors import OperatorError

EVERY: Final = 1000
"""Records between two marks while the agent runs: a memory card wears out by writing."""

THUMBPRINT_DIGITS: Final = 16

log = Log("mark")


class Mark:
    """The highest number that one key is known to have signed."""

    def __init__(self, settings: AgentSettings, key: PublicKey) -> None:
        """Read the mark, if there is one.

        Raises:
            OperatorError: the file is there, and is no mark.
        """
        beside = settings.key_file or settings.aggregator_key_file
        self.path: Path = beside.with_name(f"signed-{key.thumbprint.hex()[:THUMBPRINT_DIGITS]}")
        self.sequence = self._read()
        self.left = 0
        """The highest number that has left in this run."""
        self._is_told = False

    def check(self, last_signed: int) -> None:
        """See that an outbox whose last record is `last_signed` knows all that this key has signed.

        Raises:
            OperatorError: it does not.
        """
        if last_signed < self.sequence:
            expected = (
                f"the outbox from which this key has signed {self.sequence} records. If that is lost, the key must sign"
                " nothing more: este-agent enrol --new-key, or the chip's next key, admitted with --replace"
            )
            raise OperatorError("the outbox", "", expected, f"one that knows of {last_signed}")

    def check_slip(self, ledger_last: int, last_signed: int) -> None:
        """See that the ledger has no more from this gateway than an outbox that has had receipts.

        Raises:
            OperatorError: it has, and the key has signed before: the outbox is an older copy.
        """
        if self.sequence and last_signed < ledger_last:
            expected = (
                "a key that has signed nothing yet, since this outbox is an older copy: este-agent enrol --new-key"
            )
            got = (
                f"one that has signed, where the ledger has record {ledger_last} and the outbox ends with {last_signed}"
            )
            raise OperatorError("admission", "key_id", expected, got)

    def leaves(self, sequence: int) -> bool:
        """Take note that record `sequence` is about to leave; whether the mark has to be moved before it does."""
        self.left = max(self.left, sequence)
        return self.sequence == 0 or sequence >= self.sequence + EVERY

    def move(self, sequence: int) -> None:
        """Write down that this key has signed up to `sequence`; where that cannot be done, say so once and go on."""
        if sequence <= self.sequence:
            return
        aside = self.path.with_name(self.path.name + ".new")
        try:
            with aside.open("w", encoding="ascii") as file:
                file.write(f"{sequence}\n")
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.path)
            key_files.sync_folder(self.path.parent)
        except OSError as error:
            if not self._is_told:
                log.warning("a lost outbox would not be noticed", file=str(self.path), reason=error.strerror)
            self._is_told = True
        self.sequence = sequence

    def _read(self) -> int:
        try:
            text = self.path.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(self.path, "", "a number, as the agent wrote it", str(error)) from error
        if not text.strip().isdecimal():
            raise OperatorError(self.path, "", "a number, as the agent wrote it", f"{text!r:.40}")
        return int(text)

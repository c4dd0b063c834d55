"""Envelopes that have been opened, so that the same bytes are verified once, however often consensus asks about them.

CometBFT asks about a transaction when it comes, when it is proposed, when it is decided on, and again after every block
that it waits through. A signature does not change meanwhile; whether its key still counts does, and is asked each time
(`Ledger.propose`). Used from several threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from aggregator.ledger.record import Record
from protocol.crypto import digest_of


class Opened:
    """The records that were opened last, by the digest of their bytes."""

    def __init__(self, check: Callable[[bytes], Record], records_max: int, bytes_max: int) -> None:
        """Remember so many records, and envelopes of so many bytes; a record takes a few times those of its envelope.

        `check` opens an envelope, in any thread, or raises `Refused`.
        """
        self._check = check
        self._records_max = records_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._records: OrderedDict[bytes, Record] = OrderedDict()
        self._lock = Lock()

    def open(self, data: bytes) -> Record:
        """Open an envelope, or remember what it was.

        Raises:
            Refused: with the first rule that it breaks. That is not remembered: a key may be admitted later.
        """
        digest = digest_of(data)
        with self._lock:
            known = self._records.get(digest)
        if known is not None:
            return known
        record = self._check(data)
        with self._lock:
            if digest not in self._records:
                self._records[digest] = record
                self._bytes += len(data)
            while len(self._records) > self._records_max or self._bytes > self._bytes_max:
                _, oldest = self._records.popitem(last=False)
                self._bytes -= len(oldest.envelope.data)
        return record

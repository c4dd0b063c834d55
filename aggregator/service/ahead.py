"""Signatures of a long history verified ahead of their turn, in a process of their own, while the replay goes on.

A signature is good for a key for ever; whether the key counts is asked when the turn comes. So what is found here only
spares the replay the same work: what is not found, or was found for another key, is verified in its turn.

A process and not a thread, though OpenSSL works without Python's lock: the replay holds that lock all the time, and
handing it over for each signature costs what verifying it does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from threading import Thread
from typing import Final

from aggregator.ledger.record import AuthorOf, Verified
from aggregator.service.history import HistoryError, PastBlock, PastEntry
from protocol.crypto import PublicKey
from protocol.envelope import Envelope, signed_bytes
from protocol.errors import EsteError, SignatureError

SHORT_ITEMS: Final = 2048
"""A history of no more is over before a process has begun."""
CHUNK_ITEMS: Final = 128
"""What is handed over at a time, and"""
CHUNK_BYTES_MAX: Final = 1 << 20
"""about how much of it at most, but for the last of them."""
CHUNKS_MAX: Final = 16
"""How many chunks may be under way."""
KEYS_KEPT_MAX: Final = 1 << 14

Item = PastBlock | PastEntry
Told = tuple[Item, Verified | None]
"""A part of a history, and what was found out about it before its turn."""

Signed = tuple[bytes, bytes, bytes, bytes]
"""A key's point, a protected header, a payload, and the signature over both."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some items under way: where there is a signature to verify, by whom, and the verdicts to come."""

    items: Sequence[Item]
    claims: Sequence[Verified | None]
    verdicts: Future[list[bool]]

    def told(self) -> Iterator[Told]:
        """What came of it. Where the other process has died, nothing did."""
        try:
            verdicts = iter(self.verdicts.result())
        except BrokenExecutor:
            verdicts = iter([False] * len(self.items))
        for item, claim in zip(self.items, self.claims, strict=True):
            yield item, claim if claim is not None and next(verdicts) else None


class Ahead:
    """Reads a history ahead."""

    def __init__(self, region: str, author_of: AuthorOf) -> None:
        """
        Args:
            region: whose history it is said to be.
            author_of: who holds a key, as far as is known yet.
        """
        self._region = region
        self._author_of = author_of

    def read(self, items: Iterator[Item]) -> Generator[Told, None, None]:
        """A history, item by item, with what could be verified ahead.

        Raises:
            HistoryError: it cannot be read on; raised after all that comes before.
        """
        yield from ((item, None) for item in islice(items, SHORT_ITEMS))
        if (next_one := next(items, None)) is None:
            return
        yield next_one, None
        spawning = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=spawning, initializer=_be_a_child)
        try:
            yield from self._read(items, pool)
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, items: Iterator[Item], pool: ProcessPoolExecutor) -> Iterator[Told]:
        under_way, broken = deque[_Chunk](), None
        chunks = _chunks(items)
        while True:
            try:
                chunk = next(chunks, None)
            except HistoryError as error:
                chunk, broken = None, error
            if chunk is not None:
                under_way.append(self._begin(chunk, pool))
            if chunk is None or len(under_way) == CHUNKS_MAX:
                if not under_way:
                    break
                yield from under_way.popleft().told()
        if broken is not None:
            raise broken

    def _begin(self, items: Sequence[Item], pool: ProcessPoolExecutor) -> _Chunk:
        claims = [self._claim(item) for item in items]
        signed = [_signed(claim) for claim in claims if claim is not None]
        try:
            return _Chunk(items, claims, pool.submit(_verify, self._region, signed))
        except BrokenExecutor as error:
            verdicts: Future[list[bool]] = Future()
            verdicts.set_exception(error)
            return _Chunk(items, claims, verdicts)

    def _claim(self, item: Item) -> Verified | None:
        """What is to be found out about an item; None if it is to wait for its turn."""
        if not isinstance(item, PastEntry):
            return None
        try:
            envelope = Envelope.parse(item.envelope)
        except EsteError:
            return None  # it is told in its turn, and in its place
        author = self._author_of(envelope.key_id)
        return None if author is None else Verified(envelope, author.key, self._region)


def _chunks(items: Iterator[Item]) -> Iterator[Sequence[Item]]:
    chunk, size = list[Item](), 0
    try:
        for item in items:
            chunk.append(item)
            size += len(item.envelope) if isinstance(item, PastEntry) else 0
            if len(chunk) == CHUNK_ITEMS or size > CHUNK_BYTES_MAX:
                yield chunk
                chunk, size = [], 0
    except HistoryError:
        yield chunk
        raise
    yield chunk


def _signed(claim: Verified) -> Signed:
    envelope = claim.envelope
    return claim.key.point, envelope.protected, envelope.payload, envelope.signature


# -- In the other process


def _be_a_child() -> None:
    """Leave interrupts to the parent, and end with it, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "called in a child"
    parent.join()
    os._exit(1)


@lru_cache(maxsize=KEYS_KEPT_MAX)
def _key(point: bytes) -> PublicKey:
    return PublicKey(point)


def _verify(region: str, signed: Sequence[Signed]) -> list[bool]:
    return [_is_good(region, *one) for one in signed]


def _is_good(region: str, point: bytes, protected: bytes, payload: bytes, signature: bytes) -> bool:
    try:
        _key(point).verify(signature, signed_bytes(protected, region.encode(), payload))
    except SignatureError:
        return False
    return True

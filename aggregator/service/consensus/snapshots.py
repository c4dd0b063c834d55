"""Snapshots of this node's state for those who join, in files; and one of theirs, on its way in.

    data/snapshots/<engine height>/manifest, 0, 1, 2, …

A folder is complete once it bears its final name. The newest few are kept, and beside them those that somebody was told
of: CometBFT looks around for 15 s before it takes one up, and a busy region has made newer ones until then.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from aggregator.chains.five import Five, wire
from aggregator.engine.cometbft.application import (
    CHUNK_BYTES_MAX,
    ChunkApplied,
    ChunkVerdict,
    OfferVerdict,
    Snapshot,
)
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.ledger import Ledger
from aggregator.ledger.snapshot import Manifest, restore, take
from protocol.crypto import digest_of
from protocol.errors import EncodingError, ProofError

FORMAT: Final = 1
KEPT: Final = 3
"""Who has begun with one has time to end, while two newer ones are made."""
HELD_MS: Final = 600_000
"""So long those that somebody was told of are there, and no others on offer: who joins meanwhile takes the same."""
MANIFEST: Final = "manifest"

log = structlog.get_logger("este.snapshots")


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot of others that adds up."""

    five: Five
    manifest: Manifest
    height: int
    """The engine's, that it is as of."""


@dataclass(slots=True)
class _Coming:
    """A snapshot that was accepted, and what has come of it."""

    offered: Snapshot
    manifest: Manifest
    parts: list[bytes]


class Snapshots:
    """What a node has for others, and takes from them."""

    def __init__(
        self, folder: Path, every: int, now_ms: Callable[[], int], part_bytes_max: int = CHUNK_BYTES_MAX
    ) -> None:
        """`every` so many blocks of the engine one is taken; 0 for never. `now_ms` is a clock that only goes on."""
        self._folder = folder
        self._every = every
        self._now_ms = now_ms
        self._part_bytes_max = part_bytes_max
        self._held: tuple[int, ...] = ()
        """Heights of the snapshots that somebody was told of."""
        self._held_until_ms = 0
        self._coming: _Coming | None = None

    def take(self, height: int, ledger: Ledger) -> None:
        """Take one, if its turn has come. Where the disk is full there is none, and nothing else is lost."""
        if not self._every or height % self._every:
            return
        try:
            self._write(height, *take(ledger, self._part_bytes_max))
        except OSError as error:
            shutil.rmtree(self._beside(height), ignore_errors=True)
            log.warning("no snapshot could be taken", height=height, why=str(error))

    def on_offer(self) -> Sequence[Snapshot]:
        """Those that are held for somebody who was told of them, else the newest; newest first.

        Without what the disk has lost, after a power cut for instance.
        """
        described = [self._describe(height) for height in reversed(self._heights())]
        there = [snapshot for snapshot in described if snapshot is not None]
        held = self._still_held()
        if held:
            return [snapshot for snapshot in there if snapshot.height in held]
        self._held = tuple(snapshot.height for snapshot in there)
        self._held_until_ms = self._now_ms() + HELD_MS
        return there

    def chunk(self, height: int, format_: int, index: int) -> bytes:
        """One part; empty if it is not there any more."""
        try:
            return (self._folder / str(height) / str(index)).read_bytes() if format_ == FORMAT else b""
        except OSError:
            return b""

    def offer(self, snapshot: Snapshot, app_hash: bytes) -> OfferVerdict:
        """Whether a snapshot may be taken up: it has to be of the head that a light client has verified."""
        if snapshot.format != FORMAT:
            return OfferVerdict.REJECT_FORMAT
        try:
            manifest = Manifest.decode(snapshot.metadata)
            manifest.check()
        except (EncodingError, ProofError) as error:
            log.warning("a snapshot that does not hang together", height=snapshot.height, why=str(error))
            return OfferVerdict.REJECT_SENDER
        is_sound = snapshot.hash == digest_of(snapshot.metadata) and snapshot.chunks == len(manifest.parts)
        if not is_sound or manifest.head.digest != app_hash:
            return OfferVerdict.REJECT
        self._coming = _Coming(snapshot, manifest, [])
        return OfferVerdict.ACCEPT

    def apply(self, index: int, chunk: bytes, sender: str, region: str) -> tuple[ChunkApplied, Taken | None]:
        """Take in one part, in order; the last one brings the whole, if it adds up."""
        coming = self._coming
        if coming is None or index != len(coming.parts):
            return ChunkApplied(ChunkVerdict.RETRY_SNAPSHOT), None
        if digest_of(chunk) != coming.manifest.parts[index]:
            return ChunkApplied(ChunkVerdict.RETRY, refetch=(index,), reject_senders=(sender,)), None
        coming.parts.append(chunk)
        if len(coming.parts) < len(coming.manifest.parts):
            return ChunkApplied(ChunkVerdict.ACCEPT), None
        self._coming = None
        five = wire(region, IntervalPhysics())
        try:
            restore(five.ledger, coming.manifest, coming.parts)
        except (EncodingError, ProofError) as error:
            log.warning("a snapshot that does not add up", height=coming.offered.height, why=str(error))
            return ChunkApplied(ChunkVerdict.REJECT_SNAPSHOT), None
        return ChunkApplied(ChunkVerdict.ACCEPT), Taken(five, coming.manifest, coming.offered.height)

    def _write(self, height: int, manifest: Manifest, parts: Sequence[bytes]) -> None:
        beside = self._beside(height)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True, mode=0o700)
        (beside / MANIFEST).write_bytes(manifest.encode())
        for index, part in enumerate(parts):
            (beside / str(index)).write_bytes(part)
        beside.rename(self._folder / str(height))
        held = self._still_held()
        for old in self._heights()[:-KEPT]:
            if old not in held:
                shutil.rmtree(self._folder / str(old), ignore_errors=True)

    def _still_held(self) -> tuple[int, ...]:
        return self._held if self._now_ms() < self._held_until_ms else ()

    def _beside(self, height: int) -> Path:
        return self._folder / f"{height}.new"

    def _heights(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        return sorted(int(one.name) for one in self._folder.iterdir() if one.name.isdecimal())

    def _describe(self, height: int) -> Snapshot | None:
        try:
            data = (self._folder / str(height) / MANIFEST).read_bytes()
            chunks = len(Manifest.decode(data).parts)
        except (OSError, EncodingError) as error:
            log.debug("a snapshot that cannot be read any more", height=height, why=str(error))
            return None
        return Snapshot(height=height, format=FORMAT, chunks=chunks, hash=digest_of(data), metadata=data)

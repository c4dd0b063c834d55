"""The five logs as static files, for any web server: checkpoints, tiles, and entries where that is wanted.

What lies there is verified by whoever fetches it, with no word of este's: tiles against the root of a signed note
(c2sp.org/tlog-checkpoint), which witnesses cosign. Every file appears whole, and the checkpoints last, so a reader
never sees one whose tiles are not there yet. Publishing again adds what is new.

    <folder>/block                          the node's checkpoint, in este's words, of the block that all this is of;
                                            none where its word did not count, and it has signed nothing for the block
    <folder>/<chain>/checkpoint             the head of that chain's log, as a signed note
    <folder>/<chain>/tile/<level>/<number>  hashes
    <folder>/<chain>/tile/entries/<number>  what was hashed: envelopes, and what blocks brought about
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.service.store import Store
from aggregator.service.stored import StoreError
from aggregator.service.tiles import ENTRIES, ENTRY_BYTES_MAX, LARGE_ENTRIES, Tile, spelled_bundle, tiles_of
from config.key_files import sync_folder
from protocol.checkpoint import BlockHead, ChainName, LogHead
from protocol.crypto import Ed25519Key
from protocol.errors import MessageError, OperatorError
from protocol.note import NOTE_BYTES_MAX, LogText, is_origin, open_note, sign_note, verifier_key

PUBLIC: Final = 0o644


@dataclass(frozen=True, slots=True)
class Published:
    """One log, as it now lies there."""

    chain: str
    origin: str
    size: int
    files: int
    """How many files were new."""
    verifier_key: str
    """What readers need: give it to them on another way than the files."""


class Publisher:
    """Writes the logs of one ledger into one folder."""

    def __init__(self, store: Store, folder: Path, key: Ed25519Key, origin: str, *, with_entries: bool) -> None:
        """`origin` names the logs for all the world; each log's own is ``origin/chain``.

        Raises:
            OperatorError: the origin cannot be one.
        """
        if not is_origin(f"{origin}/{max(ChainName, key=lambda chain: len(chain.name)).name}"):
            raise OperatorError("command line", "--origin", "a short URL without its scheme, spaces and plus", origin)
        self._store = store
        self._folder = folder
        self._key = key
        self._origin = origin
        self._with_entries = with_entries

    def publish(self) -> list[Published]:
        """Publish everything up to the newest block.

        Raises:
            OperatorError: the folder cannot be written, or holds what this ledger does not continue: no log may sign
                two histories.
            StoreError: the ledger cannot be read.
        """
        head = self._store.last_block()
        kept = self._store.block(head.height) if head else None
        if head is None or kept is None:
            raise StoreError("the ledger has no genesis")
        for chain in ChainName:
            self._check_continues(chain, head.log(chain))
        try:
            files = {chain: self._write_log(chain, head.log(chain).size) for chain in ChainName}
            for chain in ChainName:
                log = head.log(chain)
                note = sign_note(LogText(self._origin_of(chain), log.size, log.root), self._key)
                _write(self._log_folder(chain) / "checkpoint", [note])
            self._write_block(kept[1])
            for chain in ChainName:
                self._drop_parts(chain, head.log(chain).size)
        except OSError as error:
            raise OperatorError(self._folder, "", "a place to write to", error.strerror or str(error)) from error
        return [self._published(chain, head, files[chain]) for chain in ChainName]

    def _write_block(self, checkpoint: bytes) -> None:
        """Publish the node's checkpoint. Where it has none, the one of an earlier block would be of other logs."""
        if checkpoint:
            _write(self._folder / "block", [checkpoint])
        else:
            (self._folder / "block").unlink(missing_ok=True)

    def _check_continues(self, chain: ChainName, log: LogHead) -> None:
        """See that the log goes on from what was signed before, as every log must."""
        path = self._log_folder(chain) / "checkpoint"
        try:
            with path.open("rb") as file:
                note = file.read(NOTE_BYTES_MAX + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OperatorError(path, "", "a checkpoint that can be read", error.strerror or str(error)) from error
        try:
            before = open_note(note, self._origin_of(chain), self._key.public)
        except MessageError as error:
            raise OperatorError(path, "", "a checkpoint of this log, signed with this key", str(error)) from error
        if before.size > log.size or self._store.log(chain, before.size).root() != before.root:
            expected = f"a ledger that goes on from the {before.size} leaves that were signed before"
            raise OperatorError(path, "", expected, f"another one, of {log.size}: two histories under one name")

    def _write_log(self, chain: ChainName, size: int) -> int:
        """Write what is not there yet of one log; how many files that was."""
        folder, written = self._log_folder(chain), 0
        for tile in tiles_of(size):
            level = tile.level
            assert isinstance(level, int), "tiles of hashes have a number"
            if not (folder / tile.path).exists():
                _write(folder / tile.path, self._hashes(chain, level, tile))
                written += 1
            if level == 0 and self._with_entries:
                written += self._write_bundle(chain, tile)
        return written

    def _hashes(self, chain: ChainName, level: int, tile: Tile) -> list[bytes]:
        found = self._store.nodes(chain, 8 * level, tile.first, tile.last)
        if [position for position, _ in found] != list(range(tile.first, tile.last + 1)):
            raise StoreError(f"the {chain.name.lower()} log lacks hashes of its tile {tile.path}")
        return [digest for _, digest in found]

    def _write_bundle(self, chain: ChainName, tile: Tile) -> int:
        """Write the entries below a tile; where one is too large for the format, beside where readers look for them."""
        folder = self._log_folder(chain)
        plain, large = tile.bundle(ENTRIES), tile.bundle(LARGE_ENTRIES)
        if (folder / plain.path).exists() or (folder / large.path).exists():
            return 0
        is_large = any(len(body) > ENTRY_BYTES_MAX for body in self._bodies(chain, tile))
        _write(
            folder / (large if is_large else plain).path, spelled_bundle(self._bodies(chain, tile), is_large=is_large)
        )
        return 1

    def _bodies(self, chain: ChainName, tile: Tile) -> Iterable[bytes]:
        return (leaf.body for leaf in self._store.leaves_between(chain, tile.first, tile.last))

    def _drop_parts(self, chain: ChainName, size: int) -> None:
        """Remove narrower tiles whose full one is there: the format allows it, and nobody needs them any more."""
        for tile in tiles_of(size):
            if tile.is_full:
                kinds = (tile, tile.bundle(ENTRIES), tile.bundle(LARGE_ENTRIES)) if tile.level == 0 else (tile,)
                for kind in kinds:
                    shutil.rmtree(self._log_folder(chain) / kind.parts, ignore_errors=True)

    def _log_folder(self, chain: ChainName) -> Path:
        return self._folder / chain.name.lower()

    def _origin_of(self, chain: ChainName) -> str:
        return f"{self._origin}/{chain.name.lower()}"

    def _published(self, chain: ChainName, head: BlockHead, files: int) -> Published:
        origin = self._origin_of(chain)
        vkey = verifier_key(origin, self._key.public)
        return Published(chain.name.lower(), origin, head.log(chain).size, files, vkey)


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file for everybody to read, whole or not at all, in place of the one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), PUBLIC)
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)

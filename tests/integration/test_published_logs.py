"""The logs as static tiles: what Go's own transparency log code makes of them, and what is never signed."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from aggregator.service.publish import Published, Publisher
from aggregator.service.store import Store
from config.key_files import note_key
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import Ed25519Key
from protocol.envelope import Envelope, seal
from protocol.errors import OperatorError
from protocol.messages import MessageType
from protocol.note import open_note
from tests.village import Village, a_grid, a_grid_document

ORIGIN = "example.com/village"
KEY = Ed25519Key.generate()


class Kept:
    """A village whose blocks are kept on disk."""

    def __init__(self, folder: Path, village: Village | None = None) -> None:
        self.village = village or Village()
        self.store = Store.create(folder)
        self.kept = 0

        self.signs = True
        """Whether the node's word counts, so that it signs for its blocks."""
        self.keep()

    def keep(self) -> None:
        for block in self.village.blocks[self.kept :]:
            key, checkpoint = self.village.keys["node"], b""
            if self.signs:
                head = block.head.encode()
                checkpoint = seal(key, region=block.head.region, type_=MessageType.CHECKPOINT, payload=head)
            self.store.write(block, checkpoint, [])
        self.kept = len(self.village.blocks)

    def batches(self, count: int) -> None:
        """So many batches in one block."""
        records = []
        for _ in range(count):
            batch = self.village.a_batch(seconds=1)
            self.village.now_ms += 1000
            records.append(self.village.record(self.village.sign(batch, MessageType.BATCH)))
        self.village.close(records)
        self.keep()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    folder = tmp_path / "data"
    folder.mkdir()
    made = Kept(folder)
    yield made
    made.store.close()


def publish(kept: Kept, folder: Path, *, with_entries: bool = True, key: Ed25519Key = KEY) -> dict[str, Published]:
    published = Publisher(kept.store, folder, key, ORIGIN, with_entries=with_entries).publish()
    return {log.chain: log for log in published}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# -- A second opinion


@pytest.fixture(scope="session")
def tiles_go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that asks Go's own code, built."""
    program = tmp_path_factory.mktemp("go") / "tiles"
    source = Path(__file__).parent / "tiles_go"
    built = subprocess.run(
        ["go", "build", "-mod=readonly", "-o", program, "."], cwd=source, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return program


def asked(program: Path, folder: Path, log: Published, older: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [program, folder / log.chain, log.verifier_key, *([older] if older else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.go
def test_go_verifies_every_log_at_every_size(kept: Kept, tmp_path: Path, tiles_go: Path) -> None:
    """Note, tiles, inclusion of every entry, and that each published log goes on from the one before."""
    folder, older = tmp_path / "public", tmp_path / "older"
    for count in (3, 250, 3, 1, 300):
        kept.batches(count)
        published = publish(kept, folder)
        for log in published.values():
            before = older / log.chain / "checkpoint"
            found = asked(tiles_go, folder, log, before if before.exists() else None)
            assert found.stdout == f"{log.size} leaves, {log.size} entries included\n", found.stderr
        shutil.copytree(folder, older, dirs_exist_ok=True)
    assert published["data"].size == 557
    assert (folder / "data/tile/1/000.p/2").stat().st_size == 64


@pytest.mark.go
def test_go_finds_a_changed_tile_entry_and_note(kept: Kept, tmp_path: Path, tiles_go: Path) -> None:
    folder = tmp_path / "public"
    kept.batches(260)
    log = publish(kept, folder)["data"]
    assert asked(tiles_go, folder, log).returncode == 0
    for name in ("tile/0/000", "tile/0/001.p/4", "tile/1/000.p/1", "tile/entries/000", "checkpoint"):
        path = folder / "data" / name
        original = path.read_bytes()
        path.write_bytes(original[:20] + bytes([original[20] ^ 1]) + original[21:])
        assert asked(tiles_go, folder, log).returncode == 1, name
        path.write_bytes(original)


@pytest.mark.go
def test_without_entries_go_still_verifies_the_tiles(kept: Kept, tmp_path: Path, tiles_go: Path) -> None:
    kept.batches(10)
    log = publish(kept, tmp_path / "public", with_entries=False)["data"]
    assert asked(tiles_go, tmp_path / "public", log).stdout == "10 leaves, 0 entries included\n"


# -- What lies there


def test_only_what_is_new_is_written(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    kept.batches(255)
    publish(kept, folder)
    kept.batches(2)
    first = publish(kept, folder)
    before = files(folder)
    again = publish(kept, folder)
    assert (first["data"].files, first["asset"].files) == (5, 0)  # two tiles, one above, two bundles
    assert [log.files for log in again.values()] == [0] * 5
    assert files(folder) == before
    assert not list(folder.rglob(".*"))  # nothing half done is left


def test_narrow_tiles_go_once_the_full_one_is_there(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    kept.batches(200)
    publish(kept, folder)
    assert (folder / "data/tile/entries/000.p/200").exists()
    kept.batches(100)
    publish(kept, folder)
    named = sorted(name for name in files(folder / "data"))
    assert named == [
        *("checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"),
        *("tile/entries/000", "tile/entries/001.p/44"),
    ]


def test_entries_that_were_not_published_at_first_are_added_later(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    kept.batches(300)
    publish(kept, folder, with_entries=False)
    assert not (folder / "data/tile/entries").exists()
    assert publish(kept, folder)["data"].files == 2


@pytest.mark.go
def test_an_entry_too_large_for_the_format_lies_beside(tmp_path: Path, tiles_go: Path) -> None:
    """A genesis of a large region: a bundle tells lengths in 16 bits."""
    folder = tmp_path / "data"
    folder.mkdir()
    participants = [{"id": f"p{number:04}-{'x' * 50}"} for number in range(1500)]
    document = a_grid_document()
    document["participants"] += participants
    kept = Kept(folder, Village(grid=a_grid(participants=document["participants"])))
    log = publish(kept, tmp_path / "public")["asset"]
    named = sorted(files(tmp_path / "public/asset"))
    assert named == ["checkpoint", "tile/0/000.p/1", "tile/large-entries/000.p/1"]
    assert asked(tiles_go, tmp_path / "public", log).stdout == "1 leaves, 1 entries included\n"
    kept.store.close()


def test_the_block_that_all_of_it_is_of_binds_the_five_notes(kept: Kept, tmp_path: Path) -> None:
    kept.batches(3)
    published = publish(kept, tmp_path / "public")
    envelope = Envelope.parse((tmp_path / "public/block").read_bytes())
    envelope.verify(kept.village.keys["node"].public_key, "village")
    head = BlockHead.decode(envelope.payload)
    for chain in ChainName:
        log = published[chain.name.lower()]
        text = open_note((tmp_path / "public" / log.chain / "checkpoint").read_bytes(), log.origin, KEY.public)
        assert (text.size, text.root) == (head.log(chain).size, head.log(chain).root)


def test_whoever_signed_nothing_for_a_block_publishes_the_logs_and_no_word_about_it(kept: Kept, tmp_path: Path) -> None:
    """A node that follows before it is admitted: there is no checkpoint, and the one of before is of other logs."""
    folder = tmp_path / "public"
    kept.signs = False
    kept.batches(1)
    assert publish(kept, folder)["data"].size == 1
    assert not (folder / "block").exists()
    kept.signs = True
    kept.batches(1)
    publish(kept, folder)
    assert Envelope.parse((folder / "block").read_bytes()).type == MessageType.CHECKPOINT
    kept.signs = False
    kept.batches(1)
    assert publish(kept, folder)["data"].size == 3
    assert not (folder / "block").exists()


# -- What is never signed


def test_no_second_history_is_signed_under_one_name(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "public"
    kept.batches(3)
    publish(kept, folder)
    before = files(folder)
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = Kept(other_folder)
    for count in (2, 3):  # shorter, and then longer, but another
        other.village.now_ms += 1000
        other.batches(count)
        with pytest.raises(OperatorError, match="two histories under one name"):
            publish(other, folder)
    other.store.close()
    assert files(folder) == before


def test_a_folder_of_another_key_is_left_alone(kept: Kept, tmp_path: Path) -> None:
    publish(kept, tmp_path / "public")
    with pytest.raises(OperatorError, match="a checkpoint of this log, signed with this key"):
        publish(kept, tmp_path / "public", key=Ed25519Key.generate())


def test_a_note_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "note.key"
    assert note_key(path).public == note_key(path).public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(OperatorError, match="only its owner"):
        note_key(path)


def test_an_origin_that_cannot_be_one_is_refused(kept: Kept, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="--origin"):
        Publisher(kept.store, tmp_path, KEY, "two words", with_entries=True)


# -- Command


def este_aggregator(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_publishes_no_readings_unless_told_to(kept: Kept, tmp_path: Path) -> None:
    kept.batches(2)
    data, folder = tmp_path / "data", tmp_path / "public"
    done = este_aggregator("publish", "--data", data, "-o", folder, "--json")
    assert done.exit_code == 0, done.output
    logs = {log["chain"]: log for log in json.loads(done.stdout)}
    assert logs["data"]["origin"] == "village/data" and logs["data"]["size"] == 2
    assert not list(folder.rglob("*entries*"))
    assert stat.S_IMODE((data / "note.key").stat().st_mode) == 0o600
    done = este_aggregator("publish", "--data", data, "-o", folder, "--entries")
    assert done.exit_code == 0, done.output
    assert logs["data"]["verifier_key"] in done.stdout
    assert (folder / "data/tile/entries/000.p/2").exists()

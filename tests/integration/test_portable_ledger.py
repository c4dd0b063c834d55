"""A ledger in one file: audited without the database it came from, and no changed byte passes."""

from __future__ import annotations

import json
import os
import random
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from aggregator.service.audit import AuditError, audit, audit_file
from aggregator.service.history import PastBlock, PastEntry
from aggregator.service.portable import MAGIC, VERSION, PortableLedger
from aggregator.service.store import Store
from protocol.canonical import encode
from protocol.crypto import SoftwareKey
from protocol.errors import OperatorError
from protocol.refusals import RefusalCode
from tests.integration.lived import exported, live_through_everything
from tests.village import REGION, some_keys


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return live_through_everything(tmp_path_factory.mktemp("ledger"))


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return exported(folder, tmp_path_factory.mktemp("export") / "village.este").read_bytes()


@pytest.fixture
def file(whole: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "village.este"
    path.write_bytes(whole)
    return path


def items(path: Path) -> list[PastBlock | PastEntry]:
    with PortableLedger(path) as ledger:
        return list(ledger.items())


def spelled(blocks: int, told: list[PastBlock | PastEntry], region: str = REGION) -> bytes:
    """An export with such contents."""
    parts = [encode([MAGIC, VERSION, region, blocks])]
    for item in told:
        match item:
            case PastBlock():
                parts.append(encode([item.head, item.checkpoint, item.records]))
            case PastEntry():
                parts.append(encode([item.code, item.waited, item.envelope]))
    return b"".join(parts)


def failed(path: Path) -> AuditError:
    with pytest.raises(AuditError) as error:
        audit_file(path)
    return error.value


def test_an_export_amounts_to_what_the_ledger_file_does(folder: Path, file: Path) -> None:
    store = Store.open_read_only(folder)
    try:
        report = audit(store)
    finally:
        store.close()
    assert audit_file(file) == report
    assert (report.periods >= 3, report.refused, report.readings > 300) == (True, 1, True)


def test_a_second_library_agrees_on_every_signature_of_an_export(file: Path) -> None:
    assert audit_file(file, second_opinion=True) == audit_file(file)


def test_an_export_is_for_its_owner_alone_and_overwrites_nothing(folder: Path, file: Path) -> None:
    with pytest.raises(OperatorError, match="nothing is ever overwritten"):
        exported(folder, file)
    again = exported(folder, file.with_name("again.este"))
    assert stat.S_IMODE(again.stat().st_mode) == 0o600
    assert again.read_bytes() == file.read_bytes()


def test_the_auditor_may_say_which_regulator_it_has_to_be(file: Path) -> None:
    keys = some_keys("gw")
    assert audit_file(file, regulator=keys["regulator"].public_key).region == REGION
    with pytest.raises(AuditError, match="not with the regulator's that was given") as error:
        audit_file(file, regulator=keys["node"].public_key)
    assert error.value.place == "block 1, record 0"


# -- Changed, cut, stretched


@pytest.mark.parametrize("seed", range(8))
def test_a_flipped_bit_anywhere_fails_the_audit_with_its_place(whole: bytes, file: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(12):
        at = chance.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :])
        assert failed(file).place, f"byte {at}"


def test_a_flipped_bit_in_the_header_or_a_frame_fails_the_audit(whole: bytes, file: Path) -> None:
    header = encode([MAGIC, VERSION, REGION, len([i for i in items(file) if isinstance(i, PastBlock)])])
    assert whole.startswith(header)
    for at in range(len(header) + 4):
        for bit in range(8):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            assert failed(file).place


@pytest.mark.parametrize("seed", range(8))
def test_a_file_that_was_cut_short_fails_the_audit(whole: bytes, file: Path, seed: int) -> None:
    file.write_bytes(whole[: random.Random(seed).randrange(len(whole))])
    assert "the file ends early" in failed(file).finding


def test_a_file_without_its_last_block_fails_the_audit(file: Path) -> None:
    told = items(file)
    last = max(at for at, item in enumerate(told) if isinstance(item, PastBlock))
    blocks = sum(isinstance(item, PastBlock) for item in told)
    file.write_bytes(spelled(blocks, told[:last]))
    assert failed(file).finding.endswith("the file ends early")


def test_bytes_behind_the_last_block_fail_the_audit(whole: bytes, file: Path) -> None:
    file.write_bytes(whole + b"\x00")
    assert failed(file).finding.endswith("bytes behind the last block")


def test_an_export_of_another_region_than_its_genesis_fails_the_audit(file: Path) -> None:
    told = items(file)
    file.write_bytes(spelled(sum(isinstance(item, PastBlock) for item in told), told, region="valley"))
    assert failed(file) and "of region village, and not of valley" in failed(file).finding


def test_a_refusal_that_was_none_fails_the_audit(file: Path) -> None:
    told = items(file)
    at = next(n for n, item in enumerate(told) if isinstance(item, PastEntry) and item.code)
    entry = told[at]
    assert isinstance(entry, PastEntry)
    told[at] = PastEntry(RefusalCode.UNKNOWN_METER.value, entry.waited, entry.envelope)
    file.write_bytes(spelled(sum(isinstance(item, PastBlock) for item in told), told))
    assert failed(file).finding == "what is noted about it is not what became of it"


def test_a_record_left_out_fails_the_audit(file: Path) -> None:
    told = items(file)
    at = next(n for n, item in enumerate(told) if n > 20 and isinstance(item, PastEntry))
    del told[at]
    file.write_bytes(spelled(sum(isinstance(item, PastBlock) for item in told), told))
    assert failed(file).place.startswith("block ")


# -- Made to be huge

GENESIS_ONLY = encode([MAGIC, VERSION, REGION, 1])


@pytest.mark.parametrize(
    ("lie", "finding"),
    [
        (b"\x84\x6beste-ledger\x05\x7b\x40\x00\x00\x00\x00\x00\x00\x00", "4611686018427387904 bytes where at most 64"),
        (encode([MAGIC, VERSION, REGION, 1 << 63]), "9223372036854775808 where at most 1099511627776"),
        (encode([MAGIC, VERSION, REGION, 1 << 40]), "the file ends early"),
        (GENESIS_ONLY + b"\x83\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "9223372036854775807 bytes where at most 4096"),
        (GENESIS_ONLY + b"\x83\x41\x00\x41\x00\x1a\x7f\xff\xff\xff", "2147483647 where at most 1048576"),
        (GENESIS_ONLY + b"\x83\x41\x00\x41\x00\x01\x83\x00\x00\x5a\xff\xff\xff\xff", "where at most 68157440"),
        (GENESIS_ONLY + b"\x9f", "a length that is not told"),
        (GENESIS_ONLY + b"\x98\x03", "3 in a longer head than it needs"),
        (GENESIS_ONLY + b"\x83\x41\x00\x41\x00\x19\x00\x20", "32 in a longer head than it needs"),
    ],
)  # fmt: skip
def test_a_length_that_lies_is_found_before_anything_is_read(tmp_path: Path, lie: bytes, finding: str) -> None:
    path = tmp_path / "huge.este"
    path.write_bytes(lie)
    os.truncate(path, len(lie) if "early" in finding else 1 << 36)  # a sparse file of 64 GiB
    assert finding in failed(path).finding


def test_a_block_cannot_be_filled_with_one_record(file: Path) -> None:
    told = items(file)
    block, entry = told[2], told[3]
    assert isinstance(block, PastBlock) and isinstance(entry, PastEntry)
    stuffed = [*told[:2], PastBlock(block.head, block.checkpoint, 1 << 20), *[entry] * 50]
    file.write_bytes(spelled(2, stuffed))
    assert failed(file).place == "block 2, record 1"


def test_a_ledger_without_a_genesis_fails_the_audit(file: Path) -> None:
    block = items(file)[0]
    assert isinstance(block, PastBlock)
    file.write_bytes(spelled(1, [replace(block, records=0)]))
    assert failed(file).finding == "no genesis"
    file.write_bytes(spelled(0, []))
    assert "the history ends here" in failed(file).finding


@pytest.mark.parametrize("other", [b"", b"SQLite format 3\x00", encode(["este-proofs", VERSION, REGION, 1])])
def test_another_file_is_told_to_be_another(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(other)
    assert failed(path).place == "header"


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
def test_an_export_of_another_version_is_refused_by_its_version(tmp_path: Path, version: int) -> None:
    path = tmp_path / "other"
    path.write_bytes(encode([MAGIC, version, REGION, 1]))
    assert f"of version {version} where" in failed(path).finding
    assert f"of version {VERSION} is read" in failed(path).finding


# -- Commands


def este_aggregator(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_commands_export_and_audit(folder: Path, tmp_path: Path) -> None:
    file, pem = tmp_path / "village.este", tmp_path / "regulator.pub.pem"
    assert "blocks" in este_aggregator("export", "--data", folder, "-o", file).output
    pem.write_text(some_keys("gw")["regulator"].public_key.to_pem())
    done = este_aggregator("audit", file, "--regulator-key", pem, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["audit"] == "ok"
    pem.write_text(SoftwareKey.from_secret(99).public_key.to_pem())
    done = este_aggregator("audit", "--data", folder, "--regulator-key", pem, "--json")
    assert (done.exit_code, json.loads(done.stdout)["place"]) == (1, "block 1, record 0")

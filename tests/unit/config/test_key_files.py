"""Files that are written once: whole, and never over another."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import pytest

from config import key_files
from protocol.errors import OperatorError


class PowerCut(BaseException):
    """The machine is gone."""


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_power_cut_leaves_no_part_of_a_file_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cut_power_at(step, monkeypatch)
    with pytest.raises(PowerCut):
        key_files.create(tmp_path / "gateway.key.pem")
    assert not list(tmp_path.iterdir())


class TestWhereFilesNeedNames:
    """A file system without O_TMPFILE, such as NFS."""

    @pytest.fixture(autouse=True)
    def _no_nameless_files(self, monkeypatch: pytest.MonkeyPatch) -> None:
        opened = os.open

        def without_nameless_files(path: Path, flags: int, mode: int = 0o777) -> int:
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return opened(path, flags, mode)

        monkeypatch.setattr(os, "open", without_nameless_files)

    def test_a_file_is_written_all_the_same_and_nothing_is_left_beside_it(self, tmp_path: Path) -> None:
        key = key_files.create(tmp_path / "gateway.key.pem")
        assert key_files.load(tmp_path / "gateway.key.pem").public_key == key.public_key
        assert [path.name for path in tmp_path.iterdir()] == ["gateway.key.pem"]

    @pytest.mark.parametrize("step", ["fsync", "link", "sync_folder"])
    def test_what_a_power_cut_has_left_is_removed_by_the_next_attempt(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        with monkeypatch.context() as crash:
            cut_power_at(step, crash)
            crash.setattr(Path, "unlink", lambda *_, **__: None)
            with pytest.raises(PowerCut):
                key_files.create(tmp_path / "gateway.key.pem")
        assert (tmp_path / ".gateway.key.pem.unfinished").exists(), "the crash left something"
        with contextlib.suppress(OperatorError):  # if it has its name already
            key_files.create(tmp_path / "gateway.key.pem")
        assert [path.name for path in tmp_path.iterdir()] == ["gateway.key.pem"]
        key_files.load(tmp_path / "gateway.key.pem")


def cut_power_at(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise PowerCut

    monkeypatch.setattr(key_files if step == "sync_folder" else os, step, cut)


def test_nothing_is_ever_overwritten_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    key_files.write_new(path, b"first", mode=0o600)
    with pytest.raises(OperatorError, match="nothing is ever overwritten"):
        key_files.write_new(path, b"second")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"first", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OperatorError):
        key_files.write_new(tmp_path / "file", b"secret")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="a place to write to"):
        key_files.write_new(tmp_path / "no" / "file", b"")

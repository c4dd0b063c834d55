"""Files that are written once: whole, and never over another."""

from __future__ import annotations

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
    def cut(*_: object) -> None:
        raise PowerCut

    monkeypatch.setattr(os, step, cut)
    with pytest.raises(PowerCut):
        key_files.create(tmp_path / "gateway.key.pem")
    assert not (tmp_path / "gateway.key.pem").exists()


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

"""One of four nodes has no room left: it says so and stands still, the others go on, and with room it comes back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.consensus import consensus

pytestmark = pytest.mark.cometbft

NAME = "node-3"
DISK_BYTES = 48 << 20


@contextmanager
def a_small_disk(path: Path) -> Iterator[None]:
    """A file system of a few megabytes in the place of a folder, with what was in it."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    path.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "este", str(path)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(f"a small disk takes root (sudo make test): {done.stderr.strip()}", pytrace=False)
    try:
        shutil.copytree(aside, path, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Leave no room at all."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


@pytest.mark.parametrize(
    ("full", "said"),
    [(".", "consensus has failed inside CometBFT: is the disk full?"), ("data", "nothing can be stored")],
    ids=["everything", "the ledger"],
)
def test_a_node_without_room_stands_still_loudly_and_comes_back(tmp_path: Path, full: str, said: str) -> None:
    with consensus(tmp_path) as made, a_small_disk(made.home(NAME) / full):
        try:
            # its own log lies elsewhere: it is heard although its disk is full
            (made.home(NAME) / "log").symlink_to(tmp_path / "loud.log")
            made.start()
            made.send()
            made.all_have_all()
            filler = made.home(NAME) / full / "filler"
            fill(filler)
            others = [name for name in made.names if name != NAME]
            made.send("node-1")
            made.wait("it says that it has no room", lambda: said in made.log(NAME) or bool(fill(filler)))
            for _ in range(3):
                made.send("node-1")
                made.all_have_all(*others)
            filler.unlink()
            made.send("node-1")
            made.all_have_all()
            made.kill("node-2")  # it votes again: without it there is no quorum
            made.send("node-1")
            made.all_have_all()
            made.stop()
            made.audit()
        finally:
            for name in list(made.processes):
                made.kill(name)

"""One ledger, replayed by processes that differ in whatever must not matter: every block comes out the same.

That the CPU's features matter to floats is no idle fear: without FMA, glibc's exp and pow differ in their last bit.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from aggregator.service.history import PastBlock
from aggregator.service.portable import PortableLedger
from protocol.checkpoint import BlockHead
from tests.architecture.house import ROOT
from tests.integration.lived import exported, live_through_everything

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NEEDED = ("cbor2", "cryptography", "numpy", "pydantic", "tzdata")
"""What the pure rooms stand on."""

INSTALL_S = 300
REPLAY_S = 300

NO_FMA = {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-FMA4,-AVX2,-AVX512F", "OPENBLAS_CORETYPE": "Prescott"}
"""The C library, and numpy's linear algebra, as on an old CPU."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ledger")
    return exported(live_through_everything(folder), folder / "village.este")


@pytest.fixture(scope="module")
def digests(ledger: Path) -> list[str]:
    """What the node that closed the blocks signed."""
    with PortableLedger(ledger) as history:
        return [BlockHead.decode(item.head).digest.hex() for item in history.items() if isinstance(item, PastBlock)]


def replayed(
    ledger: Path, *arguments: str, python: str = sys.executable, flags: tuple[str, ...] = (), **env: str
) -> Any:
    command = [python, *flags, "-m", "tests.integration.replayed", str(ledger), *arguments]
    known = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    environment = known | {"PYTHONPATH": str(ROOT)} | env
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=REPLAY_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_the_order_of_hashes_does_not_matter(ledger: Path, digests: list[str], seed: str) -> None:
    assert replayed(ledger, PYTHONHASHSEED=seed)["digests"] == digests


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Apia"},
        {"LC_ALL": "C", "TZ": "America/St_Johns", "PYTHONUTF8": "0"},
        {"LC_ALL": "de_DE.UTF-8", "LANG": "zh_CN.GB18030", "TZ": "Asia/Shanghai"},
    ],
    ids=["Turkish", "C", "German and Chinese"],
)
def test_locale_and_time_zone_do_not_matter(ledger: Path, digests: list[str], env: dict[str, str]) -> None:
    assert replayed(ledger, **env)["digests"] == digests


def test_the_cpu_does_not_matter(ledger: Path, digests: list[str]) -> None:
    """The physics is done again too: it may differ in its last bits, and is still accepted within one quantum."""
    assert replayed(ledger, "--physics", **NO_FMA)["digests"] == digests


def test_pythons_own_decimal_comes_to_the_same(ledger: Path, digests: list[str]) -> None:
    found = replayed(ledger, "--pure-decimal")
    assert (found["pure_decimal"], found["digests"]) == (True, digests)


def test_nothing_rests_on_an_assertion_that_does_something(ledger: Path, digests: list[str]) -> None:
    found = replayed(ledger, "--physics", flags=("-O",))
    assert (found["optimized"], found["digests"]) == (1, digests)


def test_every_python_of_this_machine_comes_to_the_same(
    ledger: Path, digests: list[str], pytestconfig: pytest.Config
) -> None:
    """Whichever there are beside the one that runs the tests, each with the same libraries."""
    assert pytestconfig.cache is not None
    for wanted in PYTHONS:
        is_this_one = wanted == ".".join(map(str, sys.version_info[:2]))
        if (python := None if is_this_one else next(pythons(wanted), None)) is None:
            continue
        found = replayed(ledger, python=equipped(python, pytestconfig.cache.mkdir(f"python-{wanted}")))
        assert (".".join(map(str, found["python"])), found["digests"]) == (wanted, digests)


def pythons(wanted: str) -> Iterator[str]:
    """Interpreters of a version that start, on PATH or kept by pyenv."""
    candidates = [shutil.which(f"python{wanted}")]
    if pyenv := shutil.which("pyenv"):
        root = Path(subprocess.run([pyenv, "root"], capture_output=True, text=True, check=True).stdout.strip())
        candidates += sorted(map(str, root.glob(f"versions/{wanted}*/bin/python")))
    for python in filter(None, candidates):
        asked = [python, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.stdout.strip() == wanted:
            yield python


def equipped(python: str, folder: Path) -> str:
    """An environment of that Python with what the pure rooms need, in the versions used here; made once and kept."""
    pins = [f"{name}=={version(name)}" for name in NEEDED]
    ready, made = folder / "ready", folder / "venv/bin/python"
    if ready.exists() and ready.read_text() == " ".join(pins):
        return str(made)
    install = [str(made), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *pins]
    for command in ([python, "-m", "venv", "--clear", str(folder / "venv")], install):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        assert done.returncode == 0, done.stderr
    ready.write_text(" ".join(pins))
    return str(made)

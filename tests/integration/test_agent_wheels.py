"""An agent installs on a Raspberry Pi (64-bit) without a compiler: every pinned dependency has a wheel for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.house import ROOT

PLATFORMS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_28_aarch64")
"""What Debian 12 and later take, on aarch64."""


def resolve(lock: Path, python: str, target: Path) -> subprocess.CompletedProcess[str]:
    """Have pip choose a wheel for every line of `lock`, from its hashes, and install none."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
    command += ["--ignore-installed", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    command += ["--implementation=cp", f"--python-version={python}", f"--target={target}", f"--requirement={lock}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("python", ["3.11", "3.13"], ids=["Debian 12", "Debian 13"])
def test_every_dependency_of_the_agent_has_a_wheel_for_a_pi(python: str, tmp_path: Path) -> None:
    done = resolve(ROOT / "requirements-agent-hsm.lock", python, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_dependency_without_a_wheel_is_seen(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text(f"power-grid-model==1.0.0 --hash=sha256:{'0' * 64}\n")
    assert resolve(lock, "3.11", tmp_path).returncode != 0

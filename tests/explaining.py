"""`este-aggregator explain` in tests: asked of a ledger file, and what it answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from aggregator.cli import app


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments, "--data", str(folder)], env={"COLUMNS": "80"})


def explained(folder: Path, *arguments: str) -> dict[str, Any]:
    result = run(folder, *arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found

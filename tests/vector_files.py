"""Reads tests/vectors, which hold values that somebody else published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "vectors"


def read_vectors(name: str) -> dict[str, Any]:
    """One vector file, which must say where its values are from."""
    path = FOLDER / name
    read = json.loads if path.suffix == ".json" else yaml.safe_load
    vectors: dict[str, Any] = read(path.read_text(encoding="utf-8"))
    assert vectors.get("source"), f"{path}: a vector without a source is an opinion"
    return vectors

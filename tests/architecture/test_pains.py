"""Every test that docs/explanation/pains.md names is there, and no row that has to be beaten stands without one."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "pains.md"
NOT_A_TEST = {15}


def rows() -> dict[int, list[str]]:
    """The tests that each row names."""
    found = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if cells[0].strip().isdigit():
            found[int(cells[0])] = re.findall(r"`(test_[^`]+)`", cells[-1])
    return found


def test_every_named_test_exists() -> None:
    files: dict[str, str] = defaultdict(str)
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] += path.read_text()
    for row, tests in rows().items():
        for test in tests:
            file, _, name = test.partition("::")
            assert file in files, f"row {row}: {file}"
            assert not name or re.search(rf"def {name}\b", files[file]), f"row {row}: {test}"


def test_every_row_has_a_test_or_says_why_not() -> None:
    assert list(rows()) == list(range(1, 16))
    assert {row for row, tests in rows().items() if not tests} == NOT_A_TEST

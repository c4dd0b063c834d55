"""Every relative link in the documentation leads somewhere: to a file, and to a heading in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.house import ROOT, report
from tests.architecture.reference import anchor_of
from tests.architecture.test_tidy import tracked_files

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
ELSEWHERE = re.compile(r"[a-z]+:")


def without_code(text: str) -> str:
    """A page without what it shows as code, line by line as it was."""
    fenced = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", fenced)


def headings(text: str) -> set[str]:
    """The anchors of a page."""
    return {anchor_of(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def broken(page: Path, text: str) -> Iterator[str]:
    """Links of a page that lead nowhere."""
    for number, line in enumerate(without_code(text).splitlines(), start=1):
        for target in LINK.findall(line):
            if ELSEWHERE.match(target):
                continue
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            if not found.exists():
                yield f"{page.relative_to(ROOT)}:{number}: {target}: no such file"
            elif anchor and found.suffix == ".md" and anchor not in headings(found.read_text(encoding="utf-8")):
                yield f"{page.relative_to(ROOT)}:{number}: {target}: no such heading"


def test_every_relative_link_leads_somewhere() -> None:
    pages = [ROOT / name for name in tracked_files() if name.endswith(".md") and (ROOT / name).is_file()]
    assert ROOT / "README.md" in pages
    findings = [finding for page in pages for finding in broken(page, page.read_text(encoding="utf-8"))]
    report("Every relative link in the documentation leads to a file, and to a heading in it.", findings)


def test_a_link_to_nowhere_is_seen() -> None:
    text = "[a](no-such.md) [b](LICENSE) [c](#no-such-heading) `[d](code.md)` [e](https://example.org)\n# Heading\n"
    assert list(broken(ROOT / "README.md", text + "[f](#heading)"))[:1] == ["README.md:1: no-such.md: no such file"]
    assert len(list(broken(ROOT / "README.md", text))) == 2

"""The house as the rules see it: every module of the product, parsed once, and the exceptions that are allowed."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "config", "agent", "firmware_sim", "aggregator")

ALLOWED: dict[str, dict[str, str]] = tomllib.loads((Path(__file__).parent / "allowed.toml").read_text())
"""Rule → file → why it may break the rule."""


@dataclass(frozen=True)
class Module:
    """One Python file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path below the repository's root, as people and editors read it."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """What is in it."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """What Python makes of it."""
        return ast.parse(self.text)

    def at(self, node: ast.AST | int, message: str) -> str:
        """A finding that an editor can jump to."""
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.name}:{line}: {message}"

    def may(self, rule: str) -> bool:
        """Whether the list of exceptions names it."""
        return self.name in ALLOWED.get(rule, {})

    def imported(self) -> Iterator[tuple[ast.stmt, str]]:
        """Each imported module, with the statement that imports it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node, node.module


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every module below the given folders, by default of the whole product; without what a generator writes."""
    return tuple(
        Module(path)
        for folder in folders or PACKAGES
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.stem.endswith("_pb2")
    )


def report(rule: str, findings: list[str]) -> None:
    """Fail with every finding at once, and with the rule in words."""
    if findings:
        raise AssertionError("\n".join([rule, *(f"  {finding}" for finding in findings)]))

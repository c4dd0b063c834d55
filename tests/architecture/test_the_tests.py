"""Rules for the tests themselves: none is skipped, none is silent about what it lacks, each says a law."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import pytest

from tests import conftest
from tests.architecture.house import modules, report


@dataclass
class ATest:
    """As much of a test as the hook looks at."""

    marker: str

    def get_closest_marker(self, name: str) -> str | None:
        return name if name == self.marker else None


@pytest.mark.parametrize(("program", "remedy"), conftest.REMEDY_OF.items())
def test_a_test_without_its_program_fails_and_names_the_remedy(
    program: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest.shutil, "which", lambda name, path=None: None)
    with pytest.raises(pytest.fail.Exception, match=remedy):
        conftest.pytest_runtest_setup(ATest(program))  # type: ignore[arg-type]
    conftest.pytest_runtest_setup(ATest("no marker at all"))  # type: ignore[arg-type]


def test_every_marker_that_needs_a_program_has_its_remedy(pytestconfig: pytest.Config) -> None:
    needs = {line.split(":")[0] for line in pytestconfig.getini("markers") if "on PATH" in line}
    assert needs == set(conftest.REMEDY_OF)


def test_no_test_is_skipped() -> None:
    skips = {"skip", "skipif", "xfail", "importorskip"}
    findings = [
        module.at(node, f"{node.attr}: a test that does not run looks green; make it fail, or take it out")
        for module in modules("tests")
        if module.path.name != "test_the_tests.py"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in skips
    ]
    report("No test is skipped.", findings)


def test_the_name_of_a_test_says_a_law() -> None:
    findings = [
        module.at(node, f"{node.name}: say what must hold, in words")
        for module in modules("tests")
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.name.startswith("test_")
        and node.name.count("_") < 3
    ]
    report("A test is named after the law that it checks: three words at least.", findings)

"""A refusal that no test provokes is a rule that nobody knows to hold."""

from __future__ import annotations

import re

from protocol.refusals import RefusalCode
from tests.architecture.house import modules

TELLS_NOTHING = ("tests/unit/protocol/test_refusals.py", "tests/architecture/", "tests/builders.py")
"""Where codes are listed, not provoked."""


def codes_in_tests() -> set[str]:
    names = "|".join(RefusalCode.__members__)
    return {
        code
        for module in modules("tests")
        if not module.name.startswith(TELLS_NOTHING)
        for code in re.findall(rf"RefusalCode\.({names})\b", module.text)
    }


def test_every_refusal_code_has_a_test_that_names_it() -> None:
    untested = set(RefusalCode.__members__) - codes_in_tests()
    assert not untested, f"without a test: {', '.join(sorted(untested))}"

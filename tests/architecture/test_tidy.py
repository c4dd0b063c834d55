"""House rules that a machine can keep. Each finding names its file and line, and says what to do instead."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.architecture.exactness import orders_of_sets
from tests.architecture.house import ALLOWED, PACKAGES, ROOT, Module, modules, report

# -- Clocks

CLOCKS = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
    *("time.clock_gettime", "time.clock_gettime_ns", "time.localtime", "time.gmtime", "time.sleep", "time.strftime"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "loop.time"),
}


def owns_a_clock(module: Module) -> bool:
    name = module.path.name
    return name in {"runner.py", "cli.py"} or name.endswith("_port.py") or module.may("clocks")


def called(node: ast.Call) -> str:
    """The last two words of what is called: `time.time` of ``time.time()``, `loop.time` of ``self.loop.time()``."""
    match node.func:
        case ast.Attribute(attr=method, value=ast.Name(id=owner) | ast.Attribute(attr=owner)):
            return f"{owner}.{method}"
        case ast.Attribute(attr=method, value=ast.Call(func=ast.Attribute(attr=maker))) if "loop" in maker:
            return f"loop.{method}"
        case ast.Name(id=name):
            return name
    return ""


def test_only_runners_commands_and_ports_read_a_clock() -> None:
    findings = []
    for module in modules():
        if owns_a_clock(module):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and called(node) in CLOCKS:
                findings.append(module.at(node, f"{called(node)}(): take `now_ms` as an argument instead"))
            if isinstance(node, ast.ImportFrom) and node.module == "time":
                findings.append(module.at(node, "from time import …: import the module, so that the rule can see it"))
    report("Only runner.py, cli.py and *_port.py read a clock.", findings)


# -- Floats

EXACT_ROOMS = ("aggregator/ledger", "aggregator/chains", "aggregator/economy")


def floats_in(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()):
                yield node, f"the float {node.value}: write an integer, or a Decimal or Fraction of text"
            case ast.Call(func=ast.Name(id="float" | "complex")):
                yield node, "float(): every node must reach the same number"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node, "true division: use // and say how it rounds, or Fraction(a) / b"
            case ast.Call(func=ast.Name(id="round"), args=[_, _]):
                yield node, "round() to digits makes a float: quantize a Decimal"
            case ast.Call(func=ast.Attribute(attr="log" | "sqrt" | "pow" | "exp2", value=ast.Name(id="math"))):
                yield node, "math in floats: use Decimal with a context of its own"


def is_exact_division(node: ast.AST) -> bool:
    """Division of which one side is visibly a Fraction or a Decimal stays exact, or rounds by a named context."""
    return isinstance(node, ast.BinOp) and any(
        isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and side.func.id in {"Fraction", "Decimal"}
        for side in (node.left, node.right)
    )


def test_the_rooms_that_must_be_exact_hold_no_floats() -> None:
    findings = [
        module.at(node, message)
        for module in modules(*EXACT_ROOMS)
        if not module.may("floats")
        for node, message in floats_in(module.tree)
        if not is_exact_division(node)
    ]
    report("No float, and no true division, in ledger, chains and economy.", findings)


# -- Order that differs from node to node


def names_used(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def test_the_rooms_that_must_agree_take_no_order_from_sets_hashes_or_addresses() -> None:
    findings = []
    for module in modules("protocol", *EXACT_ROOMS):
        findings += [module.at(node, "iterates over a set: sort it first") for node in orders_of_sets(module.tree)]
        findings += [
            module.at(node, f"{ast.unparse(node)[:40]}: differs from process to process")
            for node in names_used(module.tree, {"hash", "id"})
        ]
    report("Nothing that nodes must agree on depends on the order of a set, on hash() or on id().", findings)


# -- One importer per IO library

IO_LIBRARIES = {
    *("aiomqtt", "amqtt", "cryptography", "ecdsa", "pkcs11", "power_grid_model", "pymodbus", "sqlite3", "sqlite_utils"),
}


def test_each_io_library_has_one_importer_per_program() -> None:
    importers: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for module in modules():
        if module.may("importers"):
            continue
        for node, name in module.imported():
            library = name.partition(".")[0]
            if library in IO_LIBRARIES:
                program = module.name.partition("/")[0]
                importers[program, library].setdefault(module.name, module.at(node, f"imports {library}"))
    findings = [finding for places in importers.values() if len(places) > 1 for finding in places.values()]
    report("Each IO library has one importer per program, so that its ways are known in one place.", findings)


# -- Sizes

MODULE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60


def test_a_module_is_no_longer_than_a_stranger_reads_at_once() -> None:
    findings = [
        module.at(MODULE_LINES_MAX, f"{lines} lines, {MODULE_LINES_MAX} at most: a concept is missing, name it")
        for module in modules()
        if (lines := len(module.text.splitlines())) > MODULE_LINES_MAX and not module.may("module length")
    ]
    report(f"A module has at most {MODULE_LINES_MAX} lines.", findings)


def test_a_function_fits_a_screen() -> None:
    findings = [
        module.at(node, f"{node.name} has {lines} lines, {FUNCTION_LINES_MAX} at most")
        for module in modules()
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    report(f"A function has at most {FUNCTION_LINES_MAX} lines.", findings)


# -- Words


def undocumented(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Public functions, classes and methods without a docstring; what a class inherits the words for may go without."""
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not is_overload(node):
            yield node, f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, f"{node.name}.")


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id in {"overload", "override"} for mark in node.decorator_list)


def without_words(module: Module) -> Iterator[str]:
    if not ast.get_docstring(module.tree):
        yield module.at(1, "the module has no docstring: what it promises, is given, and never does")
    for node, name in undocumented(module.tree.body):
        yield module.at(node, f"{name} has no docstring: one full sentence on what it is")


def test_every_public_name_says_what_it_is() -> None:
    findings = [f for module in modules() if not module.may("docstrings") for f in without_words(module)]
    report("Every public module, class and function has a docstring.", findings)


def test_a_docstring_begins_with_a_whole_sentence() -> None:
    findings = []
    for module in modules():
        for node in ast.walk(module.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                first = (ast.get_docstring(node) or ".").splitlines()[0]
                if not first.rstrip().endswith((".", "?", "!", ":", "…")):
                    findings.append(module.at(node, f"{first[:60]!r} runs on: the first line is one sentence"))
    report("The first line of a docstring is a whole sentence.", findings)


# -- What belongs to one machine only

FOREIGN = {
    re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w+"): "a path of one machine",
    re.compile(r"[A-Za-z]:\\\\?Users"): "a path of one machine",
    re.compile(r"--(?:extra-)?index-url|index-url\s*=|https?://[^\s\"']*/simple/?(?=[\s\"']|$)"): "a package index",
    re.compile(r"find-links\s*=|trusted-host"): "a package index",
}

TEXT = {
    ".py",
    ".toml",
    ".yaml",
    ".yml",
    ".md",
    ".cddl",
    ".lock",
    ".txt",
    ".json",
    ".cfg",
    ".service",
    ".sh",
    ".conf",
    "",
}


def tracked_files() -> list[str]:
    """What is, or is about to be, in the repository."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_nothing_in_the_repository_belongs_to_one_machine() -> None:
    findings = []
    for name in tracked_files():
        path = ROOT / name
        if path.suffix not in TEXT or not path.is_file() or path == ROOT / "tests/architecture/test_tidy.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            findings += [f"{name}:{number}: {what}" for pattern, what in FOREIGN.items() if pattern.search(line)]
    report("No path of one machine and no package index in the repository.", findings)


# -- The rules themselves


STILL_BREAKS = {
    "docstrings": lambda module: any(without_words(module)),
    "clocks": lambda module: any(isinstance(n, ast.Call) and called(n) in CLOCKS for n in ast.walk(module.tree)),
    "floats": lambda module: any(floats_in(module.tree)),
    "importers": lambda module: any(name.partition(".")[0] in IO_LIBRARIES for _, name in module.imported()),
    "module length": lambda module: len(module.text.splitlines()) > MODULE_LINES_MAX,
}
"""Rule that has exceptions → whether a module needs one."""


def test_every_exception_is_still_needed_and_says_why() -> None:
    findings = [
        f"tests/architecture/allowed.toml: {rule}: {name} needs no exception any more, or gives no reason"
        for rule, exceptions in ALLOWED.items()
        for name, why in exceptions.items()
        if not why or not (ROOT / name).is_file() or not STILL_BREAKS[rule](Module(ROOT / name))
    ]
    report("An exception names a file that needs it, and a reason.", findings)


FOUND: dict[str, Callable[[ast.Module], Iterable[object]]] = {
    "x = 0.5": floats_in,
    "x = float(y)": floats_in,
    "x = a / b": floats_in,
    "x /= 2": floats_in,
    "x = round(y, 2)": floats_in,
    "for x in {1, 2}: pass": orders_of_sets,
    "y = [x for x in set(z)]": orders_of_sets,
    "y = list(frozenset(z))": orders_of_sets,
    "x = hash(y)": lambda tree: names_used(tree, {"hash"}),
    "def f(): pass": lambda tree: undocumented(tree.body),
    "class A:\n    'A.'\n    def f(self): pass": lambda tree: undocumented(tree.body),
}
"""A line that breaks a rule → the rule that has to find it."""


@pytest.mark.parametrize(("line", "rule"), FOUND.items(), ids=FOUND.keys())
def test_a_rule_finds_what_it_is_for(line: str, rule: Callable[[ast.Module], Iterable[object]]) -> None:
    assert list(rule(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["time.time()", "self.loop.time()", "asyncio.get_running_loop().time()", "datetime.now(UTC)"]
)
def test_a_clock_is_seen_however_it_is_reached(line: str) -> None:
    (statement,) = ast.parse(line).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    assert called(statement.value) in CLOCKS


@pytest.mark.parametrize(
    "line", ["cd /home/pi/este", "index-url = x", "--extra-index-url x", "https://mirror.example/simple/"]
)
def test_a_line_that_belongs_to_one_machine_is_seen(line: str) -> None:
    assert any(pattern.search(line) for pattern in FOREIGN)


def test_the_rules_see_the_whole_product() -> None:
    assert {module.name.partition("/")[0] for module in modules()} == set(PACKAGES)

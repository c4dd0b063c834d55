"""What could make two nodes differ: the rules of the rooms whose every bit all nodes must agree on.

Each rule looks at one module's syntax tree and yields what it finds, with what to do instead. They see what is plain
from the text of one module; the rest is for tests/integration/test_determinism.py.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Finding = tuple[ast.AST, str]

SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
SET_TYPES = {"set", "frozenset", "Set", "AbstractSet", "MutableSet"}
IN_ANY_ORDER = {"sorted", "set", "frozenset", "sum", "any", "all", "min", "max", "len"}
"""What comes to the same in whichever order it is fed."""
IN_ORDER = {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "next", "dict", "deque", "join", "fromkeys"}
"""What keeps, or passes on, the order that it is fed in."""

UNLIKE_MODULES = {
    "locale": "text sorted and spelled as an operator's country does it",
    "random": "dice",
    "secrets": "dice",
    "uuid": "dice",
    "time": "a clock",
    "os": "the machine",
    "platform": "the machine",
    "sys": "the machine",
    "socket": "the machine",
    "gettext": "an operator's language",
    "calendar": "an operator's language",
}
"""Module → what of it differs from node to node."""

UNLIKE_CALLS = {
    "popitem": "popitem(): which item it takes is an accident of what came before; name the key",
    "getcontext": "getcontext(): the precision of whoever calls; use a context of your own",
    "casefold": "casefold(): changes with Python's Unicode tables",
    "normalize": "normalize() of text changes with Python's Unicode tables; of a Decimal it follows the context",
    "strftime": "strftime(): spelled as an operator's country does it",
    "vars": "vars(): whatever happens to be there",
    "globals": "globals(): whatever happens to be there",
    "as_integer_ratio": "as_integer_ratio(): of what was a float",
}
"""Function or method → why two nodes may differ in it."""


def orders_of_sets(tree: ast.AST) -> Iterator[ast.AST]:
    """Iterations over what is plainly a set, by its text, name or annotation: its order depends on the process."""
    names = set(_names_of_sets(tree))
    harmless = {id(inner) for call in _calls(tree, IN_ANY_ORDER) for inner in call.args}
    harmless |= {id(node) for node in ast.walk(tree) if isinstance(node, ast.SetComp)}
    for node in ast.walk(tree):
        iterated: list[ast.expr] = []
        match node:
            case ast.For(iter=source) | ast.Starred(value=source) | ast.YieldFrom(value=source):
                iterated = [source]
            case ast.ListComp() | ast.GeneratorExp() | ast.DictComp() | ast.SetComp():
                iterated = [] if id(node) in harmless else [part.iter for part in node.generators]
            case ast.Call(args=arguments) if _called(node) in IN_ORDER and id(node) not in harmless:
                iterated = arguments
            case ast.Call(func=ast.Attribute(attr="pop", value=owner), args=[]) if _is_set(owner, names):
                yield node
        yield from (source for source in iterated if _is_set(source, names))


def unlike_from_node_to_node(tree: ast.AST) -> Iterator[Finding]:
    """Imports and calls whose outcome depends on the machine, its country, or the Python that runs."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                imported = [alias.name.partition(".")[0] for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                imported = [module.partition(".")[0]]
            case ast.Call() if (why := UNLIKE_CALLS.get(_called(node))) is not None:
                yield node, why
                continue
            case ast.FormattedValue(format_spec=ast.JoinedStr(values=[ast.Constant(value=str(spec))])) if "n" in spec:
                yield node, "the format n: spelled as an operator's country does it"
                continue
            case _:
                continue
        yield from ((node, f"import {name}: {UNLIKE_MODULES[name]}") for name in imported if name in UNLIKE_MODULES)


def roundings(tree: ast.AST) -> Iterator[Finding]:
    """Calls of round(), which says neither what it is given nor which half it goes to."""
    for call in _calls(tree, {"round"}):
        yield call, "round(): say how, with // or quantize, to_integral_value or a context"


def _names_of_sets(tree: ast.AST) -> Iterator[str]:
    """Names and attributes that hold a set anywhere in the module."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value) if _is_set(value, set()):
                yield from (ast.unparse(target) for target in targets)
            case ast.AnnAssign(target=target, annotation=kind) if _is_set_type(kind):
                yield ast.unparse(target)
            case ast.arg(arg=name, annotation=ast.expr() as kind) if _is_set_type(kind):
                yield name


def _is_set_type(annotation: ast.expr) -> bool:
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return ast.unparse(outer).rpartition(".")[2] in SET_TYPES


def _is_set(node: ast.expr, names: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Attribute(attr=method)) if method in SET_METHODS:
            return True
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            return any(_is_set(side, names) or _is_keys(side) for side in (left, right))
        case ast.Name() | ast.Attribute():
            return ast.unparse(node) in names
    return False


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _called(node) == "keys"


def _calls(tree: ast.AST, names: set[str]) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            yield node


def _called(call: ast.Call) -> str:
    """The last word of what is called."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""

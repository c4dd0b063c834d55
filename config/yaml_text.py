"""YAML without its surprises, and with the place of everything that stands in it.

Given the text of a file, hands back what it says, and where: an editor's line and column, both counted from 1, of any
entry, so that a mistake can be told where a person finds it. Of a text that is no YAML it says what to do.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import yaml


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a text."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


class NotYaml(Exception):
    """The text is no YAML that este reads."""

    def __init__(self, expected: str, got: str, position: Position | None) -> None:
        self.expected = expected
        self.got = got
        self.position = position
        super().__init__(got)


@dataclass(frozen=True, slots=True)
class Document:
    """What a text says, and where."""

    value: object
    root: yaml.Node | None

    def position_of(self, path: Sequence[int | str]) -> Position | None:
        """Where the entry of this path begins, or the nearest around it that is there; None for the whole text."""
        node, found = self.root, None
        for step in path:
            inside = _inside(node, step)
            if inside is None:
                break
            mark, node = inside
            found = Position(mark.line + 1, mark.column + 1)
        return found


def read(text: str) -> Document:
    """Read one document.

    Raises:
        NotYaml: it is none.
    """
    try:
        loader = _StrictLoader(text)
        try:
            root = loader.get_single_node()
            return Document(None if root is None else loader.construct_document(root), root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        got = " ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        position = None if mark is None else Position(mark.line + 1, mark.column + 1)
        raise NotYaml(_remedy(got), got, position) from error
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        position = Position(before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        raise NotYaml("text", f"a character that no text has, #{error.character:#06x}", position) from error
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, ValueError) as error:
        raise NotYaml("YAML", " ".join(str(error).split()), None) from error
    except RecursionError as error:
        raise NotYaml("YAML", "too many brackets inside each other", None) from error


REMEDIES: Final = (
    (r"'\\t'", "spaces: YAML takes no tabs"),
    ("mapping values are not allowed", "one `key: value` to a line, and quotes around a text with a colon in it"),
    ("could not find expected ':'", "`key: value`, with a colon and a space"),
    ("expected <block end>", "this line indented as far as the ones that it belongs to"),
    (r"expected ',' or '[]}]'", "the bracket to be closed"),
    ("quoted scalar", "the quotation mark to be closed"),
    ("flow node", "a value, and every bracket to be closed"),
    ("stands twice", "each key once"),
    ("but found another document", "one document, without `---` inside"),
    ("cannot start any token", "quotes around a text that begins with such a character"),
    ("constructor for the tag", "plain values, without tags"),
)
"""What the library says of a text that is no YAML, as a pattern → what it should look like there."""


def _remedy(problem: str) -> str:
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, problem)), "YAML")


def _inside(node: yaml.Node | None, step: int | str) -> tuple[yaml.Mark, yaml.Node] | None:
    """One step into a mapping or a list: where that begins, with its key if it has one, and what is there."""
    match node:
        case yaml.MappingNode():
            return next(((key.start_mark, value) for key, value in node.value if key.value == str(step)), None)
        case yaml.SequenceNode() if isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark, node.value[step]
        case _:
            return None


class _StrictLoader(yaml.SafeLoader):
    """A key that stands twice is a mistake, not a silent choice.

    Plain scalars are read as YAML 1.2 reads them, so that ``010`` is no octal number, ``no`` is no boolean and
    ``12:30`` is no count of seconds; and a number with a point is kept as it is printed.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build one mapping."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key that is no word", problem_mark=key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_decimal(self, node: yaml.ScalarNode) -> Decimal:
        """Build a number with a point."""
        return Decimal(self.construct_scalar(node))


_PLAIN_SCALARS: Final = (
    ("null", r"(?:~|null|)$", ["~", "n", ""]),
    ("bool", r"(?:true|false)$", list("tf")),
    ("int", r"(?:[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?$", list("-+0123456789")),
)
"""Core schema of YAML 1.2 §10.3, narrowed; whatever is none of these is text."""

_StrictLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in _PLAIN_SCALARS:
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _starts)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _StrictLoader.construct_decimal)

"""A mistake in a file is told where an editor finds it, and with what to do about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.load import SettingsError, load
from config.settings.agent import AgentSettings
from config.yaml_text import NotYaml, Position, read

TEXT = """\
region: lab
buses:
  - host: meter
    meters:
      - {id: house, unit: 1}
      - id: roof
        unit: 2
"""


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        (("region",), 1, 1),
        (("buses",), 2, 1),
        (("buses", 0), 3, 5),
        (("buses", 0, "meters", 0), 5, 9),
        (("buses", 0, "meters", 0, "unit"), 5, 21),
        (("buses", 0, "meters", 1, "unit"), 7, 9),
    ],
)
def test_every_entry_has_its_line_and_column(path: tuple[int | str, ...], line: int, column: int) -> None:
    assert read(TEXT).position_of(path) == Position(line, column)


def test_what_is_missing_is_told_where_it_should_be() -> None:
    assert read(TEXT).position_of(("buses", 0, "meters", 1, "profile")) == Position(6, 9)
    assert read(TEXT).position_of(("gateway",)) is None, "it should be anywhere in the file"
    assert read("").position_of(("gateway",)) is None


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("a: 1\n\tb: 2\n", "line 2, column 1", "spaces: YAML takes no tabs"),
        ("a: b: c\n", "line 1, column 5", "quotes around a text with a colon"),
        ("a: 1\nb\nc: 2\n", "line 3, column 1", "with a colon and a space"),
        ("a:\n  b: 1\n c: 2\n", "line 3, column 2", "indented as far as"),
        ("a: [1, 2\nb: 3\n", "line 2, column 2", "the bracket to be closed"),
        ("a: {b: 1\nc: 3\n", "line 2, column 2", "the bracket to be closed"),
        ("a: 'it\n", "line 2, column 1", "the quotation mark to be closed"),
        ("a: [\n", "line 2, column 1", "every bracket to be closed"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1", "each key once"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1", "one document"),
        ("a: @home\n", "line 1, column 4", "quotes around a text that begins with such a character"),
        ("a: !!python/none x\n", "line 1, column 4", "plain values, without tags"),
        ("a: 1\nb: \x07\n", "line 2, column 4", "text"),
    ],
)
def test_a_text_that_is_no_yaml_is_told_with_its_place_and_a_remedy(text: str, place: str, expected: str) -> None:
    with pytest.raises(NotYaml) as caught:
        read(text)
    assert str(caught.value.position) == place
    assert expected in caught.value.expected


def test_a_mistake_names_file_line_column_key_and_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(TEXT)
    with pytest.raises(SettingsError) as caught:
        load(file, AgentSettings)
    told = str(caught.value).splitlines()
    assert f"{file}, line 6, column 9: buses.0.meters.1.profile: expected a value, got nothing" in told
    assert f"{file}: gateway: expected a value, got nothing" in told
    file.write_text("region: lab\n  gateway: gw-1\n")
    with pytest.raises(SettingsError, match=r"agent\.yaml, line 2, column 10: expected one `key: value` to a line"):
        load(file, AgentSettings)


def test_of_two_that_exclude_each_other_both_are_named(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("buses:\n  - port: 502\n    host: h\n    serial: {device: /dev/ttyUSB0, baud: 9600}\n")
    with pytest.raises(SettingsError, match=r"line 2, column 5: buses\.0: expected either host, .*, got both"):
        load(file, AgentSettings)

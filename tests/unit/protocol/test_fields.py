"""One reader per kind of field: its type, its bound, and an error that says which field it was."""

from __future__ import annotations

import pytest

from protocol.errors import EncodingError
from protocol.fields import (
    NAME_MAX,
    UINT_MAX,
    digest,
    flag,
    integer,
    is_name,
    items,
    name,
    octets,
    optional,
    row,
    text,
    uint,
)

NAMES = ["a", "Z", "7", "gw-1", "m_1", "a.b", "A" * NAME_MAX, "0-0"]

NO_NAMES = ["", "-a", "a-", ".", "..", "a.", ".a", "_a", "a b", "a/b", "a+", "#", "ä", "a\n", "a\x00b", "A" * 65, "٣"]


@pytest.mark.parametrize("text", NAMES)
def test_a_name_is_letters_and_digits_with_a_few_marks_inside(text: str) -> None:
    assert is_name(text)
    assert name(text, "name") == text


@pytest.mark.parametrize("text", NO_NAMES, ids=repr)
def test_what_could_change_a_topic_or_a_file_is_no_name(text: str) -> None:
    assert not is_name(text)
    with pytest.raises(EncodingError, match="thing"):
        name(text, "thing")


def test_integers_are_bounded_by_what_a_database_holds() -> None:
    assert uint(UINT_MAX, "n") == UINT_MAX == 2**63 - 1
    assert integer(-UINT_MAX, "n") == -UINT_MAX
    assert uint(5, "n", high=5) == 5
    for wrong in (-1, UINT_MAX + 1, True, 1.0, "1", None):
        with pytest.raises(EncodingError, match="n:"):
            uint(wrong, "n")
    for wrong in (-UINT_MAX - 1, UINT_MAX + 1, False, None):
        with pytest.raises(EncodingError, match="n:"):
            integer(wrong, "n")
    with pytest.raises(EncodingError, match="from 0 to 5"):
        uint(6, "n", high=5)


def test_a_flag_is_true_or_false_and_no_number() -> None:
    assert flag(True, "f") is True
    for wrong in (0, 1, None, "true"):
        with pytest.raises(EncodingError):
            flag(wrong, "f")


def test_text_and_bytes_have_their_length() -> None:
    assert text("ü" * 3, "t", 3) == "ü" * 3
    assert octets(b"ab", "o", 2) == b"ab"
    assert digest(bytes(32), "d") == bytes(32)
    for wrong in ("abcd", b"abc", None):
        with pytest.raises(EncodingError):
            text(wrong, "t", 3)
    for wrong in (b"a", b"abc", "ab", None):
        with pytest.raises(EncodingError):
            octets(wrong, "o", 2)
    with pytest.raises(EncodingError, match="32 bytes"):
        digest(bytes(31), "d")


def test_arrays_have_their_count() -> None:
    assert items([1, 2], "i", 2) == [1, 2]
    assert row([1, 2], "r", 2) == [1, 2]
    for wrong in ([1, 2, 3], (1, 2), {1: 2}, None):
        with pytest.raises(EncodingError):
            items(wrong, "i", 2)
        with pytest.raises(EncodingError):
            row(wrong, "r", 2)
    with pytest.raises(EncodingError):
        row([1], "r", 2)


def test_what_is_optional_is_null_or_right() -> None:
    assert optional(None, integer, "n") is None
    assert optional(5, integer, "n") == 5
    with pytest.raises(EncodingError):
        optional("5", integer, "n")


def test_an_error_does_not_repeat_a_long_value() -> None:
    with pytest.raises(EncodingError) as caught:
        name("x" * 10_000, "thing")
    assert len(str(caught.value)) < 200

"""What a participant offers beside the price, to be taken into a block before others.

A fee is field 8 of every order that may have one, and is left out where it is 0: one value has one spelling.
"""

from __future__ import annotations

from typing import Final

from protocol.canonical import Value, fields_of
from protocol.errors import EncodingError
from protocol.fields import uint

FEE_KEY: Final = 8


def spell_fee(fee: int) -> dict[int, Value]:
    """The field of a fee in tokens; none for 0."""
    return {FEE_KEY: fee} if fee else {}


def fields_and_fee(value: Value, keys: tuple[int, ...], what: str) -> tuple[dict[int, Value], int]:
    """The fields of a map that has exactly `keys`, and its fee in tokens, 0 where it has none.

    Raises:
        EncodingError: not such a map, or a fee of 0, which has no spelling.
    """
    if type(value) is not dict or FEE_KEY not in value:
        return dict(fields_of(value, keys, what)), 0
    fields = dict(fields_of(value, tuple(sorted((*keys, FEE_KEY))), what))
    fee = uint(fields.pop(FEE_KEY), "fee")
    if not fee:
        raise EncodingError(f"{what}: a fee of 0 is left out")
    return fields, fee

"""The ground that every settings class stands on: frozen, strict, nothing unknown, nothing coerced.

`pack` and `unpack` give each of them one spelling in bytes (docs/spec/este.cddl): an array of its fields in the
order in which the class declares them. So a grid can be signed, and a profile has a digest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import Enum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from protocol.fields import is_name


def mistake(expected: str, got: str = "") -> PydanticCustomError:
    """The error for a rule that a settings file breaks: it completes the sentence "expected …, got …".

    Without `got`, whoever tells it shows what the file says there.
    """
    return PydanticCustomError("este", "{expected}", {"expected": expected, "got": got})


def guess(given: str, known: Iterable[str]) -> str:
    """What was probably meant by a word that is not among the known ones, to stand behind "expected …"."""
    near = get_close_matches(given, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


class Model(BaseModel):
    """Base of everything that is read from a file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        hide_input_in_errors=True,
        defer_build=True,  # a program builds the validators of its own settings, not of everybody's
    )

    def pack(self) -> list[Any]:
        """The values of this model as arrays, integers and text, ready for `protocol.canonical.encode`."""
        return [_pack(getattr(self, field)) for field in type(self).model_fields]

    @classmethod
    def unpack(cls, value: object) -> Self:
        """Build a model from what `pack` gave.

        Raises:
            pydantic.ValidationError: the value breaks a rule of the model, or is not as `pack` spells it.
        """
        try:
            model = cls.model_validate(_by_name(cls, value))
            if model.pack() != value:
                raise mistake(f"the one spelling of a {cls.__name__}")
        except PydanticCustomError as error:
            raise ValidationError.from_exception_data(cls.__name__, [{"type": error, "input": value}]) from error
        return model


def _pack(value: object) -> object:
    match value:
        case Model():
            return value.pack()
        case Enum():
            return value.value
        case Decimal():
            return spell_decimal(value)
        case tuple():
            return [_pack(item) for item in value]
        case int() | str() | None:
            return value
        case _:
            raise TypeError(f"{type(value).__name__} cannot be packed")


def _by_name(cls: type[BaseModel], value: object) -> object:
    """Turn the array of a model back into a mapping, so that pydantic can check it as it checks a file."""
    if not isinstance(value, list) or len(value) != len(cls.model_fields):
        raise mistake(f"an array of the {len(cls.model_fields)} fields of {cls.__name__}")
    return {
        name: _unpack(field.annotation, item)
        for (name, field), item in zip(cls.model_fields.items(), value, strict=True)
    }


def _unpack(annotation: Any, value: object) -> object:
    models = [part for part in (annotation, *getattr(annotation, "__args__", ())) if _is_model(part)]
    if not models or not isinstance(value, list):
        return value
    if annotation is models[0] or type(None) in getattr(annotation, "__args__", ()):
        return _by_name(models[0], value)
    return [_by_name(models[0], item) for item in value]


def _is_model(part: object) -> bool:
    return isinstance(part, type) and issubclass(part, Model)


DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,11})(?:\.\d{1,12})?")


def _to_decimal(value: object) -> object:
    """Take a YAML number as it is printed, so that 0.1 means one tenth."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise mistake("a decimal number")
    text = str(value)
    if not DECIMAL.fullmatch(text):
        raise mistake("a decimal number of at most 12 digits before and 12 behind the point")
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise mistake("a decimal number") from error


def spell_decimal(value: Decimal) -> str:
    """The one spelling of a decimal: no exponent, no zeros at the end."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _to_name(value: str) -> str:
    if not is_name(value):
        raise mistake("a name of letters and digits, with '_', '.' or '-' inside, at most 64 characters")
    return value


def _to_tuple(value: object) -> object:
    """YAML lists become tuples, so that a model can be frozen all the way down."""
    return tuple(value) if isinstance(value, list) else value


Name = Annotated[str, AfterValidator(_to_name)]
Exact = Annotated[Decimal, BeforeValidator(_to_decimal)]
"""A decimal that is exactly what the file says."""
Positive = Annotated[int, Field(gt=0, le=10**15)]
Natural = Annotated[int, Field(ge=0, le=10**15)]
Listed = BeforeValidator(_to_tuple)
"""Marks a tuple field that a file spells as a list."""

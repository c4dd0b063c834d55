"""Where SunSpec models keep what a meter profile can hold: `sunspec.yaml` beside this file, checked.

SunSpec is a chain of numbered models, each with its points at fixed offsets; where the chain begins, which models are
in it and by which powers of ten its integers are scaled, differs from device to device. Given by the standard:
offsets, types, units. Asks no device: `agent.library.sunspec` does.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from config.load import load
from config.model import Listed, Model
from protocol.registers import WordType

SUNSPEC_FILE: Final = Path(__file__).parent / "sunspec.yaml"

Offset = Annotated[int, Field(ge=2, le=1000)]
"""From the word that holds the model's number; the two first words are the number and the length."""


class SunspecPoint(Model):
    """One value of a model."""

    quantity: str
    offset: Offset
    type: Annotated[WordType, Field(strict=False)]
    unit: str
    factor: Offset | None = None
    """Where the power of ten stands that the integer has to be multiplied with."""
    sign: Literal[1, -1] = 1


class SunspecModel(Model):
    """Models that share one layout."""

    ids: Annotated[tuple[int, ...], Listed]
    length: int
    """Words behind the number and the length; a device may have more."""
    points: Annotated[tuple[SunspecPoint, ...], Listed]


class SunspecMap(Model):
    """All models that este knows."""

    source: str
    models: Annotated[tuple[SunspecModel, ...], Listed]

    def model_of(self, number: int) -> SunspecModel | None:
        """The layout of a model, if it is known."""
        return next((model for model in self.models if number in model.ids), None)


@cache
def sunspec_map() -> SunspecMap:
    """The map that comes with este."""
    return load(SUNSPEC_FILE, SunspecMap)

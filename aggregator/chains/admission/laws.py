"""What the regulator lays down and may lay down anew: rules and permits, and what of them has to stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError

from config.grid_model import Permit
from config.rules import Rules
from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import items
from protocol.units import PPM

MG_PER_GRAM: Final = 1000
PERMITS_MAX: Final = 1_000_000


@dataclass(frozen=True)
class Laws:
    """Everything that an amendment may change, as it is to be."""

    rules: Rules
    permits: tuple[Permit, ...]

    @cached_property
    def permits_mg(self) -> Mapping[str, int]:
        """S_permit of equation (1) in milligrams, by participant."""
        return {permit.participant: permit.grams * MG_PER_GRAM for permit in self.permits}

    def pack(self) -> list[Any]:
        """As arrays, ready to be spelled."""
        return [self.rules.pack(), [permit.pack() for permit in self.permits]]

    @classmethod
    def unpack(cls, rules: Value, permits: Value) -> Laws:
        """Build them from what `pack` gave.

        Raises:
            EncodingError: a rule of their own is broken, or a participant has two permits.
        """
        try:
            laws = cls(
                Rules.unpack(rules),
                tuple(map(Permit.unpack, items(permits, "permits", PERMITS_MAX))),
            )
        except ValidationError as error:
            raise EncodingError(f"rules: {error.errors()[0]['msg']}") from error
        if len({permit.participant for permit in laws.permits}) < len(laws.permits):
            raise EncodingError("permits: one for each participant")
        return laws


def broken_law(before: Laws, after: Laws) -> str | None:
    """What an amendment may not do to the laws that hold until then; None if it does nothing of it.

    How time is cut is how everything is counted. What was promised, or is held, under the old rules has to keep its
    place under the new ones.
    """
    old, new = before.rules, after.rules
    if new.time != old.time:
        return "how time is cut stays as it is"
    if new.accounts.ceiling != old.accounts.ceiling:
        return f"accounts may hold {old.accounts.ceiling}, and what is settled once more has to know what they held"
    if old.contracts is not None and new.contracts is None:
        return "contracts that are made have to be settled by some rule"
    if _lines_ppm(new) < _lines_ppm(old):
        return f"{_lines_ppm(old)} millionths of each line may be promised already: no less from now on"
    return None


def _lines_ppm(rules: Rules) -> int:
    """Share of a line that may be promised: where there are no contracts, all of it may be sold as channels."""
    return PPM if rules.contracts is None else rules.contracts.lines_ppm

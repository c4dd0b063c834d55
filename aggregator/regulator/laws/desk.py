"""What the regulator signs about rules and permits, and how people are shown them.

Decides nothing that the rule of the asset chain does not decide again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from aggregator.chains.admission.amendments import Amendment
from aggregator.chains.admission.laws import Laws
from aggregator.chains.five import Five
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from config.amendment import AmendmentFile
from config.model import Model, spell_decimal
from protocol.crypto import SigningKey
from protocol.messages import MessageType


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that an amendment changes."""

    law: str
    """Where it stands, such as ``tokens.reward`` or ``permits.gas``."""
    before: str | None
    """None where there was none."""
    after: str | None


@dataclass(frozen=True, slots=True)
class AmendmentView:
    """One amendment, and what it changes of what holds until then."""

    from_ms: int
    is_in_force: bool
    """Or was; false where it is yet to come."""
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class LawsView:
    """What is laid down in a region."""

    since_ms: int
    """Since when it holds: the beginning of the region, or of the last amendment."""
    now: dict[str, str]
    """Every value that is in force, by where it stands."""
    amendments: tuple[AmendmentView, ...]
    """In the order in which they hold."""


def laws_of(five: Five) -> LawsView:
    """What is laid down as of the last block, what was changed, and what is to be."""
    region, head = five.asset.region, five.ledger.head
    now_ms = head.time_ms if head else 0
    views = tuple(
        AmendmentView(
            from_ms, from_ms <= now_ms, tuple(differences(region.laws_at(from_ms - 1), region.laws_at(from_ms)))
        )
        for from_ms in region.amended_ms
    )
    since_ms = max((view.from_ms for view in views if view.is_in_force), default=region.begin_ms)
    return LawsView(since_ms, told(region.laws_at(now_ms)), views)


def told(laws: Laws) -> dict[str, str]:
    """Every value of rules and permits, by where it stands in a grid file."""
    permits = {f"permits.{one.participant}": f"{one.grams} g" for one in laws.permits}
    return dict(_values("", laws.rules)) | permits


def differences(before: Laws, after: Laws) -> Iterator[Difference]:
    """What one says otherwise than the other, in the order of a grid file."""
    old, new = told(before), told(after)
    for law in [*old, *(law for law in new if law not in old)]:
        if old.get(law) != new.get(law):
            yield Difference(law, old.get(law), new.get(law))


def next_period_ms(five: Five) -> int:
    """When the settlement period begins that follows the running one."""
    head = five.ledger.head
    return five.asset.region.period_of(head.time_ms if head else 0).span.end_ms


def amended(regulator: Regulator, file: AmendmentFile, from_ms: int) -> Laws:
    """What is to hold from an instant on.

    Raises:
        RegulatorError: nothing would change.
    """
    held = regulator.asset.region.laws_at(from_ms)
    laws = Laws(*file.applied(held.rules, held.permits))
    if laws == held:
        raise RegulatorError("nothing would change: what the file says is in force then already")
    return laws


def amend(regulator: Regulator, laws: Laws, from_ms: int, key: SigningKey) -> Sealed:
    """Sign an amendment.

    Raises:
        RegulatorError: the key is not the regulator's.
        WouldBeRefusedError: no settlement period that is yet to come begins then, or it changes what has to stay.
    """
    return regulator.seal(lambda link: Amendment(link, from_ms, laws).encode(), MessageType.AMENDMENT, key)


def _values(place: str, value: object) -> Iterator[tuple[str, str]]:
    match value:
        case Model():
            for name in type(value).model_fields:
                yield from _values(f"{place}.{name}" if place else name, getattr(value, name))
        case None:
            pass
        case _:
            yield place, _spelled(value)


def _spelled(value: object) -> str:
    match value:
        case Model():
            return " ".join(_spelled(getattr(value, name)) for name in type(value).model_fields)
        case tuple():
            return ", ".join("–".join(map(_spelled, one)) if isinstance(one, tuple) else _spelled(one) for one in value)
        case Decimal():
            return spell_decimal(value)
        case Enum():
            return str(value.value)
        case _:
            return str(value)

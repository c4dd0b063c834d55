"""What a running fleet can be told to do: break a meter, mend it, or say what is broken.

Takes an order as it came over the control socket, does it, and says in one sentence what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from firmware_sim.faults import KINDS, Active, Fault, Faults
from firmware_sim.fleet import Fleet
from protocol.errors import OperatorError

FOR_MS_MAX: Final = 7 * 86_400_000

NO_FAULT: Final = "none"
"""The order that mends a meter."""

SAVE: Final = "save"
"""The order to the people behind a meter to switch off what they can do without, or to a plant to stand still."""


class Orders:
    """The faults of a fleet, and how they come about."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.faults = Faults(fleet.scenario.seed, [c.site.meter for c in fleet.scenario.connections])

    def obey(self, order: Mapping[str, Any]) -> str:
        """Do what an order says.

        Raises:
            OperatorError: it cannot be done.
        """
        meter, fault = str(order.get("meter")), str(order.get("fault"))
        number, for_ms = _whole(order, "number"), _whole(order, "for_ms")
        if fault == SAVE:
            return self._save(meter, for_ms)
        if fault == NO_FAULT:
            return f"{meter}: {self.faults.lift(meter)} faults lifted"
        if fault not in {kind.value for kind in Fault}:
            known = ", ".join((*Fault, NO_FAULT))
            raise OperatorError("este-fleet inject", "FAULT", f"one of {known}", fault)
        if for_ms is not None:
            _see_that_reasonable(for_ms)
        before = self._fleet.measured(meter) if self.faults.knows(meter) else {}
        now_ms = self._fleet.elapsed_ms
        return _told(
            meter, self.faults.inject(meter, Fault(fault), number=number, now_ms=now_ms, for_ms=for_ms, before=before)
        )

    def _save(self, meter: str, for_ms: int | None) -> str:
        if for_ms is None:
            raise OperatorError("este-fleet save", "--for", "how long", "nothing")
        _see_that_reasonable(for_ms)
        try:
            self._fleet.save(meter, for_ms)
        except KeyError as error:
            raise OperatorError(
                "este-fleet save", "METER", "the meter of a household or a plant of the running fleet", meter
            ) from error
        return f"{meter}: whatever can be is switched off behind it, for {for_ms / 1000:g} s"


def _see_that_reasonable(for_ms: int) -> None:
    if not 1 <= for_ms <= FOR_MS_MAX:
        raise OperatorError("este-fleet", "--for", "more than nothing and at most a week", f"{for_ms} ms")


def _whole(order: Mapping[str, Any], key: str) -> int | None:
    value = order.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise OperatorError("este-fleet inject", key, "a whole number", repr(value)[:40])


def _told(meter: str, active: Active) -> str:
    kind = KINDS[active.fault]
    number = f" ({active.number} {kind.unit})" if kind.unit else ""
    end = "until it is lifted" if active.until_ms is None else f"for {(active.until_ms - active.since_ms) / 1000:g} s"
    return f"{meter} {kind.does}{number}, {end}"

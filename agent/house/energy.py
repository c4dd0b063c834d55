"""Energy as the house may book it: a sum that never falls, and grows only by what a register can have counted.

Home Assistant books every rise of what it is told, and takes a fall for a new beginning. So it is not told what a
register shows, but a sum: it begins where the register first stood, and from there on every step is judged as the
aggregator judges it (`protocol.energy_register`). A jump, a glitch or a new meter adds nothing, not when it happens and
not when the new place is believed. The sum outlives the program (`Kept`): the next one goes on from it, and what the
register counted meanwhile is added where the clocks tell how long that was; where they do not, it is left out.
Reads no file and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.bus.reading import Reading
from agent.outbox.batching import Boot
from config.meter_profile import MeterProfile
from protocol.batch import ClockState
from protocol.energy_register import EnergyRegister, StepKind, advance, first
from protocol.units import Quantity

TOLD: Final = (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH)

Energies = Mapping[str, Mapping[Quantity, int]]
"""Watt-hours that may be told, by meter."""


@dataclass(frozen=True, slots=True)
class Sum:
    """What was added up for one register, and what is believed about it."""

    energy_wh: int
    register: EnergyRegister


@dataclass(frozen=True, slots=True)
class Kept:
    """The sums at one time, and the boot whose clock their instants are on."""

    boot: Boot
    sums: Mapping[tuple[str, Quantity], Sum]

    def to_json(self) -> dict[str, Any]:
        """For a file. Doubts are left out: a register that was in doubt will be so again."""
        clock = self.boot.clock
        return {
            "boot": self.boot.id.hex(),
            "epoch_ms": clock.epoch_ms if clock.state is ClockState.SYNCHRONIZED else None,
            "sums": [
                [meter, quantity.name, kept.energy_wh, kept.register.trusted.value_wh, kept.register.trusted.at_ms]
                for (meter, quantity), kept in self.sums.items()
            ],
        }


class HouseEnergy:
    """The sums of all registers that the house is told of."""

    def __init__(self, profiles: Mapping[str, MeterProfile]) -> None:
        self._profiles = profiles
        self._sums: dict[tuple[str, Quantity], Sum] = {}
        self.has_news = False
        """Whether a sum began, or a register was believed at another place: worth keeping at once."""

    def restore(self, document: Mapping[str, Any], boot: Boot, now_ms: int) -> None:
        """Go on from what `Kept.to_json` gave.

        Raises:
            LookupError, TypeError, ValueError: it is something else.
        """
        now = boot.clock
        if document["boot"] == boot.id.hex():
            later_ms: int | None = 0
        elif document["epoch_ms"] is None or now.state is not ClockState.SYNCHRONIZED:
            later_ms = None
        else:
            later_ms = int(document["epoch_ms"]) - now.epoch_ms
        sums = {}
        for meter, name, energy_wh, value_wh, at_ms in document["sums"]:
            at = now_ms if later_ms is None else min(int(at_ms) + later_ms, now_ms)
            sums[str(meter), Quantity[name]] = Sum(int(energy_wh), first(int(value_wh), at))
        self._sums = {key: kept for key, kept in sums.items() if key[0] in self._profiles}

    def add(self, reading: Reading) -> None:
        """One more reading of a meter; not older than the one before."""
        profile = self._profiles[reading.meter]
        for quantity in TOLD:
            if quantity not in reading.words:
                continue
            key, value_wh = (reading.meter, quantity), reading.values[quantity]
            before = self._sums.get(key)
            if before is None:
                self._sums[key] = Sum(value_wh, first(value_wh, reading.end_ms))
                self.has_news = True
                continue
            limit = profile.register_limit(quantity, profile.power_max_w)
            register, step = advance(before.register, value_wh, reading.end_ms, limit)
            self._sums[key] = Sum(before.energy_wh + step.energy_wh, register)
            self.has_news = self.has_news or step.kind is StepKind.SETTLED

    def told(self) -> Energies:
        """What may be told now."""
        told: dict[str, dict[Quantity, int]] = {}
        for (meter, quantity), kept in self._sums.items():
            told.setdefault(meter, {})[quantity] = kept.energy_wh
        return told

    def kept(self, boot: Boot) -> Kept:
        """What to keep now."""
        self.has_news = False
        return Kept(boot, dict(self._sums))

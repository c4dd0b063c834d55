"""What the data chain remembers of a meter between two of its batches."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.canonical import Value
from protocol.energy_register import EnergyRegister, Place


@dataclass(frozen=True, slots=True)
class MeterState:
    """What is known about a meter after its last batch."""

    boot_id: bytes
    last_boot_ms: int
    """Start of its last reading, on the gateway's clock of that boot."""
    last_ms: int
    """The same instant, UTC."""
    serial: str
    readings: int
    unexplained: int
    """Readings whose step was no energy; the first of another meter in the same place is one."""
    imported: EnergyRegister | None
    exported: EnergyRegister | None


def spell_meter(state: MeterState) -> Value:
    """A row of the state."""
    return [
        state.boot_id, state.last_boot_ms, state.last_ms, state.serial, state.readings, state.unexplained,
        _spell_register(state.imported), _spell_register(state.exported),
    ]  # fmt: skip


def read_meter(value: Value) -> MeterState:
    """Read what `spell_meter` spells."""
    boot_id, last_boot_ms, last_ms, serial, readings, unexplained, imported, exported = value
    return MeterState(
        boot_id,
        last_boot_ms,
        last_ms,
        serial,
        readings,
        unexplained,
        _read_register(imported),
        _read_register(exported),
    )


def _spell_register(register: EnergyRegister | None) -> Value:
    if register is None:
        return None
    since, last = register.doubtful_since, register.doubtful_last
    trusted = [register.trusted.value_wh, register.trusted.at_ms]
    if since is None or last is None:
        return trusted
    return [*trusted, since.value_wh, since.at_ms, last.value_wh, last.at_ms, register.doubts]


def _read_register(value: Value) -> EnergyRegister | None:
    if value is None:
        return None
    trusted = Place(value_wh=value[0], at_ms=value[1])
    if len(value) == 2:
        return EnergyRegister(trusted=trusted)
    return EnergyRegister(
        trusted=trusted,
        doubtful_since=Place(value_wh=value[2], at_ms=value[3]),
        doubtful_last=Place(value_wh=value[4], at_ms=value[5]),
        doubts=value[6],
    )

"""Two looks at one live meter, for `agent.library.doctor` to judge.

Given a bus, a unit and a profile, reads everything that the profile knows, waits, and reads it again: at least for as
long as the meter takes to renew what it shows. Keeps, signs and sends nothing, and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from agent.bus.metering import Answers, MeterPlan, check_fixed_words, plan_for, serial_of, value_of, words_of
from agent.bus.modbus_port import ModbusBus
from agent.bus.planner import serial_request
from agent.library.doctor import Finding, Look, Verdict, judge
from agent.log import tell_loop_errors
from config.load import check
from config.meter_profile import MeterProfile
from config.settings.agent import AgentSettings
from config.settings.bus import Bus, MeterAddress
from protocol.errors import DeviceError, OperatorError
from protocol.units import BootMs, Quantity

MORE_THAN_ONCE: Final = 2
"""Between two looks a meter renews what it shows so many times: once might be just before the first."""


class Clock(Protocol):
    """What a check-up asks of a clock."""

    def now_ms(self) -> BootMs:
        """Milliseconds since the machine was started."""


@dataclass(frozen=True, slots=True)
class Patient:
    """A meter, and where it hangs."""

    bus: Bus
    address: MeterAddress


def patient_at(bus: Bus, unit: int, profile: str) -> Patient:
    """A meter that no settings name.

    Raises:
        SettingsError: the name of the profile is none.
    """
    return Patient(bus, check({"id": f"unit-{unit}", "unit": unit, "profile": profile}, MeterAddress, "command line"))


def patient_of(settings: AgentSettings, meter: str) -> Patient:
    """The meter of the settings that is called `meter`.

    Raises:
        OperatorError: there is none.
    """
    known = {address.id: Patient(bus, address) for bus in settings.buses for address in bus.meters}
    if meter not in known:
        raise OperatorError(
            "the settings", "buses", f"a meter out of {', '.join(sorted(known)) or 'none'}", repr(meter)
        )
    return known[meter]


async def examine(
    patient: Patient, profiles: Mapping[str, MeterProfile], *, wait_ms: int, clock: Clock
) -> tuple[str, tuple[Finding, ...]]:
    """Look at a meter twice, and say who it is and what became of every check.

    Raises:
        OperatorError: there is no such profile.
        DeviceError: the meter cannot be reached, or does not answer as its profile says.
    """
    tell_loop_errors(asyncio.get_running_loop())
    meter = plan_for(patient.address, profiles, list(Quantity))
    wait_ms = max(wait_ms, MORE_THAN_ONCE * (meter.profile.refresh_ms or 0))
    bus = ModbusBus(patient.bus)
    try:
        serial = await _serial(bus, meter, patient.bus.timeout_ms)
        first = await _look(bus, meter, patient.bus.timeout_ms, clock)
        await asyncio.sleep(wait_ms / 1000)
        second = await _look(bus, meter, patient.bus.timeout_ms, clock)
    except DeviceError as error:
        raise DeviceError(f"unit {meter.unit}: {error}", retry=error.retry) from error
    finally:
        bus.close()
    apart_s = (second.at_ms - first.at_ms) / 1000
    told = f"{meter.profile.manufacturer} {meter.profile.model}, read twice, {apart_s:.1f} s apart"
    return told, (serial, *judge(meter.profile, first, second))


async def _look(bus: ModbusBus, meter: MeterPlan, timeout_ms: int, clock: Clock) -> Look:
    answers: Answers = {request: await bus.read(meter.unit, request, timeout_ms) for request in meter.requests}
    at_ms = clock.now_ms()
    check_fixed_words(meter.profile, answers)
    words = {quantity: words_of(meter.profile, quantity, answers) for quantity in meter.profile.codecs}
    return Look(at_ms, {quantity: value_of(meter.profile, quantity, raw) for quantity, raw in words.items()})


async def _serial(bus: ModbusBus, meter: MeterPlan, timeout_ms: int) -> Finding:
    request = serial_request(meter.profile)
    if request is None:
        return Finding("serial", Verdict.OPEN, "the profile knows no serial number")
    try:
        told = serial_of(meter.profile, await bus.read(meter.unit, request, timeout_ms))
    except DeviceError as error:
        if error.retry:
            raise
        return Finding("serial", Verdict.FAILS, f"not told: {error}")
    if meter.serial not in (None, told):
        return Finding("serial", Verdict.FAILS, f"{told}, where the settings name {meter.serial}")
    return Finding("serial", Verdict.HOLDS if told.strip("0") else Verdict.FAILS, told or "empty")

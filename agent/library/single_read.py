"""One look at one meter, for whoever wires it: every quantity of its profile, with the words behind it.

Given a profile and an address, reads once and hands back lines to print. Keeps, signs and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from agent.bus.metering import Answers, MeterPlan, plan_for, serial_of, value_of, words_of
from agent.bus.modbus_port import ModbusBus
from agent.bus.planner import serial_request
from agent.log import tell_loop_errors
from config.meter_profile import MeterProfile
from config.settings.bus import Bus, MeterAddress
from protocol.errors import DeviceError
from protocol.units import Quantity


async def read_once(profiles: Mapping[str, MeterProfile], profile: str, *, settings: Bus, unit: int) -> list[str]:
    """Read a meter and lay out what it told.

    Raises:
        OperatorError: there is no such profile.
        DeviceError: the meter cannot be reached, or does not answer as its profile says.
    """
    tell_loop_errors(asyncio.get_running_loop())
    meter = plan_for(MeterAddress(id=f"unit-{unit}", unit=unit, profile=profile), profiles, list(Quantity))
    bus, timeout_ms = ModbusBus(settings), settings.timeout_ms
    try:
        serial = await _serial(bus, meter, timeout_ms)
        answers = {request: await bus.read(unit, request, timeout_ms) for request in meter.requests}
    except DeviceError as error:
        raise DeviceError(f"unit {unit} at {settings.place}: {error}", retry=error.retry) from error
    finally:
        bus.close()
    head = f"{meter.profile.manufacturer} {meter.profile.model}, serial number {serial}, {len(answers)} requests"
    return [head, *_lines(meter, answers)]


async def _serial(bus: ModbusBus, meter: MeterPlan, timeout_ms: int) -> str:
    request = serial_request(meter.profile)
    if request is None:
        return "unknown to the profile"
    try:
        return serial_of(meter.profile, await bus.read(meter.unit, request, timeout_ms))
    except DeviceError as error:
        if error.retry:
            raise
        return f"not told ({error})"


def _lines(meter: MeterPlan, answers: Answers) -> Iterator[str]:
    registers = {register.id: register for register in meter.profile.registers}
    for quantity in meter.quantities:
        words = words_of(meter.profile, quantity, answers)
        value = value_of(meter.profile, quantity, words)
        shown = "no value" if value is None else f"{value} {quantity.base_unit}"
        raw = " ".join(f"{word:04x}" for word in words)
        yield f"{quantity.name.lower():<22}{shown:>20}   {registers[quantity].address:#06x}: {raw}"

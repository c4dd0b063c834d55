"""One look at one meter, for whoever wires it: every quantity of its profile, with the words behind it.

Given a profile and an address, reads once and hands back lines to print, and a remark on whatever cannot be right: a
wrong profile seldom fails, it shows zeros, or numbers that look like some. Keeps, signs and sends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from agent.bus.metering import Answers, MeterPlan, check_fixed_words, plan_for, value_of, words_of
from agent.bus.modbus_port import ModbusBus
from agent.library.doctor import Verdict, judge
from agent.library.look import ask_all, ask_serial, look_at, meter_at
from agent.log import tell_loop_errors
from config.meter_profile import MeterProfile
from config.settings.bus import Bus
from protocol.errors import DeviceError
from protocol.units import Quantity


async def read_once(profiles: Mapping[str, MeterProfile], profile: str, *, settings: Bus, unit: int) -> list[str]:
    """Read a meter and lay out what it told.

    Raises:
        OperatorError: there is no such profile.
        DeviceError: the meter cannot be reached, or does not answer as its profile says.
    """
    tell_loop_errors(asyncio.get_running_loop())
    meter = plan_for(meter_at(settings, unit, profile).address, profiles, list(Quantity))
    bus, timeout_ms = ModbusBus(settings), settings.timeout_ms
    try:
        serial = await ask_serial(bus, meter, timeout_ms)
        answers = await ask_all(bus, meter, timeout_ms)
    except DeviceError as error:
        raise DeviceError(f"unit {unit} at {settings.place}: {error}", retry=error.retry) from error
    finally:
        bus.close()
    number = serial.why_not if serial.number is None else serial.number or "empty"
    requests = "1 request" if len(answers) == 1 else f"{len(answers)} requests"
    head = f"{meter.profile.manufacturer} {meter.profile.model}, serial number {number}, {requests}"
    return [head, *_lines(meter, answers), *_remarks(meter, answers)]


def _lines(meter: MeterPlan, answers: Answers) -> Iterator[str]:
    registers = {register.id: register for register in meter.profile.registers}
    for quantity in meter.quantities:
        words = words_of(meter.profile, quantity, answers)
        value = value_of(meter.profile, quantity, words)
        shown = "no value" if value is None else f"{value} {quantity.base_unit}"
        raw = " ".join(f"{word:04x}" for word in words)
        yield f"{quantity.name.lower():<22}{shown:>20}   {registers[quantity].address:#06x}: {raw}"


def _remarks(meter: MeterPlan, answers: Answers) -> Iterator[str]:
    """What a single look tells against the profile, and what to do about it."""
    found = []
    try:
        check_fixed_words(meter.profile, answers)
    except DeviceError as error:
        found.append(str(error))
    look = look_at(meter, answers, 0)
    for finding in judge(meter.profile, look, look):
        is_odd = finding.verdict is Verdict.FAILS or (finding.check == "values" and finding.verdict is Verdict.OPEN)
        found += [f"{finding.check}: {finding.says}"] if is_odd else []
    yield from (f"REMARK  {remark}" for remark in found)
    if found:
        yield f"Is {meter.profile.id} the meter's profile, and {meter.unit} its unit? este-agent doctor looks closer."

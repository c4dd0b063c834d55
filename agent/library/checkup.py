"""Two looks at one live meter, for `agent.library.doctor` to judge.

Given a bus, a unit and a profile, reads everything that the profile knows, waits, and reads it again: at least for as
long as the meter takes to renew what it shows. Keeps, signs and sends nothing, and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from agent.bus.metering import MeterPlan, check_fixed_words, plan_for
from agent.bus.modbus_port import ModbusBus
from agent.library.doctor import Finding, Look, Verdict, judge
from agent.library.look import Serial, WiredMeter, ask_all, ask_serial, look_at
from agent.log import tell_loop_errors
from config.meter_profile import MeterProfile
from protocol.errors import DeviceError
from protocol.units import BootMs, Quantity

MORE_THAN_ONCE: Final = 2
"""Between two looks a meter renews what it shows so many times: once might be just before the first."""


class Clock(Protocol):
    """What a check-up asks of a clock."""

    def now_ms(self) -> BootMs:
        """Milliseconds since the machine was started."""


async def examine(
    wired: WiredMeter, profiles: Mapping[str, MeterProfile], *, wait_ms: int, clock: Clock
) -> tuple[str, tuple[Finding, ...]]:
    """Look at a meter twice, and say who it is and what became of every check.

    Raises:
        OperatorError: there is no such profile.
        DeviceError: the meter cannot be reached, or does not answer as its profile says.
    """
    tell_loop_errors(asyncio.get_running_loop())
    meter = plan_for(wired.address, profiles, list(Quantity))
    wait_ms = max(wait_ms, MORE_THAN_ONCE * (meter.profile.refresh_ms or 0))
    bus = ModbusBus(wired.bus)
    try:
        serial = _about_serial(meter, await ask_serial(bus, meter, wired.bus.timeout_ms))
        first = await _look(bus, meter, wired.bus.timeout_ms, clock)
        await asyncio.sleep(wait_ms / 1000)
        second = await _look(bus, meter, wired.bus.timeout_ms, clock)
    except DeviceError as error:
        raise DeviceError(f"unit {meter.unit}: {error}", retry=error.retry) from error
    finally:
        bus.close()
    apart_s = (second.at_ms - first.at_ms) / 1000
    told = f"{meter.profile.manufacturer} {meter.profile.model}, read twice, {apart_s:.1f} s apart"
    return told, (serial, *judge(meter.profile, first, second))


async def _look(bus: ModbusBus, meter: MeterPlan, timeout_ms: int, clock: Clock) -> Look:
    answers = await ask_all(bus, meter, timeout_ms)
    at_ms = clock.now_ms()
    check_fixed_words(meter.profile, answers)
    return look_at(meter, answers, at_ms)


def _about_serial(meter: MeterPlan, told: Serial) -> Finding:
    if told.number is None:
        return Finding("serial", Verdict.FAILS if told.is_expected else Verdict.OPEN, told.why_not)
    if meter.serial not in (None, told.number):
        return Finding("serial", Verdict.FAILS, f"{told.number}, where the settings name {meter.serial}")
    return Finding("serial", Verdict.HOLDS if told.number.strip("0") else Verdict.FAILS, told.number or "empty")

"""A live meter without an agent: where it hangs, its serial number, and all that its profile knows, read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.bus.metering import Answers, MeterPlan, serial_of, value_of, words_of
from agent.bus.planner import ReadRequest, serial_request
from agent.library.doctor import Look
from config.load import check
from config.settings.agent import AgentSettings
from config.settings.bus import Bus, MeterAddress
from protocol.errors import DeviceError, OperatorError


class Port(Protocol):
    """What a look asks of a bus."""

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        """The words that a unit answers with."""


@dataclass(frozen=True, slots=True)
class WiredMeter:
    """A meter, and where it hangs."""

    bus: Bus
    address: MeterAddress


@dataclass(frozen=True, slots=True)
class Serial:
    """What a meter says when it is asked for its serial number."""

    number: str | None
    """As it told it, which may be empty; None if it told none."""
    is_expected: bool
    """Whether the profile knows where it stands."""
    why_not: str = ""


def meter_at(bus: Bus, unit: int, profile: str) -> WiredMeter:
    """A meter that no settings name.

    Raises:
        SettingsError: the name of the profile is none.
    """
    address = check({"id": f"unit-{unit}", "unit": unit, "profile": profile}, MeterAddress, "command line")
    return WiredMeter(bus, address)


def meter_of(settings: AgentSettings, meter: str) -> WiredMeter:
    """The meter of the settings that is called `meter`.

    Raises:
        OperatorError: there is none.
    """
    known = {address.id: WiredMeter(bus, address) for bus in settings.buses for address in bus.meters}
    if meter not in known:
        names = ", ".join(sorted(known)) or "none"
        raise OperatorError("the settings", "buses", f"a meter out of {names}", repr(meter))
    return known[meter]


async def ask_serial(port: Port, meter: MeterPlan, timeout_ms: int) -> Serial:
    """Ask a meter for its serial number.

    Raises:
        DeviceError: it does not answer.
    """
    request = serial_request(meter.profile)
    if request is None:
        return Serial(None, False, "unknown to the profile")
    try:
        return Serial(serial_of(meter.profile, await port.read(meter.unit, request, timeout_ms)), True)
    except DeviceError as error:
        if error.retry:
            raise
        return Serial(None, True, f"not told: {error}")


async def ask_all(port: Port, meter: MeterPlan, timeout_ms: int) -> Answers:
    """Ask a meter for everything that its profile knows.

    Raises:
        DeviceError: it does not answer, or says no.
    """
    return {request: await port.read(meter.unit, request, timeout_ms) for request in meter.requests}


def look_at(meter: MeterPlan, answers: Answers, at_ms: int) -> Look:
    """What the meter showed at `at_ms`.

    Raises:
        DeviceError: the answers do not hold what the profile knows.
    """
    words = {quantity: words_of(meter.profile, quantity, answers) for quantity in meter.profile.codecs}
    return Look(at_ms, {quantity: value_of(meter.profile, quantity, raw) for quantity, raw in words.items()})

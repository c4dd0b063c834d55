"""Things of the agent's that are valid by default; see tests/builders.py for what travels."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.bus.metering import Block, MeterPlan, plan_for
from agent.bus.planner import ReadRequest
from agent.bus.reading import Part, Reading, SlowReading
from agent.outbox.batching import Boot
from config.load import check, load_profiles
from config.meter_profile import MeterProfile
from config.settings.agent import AgentSettings
from config.settings.bus import MeterAddress
from protocol.batch import Clock, Quality
from protocol.units import ELECTRICITY_REGISTERS, BootMs, Quantity
from tests.builders import GATEWAY, METER, REGION, a_clock, a_digest

WANTED = (Quantity.ACTIVE_POWER_W, Quantity.REACTIVE_POWER_VAR, Quantity.VOLTAGE_L1_MV)
"""What the settings send by default, beside the energy registers."""


def a_profile(name: str = "eastron_sdm630", **changes: Any) -> MeterProfile:
    """A profile that este brings, with changes as a file would spell them."""
    profile = load_profiles()[name]
    if not changes:
        return profile
    document = {
        key: [dict(item) if isinstance(item, dict) else item for item in value] if isinstance(value, tuple) else value
        for key, value in profile.model_dump(mode="python").items()
    }
    return check(document | changes, MeterProfile, "profile.yaml")


def a_meter(
    profile: MeterProfile | None = None,
    *,
    wanted: Sequence[Quantity] = WANTED,
    is_split: bool = False,
    **changes: Any,
) -> MeterPlan:
    """The house's meter, read as the settings say by default."""
    profile = profile or a_profile()
    address = MeterAddress(**{"id": METER, "unit": 1, "profile": profile.id} | changes)
    return plan_for(address, {profile.id: profile}, wanted, is_split=is_split)


def a_reading(**changes: Any) -> Reading:
    """The house takes 3,600 W."""
    reading = Reading(
        meter=METER,
        profile=a_digest("eastron_sdm630"),
        serial="17041234",
        start_ms=BootMs(60_000),
        end_ms=BootMs(60_040),
        quality=Quality.NONE,
        values={
            Quantity.ACTIVE_POWER_W: 3600,
            Quantity.IMPORTED_WH: 1000,
            Quantity.EXPORTED_WH: 0,
            Quantity.VOLTAGE_L1_MV: 230_000,
        },
        words={Quantity.IMPORTED_WH: struct.pack(">f", 1.0), Quantity.EXPORTED_WH: bytes(4)},
    )
    return replace(reading, **changes)


def a_slow_reading(start_ms: int, **changes: Any) -> SlowReading:
    """Frequency and current, in two requests, 70 ms long."""
    slow = SlowReading(
        start_ms=BootMs(start_ms),
        end_ms=BootMs(start_ms + 70),
        quality=Quality.NONE,
        values={Quantity.FREQUENCY_MHZ: 50_000, Quantity.CURRENT_L1_MA: 15_652},
        parts=(
            Part(BootMs(start_ms), BootMs(start_ms + 30), (Quantity.CURRENT_L1_MA,)),
            Part(BootMs(start_ms + 35), BootMs(start_ms + 70), (Quantity.FREQUENCY_MHZ,)),
        ),
    )
    return replace(slow, **changes)


def a_reading_in_parts(start_ms: int = 60_000, **changes: Any) -> Reading:
    """The house takes 3,600 W; energy came with a second request."""
    parts = (
        Part(BootMs(start_ms), BootMs(start_ms + 15), (Quantity.ACTIVE_POWER_W, Quantity.VOLTAGE_L1_MV)),
        Part(BootMs(start_ms + 22), BootMs(start_ms + 40), ELECTRICITY_REGISTERS),
    )
    reading = a_reading(start_ms=BootMs(start_ms), end_ms=BootMs(start_ms + 40), parts=parts)
    return replace(reading, **changes)


def readings(count: int, *, meter: str = METER, first_ms: int = 60_000, **changes: Any) -> list[Reading]:
    """`count` readings of one meter, a second apart."""
    return [
        a_reading(meter=meter, start_ms=BootMs(first_ms + 1000 * n), end_ms=BootMs(first_ms + 1000 * n + 40), **changes)
        for n in range(count)
    ]


def a_boot(name: str = "boot", **changes: Any) -> Boot:
    """A boot whose clock may be believed."""
    return Boot(id=a_digest(name)[:16], clock=a_clock(**changes))


def answers(meter: MeterPlan, values: Mapping[Quantity, int]) -> dict[ReadRequest, list[int]]:
    """What a meter with these values answers to every request of its plan; 0 where none is given."""
    return {request: words_at(meter.profile, request, values) for request in meter.requests}


def blocks(
    answers: Mapping[ReadRequest, Sequence[int]], start_ms: int = 60_000, end_ms: int = 60_040
) -> dict[ReadRequest, Block]:
    """Answers with the instants of the first request and of the last answer; each takes its share of the time."""
    cuts = [BootMs(start_ms + (end_ms - start_ms) * n // max(1, len(answers))) for n in range(len(answers) + 1)]
    return {request: Block(words, cuts[n], cuts[n + 1]) for n, (request, words) in enumerate(answers.items())}


def words_at(profile: MeterProfile, request: ReadRequest, values: Mapping[Quantity, int]) -> list[int]:
    """The words of one answer."""
    words = [0] * request.words
    for register in profile.registers:
        if register.id in values and request.holds(register):
            at = register.address - request.address
            words[at : at + register.type.words] = profile.codecs[register.id].encode(values[register.id])
    return words


def settings_document(**changes: Any) -> dict[str, Any]:
    """An agent.yaml, as YAML would give it."""
    document: dict[str, Any] = {
        "region": REGION,
        "gateway": GATEWAY,
        "data": "data",
        "key_file": "gateway.key.pem",
        "aggregator_key_file": "aggregator.pub.pem",
        "broker": {"host": "127.0.0.1"},
        "buses": [],
    }
    return document | changes


def a_settings(place: Any = "agent.yaml", **changes: Any) -> AgentSettings:
    """An agent.yaml, checked."""
    return check(settings_document(**changes), AgentSettings, place)


class FakeClocks:
    """A machine whose clocks stand still until a test moves them."""

    def __init__(self, now_ms: int = 60_000, boot: str = "boot") -> None:
        self.boot_id = a_digest(boot)[:16]
        self.ms = now_ms
        self.utc: Clock = a_clock()

    def now_ms(self) -> BootMs:
        return BootMs(self.ms)

    def clock(self) -> Clock:
        return self.utc

"""What Home Assistant is told: MQTT discovery, and the values that it announces.

Given what the outbox file tells, what this run has read and the meters of the settings, lays out retained messages by
topic: one configuration and one state per figure. Energy is the sum that `energy` gathers, never the register
itself: other programs have booked a register's jump as energy. What was not read lately is offline, and so is
everything while reading is paused. Home Assistant decides nothing in este, and nothing of this is signed.

Formats: home-assistant.io/integrations/mqtt (discovery topic, availability, device) and /integrations/sensor (which
classes go with which units), as of Home Assistant 2024.12.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agent.bus.reading import Reading, SlowReading
from agent.house.energy import Energies
from agent.outbox.memory import MeterSeen, Seen
from config.meter_profile import MeterProfile
from protocol.crypto import digest_of
from protocol.messages import Standing
from protocol.units import Quantity

ONLINE: Final = b"online"
GONE: Final = b"offline"
"""Home Assistant's own words for what is available and what is not."""
UNKNOWN: Final = b"None"
"""And for a value that nobody knows; an empty one would leave the old one standing."""

ORIGIN: Final = {"name": "este"}

PERIODS_MAX: Final = 5
"""A meter that was not read for so many periods is not there."""

AGE_MIN_MS: Final = 60_000
"""But nobody is given up sooner: many meters on a slow bus take longer than a period."""


@dataclass(frozen=True, slots=True)
class _Figure:
    """One entity in Home Assistant."""

    key: str
    name: str
    component: str = "sensor"
    unit: str | None = None
    device_class: str | None = None
    state_class: str | None = None

    def config(self) -> dict[str, Any]:
        """What discovery says of it, wherever it is."""
        told = {
            "name": self.name,
            "unit_of_measurement": self.unit,
            "device_class": self.device_class,
            "state_class": self.state_class,
        }
        return {key: value for key, value in told.items() if value is not None}


POWER: Final = _Figure("power", "Power", unit="W", device_class="power", state_class="measurement")
IMPORTED: Final = _Figure(
    "energy_imported", "Energy imported", unit="kWh", device_class="energy", state_class="total_increasing"
)
EXPORTED: Final = _Figure(
    "energy_exported", "Energy exported", unit="kWh", device_class="energy", state_class="total_increasing"
)
BALANCE: Final = _Figure("balance", "Balance", unit="tokens", state_class="measurement")
PRIORITY: Final = _Figure("priority", "Priority")
RESTRICTED: Final = _Figure("restricted", "Restricted", component="binary_sensor", device_class="problem")

OF_METER: Final = {
    Quantity.ACTIVE_POWER_W: POWER,
    Quantity.IMPORTED_WH: IMPORTED,
    Quantity.EXPORTED_WH: EXPORTED,
}


@dataclass(frozen=True, slots=True)
class Live:
    """What this run of the agent knows by itself."""

    now_ms: int
    """On the clock of this boot, as the instants of `readings`."""
    poll_every_ms: int
    slow_every_ms: int = 0
    """How often what is not fast is read, on the slowest of the buses."""
    is_paused: bool = False
    """Whether nothing is read."""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    """The last of each meter, whether it is kept or not."""
    energies: Energies = field(default_factory=dict)

    def is_fresh(self, reading: Reading | None, profile: MeterProfile) -> bool:
        """Whether a meter still shows what it showed in `reading`, as far as anybody can expect."""
        return not self.is_paused and reading is not None and self._is_recent(reading, profile, 0)

    def newest(self, meter: MeterSeen, reading: Reading, profile: MeterProfile) -> Mapping[Quantity, int | None]:
        """What a meter showed in `reading`, and what is known of what is read more rarely; None where that is old."""
        slow = meter.slow
        if slow is None:
            return reading.values
        is_recent = self._is_recent(slow, profile, self.slow_every_ms)
        return {**(slow.values if is_recent else dict.fromkeys(slow.values)), **reading.values}

    def _is_recent(self, reading: Reading | SlowReading, profile: MeterProfile, every_ms: int) -> bool:
        period_ms = max(self.poll_every_ms, profile.refresh_ms or 0, every_ms)
        return self.now_ms - reading.end_ms <= max(PERIODS_MAX * period_ms, AGE_MIN_MS)


def base_topic(region: str, gateway: str) -> str:
    """Below which everything stands but the discovery itself."""
    return f"este-home/{region}/{gateway}"


def availability_topic(region: str, gateway: str) -> str:
    """Where the gateway says that it is there; its last will says that it is not."""
    return f"{base_topic(region, gateway)}/availability"


def messages(seen: Seen, live: Live, meters: Mapping[str, MeterProfile], prefix: str) -> dict[str, bytes]:
    """All that Home Assistant is to know now, by topic. What has no value yet has no topic yet."""
    told: dict[str, bytes] = {}
    house = _House(seen.region, seen.gateway, prefix)
    for meter in seen.meters:
        if meter.meter in meters:
            told.update(house.meter(meter, live, meters[meter.meter]))
    for standing in seen.statement.standings if seen.statement else ():
        told.update(house.participant(standing))
    return told


@dataclass(frozen=True, slots=True)
class _House:
    """Where one gateway's messages go."""

    region: str
    gateway: str
    prefix: str

    def meter(self, meter: MeterSeen, live: Live, profile: MeterProfile) -> Iterator[tuple[str, bytes]]:
        """A meter as a device, with power and energy."""
        base = f"{base_topic(self.region, self.gateway)}/meter/{meter.meter}"
        fresh = live.readings.get(meter.meter)
        is_there = meter.failing is None and live.is_fresh(fresh, profile)
        yield f"{base}/availability", ONLINE if is_there else GONE
        reading = fresh or meter.reading
        if reading is None:
            return
        device = self._device(f"meter_{meter.meter}", meter.meter) | {
            "manufacturer": profile.manufacturer,
            "model": profile.model,
        }
        if reading.serial:
            device["serial_number"] = reading.serial
        energies, values = live.energies.get(meter.meter, {}), live.newest(meter, reading, profile)
        for quantity, figure in OF_METER.items():
            if quantity not in values:
                continue
            yield self._config(figure, base, device, (f"{base}/availability",))
            if quantity is Quantity.ACTIVE_POWER_W:
                power_w = values[quantity]
                yield f"{base}/{figure.key}", UNKNOWN if power_w is None else str(power_w).encode()
            elif quantity in energies:
                yield f"{base}/{figure.key}", kilowatt_hours(energies[quantity]).encode()

    def participant(self, standing: Standing) -> Iterator[tuple[str, bytes]]:
        """A participant as a device, with what the last statement says."""
        base = f"{base_topic(self.region, self.gateway)}/participant/{standing.participant}"
        device = self._device(f"participant_{standing.participant}", standing.participant)
        values = {
            BALANCE: str(standing.balance),
            PRIORITY: str(standing.rank),
            RESTRICTED: "ON" if standing.is_restricted else "OFF",
        }
        for figure, value in values.items():
            yield self._config(figure, base, device, ())
            yield f"{base}/{figure.key}", value.encode()

    def _device(self, what: str, name: str) -> dict[str, Any]:
        return {"identifiers": [self._unique(what)], "name": name}

    def _config(
        self, figure: _Figure, base: str, device: Mapping[str, Any], also: tuple[str, ...]
    ) -> tuple[str, bytes]:
        (identifier,) = device["identifiers"]
        unique = f"{identifier}_{figure.key}"
        topics = (availability_topic(self.region, self.gateway), *also)
        config = figure.config() | {
            "unique_id": unique,
            "state_topic": f"{base}/{figure.key}",
            "availability": [{"topic": topic} for topic in topics],
            "availability_mode": "all",
            "device": device,
            "origin": ORIGIN,
        }
        return f"{self.prefix}/{figure.component}/{unique}/config", json.dumps(config).encode()

    def _unique(self, what: str) -> str:
        return spelled(f"este_{self.region}_{self.gateway}_{what}")


def kilowatt_hours(watt_hours: int) -> str:
    """Exact, without a float on the way."""
    sign, size = "-" if watt_hours < 0 else "", abs(watt_hours)
    return f"{sign}{size // 1000}.{size % 1000:03d}"


def spelled(name: str) -> str:
    """A name in the letters that a discovery topic may have; two names never become one."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{digest_of(name.encode()).hex()[:8]}"

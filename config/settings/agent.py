"""Settings of a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from config.meter_profile import QuantityName
from config.model import Listed, Model, Name, Natural, Positive, mistake
from config.settings.broker import Broker
from config.settings.bus import Bus
from config.settings.places import FilePath, Port
from protocol.messages import RightKind
from protocol.topics import AGGREGATOR


class StandingOrder(Model):
    """Buy a right whenever the balance allows; the gateway signs for its participant."""

    participant: Name
    right: str
    price_max: Positive
    fee: Natural = 0
    """Tokens on top, to be taken into a block before others."""
    balance_min: Natural
    """Buy only while at least this is left afterwards."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        sold = [kind.name.lower() for kind in RightKind if kind is not RightKind.CHANNEL_USE]
        if self.right not in sold:
            raise mistake(f"a right out of {', '.join(sold)}", self.right)
        return self

    @property
    def kind(self) -> RightKind:
        """The right's number on the wire."""
        return RightKind[self.right.upper()]


class Batching(Model):
    """When a batch is closed: whichever comes first."""

    readings_max: Annotated[int, Field(ge=1, le=4096)] = 60
    """Readings of one meter."""
    age_max_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 60_000


class ChipKey(Model):
    """A private key that never leaves its chip, behind PKCS#11."""

    module: FilePath
    """The library that its maker brings, such as /usr/lib/softhsm/libsofthsm2.so."""
    token_label: str
    key_label: str
    pin_file: FilePath | None = None
    """Readable by its owner alone; the PIN is its first line. For a token that asks for none, left out."""


class AtBound(StrEnum):
    """What happens as the outbox fills: nothing unsent is ever dropped."""

    PAUSE = "pause"
    """Every reading is kept, until there is no room; then nothing more is read."""
    THIN = "thin"
    """From three quarters of the bound on, one reading of each meter is kept in a quarter of an hour."""


class HomeAssistant(Model):
    """Tell Home Assistant, or whoever else understands its MQTT discovery, what the meters show."""

    prefix: Name = "homeassistant"
    """The discovery prefix that Home Assistant listens to."""
    broker: Broker | None = None
    """The house's own broker; without it, the gateway's."""
    every_ms: Annotated[int, Field(ge=1000, le=3_600_000)] = 10_000


class Metrics(Model):
    """Figures for Prometheus, on this machine alone."""

    port: Port
    host: Literal["127.0.0.1", "::1"] = "127.0.0.1"


class AgentSettings(Model):
    """A gateway."""

    region: Name
    gateway: Name
    data: FilePath
    """Folder of the outbox and of what was last heard; must survive a restart."""
    key_file: FilePath | None = None
    """The gateway's private key in a file, or"""
    pkcs11: ChipKey | None = None
    """in a chip: one of the two. Never both, so that one never silently stands in for the other."""
    aggregator_key_file: FilePath
    """Public keys of whoever keeps the chains, one after another: nothing else is believed."""
    aggregators_agree: Annotated[int, Field(ge=1, le=100)] | None = None
    """How many of them have to say the same before it counts; left out, so many that one of them is honest while fewer
    than a third lie: 1 of up to 3, 2 of up to 6, and so on."""
    broker: Broker
    poll_every_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 1000
    quantities: Annotated[tuple[QuantityName, ...], Listed] = ("active_power_w", "reactive_power_var", "voltage_l1_mv")
    """What leaves the house beside the energy registers, as far as a meter has it: no more than the rules need."""
    batch: Batching = Batching()
    resend_after_ms: Annotated[int, Field(ge=500, le=3_600_000)] = 10_000
    """How long to wait for a receipt before a record is sent again."""
    in_flight_max: Annotated[int, Field(ge=1, le=1000)] = 32
    outbox_bytes_max: Annotated[int, Field(ge=1 << 20, le=1 << 40)] = 1 << 30
    """Bound of the outbox. At the bound no more is read, and the status says so: nothing unsent is dropped."""
    at_bound: Annotated[AtBound, Field(strict=False)] = AtBound.PAUSE
    clock_wait_max_ms: Annotated[int, Field(ge=0, le=7 * 86_400_000)] = 7_200_000
    """How long readings wait, unsigned, for a clock that may still be found after a boot."""
    statement_age_max_ms: Annotated[int, Field(ge=1000, le=7 * 86_400_000)] = 3_600_000
    """A limit whose statement is older than this is lifted: a silent aggregator must not leave a house cold."""
    profile_folders: Annotated[tuple[FilePath, ...], Listed] = ()
    """Further meter profiles, beside those that este brings."""
    buses: Annotated[tuple[Bus, ...], Listed]
    standing_orders: Annotated[tuple[StandingOrder, ...], Listed] = ()
    home_assistant: HomeAssistant | None = None
    metrics: Metrics | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.key_file is None) == (self.pkcs11 is None):
            got = "neither" if self.key_file is None else "both"
            raise mistake("either key_file, for a key in a file, or pkcs11, for one in a chip", got)
        return self

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.gateway == AGGREGATOR:
            raise mistake(f"a gateway name other than the reserved {AGGREGATOR!r}", "that one")
        names = [meter.id for bus in self.buses for meter in bus.meters]
        names += [device.id for bus in self.buses for device in bus.devices]
        if twice := _first_twice(names):
            raise mistake("each meter and device once", f"{twice} twice")
        if twice := _first_twice([bus.place for bus in self.buses]):
            raise mistake("each bus once, with all its meters", f"{twice} twice")
        return self


def _first_twice(names: Sequence[str]) -> str | None:
    """The first name that stands there a second time."""
    return next((name for place, name in enumerate(names) if name in names[:place]), None)

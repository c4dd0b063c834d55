"""Every meter and limiter of a region, and where each is found: for people, and for machines."""

from __future__ import annotations

from typing import Any, Final

from config.settings.fleet import FleetSettings, Transport
from config.tables import Column, Table
from firmware_sim.scenario import REGION, Connection, Scenario, limiter_model, serial_device
from firmware_sim.sites import Limiter

HEADINGS: Final = {
    Transport.TCP: "Modbus TCP",
    Transport.RTU: "RTU over TCP",
    Transport.SERIAL: "serial port",
}


def as_document(scenario: Scenario, fleet: FleetSettings) -> dict[str, Any]:
    """What `list --json` prints."""
    return {
        "region": REGION,
        "seed": scenario.seed,
        "meters": [_meter_entry(connection, fleet.host) for connection in scenario.connections],
        "gateways": [
            {
                "id": gateway,
                "participants": [c.site.participant for c in scenario.connections if c.place.gateway == gateway],
                "buses": [bus.model_dump(mode="json") for bus in scenario.buses(gateway, fleet)],
            }
            for gateway in scenario.gateways
        ],
    }


def _meter_entry(connection: Connection, host: str) -> dict[str, Any]:
    site, place = connection.site, connection.place
    return {
        "id": site.meter,
        "participant": site.participant,
        "kind": site.kind.value,
        "node": connection.node,
        "gateway": place.gateway,
        "profile": connection.profile,
        "serial": None if connection.serial is None else str(connection.serial),
        "host": host,
        "port": place.port,
        "unit": place.unit,
        "limiter": _limiter_entry(connection, site.limiter) if site.limiter else None,
    }


def _limiter_entry(connection: Connection, limiter: Limiter) -> dict[str, Any]:
    return {
        "id": limiter.name,
        "profile": limiter_model(limiter),
        "unit": connection.place.limiter_unit,
        "rated_w": limiter.rated_w,
    }


def table_of_meters(scenario: Scenario, fleet: FleetSettings) -> Table:
    """What `list` prints for people."""
    columns = (
        Column(heading="meter"),
        Column(heading="participant", drop=4),
        Column(heading="gateway", drop=3),
        Column(heading="profile", drop=2),
        Column(heading=HEADINGS[fleet.transport]),
        Column(heading="unit", is_right=True),
        Column(heading="limiter", drop=1),
        Column(heading="unit", drop=1, is_right=True),
    )
    rows = []
    for connection in scenario.connections:
        site, place = connection.site, connection.place
        limiter = (site.limiter.name, str(place.limiter_unit)) if site.limiter else ("", "")
        is_serial = fleet.transport is Transport.SERIAL
        address = str(serial_device(fleet, place.port)) if is_serial else f"{fleet.host}:{place.port}"
        rows.append(
            (site.meter, site.participant, place.gateway, connection.profile, address, str(place.unit), *limiter)
        )
    return Table(columns, rows)

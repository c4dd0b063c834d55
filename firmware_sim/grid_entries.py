"""What a grid file says of one site, or of the heat works: what it runs on, what it may emit, what turns into what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from config.carriers import Converter, ConverterKind, ConverterOutput, Storage
from config.grid_model import Generator, Permit, Source
from config.rules import TimeRule
from firmware_sim.heat_works import HeatPlan, WorksPort
from firmware_sim.rules import ENGINE_EMISSION_G_PER_KWH, GAS_EMISSION_G_PER_KWH, GRID_EMISSION_G_PER_KWH, permit_g
from firmware_sim.sites import Kind, Site

SOURCES: Final = {
    Kind.GRID: (Source.GRID, GRID_EMISSION_G_PER_KWH),
    Kind.WIND: (Source.WIND, 0),
    Kind.GAS: (Source.GAS, GAS_EMISSION_G_PER_KWH),
    Kind.PV: (Source.PV, 0),
    Kind.PROSUMER: (Source.PV, 0),
    Kind.WEIR: (Source.HYDRO, 0),
    Kind.ENGINE: (Source.GAS, ENGINE_EMISSION_G_PER_KWH),
}
"""What each kind of site that feeds in runs on, and what that emits in grams per kilowatt-hour."""

PLANTS: Final = (Kind.WIND, Kind.GAS, Kind.PV, Kind.WEIR, Kind.ENGINE)
"""The kinds of site that have an emission permit, and so are measured as suppliers."""


def pump(plan: HeatPlan) -> Converter:
    """The heat pump of the works."""
    heat = ConverterOutput(meter=_works_meter(WorksPort.PUMP_HEAT), efficiency_ppm=plan.performance_ppm)
    return Converter(
        id="heat-pump", kind=ConverterKind.HEAT_PUMP, inputs=(_works_meter(WorksPort.PUMP),), outputs=(heat,)
    )


def tank(plan: HeatPlan) -> Storage:
    """Their tank."""
    return Storage(
        id="tank",
        charge_meter=_works_meter(WorksPort.TANK_IN),
        discharge_meter=_works_meter(WorksPort.TANK_OUT),
        capacity_wh=plan.tank_wh,
        initial_wh=plan.begin_wh,
    )


def _works_meter(port: WorksPort) -> str:
    return f"m-works-{port.value}"


def generators(sites: Iterable[Site]) -> tuple[Generator, ...]:
    """What the sites that feed in run on."""
    return tuple(
        Generator(
            id=f"g-{site.name}",
            meter=site.meter,
            source=SOURCES[site.kind][0],
            rated_w=site.export_max_w,
            emission_g_per_kwh=SOURCES[site.kind][1],
        )
        for site in sites
        if site.kind in SOURCES
    )


def permits(sites: Iterable[Site], time: TimeRule) -> tuple[Permit, ...]:
    """What the plants may emit in a settlement period."""
    return tuple(
        Permit(participant=site.participant, grams=permit_g(site.export_max_w, time))
        for site in sites
        if site.kind in PLANTS
    )

"""SunSpec devices and heat meters, from one seed, through the commands: walked, admitted, read, settled, audited."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from aggregator.chains.intervals.results import IntervalResult
from aggregator.service.store import Store
from config.load import load_profiles
from config.meter_profile import MeterProfile
from config.settings.broker import Broker
from config.settings.fleet import FleetSettings
from firmware_sim.demo.stage import found, prepare
from firmware_sim.free_port import free_ports
from firmware_sim.meter import UJ_PER_WH
from firmware_sim.sites import Kind
from protocol.batch import MeterBlock, Quality
from protocol.checkpoint import ChainName
from protocol.envelope import Envelope
from protocol.units import Quantity
from tests.e2e.region import Region, run, running, wait_until

pytestmark = [pytest.mark.mosquitto]

HEAT = ("m-heat-1", "m-heat-3", "m-heat-4", "m-heat-5")
"""All but the one that renews what it shows once a minute only; it is read as well."""
KAMSTRUP = "m-heat-5"
"""Its profile has no energy register: power and temperatures are all that it tells, so it may lack numbers."""
COSE_SIGN1 = b"\xd2"
"""How an envelope begins; the chain also holds what follows from one."""
SUNSPEC = ("m-sunspec-1", "m-sunspec-2", "m-sunspec-3")


def a_region_with_more(folder: Path) -> Region:
    """Four meters, three SunSpec devices and five heat meters; the region is not founded yet."""
    port = free_ports()
    fleet = FleetSettings(meters=4, sunspec=3, heat=5, first_port=free_ports(3), run_folder=folder.parent / "run")
    broker = Broker(host="127.0.0.1", port=port)
    stage = prepare(folder, fleet, broker, profile_folders=(folder / "profiles",))
    (folder / "profiles").mkdir()
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nuser root\nallow_anonymous true\n")
    return Region(stage, port)


def walk(region: Region) -> dict[str, MeterProfile]:
    """Write a profile for every SunSpec device of a running fleet, and say which profiles there are now."""
    (folder,) = region.stage.profile_folders
    for c in region.stage.scenario.connections:
        if c.site.sunspec:
            run(
                *("este-agent", "sunspec", "127.0.0.1", f"--folder={folder}"),
                *(f"--port={c.place.port}", f"--unit={c.place.unit}"),
            )
    return load_profiles((folder,))


def blocks(region: Region, meter: str) -> list[MeterBlock]:
    return [block for batch in region.batches() for block in batch.meters if block.meter == meter]


def flags(region: Region, meter: str) -> Quality:
    every = Quality.NONE
    for block in blocks(region, meter):
        for quality in block.quality:
            every |= Quality(quality)
    return every


def column(region: Region, meter: str, quantity: Quantity) -> list[int]:
    found: list[int] = []
    for block in blocks(region, meter):
        found += block.column(quantity) or []
    return found


def test_sunspec_devices_and_heat_meters_reach_the_chain_and_only_electricity_is_settled(tmp_path: Path) -> None:
    region = a_region_with_more(tmp_path / "region")
    everybody = {c.site.meter: c for c in region.stage.scenario.connections}
    with running(region, "fleet"):
        wait_until("the fleet serves", lambda: "meters on" in region.log("fleet"), lambda: region.log("fleet"))
        profiles = walk(region)
        assert {c.profile for c in everybody.values()} <= profiles.keys()
        asyncio.run(found(region.stage))
        for program in ("broker", "aggregator", *region.gateways):
            region.start(program)
        wait_until("all are read", lambda: all(blocks(region, m) for m in everybody), lambda: logs(region))
        told = run("este-fleet", "inject", KAMSTRUP, "nan", f"--run-folder={region.stage.fleet.run_folder}")
        assert "shows no number" in told.stdout
        wait_until("that is flagged", lambda: Quality.VALUE_MISSING in flags(region, KAMSTRUP), lambda: logs(region))
        run("este-fleet", "inject", KAMSTRUP, "none", f"--run-folder={region.stage.fleet.run_folder}")
        run("este-fleet", "inject", "m-sunspec-2", "jump", f"--run-folder={region.stage.fleet.run_folder}")
        wait_until(
            "that is flagged too",
            lambda: Quality.UNEXPLAINED_STEP in flags(region, "m-sunspec-2"),
            lambda: logs(region),
        )
        wait_until("intervals are closed", lambda: region.ledger()["intervals_closed"] > 2, lambda: logs(region))
        for gateway in region.gateways:
            region.stop(gateway)
        region.stop("aggregator")
    for meter in SUNSPEC:
        site = everybody[meter].site
        words = b"".join(block.words[Quantity.IMPORTED_WH] for block in blocks(region, meter))
        energy_wh = profiles[everybody[meter].profile].codecs[Quantity.IMPORTED_WH].decode_column(words)
        assert energy_wh[0] >= site.counters.imported_uj // UJ_PER_WH - 1
        assert blocks(region, meter)[-1].serial == str(everybody[meter].serial)
    assert column(region, "m-sunspec-3", Quantity.ACTIVE_POWER_W)[0] > 1_000, "the battery is filled at noon"
    for meter in HEAT:
        power_w = [w for w in column(region, meter, Quantity.HEAT_POWER_W) if w]
        assert power_w and 0 < min(power_w) <= max(power_w) < everybody[meter].site.power_max_w
        if meter != KAMSTRUP:
            station = everybody[meter].site.heat
            assert station is not None
            words = b"".join(block.words[Quantity.HEAT_WH] for block in blocks(region, meter))
            heat_wh = profiles[everybody[meter].profile].codecs[Quantity.HEAT_WH].decode_column(words)
            assert len(heat_wh) > 1 and heat_wh == sorted(heat_wh)
            assert heat_wh[0] == pytest.approx(station.counters.heat_uj / UJ_PER_WH, abs=10_000)
    energy_wh = settled(region)
    assert {everybody[meter].site.participant for meter in SUNSPEC} <= energy_wh.keys()
    assert energy_wh["sunspec-2"] < 10_000, "the jump was 25,567,000 Wh"
    assert not {c.site.participant for c in everybody.values() if c.site.kind is Kind.HEAT} & energy_wh.keys()
    run("este-aggregator", "audit", f"--data={region.stage.ledger}")


def settled(region: Region) -> Counter[str]:
    """What everybody took and gave in all intervals together, by the analysis chain."""
    store = Store.open_read_only(region.stage.ledger)
    try:
        signed = [leaf for leaf in store.leaves(ChainName.ANALYSIS) if leaf.body[:1] == COSE_SIGN1]
        envelopes = [Envelope.parse(leaf.body) for leaf in signed]
        results = [IntervalResult.decode(e.payload) for e in envelopes if e.type == "interval"]
        energy_wh: Counter[str] = Counter()
        for result in results:
            for flow in result.flows.participants:
                energy_wh[flow.participant] += flow.imported_wh + flow.exported_wh
        return energy_wh
    finally:
        store.close()


def logs(region: Region) -> str:
    return "\n".join(f"== {name}\n{region.log(name)}" for name in region.processes)

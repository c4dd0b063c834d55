"""mbpoll, which shares no code with este, reads a simulated meter; the numbers agree with those on the chain."""

from __future__ import annotations

import re
import struct
import subprocess
import time
from pathlib import Path

import pytest

from config.load import load_profiles
from protocol.units import Quantity
from tests.e2e.region import Region, a_region, running, wait_until

CODEC = load_profiles()["eastron_sdm630"].codecs[Quantity.IMPORTED_WH]

pytestmark = [pytest.mark.mosquitto, pytest.mark.mbpoll]


def imported_wh_by_mbpoll(region: Region, meter: str) -> int:
    """Imported energy of an SDM630: input registers 0x0048 and 0x0049, a float in kWh, the high word first."""
    place = next(c.place for c in region.stage.scenario.connections if c.site.meter == meter)
    command = ["mbpoll", "-m", "tcp", "-p", str(place.port), "-a", str(place.unit), "-t", "3:hex"]
    command += ["-0", "-r", "72", "-c", "2", "-1", "127.0.0.1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    words = re.findall(r"\[7[23]\]:\s+0x([0-9A-F]{4})", done.stdout)
    assert len(words) == 2, done.stdout
    (kwh,) = struct.unpack(">f", bytes.fromhex("".join(words)))
    return round(kwh * 1000)


def readings_of(region: Region, meter: str) -> list[tuple[int, int, int]]:
    """(start, end, imported_wh) of every reading of a meter on the chain, in UTC milliseconds."""
    rows = []
    for batch in region.batches():
        for block in batch.meters:
            if block.meter == meter:
                values = CODEC.decode_column(block.words[Quantity.IMPORTED_WH])
                for start, took, value in zip(block.starts_ms, block.durations_ms, values, strict=True):
                    begin = batch.clock.epoch_ms + block.first_ms + start
                    rows.append((begin, begin + took, value))
    return sorted(rows)


def test_the_chain_says_what_an_independent_client_reads(tmp_path: Path) -> None:
    region = a_region(tmp_path)
    meter = next(c.site.meter for c in region.stage.scenario.connections if c.site.model == "eastron_sdm630")
    seen: list[tuple[int, int, int]] = []
    with running(region, "broker", "fleet", "aggregator", *region.gateways):
        wait_until(f"the first readings of {meter} are on the chain", lambda: bool(readings_of(region, meter)))
        for _ in range(5):
            begin = time.time_ns() // 1_000_000
            energy_wh = imported_wh_by_mbpoll(region, meter)
            seen.append((begin, time.time_ns() // 1_000_000, energy_wh))
            time.sleep(0.7)
        wait_until(
            f"{meter} is read once more", lambda: any(start >= seen[-1][1] for start, *_ in readings_of(region, meter))
        )
        for gateway in region.gateways:
            region.stop(gateway)
        region.stop("aggregator")
    rows = readings_of(region, meter)
    for begin_ms, end_ms, energy_wh in seen:
        before = max(value for _, end, value in rows if end <= begin_ms)
        after = min(value for start, _, value in rows if start >= end_ms)
        assert before <= energy_wh <= after
        assert after - before < 50, "the readings around it are too far apart to say anything"

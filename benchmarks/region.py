"""A region for benchmarks: one meter behind each gateway, and the batches that they send.

Every gateway sends its batches in turn, 60 readings of an Eastron SDM630 each, as an agent does by default: the two
energy registers in the meter's own words, one of them standing still; power, reactive power and voltage as columns.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from aggregator.chains.admission.genesis import Genesis, members_in_order, open_genesis
from aggregator.chains.five import Five, wire
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.record import Author, Role
from config.grid_model import Grid
from config.load import check, load_profiles
from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from protocol.link import NO_RECORD, Link
from protocol.readings import Readings
from protocol.units import Quantity

REGION: Final = "bench"
START_MS: Final = 1_790_000_000_000
BATCH_MS: Final = 60_000
READINGS: Final = 60
PROFILE: Final = load_profiles()["eastron_sdm630"]
REGULATOR_KEY: Final = SoftwareKey.from_secret(1)
NODE: Final = "node"
NODE_KEY: Final = SoftwareKey.from_secret(2)


def gateway_keys(count: int) -> list[SoftwareKey]:
    """A key for each gateway; the same ones in every run."""
    return [SoftwareKey.from_secret(10 + number) for number in range(count)]


def a_grid(meters: int) -> Grid:
    """A region of so many meters, each of a participant of its own and behind a gateway of its own."""
    document = {
        "region": REGION,
        "reference_node": "n0",
        "rules": {
            "time": {"interval_ms": 900_000, "grace_ms": 60_000, "period_ms": 86_400_000},
            "carbon": {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1},
            "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
            "accounts": {"ceiling": 500, "restricted_ppm": 300_000},
        },
        "participants": [{"id": f"p{number}"} for number in range(meters)],
        "nodes": [{"id": "n0", "voltage_mv": 20_000_000}, {"id": "n1", "voltage_mv": 20_000_000}],
        "branches": [
            {
                "id": "b1",
                "from_node": "n0",
                "to_node": "n1",
                "resistance_uohm": 20_000,
                "reactance_uohm": 8_000,
                "rating_ma": 200_000,
            }
        ],
        "meters": [
            {
                "id": f"m{number}",
                "participant": f"p{number}",
                "node": "n1",
                "gateway": f"gw{number}",
                "profile": PROFILE.id,
                "power_max_w": 50_000,
            }
            for number in range(meters)
        ],
    }
    return check(document, Grid, "benchmark")


def a_genesis(keys: Sequence[SoftwareKey]) -> bytes:
    """The first envelope of a region with one meter behind each key."""
    members = [
        Author("regulator", Role.REGULATOR, REGULATOR_KEY.public_key),
        Author(NODE, Role.AGGREGATOR, NODE_KEY.public_key),
    ]
    members += [Author(f"gw{number}", Role.GATEWAY, key.public_key) for number, key in enumerate(keys)]
    grid, link = a_grid(len(keys)), Link(REGION, "regulator", 1, NO_RECORD)
    genesis = Genesis(link, START_MS, members_in_order(members), grid, (PROFILE,))
    return seal(REGULATOR_KEY, region=REGION, type_="genesis", payload=genesis.encode())


def a_region(keys: Sequence[SoftwareKey]) -> Five:
    """The chains of that region, founded."""
    five = wire(REGION, IntervalPhysics())
    five.ledger.finalize(START_MS, [open_genesis(a_genesis(keys))])
    five.ledger.commit()
    return five


def batches(keys: Sequence[SoftwareKey], count: int, start_ms: int = START_MS) -> Iterator[list[bytes]]:
    """So many batches of every gateway since `start_ms`, signed: those of one number together, as they would come."""
    last = [NO_RECORD] * len(keys)
    for number in range(count):
        block = []
        for gateway, key in enumerate(keys):
            link = Link(REGION, f"gw{gateway}", number + 1, last[gateway])
            batch = a_batch(link, f"m{gateway}", number * BATCH_MS, gateway, epoch_ms=start_ms)
            envelope = seal(key, region=REGION, type_="batch", payload=batch.encode())
            last[gateway] = Envelope.parse(envelope).digest
            block.append(envelope)
        yield block


def a_batch(
    link: Link, meter: str, first_ms: int, seed: int, readings: int = READINGS, *, epoch_ms: int = START_MS
) -> Batch:
    """A minute of a household at about 3 kW, on the clock of a gateway that booted at `epoch_ms`."""
    starts = range(0, BATCH_MS, BATCH_MS // readings)
    imported_kwh = [1234.5 + (first_ms + start + seed) * 3 / 3_600_000 for start in starts]
    table = Readings.of(
        first_ms=first_ms + 1,
        starts_ms=starts,
        durations_ms=[5] * readings,
        quality=[0] * readings,
        columns={
            Quantity.ACTIVE_POWER_W: [3000 + start // 1000 % 7 for start in starts],
            Quantity.REACTIVE_POWER_VAR: [100] * readings,
            Quantity.VOLTAGE_L1_MV: [230_000 + start // 100 for start in starts],
        },
    )
    words = {
        Quantity.IMPORTED_WH: struct.pack(f">{readings}f", *imported_kwh),
        Quantity.EXPORTED_WH: struct.pack(">f", 0.5) * readings,
    }
    block = MeterBlock.around(table, meter=meter, profile=PROFILE.digest, serial="123456", words=words)
    return Batch(link, bytes(16), Clock(ClockState.SYNCHRONIZED, 5, "kernel", epoch_ms), (block,))

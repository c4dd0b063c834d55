"""From envelope bytes to a durable block, on one core, beside the bare signature checks of the same envelopes.

Every gateway sends its batches in turn, 60 readings of an Eastron SDM630 each, as an agent does by default: the two
energy registers in the meter's own words, one of them standing still; power, reactive power and voltage as columns.
What is timed is what a node does: check, propose, finalize, store with a synchronous commit, commit.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from aggregator.chains.five import Five, wire
from aggregator.chains.genesis import Genesis, members_in_order, open_genesis
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.record import Author, Role
from aggregator.service.store import Store
from benchmarks.figure import Figure, cpu_seconds
from config.grid_model import Grid
from config.load import check, load_profiles
from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.crypto import PublicKey, SoftwareKey
from protocol.envelope import Envelope, seal, signed_bytes
from protocol.link import NO_RECORD, Link
from protocol.readings import Readings
from protocol.units import Quantity

REGION: Final = "bench"
START_MS: Final = 1_790_000_000_000
BATCH_MS: Final = 60_000
READINGS: Final = 60
GATEWAYS: Final = 1000
BATCHES: Final = 4
"""Per gateway; those of one number make one block, and the first block, where everything is new, is not timed."""
ES256: Final = ec.ECDSA(SHA256())
PROFILE: Final = load_profiles()["eastron_sdm630"]


def measure() -> Iterator[Figure]:
    """Time the pipeline and the bare checks."""
    keys = [SoftwareKey.from_secret(10 + number) for number in range(GATEWAYS)]
    five = _a_region(keys)
    blocks = _batches(keys)
    bare = _bare_checks(keys, blocks[1])
    raw_s = cpu_seconds(lambda: [key.verify(sig, data, ES256) for key, sig, data in bare]) / GATEWAYS
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder))
        waiting = iter(enumerate(blocks))
        _take_in(five, store, *next(waiting))
        whole_s = cpu_seconds(lambda: _take_in(five, store, *next(waiting)), rounds=BATCHES - 1) / GATEWAYS
        store.close()
    note = f"bare check {raw_s * 1e6:.0f} µs; the whole way {whole_s * 1e6:.0f} µs for {READINGS} readings"
    yield Figure("ingest: share of the bare P-256 check rate, one core", raw_s / whole_s, 0.60, "", True, note)
    yield Figure("ingest: readings a second, one core", READINGS / whole_s / 1e3, 500, "k/s", at_least=True)


def _take_in(five: Five, store: Store, number: int, envelopes: list[bytes]) -> None:
    """What a node does with what came in, until it is durable."""
    ledger = five.ledger
    chosen, refused = ledger.propose([ledger.check(data) for data in envelopes])
    block = ledger.finalize(START_MS + BATCHES * BATCH_MS + number, chosen)
    assert not refused and not any(outcome.refusal for outcome in block.outcomes), "every batch is to be taken"
    store.write(block, b"", [])
    ledger.commit()


def _bare_checks(
    keys: list[SoftwareKey], envelopes: list[bytes]
) -> list[tuple[ec.EllipticCurvePublicKey, bytes, bytes]]:
    """What OpenSSL needs to see: keys, signatures as it likes them, and what was signed."""
    checks = []
    for key, data in zip(keys, envelopes, strict=True):
        envelope = Envelope.parse(data)
        r, s = envelope.signature[:32], envelope.signature[32:]
        signature = utils.encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
        signed = signed_bytes(envelope.protected, REGION.encode(), envelope.payload)
        checks.append((_openssl_key(key.public_key), signature, signed))
    return checks


def _openssl_key(key: PublicKey) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.point)


def _a_region(keys: list[SoftwareKey]) -> Five:
    """A region with one meter behind each key, founded."""
    regulator = SoftwareKey.from_secret(1)
    members = [Author("regulator", Role.REGULATOR, regulator.public_key)]
    members += [Author(f"gw{number}", Role.GATEWAY, key.public_key) for number, key in enumerate(keys)]
    document = {
        "region": REGION,
        "reference_node": "n0",
        "rules": {
            "time": {"interval_ms": 900_000, "grace_ms": 60_000, "period_ms": 86_400_000},
            "carbon": {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1},
            "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
            "accounts": {"ceiling": 500, "restricted_ppm": 300_000},
        },
        "participants": [{"id": f"p{number}"} for number in range(GATEWAYS)],
        "nodes": [{"id": "n0", "voltage_mv": 400_000}],
        "branches": [],
        "meters": [
            {
                "id": f"m{number}",
                "participant": f"p{number}",
                "node": "n0",
                "gateway": f"gw{number}",
                "profile": PROFILE.id,
                "power_max_w": 50_000,
            }
            for number in range(GATEWAYS)
        ],
    }
    grid = check(document, Grid, "benchmark")
    genesis = Genesis(Link(REGION, "regulator", 1, NO_RECORD), START_MS, members_in_order(members), grid, (PROFILE,))
    five = wire(REGION, IntervalPhysics())
    envelope = seal(regulator, region=REGION, type_="genesis", payload=genesis.encode())
    five.ledger.finalize(START_MS, [open_genesis(envelope)])
    five.ledger.commit()
    return five


def _batches(keys: list[SoftwareKey]) -> list[list[bytes]]:
    """All envelopes, block by block."""
    blocks = []
    last = [NO_RECORD] * GATEWAYS
    for number in range(BATCHES):
        block = []
        for gateway, key in enumerate(keys):
            link = Link(REGION, f"gw{gateway}", number + 1, last[gateway])
            batch = _a_batch(link, f"m{gateway}", number * BATCH_MS, gateway)
            envelope = seal(key, region=REGION, type_="batch", payload=batch.encode())
            last[gateway] = Envelope.parse(envelope).digest
            block.append(envelope)
        blocks.append(block)
    return blocks


def _a_batch(link: Link, meter: str, first_ms: int, seed: int) -> Batch:
    """A minute of a household at about 3 kW."""
    starts = range(0, BATCH_MS, BATCH_MS // READINGS)
    imported_kwh = [1234.5 + (first_ms + start + seed) * 3 / 3_600_000 for start in starts]
    block = MeterBlock.around(
        Readings.of(
            first_ms=first_ms + 1,
            starts_ms=starts,
            durations_ms=[5] * READINGS,
            quality=[0] * READINGS,
            columns={
                Quantity.ACTIVE_POWER_W: [3000 + start // 1000 % 7 for start in starts],
                Quantity.REACTIVE_POWER_VAR: [100] * READINGS,
                Quantity.VOLTAGE_L1_MV: [230_000 + start // 100 for start in starts],
            },
        ),
        meter=meter,
        profile=PROFILE.digest,
        serial="123456",
        words={
            Quantity.IMPORTED_WH: struct.pack(f">{READINGS}f", *imported_kwh),
            Quantity.EXPORTED_WH: struct.pack(">f", 0.5) * READINGS,
        },
    )
    return Batch(link, bytes(16), Clock(ClockState.SYNCHRONIZED, 5, "kernel", START_MS), (block,))

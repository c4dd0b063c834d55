"""From envelope bytes to a durable block, on one core, beside the bare signature checks of the same envelopes.

What is timed is what a node does: check, propose, finalize, store with a synchronous commit, commit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256

from aggregator.chains.five import Five
from aggregator.service.store import Store
from benchmarks.figure import Figure, cpu_seconds
from benchmarks.region import BATCH_MS, READINGS, REGION, START_MS, a_region, batches, gateway_keys
from protocol.crypto import PublicKey, SoftwareKey
from protocol.envelope import Envelope, signed_bytes

GATEWAYS: Final = 1000
BATCHES: Final = 4
"""Per gateway; those of one number make one block, and the first block, where everything is new, is not timed."""
ES256: Final = ec.ECDSA(SHA256())


def measure() -> Iterator[Figure]:
    """Time the pipeline and the bare checks."""
    keys = gateway_keys(GATEWAYS)
    five = a_region(keys)
    blocks = list(batches(keys, BATCHES))
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

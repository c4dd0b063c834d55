"""A small region, valid by default: break one thing per test.

One node-pair network, a grid connection, a gas engine that exceeds its permit, a wind turbine and a home, all read
through one gateway. `Village` signs for everybody, hands time to the ledger, and closes what is due as a node would.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import Any

from aggregator.chains.admission.genesis import Genesis, members_in_order, open_genesis
from aggregator.chains.analysis import Recompute
from aggregator.chains.five import Five, wire
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.block import Block
from aggregator.ledger.record import Author, Record, Role
from aggregator.service.compute import ComputeNode
from config.grid_model import Grid
from config.load import check, load_profiles
from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.crypto import SoftwareKey
from protocol.envelope import seal
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType, RightKind
from protocol.purchase import Purchase
from protocol.readings import Readings
from protocol.transfer import Transfer
from protocol.units import Quantity

REGION = "village"
START_MS = 1_790_000_000_000
INTERVAL_MS = 5_000
PERIOD_MS = 30_000
GRACE_MS = 2_000
PROFILE = load_profiles()["schneider_iem3000"]
BOOT = bytes(range(16))

POWER_W = {"m-gas": -40_000, "m-grid": 0, "m-home": 30_000, "m-wind": -10_000}
"""What each meter reads by default; below 0 feeds in."""


A_LIMITER = {"gateway": "gw", "rated_w": 50_000, "direction": "feeds_in"}


def a_grid_document(**changes: Any) -> dict[str, Any]:
    """The grid file of the village, as YAML would give it."""
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 50_000}
    document: dict[str, Any] = {
        "region": REGION,
        "reference_node": "n0",
        "rules": {
            "time": {"interval_ms": INTERVAL_MS, "grace_ms": GRACE_MS, "period_ms": PERIOD_MS},
            "carbon": {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1},
            "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
            "accounts": {"ceiling": 500, "restricted_ppm": 300_000},
            "rights": [{"right": "priority_purchase", "price": 40}],
        },
        "participants": [{"id": name} for name in ("gas", "grid", "home", "wind")],
        "nodes": [{"id": "n0", "voltage_mv": 400_000}, {"id": "n1", "voltage_mv": 400_000}],
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
            {"id": "m-grid", "participant": "grid", "node": "n0", **meter},
            *({"id": f"m-{name}", "participant": name, "node": "n1", **meter} for name in ("gas", "home", "wind")),
        ],
        "generators": [
            {"id": "g-grid", "meter": "m-grid", "source": "grid", "rated_w": 50_000, "emission_g_per_kwh": 400},
            {"id": "g-gas", "meter": "m-gas", "source": "gas", "rated_w": 50_000, "emission_g_per_kwh": 500},
            {"id": "g-wind", "meter": "m-wind", "source": "wind", "rated_w": 50_000, "emission_g_per_kwh": 0},
        ],
        "devices": [A_LIMITER | {"id": "limit-gas", "participant": "gas"}],
        "permits": [{"participant": "gas", "grams": 100}, {"participant": "wind", "grams": 100}],
    }
    return document | changes


def a_grid(**changes: Any) -> Grid:
    """The grid file of the village, checked."""
    return check(a_grid_document(**changes), Grid, "grid.yaml")


def a_genesis(grid: Grid, keys: dict[str, SoftwareKey]) -> bytes:
    """The village's first envelope, signed by its regulator."""
    roles = {"regulator": Role.REGULATOR, "node": Role.AGGREGATOR, "other": Role.AGGREGATOR}
    members = [Author(name, roles.get(name, Role.GATEWAY), key.public_key) for name, key in keys.items()]
    library = load_profiles()
    profiles = tuple(library[name] for name in sorted({meter.profile for meter in grid.meters}))
    genesis = Genesis(Link(grid.region, "regulator", 1, NO_RECORD), START_MS, members_in_order(members), grid, profiles)
    return seal(keys["regulator"], region=grid.region, type_=MessageType.GENESIS, payload=genesis.encode())


def some_keys(*gateways: str) -> dict[str, SoftwareKey]:
    """A key for everybody; the same ones in every run."""
    return {name: SoftwareKey.from_secret(i) for i, name in enumerate(("regulator", "node", *gateways), start=1)}


@dataclass
class Village:
    """A ledger with everybody's keys."""

    grid: Grid = field(default_factory=a_grid)
    keys: dict[str, SoftwareKey] = field(default_factory=lambda: some_keys("gw"))
    registers: dict[tuple[str, Quantity], float] = field(default_factory=dict)
    """Exact energy of every register, which meters would show rounded down."""
    physics: Recompute = field(default_factory=IntervalPhysics)

    def __post_init__(self) -> None:
        """Found the region."""
        self.five: Five = wire(self.grid.region, self.physics)
        self.compute = ComputeNode("node", self.keys["node"], self.physics, self)
        self.blocks: list[Block] = []
        self.now_ms = START_MS
        self._links: dict[str, tuple[int, bytes]] = {}
        self.genesis = a_genesis(self.grid, self.keys)
        first = open_genesis(self.genesis)
        self._links["regulator"] = (first.link.sequence, first.envelope.digest)
        self.close([first])

    def bodies_of_block(self, height: int) -> list[bytes]:
        """All leaves that a block added to the chains, as a store would tell its compute node."""
        block = self.blocks[height - 1]
        accepted = [outcome.record.envelope.data for outcome in block.outcomes if outcome.refusal is None]
        return accepted + [leaf.body for leaf in block.leaves]

    def link(self, author: str = "gw", **changes: Any) -> Link:
        """The link that an author's next record should have."""
        sequence, digest = self._links.get(author, (0, NO_RECORD))
        return replace(Link(self.grid.region, author, sequence + 1, digest), **changes)

    def sign(self, message: Any, type_: MessageType, author: str = "gw", **seal_changes: Any) -> bytes:
        """Put a message into its author's envelope, and remember it as their last."""
        arguments = {"region": self.grid.region, "type_": type_, "payload": message.encode()} | seal_changes
        return seal(self.keys[author], **arguments)

    def record(self, data: bytes) -> Record:
        """Open an envelope at the door, and count it in its author's sequence."""
        record = self.five.ledger.check(data)
        self._links[record.author.name] = (record.link.sequence, record.envelope.digest)
        return record

    def a_block_of(self, meter: str, power_w: int, *, seconds: int = 5, start_ms: int | None = None) -> MeterBlock:
        """One reading a second of a meter that runs at constant power."""
        first_ms = (self.now_ms if start_ms is None else start_ms) - START_MS + 1
        rows: dict[Quantity, list[int]] = {Quantity.IMPORTED_WH: [], Quantity.EXPORTED_WH: []}
        for _ in range(seconds):
            for quantity, signed_w in ((Quantity.IMPORTED_WH, power_w), (Quantity.EXPORTED_WH, -power_w)):
                energy = self.registers.get((meter, quantity), 1_000_000.0) + max(0, signed_w) / 3600
                self.registers[meter, quantity] = energy
                rows[quantity].append(int(energy))
        return a_meter_block(meter, first_ms, rows, power_w)

    def a_batch(self, power_w: dict[str, int] | None = None, **changes: Any) -> Batch:
        """Five seconds of every meter from now on."""
        seconds = changes.pop("seconds", 5)
        blocks = [
            self.a_block_of(meter, power, seconds=seconds)
            for meter, power in sorted((POWER_W | (power_w or {})).items())
        ]
        batch = Batch(self.link(), BOOT, Clock(ClockState.SYNCHRONIZED, 5, "test", START_MS), tuple(blocks))
        return replace(batch, **changes)

    def a_purchase(self, participant: str = "wind", **changes: Any) -> Purchase:
        """An order for priority in the next settlement period."""
        purchase = Purchase(self.link(), participant, RightKind.PRIORITY_PURCHASE, 40)
        return replace(purchase, **changes)

    def a_transfer(self, sender: str = "wind", receiver: str = "home", **changes: Any) -> Transfer:
        """Ten tokens for somebody else."""
        return replace(Transfer(self.link(), sender, receiver, 10), **changes)

    def close(self, records: list[Record]) -> Block:
        """Close a block of records that fit, and see that every invariant holds."""
        chosen, refused = self.five.ledger.propose(records)
        assert not refused, refused
        block = self.five.ledger.finalize(self.now_ms, chosen)
        self.five.ledger.commit()
        assert self.five.ledger.broken_invariants() == []
        self.blocks.append(block)
        return block

    def close_due(self) -> None:
        """Close every interval, period and settlement that is due, as the node would."""
        while (data := self.compute.due_record(self.five)) is not None:
            record = self.record(data)
            self.five.ledger.vet(record)
            self.close([record])

    def live(self, seconds: int, power_w: dict[str, int] | None = None) -> None:
        """Let time pass: readings every second, a batch and a block every five."""
        for _ in range(seconds // 5):
            batch = self.a_batch(power_w)
            self.now_ms += 5_000
            self.close([self.record(self.sign(batch, MessageType.BATCH))])
            self.close_due()


def a_meter_block(meter: str, first_ms: int, rows: dict[Quantity, list[int]], power_w: int) -> MeterBlock:
    """A block of readings one second apart, with words that say what the columns say."""
    count = len(rows[Quantity.IMPORTED_WH])
    return MeterBlock.around(
        Readings.of(
            first_ms=first_ms,
            starts_ms=range(0, 1000 * count, 1000),
            durations_ms=[5] * count,
            quality=[0] * count,
            columns={Quantity.ACTIVE_POWER_W: [power_w] * count},
        ),
        meter=meter,
        profile=PROFILE.digest,
        serial="4711",
        words={quantity: struct.pack(f">{count}q", *row) for quantity, row in rows.items()},
    )

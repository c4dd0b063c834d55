"""Settings of a node that keeps the chains."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from config.model import Listed, Model, Name, Natural, Positive
from config.settings.broker import Broker
from config.settings.places import FilePath, Host, Port

PEER: Final = r"^[0-9a-f]{40}@[^@:\s]+:[0-9]{1,5}$"


class Blocks(Model):
    """When a block is closed: whichever comes first."""

    entries_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    age_max_ms: Annotated[int, Field(ge=10, le=600_000)] = 1000


class StateSync(Model):
    """Begin with a snapshot of other nodes instead of with the region's first block."""

    rpc_servers: Annotated[tuple[str, ...], Listed, Field(min_length=2, max_length=16)]
    """Nodes whose RPC can be reached, as host:port. What they say is proven by a light client."""
    trust_height: Positive
    trust_hash: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")]
    """Hash of CometBFT's header at that height, from somebody who is trusted."""


class CometBft(Model):
    """Order blocks together with other nodes, by consensus."""

    home: FilePath
    """CometBFT's folder: its keys, its settings, which este writes, and its blocks."""
    program: FilePath | None = None
    """Where CometBFT is, if it is neither beside este nor on PATH."""
    p2p_host: Host = "0.0.0.0"  # noqa: S104  other nodes have to reach it
    p2p_port: Port = 26656
    rpc_port: Port = 26657
    """On loopback, for this node's own questions."""
    rpc_host: Host = "127.0.0.1"
    """Elsewhere only where others are to begin with this node's snapshots."""
    external_address: str = ""
    """host:port under which other nodes reach this one, where that is not what it sees itself."""
    peers: Annotated[tuple[Annotated[str, Field(pattern=PEER)], ...], Listed] = ()
    """Other nodes, as id@host:port."""
    is_on_one_machine: bool = False
    """All nodes are: for simulations and tests."""
    block_pause_ms: Annotated[int, Field(ge=0, le=60_000)] = 1000
    """Between blocks."""
    empty_every_ms: Annotated[int, Field(ge=1000, le=600_000)] = 5000
    """A block without records after so long, so that time goes on and intervals close."""
    propose_ms: Annotated[int, Field(ge=100, le=60_000)] = 3000
    """How long a proposal is waited for: what a node that is down costs when its turn comes."""
    blocks_kept: Natural = 100_000
    """Blocks that CometBFT keeps for others to catch up; 0 for all. The ledger keeps every record anyway."""
    snapshot_every: Natural = 1000
    """Blocks between two snapshots for those who join; 0 for none."""
    sync: StateSync | None = None


class AggregatorSettings(Model):
    """A node that keeps the chains."""

    region: Name
    name: Name
    """Its name on the asset chain."""
    data: FilePath
    """Folder of the ledger."""
    key_file: FilePath
    broker: Broker
    blocks: Blocks = Blocks()
    cometbft: CometBft | None = None
    """None for a node that orders blocks by itself."""
    verify_threads: Annotated[int, Field(ge=1, le=64)] = 2
    pending_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Messages that may wait for a block; what comes beyond is left to be sent again."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on events are logged, to standard error."""

"""Settings of a node that keeps the chains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from config.model import Model, Name
from config.settings.broker import Broker
from config.settings.places import FilePath


class Blocks(Model):
    """When a block is closed: whichever comes first."""

    entries_max: Annotated[int, Field(ge=1, le=100_000)] = 1000
    age_max_ms: Annotated[int, Field(ge=10, le=600_000)] = 1000


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
    verify_threads: Annotated[int, Field(ge=1, le=64)] = 2
    pending_max: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Messages that may wait for a block; what comes beyond is left to be sent again."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """From which level on events are logged, to standard error."""

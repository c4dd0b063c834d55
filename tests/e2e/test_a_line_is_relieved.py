"""A line carries too much: whoever loads it is limited, by the signed statement, the gateway, and the device itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aggregator.chains.intervals.results import IntervalResult
from aggregator.service.store import Store
from protocol.checkpoint import ChainName
from protocol.envelope import Envelope
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.units import PPM
from tests.e2e.region import Region, a_region, running, wait_until

pytestmark = pytest.mark.mosquitto

LINE = "b-2-2"
"""Behind it are four homes with heat pumps, which take 19 to 24 kW together at noon."""


def narrow(grid: dict[str, Any]) -> None:
    """The line gets a rating of 26 A, 18 kW, and the region the rule by which it is kept."""
    next(branch for branch in grid["branches"] if branch["id"] == LINE)["rating_ma"] = 26_000
    grid["rules"]["curtailment"] = {}


def loadings_ppm(region: Region) -> list[int]:
    """What the line carried, interval by interval, as the analysis chain has it."""
    store = Store.open_read_only(region.stage.ledger)
    found = []
    try:
        for leaf in store.leaves(ChainName.ANALYSIS):
            try:
                envelope = Envelope.parse(leaf.body)
            except EncodingError:
                continue  # a leaf that a block itself brought about
            if envelope.type == MessageType.INTERVAL:
                flows = IntervalResult.decode(envelope.payload).flows
                found += [flow.loading_ppm for flow in flows.branches if flow.branch == LINE]
    finally:
        store.close()
    return found


def limits(region: Region) -> set[str]:
    """The devices that gateways hold to a limit for the sake of the line, by what the gateways say."""
    statuses = [region.agent(gateway) for gateway in region.gateways]
    standings = [standing for status in statuses for standing in status["standings"] or ()]
    return {limit["device"] for one in standings for limit in one["limits"] if limit["branch"] == LINE}


def test_a_line_that_carries_too_much_is_relieved_by_signed_limits_that_devices_obey(tmp_path: Path) -> None:
    region = a_region(tmp_path, laid=narrow)
    log = lambda: region.log("aggregator") + region.log("gw-2")  # noqa: E731  said once, for every wait below
    with running(region, "broker", "fleet", "aggregator", *region.gateways):
        wait_until("the line is congested", lambda: max(loadings_ppm(region), default=0) > PPM, log)
        wait_until("homes behind it are limited", lambda: bool(limits(region)), log)
        assert limits(region) <= {"l-home-1", "l-home-3", "l-home-5", "l-home-7"}
        wait_until("a device has taken it over", lambda: region.agent("gw-2")["rights_applied"] > 0, log)
        wait_until("the line carries no more than it may", lambda: loadings_ppm(region)[-1] <= PPM, log)
        rows = region.ask("este-aggregator", "limits", f"--data={region.stage.ledger}")
        assert rows and all((row["branch"], row["direction"]) == (LINE, "take") for row in rows)
        assert {row["tier"] for row in rows} <= {"restricted", "common"}
        region.stop("aggregator")
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"

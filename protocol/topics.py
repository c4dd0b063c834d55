"""MQTT topics, built and parsed in one place: ``este/1/<region>/<name>/<kind>``.

`name` is a gateway, the regulator, or ``aggregator``, which is a reserved name. A gateway may publish and read only
below its own name; the broker's access list is written from the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from protocol.errors import EncodingError
from protocol.fields import is_name

VERSION: Final = "1"
AGGREGATOR: Final = "aggregator"
"""The name that stands for whoever keeps the chains; no gateway may bear it."""


class Kind(StrEnum):
    """What travels on a topic."""

    RECORD = "record"
    """Gateway or regulator → aggregator: one hash-linked sequence for each."""
    STATUS = "status"
    """Gateway → anybody: alive or gone (the last will), not signed, never trusted."""
    ENROL = "enrol"
    """Gateway → regulator, retained: a PKCS #10 request, signed with the key that it asks to have admitted."""
    RECEIPT = "receipt"
    """Aggregator → gateway: these records are on the chain."""
    REFUSAL = "refusal"
    """Aggregator → gateway: this record is not, and why."""
    STATEMENT = "statement"
    """Aggregator → gateway, retained: balances, factors, restrictions and rights."""
    SUMMARY = "summary"
    """Aggregator → operators, retained: the region at a glance."""
    ASK = "ask"
    """Gateway → aggregator: through whom is this participant reached?"""
    CARD = "card"
    """Aggregator → gateway: through this gateway, with these keys."""
    SEALED = "sealed"
    """Gateway → aggregator: a letter that another gateway alone can read."""
    DELIVERY = "delivery"
    """Aggregator → gateway: a letter, as it came, and whose it is."""


FROM_GATEWAY: Final = (Kind.RECORD, Kind.STATUS, Kind.ENROL, Kind.ASK, Kind.SEALED)
TO_GATEWAY: Final = (Kind.RECEIPT, Kind.REFUSAL, Kind.STATEMENT, Kind.CARD, Kind.DELIVERY)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of one region."""

    region: str
    name: str
    kind: Kind

    def __post_init__(self) -> None:
        assert is_name(self.region) and is_name(self.name), f"{self.region!r}, {self.name!r}: not names for a topic"

    def __str__(self) -> str:
        return f"este/{VERSION}/{self.region}/{self.name}/{self.kind}"


def parse(topic: str) -> Topic:
    """Take a topic apart.

    Raises:
        EncodingError: not a topic of this protocol and version.
    """
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["este", VERSION] or not all(map(is_name, parts[2:4])):
        raise EncodingError(f"not a topic of este: {topic!r:.100}")
    try:
        kind = Kind(parts[4])
    except ValueError as error:
        raise EncodingError(f"no kind of message travels on {topic!r:.100}") from error
    return Topic(parts[2], parts[3], kind)


def everybody(region: str, kind: Kind) -> str:
    """The filter that matches one kind of message of every gateway in a region."""
    assert is_name(region), f"{region!r}: not a name for a topic"
    return f"este/{VERSION}/{region}/+/{kind}"


def access_list(
    region: str,
    gateways: Sequence[str],
    *,
    aggregators: Sequence[str],
    regulator: str = "regulator",
    not_enrolled: Sequence[str] = (),
) -> str:
    """Mosquitto's ``acl_file``: who may publish and read what. User names are gateway names.

    Args:
        region: whose list it is.
        gateways: those with a live key.
        aggregators: the nodes' user names. The regulator speaks through any of them.
        regulator: the regulator's name on the asset chain.
        not_enrolled: gateways without a live key, which may leave a request and nothing else.
    """
    lines = [
        "# Written by este-aggregator from the asset chain. Anything not granted here is denied.",
    ]
    for aggregator in aggregators:
        lines += [
            "",
            f"user {aggregator}",
            *(f"topic read {everybody(region, kind)}" for kind in FROM_GATEWAY),
            *(f"topic write {everybody(region, kind)}" for kind in TO_GATEWAY),
            f"topic write {Topic(region, AGGREGATOR, Kind.SUMMARY)}",
            f"topic write {Topic(region, regulator, Kind.RECORD)}",
        ]
    for gateway in gateways:
        lines += [
            "",
            f"user {gateway}",
            *(f"topic write {Topic(region, gateway, kind)}" for kind in FROM_GATEWAY),
            *(f"topic read {Topic(region, gateway, kind)}" for kind in (*TO_GATEWAY, Kind.ENROL)),
        ]
    for gateway in not_enrolled:
        topic = Topic(region, gateway, Kind.ENROL)
        lines += ["", f"user {gateway}", f"topic write {topic}", f"topic read {topic}"]
    return "\n".join(lines) + "\n"

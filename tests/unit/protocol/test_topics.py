"""Topics are built and parsed in one place, and nothing in a name can change where a message goes."""

from __future__ import annotations

import pytest

from protocol.errors import EncodingError
from protocol.topics import AGGREGATOR, FROM_GATEWAY, TO_GATEWAY, Kind, Topic, access_list, everybody, parse
from tests.builders import GATEWAY, REGION


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_a_topic_survives_being_written_and_read(kind: Kind) -> None:
    topic = Topic(REGION, GATEWAY, kind)
    assert parse(str(topic)) == topic


def test_a_topic_is_spelled_as_the_format_says() -> None:
    assert str(Topic("sunvale", "gw-1", Kind.RECORD)) == "este/1/sunvale/gw-1/record"
    assert everybody("sunvale", Kind.STATUS) == "este/1/sunvale/+/status"


NO_TOPICS = [
    "",
    "este/1/sunvale/gw-1",
    "este/1/sunvale/gw-1/record/more",
    "/este/1/sunvale/gw-1/record",
    "este/1/sunvale/gw-1/record/",
    "ESTE/1/sunvale/gw-1/record",
    "este/2/sunvale/gw-1/record",
    "este/1//gw-1/record",
    "este/1/sunvale//record",
    "este/1/sunvale/+/record",
    "este/1/+/gw-1/record",
    "este/1/sunvale/gw-1/#",
    "este/1/sunvale/gw-1/rumour",
    "este/1/sunvale/gw-1/RECORD",
    "este/1/sunvale/gw 1/record",
    "este/1/sunvale/gw-1\x00/record",
    "este/1/sunvale/gw-1/record\n",
    "$SYS/broker/uptime",
]


@pytest.mark.parametrize("topic", NO_TOPICS, ids=repr)
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(EncodingError):
        parse(topic)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a+", "a/#", "a\nb", ".."], ids=repr)
def test_no_topic_can_be_built_from_what_is_no_name(name: str) -> None:
    with pytest.raises(AssertionError):
        Topic(name, GATEWAY, Kind.RECORD)
    with pytest.raises(AssertionError):
        Topic(REGION, name, Kind.RECORD)
    with pytest.raises(AssertionError):
        everybody(name, Kind.RECORD)
    with pytest.raises(AssertionError):
        access_list(REGION, [name], aggregators=["aggregator"])


def granted(acl: str, user: str) -> dict[str, set[str]]:
    """What Mosquitto grants a user by this list."""
    grants: dict[str, set[str]] = {"read": set(), "write": set()}
    current = None
    for line in acl.splitlines():
        words = line.split()
        if words[:1] == ["user"]:
            current = words[1]
        elif words[:1] == ["topic"] and current == user:
            grants[words[1]].add(words[2])
    return grants


def test_a_gateway_may_publish_and_read_only_below_its_own_name() -> None:
    acl = access_list(REGION, ["gw-1", "gw-2"], aggregators=["hub"])
    grants = granted(acl, "gw-1")
    assert grants["write"] == {str(Topic(REGION, "gw-1", kind)) for kind in FROM_GATEWAY}
    assert grants["read"] == {str(Topic(REGION, "gw-1", kind)) for kind in (*TO_GATEWAY, Kind.ENROL)}


def test_a_gateway_without_a_live_key_may_leave_a_request_and_nothing_else() -> None:
    acl = access_list(REGION, ["gw-1"], aggregators=["hub"], not_enrolled=["gw-2"])
    topic = str(Topic(REGION, "gw-2", Kind.ENROL))
    assert granted(acl, "gw-2") == {"read": {topic}, "write": {topic}}


def test_the_aggregator_hears_what_gateways_say_and_says_what_they_hear() -> None:
    grants = granted(access_list(REGION, ["gw-1"], aggregators=["hub"]), "hub")
    assert grants["read"] == {everybody(REGION, kind) for kind in FROM_GATEWAY}
    assert grants["write"] == {
        *(everybody(REGION, kind) for kind in TO_GATEWAY),
        str(Topic(REGION, AGGREGATOR, Kind.SUMMARY)),
        str(Topic(REGION, "regulator", Kind.RECORD)),
    }


def test_every_node_of_several_may_say_what_gateways_hear() -> None:
    acl = access_list(REGION, ["gw-1"], aggregators=["north", "south"])
    alone = granted(access_list(REGION, ["gw-1"], aggregators=["north"]), "north")
    assert granted(acl, "north") == granted(acl, "south") == alone


def test_nobody_else_is_granted_anything() -> None:
    acl = access_list(REGION, ["gw-1"], aggregators=["hub"])
    first_user = next(n for n, line in enumerate(acl.splitlines()) if line.startswith("user"))
    assert not any(line.startswith(("topic", "pattern")) for line in acl.splitlines()[:first_user])
    assert granted(acl, "gw-2") == {"read": set(), "write": set()}


def test_every_kind_is_said_by_exactly_one_side() -> None:
    assert {*FROM_GATEWAY, *TO_GATEWAY, Kind.SUMMARY} == set(Kind)
    assert not set(FROM_GATEWAY) & set(TO_GATEWAY)

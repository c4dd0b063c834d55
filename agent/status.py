"""What people are told about an agent: the small status at the broker, and the full one of `este-agent status`.

Given what is remembered and what is running, lays it out as JSON and as text. Nothing here is signed and nobody may
trust it: it is for the eye. Reads no file and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from agent.outbox.books import Totals
from agent.outbox.memory import MeterSeen, Seen
from protocol.batch import Quality
from protocol.limits import Tier
from protocol.messages import Refusal, Standing
from protocol.refusals import RefusalCode
from protocol.units import PPM

LINK_UP: Final = "up"

UNANSWERED_MS: Final = 300_000
"""Far longer than a batch waits, is sent, and is answered."""

TROUBLES: Final = ("paused", "halted", "alarm", "key", "clock", "thinned", "orders", "neighbours")
"""What may be wrong with a running agent, each with its reason."""

OFFLINE: Final = json.dumps({"state": "offline"}).encode()
"""The last will, and the farewell."""

_HALT_CAUSES: Final = {
    RefusalCode.SEQUENCE_REPLAYED: "the aggregator already has another record by this number",
    RefusalCode.BROKEN_LINK: "the aggregator has another record before this one",
}

PERCENT: Final = PPM // 100

_WAYS: Final = {None: "take or feed in", "take": "take", "feed_in": "feed in"}

_TIERS: Final = {
    Tier.RESTRICTED.name.lower(): "who owes tokens goes first",
    Tier.COMMON.name.lower(): "nobody without a right has more",
    Tier.PRIORITY.name.lower(): "although they hold priority",
    Tier.CHANNEL.name.lower(): "although a channel covers it",
}
"""Why somebody is limited and not somebody else."""

_WHAT_TO_DO: Final = (
    "somebody else signs with this gateway's key, or its outbox was restored from an old copy; stop the other one, or"
    " have the regulator enrol a new key, and start with a new `data` folder; meters are still read and nothing is lost"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What there is to say about a running agent."""

    link: str = "not tried yet"
    """`LINK_UP`, or why there is none."""
    paused: str | None = None
    """Why nothing is read, if so."""
    halted: str | None = None
    """Why nothing is published, if so."""
    alarm: str | None = None
    """The last thing that must not happen."""
    key: str | None = None
    """Why nothing can be signed now, if so."""
    clock: str | None = None
    """Why the time is not to be believed, if so."""
    thinned: str | None = None
    """Why fewer readings are kept than are read, if so."""
    orders: str | None = None
    """Why a standing order can never buy, if so."""
    neighbours: str | None = None
    """Why Home Assistant or Prometheus is told nothing, if so."""
    driven: str | None = None
    """What contracts ask of devices now, as JSON, if they ask anything: `agent.bus.helm.Driven`."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """Meters that cannot be read and devices that do not obey, and why."""

    def noting(self, troubles: Mapping[str, str | None]) -> State:
        """The state with these troubles, by name; None ends one."""
        assert troubles.keys() <= set(TROUBLES), "only troubles are noted"
        changes: dict[str, Any] = dict(troubles)
        return replace(self, **changes)

    def with_failing(self, names: Iterable[str], reason: str) -> State:
        """The state when these meters and devices fail for this reason."""
        return replace(self, failing=dict(self.failing) | dict.fromkeys(names, reason))

    def without_failing(self, names: Collection[str]) -> State:
        """The state when these meters and devices answer again."""
        return replace(self, failing={name: why for name, why in self.failing.items() if name not in names})

    def notes(self) -> dict[str, str | None]:
        """What is kept in the file, for whoever looks later."""
        return {"link": self.link, "driven": self.driven} | {name: getattr(self, name) for name in TROUBLES}


def halt_text(refusal: Refusal) -> str:
    """Why the agent stopped publishing, and what a person can do."""
    cause = _HALT_CAUSES.get(refusal.code, refusal.code.name)
    return f"record {refusal.sequence}: {cause}; it waits for {refusal.expected_sequence}; {_WHAT_TO_DO}"


def grant_told(power_max_w: int | None, set_w: int | None) -> dict[str, object]:
    """What there is to log of a device that obeys."""
    held: dict[str, object] = {"power_max_w": "free" if power_max_w is None else power_max_w}
    return held if set_w is None else {**held, "set_w": set_w}


def told_of(refusal: Refusal) -> dict[str, object]:
    """What there is to log of a refusal."""
    told = {"sequence": refusal.sequence, "code": refusal.code.name}
    return {**told, "expected_sequence": refusal.expected_sequence, "detail": refusal.detail}


def status_message(state: State, totals: Totals, *, ignored: int) -> bytes:
    """The retained status at the broker: small, and without anything about anybody's energy."""
    return json.dumps(
        {
            "state": "online",
            "paused": state.paused,
            "halted": state.halted is not None,
            "alarm": state.alarm,
            "key": state.key,
            "clock": state.clock,
            "thinned": state.thinned,
            "orders": state.orders,
            "neighbours": state.neighbours,
            "failing": sorted(state.failing),
            "messages_ignored": ignored,
            "records_waiting": totals.records_waiting,
            **asdict(totals),
        }
    ).encode()


def to_json(seen: Seen) -> dict[str, Any]:
    """The full status for programs: a stable set of keys."""
    statement = seen.statement
    return {
        "region": seen.region,
        "gateway": seen.gateway,
        "running": seen.is_running,
        "link": seen.notes.get("link", "") if seen.is_running else "not running",
        "paused": seen.notes.get("paused"),
        "halted": "halted" in seen.notes,
        "halted_because": seen.notes.get("halted"),
        **{name: seen.notes.get(name) for name in ("alarm", "key", "clock", "thinned", "orders", "neighbours")},
        **asdict(seen.totals),
        "records_waiting": seen.totals.records_waiting,
        "bytes_used": seen.bytes_used,
        "oldest_waiting_ms": seen.oldest_waiting_ms,
        "oldest_waiting_age_ms": _age_ms(seen.oldest_waiting_ms, seen.unix_ms),
        "meters": [_meter(meter, seen.unix_ms) for meter in seen.meters],
        "devices": [asdict(device) for device in seen.devices],
        "records_set_aside": [
            {"sequence": aside.sequence, "code": aside.code.name, "detail": aside.detail} for aside in seen.asides
        ],
        "statement": None
        if statement is None
        else {"number": statement.number, "height": statement.height, "time_ms": statement.time_ms},
        "offers_open": seen.offers_open,
        "contracts_driven": json.loads(seen.notes.get("driven", "[]")) if seen.is_running else [],
        "standings": [_standing(standing) for standing in (statement.standings if statement else ())],
    }


def to_text(document: Mapping[str, Any]) -> Iterator[str]:
    """The full status for people, line by line, out of what `to_json` gave."""
    d = document
    yield f"gateway {d['gateway']} in {d['region']}: {'running' if d['running'] else 'not running'}, link {d['link']}"
    yield (
        f"{d['readings_read']} readings read; {d['records_signed']} records signed, {d['records_received']} received,"
        f" {d['records_refused']} refused, {d['records_waiting']} waiting ({d['bytes_used'] // 1024} KiB)"
    )
    if d["oldest_waiting_age_ms"] is not None:
        yield f"the oldest reading without a receipt is {d['oldest_waiting_age_ms'] / 1000:.0f} s old"
    if d["link"] == LINK_UP and (d["oldest_waiting_age_ms"] or 0) > UNANSWERED_MS:
        yield "NO RECEIPT: does the aggregator run, and is the key still admitted (este-aggregator regulator members)?"
    yield f"{d['statements_verified']} statements verified, {d['rights_applied']} rights applied"
    for trouble in ("paused", "halted_because", "alarm", "key", "clock", "thinned", "orders", "neighbours"):
        if d[trouble]:
            yield f"{trouble.removesuffix('_because').upper()}: {d[trouble]}"
    for aside in d["records_set_aside"]:
        yield f"record {aside['sequence']} set aside: {aside['code']} {aside['detail']}".rstrip()
    if d["offers_open"]:
        yield f"{d['offers_open']} offers wait for a decision: este-agent trade inbox"
    for meter in d["meters"]:
        yield f"meter {meter['meter']}: {_meter_text(meter)}"
    for device in d["devices"]:
        held = "free" if device["power_max_w"] is None else f"held to {device['power_max_w']} W"
        failing = f"; failing: {device['failing']}" if device["failing"] else ""
        set_to = "" if device["set_w"] is None else f", set to {_power_text(-device['set_w'])} by contract"
        yield f"device {device['device']}: {held}{set_to}{failing}"
    for driven in d["contracts_driven"]:
        yield _driven_text(driven)
    for standing in d["standings"]:
        yield from _standing_text(standing)


def _power_text(power_w: int) -> str:
    return f"feed in {power_w} W" if power_w > 0 else f"take {-power_w} W"


def _driven_text(driven: Mapping[str, Any]) -> str:
    """What contracts ask of a participant, which devices do it, and why something is missing."""
    asked = f"{driven['participant']} is to {_power_text(driven['power_w'])} until {_instant(driven['until_ms'])} UTC"
    done = [f"{device} is set to {_power_text(-watts)}" for device, watts in driven["devices"].items()]
    missing = [f"{driven['missing_w']} W are left to whatever else runs ({driven['why']})"] if driven["why"] else []
    numbers = f"contract {', '.join(driven['contracts'])}" if driven["contracts"] else "contracts"
    return f"{numbers}: {'; '.join([asked, *done, *missing])}"


def _meter(seen: MeterSeen, unix_ms: int) -> dict[str, Any]:
    reading, read_ms = seen.reading, seen.read_unix_ms
    return {
        "meter": seen.meter,
        "failing": seen.failing,
        "serial": reading.serial if reading else None,
        "read_ms": read_ms,
        "age_ms": _age_ms(read_ms, unix_ms),
        "flags": [flag.name.lower() for flag in Quality if reading and flag in reading.quality and flag.name],
        "values": {quantity.name.lower(): value for quantity, value in seen.values.items()},
        "slow_values": sorted(quantity.name.lower() for quantity in seen.slow.values) if seen.slow else [],
        "slow_age_ms": _age_ms(seen.slow_unix_ms, unix_ms),
    }


def _age_ms(since_ms: int | None, unix_ms: int) -> int | None:
    return None if since_ms is None else max(0, unix_ms - since_ms)


def _meter_text(meter: Mapping[str, Any]) -> str:
    parts = [f"cannot be read: {meter['failing']}"] if meter["failing"] else []
    parts += [f"last read {meter['age_ms'] / 1000:.0f} s ago"] if meter["read_ms"] is not None else ["never read"]
    parts += [_values_text(meter, is_slow=False)] if meter["values"] else []
    if meter["slow_values"]:
        parts += [f"{meter['slow_age_ms'] / 1000:.0f} s ago {_values_text(meter, is_slow=True)}"]
    return "; ".join([*parts, *meter["flags"]])


def _values_text(meter: Mapping[str, Any], *, is_slow: bool) -> str:
    names = (name for name in meter["values"] if (name in meter["slow_values"]) is is_slow)
    return ", ".join(f"{name} {meter['values'][name]}" for name in names)


def _standing(standing: Standing) -> dict[str, Any]:
    return {
        "participant": standing.participant,
        "balance": standing.balance,
        "restricted": standing.is_restricted,
        "supply_factor_ppm": standing.supply_factor_ppm,
        "demand_factor_ppm": standing.demand_factor_ppm,
        "rank": standing.rank,
        "limits": [
            {
                "device": limit.device,
                "power_max_w": limit.power_max_w,
                "branch": limit.branch,
                "direction": limit.direction.name.lower() if limit.direction else None,
                "loading_ppm": limit.why.loading_ppm if limit.why else None,
                "tier": limit.why.tier.name.lower() if limit.why else None,
                "share_ppm": limit.why.share_ppm if limit.why else None,
            }
            for limit in standing.limits
        ],
        "rights": [
            {
                "kind": right.kind.name.lower(),
                "start_ms": right.start_ms,
                "end_ms": right.end_ms,
                "branch": right.branch,
                "power_w": right.power_w,
            }
            for right in standing.rights
        ],
    }


def _standing_text(standing: Mapping[str, Any]) -> Iterator[str]:
    restricted = ", restricted" if standing["restricted"] else ""
    yield (
        f"participant {standing['participant']}: {standing['balance']} tokens{restricted}, rank {standing['rank']},"
        f" supply factor {_factor(standing['supply_factor_ppm'])},"
        f" demand factor {_factor(standing['demand_factor_ppm'])}"
    )
    for limit in standing["limits"]:
        yield f"  {limit['device']} may {_WAYS[limit['direction']]} {limit['power_max_w']} W at most{_why(limit)}"
    for right in standing["rights"]:
        what = f" of {right['branch']}, {right['power_w']} W," if right["branch"] else ""
        yield f"  holds {right['kind']}{what} from {_instant(right['start_ms'])} to {_instant(right['end_ms'])} UTC"


def _why(limit: Mapping[str, Any]) -> str:
    if not limit["branch"]:
        return ""
    line = f": power line {limit['branch']} carries too much"
    if limit["tier"] is None:
        return line
    percent, share = limit["loading_ppm"] // PERCENT, limit["share_ppm"] // PERCENT
    return f": power line {limit['branch']} was loaded with {percent} %; {_TIERS[limit['tier']]}, left {share} %"


def _instant(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def _factor(ppm: int | None) -> str:
    return "none" if ppm is None else f"{ppm / PPM:.6f}"

"""Between a power network as other programs have it and a grid file.

A grid file says more: whose meter it is, who reads it, by which rules. An import writes a draft with a participant and
a meter for everything connected, and rules to be replaced by the regulator's.
"""

from __future__ import annotations

import re
from typing import Any, Final

from aggregator.grid.exchange.plain import Connected, Line, NotThatFormat, Plain, Point, remarks_on, unique
from config.carriers import Carrier
from config.grid_model import Grid, Source

NAME_LENGTH: Final = 56
"""Of the 64 letters that a name may have: the rest is for a number behind it."""
MILLI: Final = 1e3
MICRO: Final = 1e6
METER_MAX_W: Final = 17_000
"""A home's connection, where a file does not tell what it can carry: 3 × 25 A."""
UNRATED_MA: Final = 10**9
OUTSIDE: Final = "outside"
RULES: Final[dict[str, Any]] = {
    "time": {"interval_ms": 900_000, "grace_ms": 60_000},
    "carbon": {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1},
    "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
    "accounts": {"ceiling": 1000, "restricted_ppm": 300_000},
}
"""A draft's rules: those of the demo's kind, until the regulator has laid down others."""


def draft(plain: Plain, *, region: str, gateway: str, profile: str) -> dict[str, Any]:
    """A grid file's content, to be read by people before it founds anything.

    Raises:
        NotThatFormat: nothing tells where the network meets the outside, or a line has no resistance.
    """
    if plain.outside is None:
        raise NotThatFormat("nothing in the file tells where the network meets the one outside")
    node = dict(zip((p.name for p in plain.points), unique([_name(p.name) for p in plain.points]), strict=True))
    meters = unique([OUTSIDE, *(_name(one.name) for one in plain.connected)])
    read_by = {"gateway": gateway, "profile": profile}
    rating_w = _rating_w(plain)
    document: dict[str, Any] = {
        "region": region,
        "reference_node": node[plain.outside],
        "rules": RULES,
        "participants": [{"id": name} for name in meters],
        "nodes": [{"id": node[p.name], "voltage_mv": round(p.rated_v * MILLI)} for p in plain.points],
        "branches": _branches(plain, node),
        "meters": [
            {"id": OUTSIDE, "participant": OUTSIDE, "node": node[plain.outside], **read_by, "power_max_w": rating_w},
            *(
                {
                    "id": name,
                    "participant": name,
                    "node": node[one.point],
                    **read_by,
                    "power_max_w": max(METER_MAX_W, round(one.power_w)),
                }
                for name, one in zip(meters[1:], plain.connected, strict=True)
            ),
        ],
    }
    document["generators"] = [
        {"id": OUTSIDE, "meter": OUTSIDE, "source": "grid", "rated_w": rating_w, "emission_g_per_kwh": 400},
        *(
            {"id": name, "meter": name, "source": "pv", "rated_w": max(1, round(one.power_w)), "emission_g_per_kwh": 0}
            for name, one in zip(meters[1:], plain.connected, strict=True)
            if one.is_generator
        ),
    ]
    return document


def plain_of(grid: Grid) -> Plain:
    """A grid file's power network; what other programs have no word for is remarked."""
    generators = {generator.meter: generator for generator in grid.generators}
    electric = {node.id for node in grid.nodes if node.carrier is Carrier.ELECTRICITY}
    counted = [meter for meter in grid.meters if meter.node in electric and not meter.branch]
    plain = Plain(
        points=[
            Point(name=node.id, rated_v=(node.voltage_mv or 0) / MILLI) for node in grid.nodes if node.id in electric
        ],
        lines=[
            Line(
                name=branch.id,
                one=branch.from_node,
                other=branch.to_node,
                resistance_ohm=branch.resistance_uohm / MICRO,
                reactance_ohm=branch.reactance_uohm / MICRO,
                rating_a=branch.rating_ma / MILLI,
            )
            for branch in grid.branches
        ],
        outside=grid.reference_node,
    )
    for meter in counted:
        generator = generators.get(meter.id)
        if generator is not None and generator.source is Source.GRID:
            continue
        power_w = float(generator.rated_w if generator else meter.power_max_w)
        plain.connected.append(
            Connected(name=meter.id, point=meter.node, power_w=power_w, is_generator=generator is not None)
        )
    lost = {
        "node of another carrier": len(grid.nodes) - len(electric),
        "pipe": len(grid.pipes),
        "converter": len(grid.converters),
        "storage": len(grid.storages),
        "check meter": sum(meter.branch is not None for meter in grid.meters),
    }
    plain.remarks = [f"{count} × {what}: left out" for what, count in lost.items() if count]
    if not all(one.is_generator for one in plain.connected):
        plain.remarks.append("loads are the most that connections carry, all at once: scale them for a power flow")
    return plain


def _branches(plain: Plain, node: dict[str, str]) -> list[dict[str, Any]]:
    branches = []
    names = unique([_name(line.name) for line in plain.lines])
    unresisting = [line.name for line in plain.lines if round(line.resistance_ohm * MICRO) == 0]
    plain.remarks += remarks_on("line", unresisting, "no resistance; 1 micro-ohm stands in")
    unrated = [line.name for line in plain.lines if not line.rating_a]
    plain.remarks += remarks_on("line", unrated, f"no rating; {UNRATED_MA} mA stands in")
    for line, name in zip(plain.lines, names, strict=True):
        resistance, reactance = round(line.resistance_ohm * MICRO), round(line.reactance_ohm * MICRO)
        if reactance < 0 or resistance < 0:
            raise NotThatFormat(f"line {line.name} with a resistance or reactance below 0")
        branches.append(
            {
                "id": name,
                "from_node": node[line.one],
                "to_node": node[line.other],
                "resistance_uohm": max(1, resistance),
                "reactance_uohm": reactance,
                "rating_ma": round(line.rating_a * MILLI) if line.rating_a else UNRATED_MA,
            }
        )
    return branches


def _rating_w(plain: Plain) -> int:
    """What the lines at the connection can carry together."""
    rated_v = {point.name: point.rated_v for point in plain.points}
    at = [line for line in plain.lines if plain.outside in (line.one, line.other)]
    amperes = sum(line.rating_a or UNRATED_MA / MILLI for line in at)
    return max(METER_MAX_W, round(3**0.5 * rated_v.get(plain.outside or "", 0.0) * amperes))


def _name(text: str) -> str:
    """A name that a grid file may have: other signs become hyphens."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:NAME_LENGTH].strip("-_.") or "unnamed"

"""Files of pandapower: JSON, as `pandapower.to_json` writes it and `pandapower.from_json` reads it.

Each table stands in it as text, which is JSON again, split into columns, index and data.
"""

from __future__ import annotations

import json
from typing import Any, Final

from aggregator.grid.exchange.plain import (
    BELOW_0,
    Connected,
    Line,
    NotThatFormat,
    Plain,
    Point,
    number,
    remarks_on,
    unique,
)

TAKEN: Final = ("bus", "line", "ext_grid", "load", "sgen", "switch")
NOT_NETWORK: Final = ("poly_cost", "pwl_cost", "measurement", "controller", "group", "characteristic")
MEGA: Final = 1e6
KILO: Final = 1e3
FORMAT_VERSION: Final = "3.3.0"
DTYPES: Final = {str: "object", float: "float64", int: "uint32", bool: "bool"}

CONSTANT_POWER: Final = dict.fromkeys((f"const_{law}_{of}_percent" for law in "zi" for of in "pq"), 0.0)
"""Shares of a load that follow the voltage."""

Row = dict[str, Any]


def from_pandapower(document: Any) -> Plain:
    """Read a file's content.

    Raises:
        NotThatFormat: it is none, or lacks what a network needs.
    """
    if not isinstance(document, dict) or document.get("_class") != "pandapowerNet":
        raise NotThatFormat("something else than a network as pandapower.to_json writes it")
    content = _opened(document.get("_object"))
    if not isinstance(content, dict):
        raise NotThatFormat("a pandapower network without content")
    tables = {
        name: _table(name, value)
        for name, value in content.items()
        if isinstance(value, dict) and value.get("_class") == "DataFrame" and not name.startswith(("res_", "_"))
    }
    plain = Plain()
    buses = tables.get("bus", {})
    name_of = dict(zip(buses, unique([str(row.get("name") or f"bus-{i}") for i, row in buses.items()]), strict=True))
    plain.points = [Point(name=name_of[i], rated_v=number(row, "vn_kv") * KILO) for i, row in buses.items()]
    plain.lines = list(_lines(tables, name_of, plain.remarks))
    plain.connected = list(_connected(tables, name_of, plain.remarks))
    outside = [row for row in tables.get("ext_grid", {}).values() if row.get("in_service", True)]
    plain.outside = _bus(name_of, outside[0], "bus") if outside else None
    if len(outside) > 1:
        first = f"the first, at {plain.outside}, is the connection to the outside"
        plain.remarks.append(f"{len(outside)} external grids: {first}; the others are left out")
    for name in sorted(set(tables) - set(TAKEN) - set(NOT_NETWORK)):
        if tables[name]:
            plain.remarks.append(f"{len(tables[name])} × {name}: este does not know it; left out")
    closed = [row for row in tables.get("switch", {}).values() if row.get("et") == "b" and row.get("closed", True)]
    if closed:
        plain.remarks.append(f"{len(closed)} × closed switch between buses: este joins nodes by lines only; left out")
    return plain


def _lines(tables: dict[str, dict[int, Row]], name_of: dict[int, str], remarks: list[str]) -> list[Line]:
    opened = {
        row["element"]
        for row in tables.get("switch", {}).values()
        if row.get("et") == "l" and not row.get("closed", True)
    }
    rows = tables.get("line", {})
    names = unique([str(row.get("name") or f"line-{i}") for i, row in rows.items()])
    lines, off, charging = [], [], []
    for (i, row), name in zip(rows.items(), names, strict=True):
        if not row.get("in_service", True) or i in opened:
            off.append(name)
            continue
        charging += [name] if row.get("c_nf_per_km") else []
        length, parallel = number(row, "length_km"), number(row, "parallel", 1.0)
        rating_ka = number(row, "max_i_ka", 0.0)
        derating = number(row, "df", 1.0)
        lines.append(
            Line(
                name=name,
                one=_bus(name_of, row, "from_bus"),
                other=_bus(name_of, row, "to_bus"),
                resistance_ohm=number(row, "r_ohm_per_km") * length / parallel,
                reactance_ohm=number(row, "x_ohm_per_km") * length / parallel,
                rating_a=rating_ka * KILO * parallel * derating or None,
            )
        )
    remarks += remarks_on("line", off, "open, and left out")
    remarks += remarks_on("line", charging, "a capacitance, which este does not reckon with")
    return lines


def _connected(tables: dict[str, dict[int, Row]], name_of: dict[int, str], remarks: list[str]) -> list[Connected]:
    found: list[Connected] = []
    for kind in ("load", "sgen"):
        rows, off, below = tables.get(kind, {}), [], []
        names = unique([str(row.get("name") or f"{kind}-{i}") for i, row in rows.items()])
        for row, name in zip(rows.values(), names, strict=True):
            if not row.get("in_service", True):
                off.append(name)
                continue
            power_mw = number(row, "p_mw", 0.0) * number(row, "scaling", 1.0)
            below += [name] if power_mw < 0 else []
            rated_mw = number(row, "sn_mva", 0.0) or abs(power_mw)
            at = _bus(name_of, row, "bus")
            found.append(Connected(name=name, point=at, power_w=rated_mw * MEGA, is_generator=kind == "sgen"))
        remarks += [*remarks_on(kind, off, "off, and left out"), *remarks_on(kind, below, BELOW_0)]
    return found


def to_pandapower(plain: Plain) -> dict[str, Any]:
    """Write a file's content."""
    number_of = {point.name: i for i, point in enumerate(plain.points)}
    buses = [{"name": p.name, "vn_kv": p.rated_v / KILO, "type": "b", "in_service": True} for p in plain.points]
    lines = [
        {
            "name": line.name,
            "from_bus": number_of[line.one],
            "to_bus": number_of[line.other],
            "length_km": 1.0,
            "r_ohm_per_km": line.resistance_ohm,
            "x_ohm_per_km": line.reactance_ohm,
            "c_nf_per_km": 0.0,
            "g_us_per_km": 0.0,
            "max_i_ka": (line.rating_a or 0.0) / KILO or 1e6,
            "df": 1.0,
            "parallel": 1,
            "in_service": True,
        }
        for line in plain.lines
    ]
    outside = [
        {
            "name": "outside",
            "bus": number_of[at],
            "vm_pu": 1.0,
            "va_degree": 0.0,
            "slack_weight": 1.0,
            "in_service": True,
        }
        for at in [plain.outside]
        if at is not None
    ]
    tables: dict[str, list[Row]] = {"bus": buses, "line": lines, "ext_grid": outside}
    for kind, is_generator, extra in (("load", False, CONSTANT_POWER), ("sgen", True, {"current_source": True})):
        tables[kind] = [
            {
                "name": one.name,
                "bus": number_of[one.point],
                "p_mw": one.power_w / MEGA,
                "q_mvar": 0.0,
                "sn_mva": one.power_w / MEGA,
                "scaling": 1.0,
                "in_service": True,
                **extra,
            }
            for one in plain.connected
            if one.is_generator is is_generator
        ]
    content: dict[str, Any] = {name: _frame(rows) for name, rows in tables.items() if rows}
    content |= {"name": "", "f_hz": 50.0, "sn_mva": 1.0, "version": FORMAT_VERSION, "format_version": FORMAT_VERSION}
    return {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": content}


def _frame(rows: list[Row]) -> dict[str, Any]:
    columns = list(rows[0])
    split = {"columns": columns, "index": list(range(len(rows))), "data": [list(row.values()) for row in rows]}
    return {
        "_module": "pandas.core.frame",
        "_class": "DataFrame",
        "_object": json.dumps(split),
        "orient": "split",
        "dtype": {column: DTYPES[type(rows[0][column])] for column in columns},
    }


def _table(name: str, value: dict[str, Any]) -> dict[int, Row]:
    try:
        split = _opened(value["_object"])
        rows = zip(split["index"], split["data"], strict=True)
        return {index: dict(zip(split["columns"], data, strict=True)) for index, data in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise NotThatFormat(f"table {name} is not split into columns, index and data") from error


def _opened(held: Any) -> Any:
    """What stands as text in a file's text, or as itself."""
    if not isinstance(held, str):
        return held
    try:
        return json.loads(held)
    except ValueError as error:
        raise NotThatFormat(f"text within that is no JSON: {error}") from error


def _bus(name_of: dict[int, str], row: Row, key: str) -> str:
    at = row.get(key)
    if not isinstance(at, int) or at not in name_of:
        raise NotThatFormat(f"{key} {at!r:.40}, which is no bus of the file")
    return name_of[at]

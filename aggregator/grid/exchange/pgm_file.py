"""Files of power-grid-model: JSON, format version 1.0, type *input*.

Its objects are numbered and have no names. What is written from here says each one's name beside it, which
power-grid-model passes over; in a file without names, `node-7` is the node with the number 7.
"""

from __future__ import annotations

from collections.abc import Iterator
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

TAKEN: Final = ("node", "line", "source", "sym_load", "sym_gen")
RATED_SOURCE_VA: Final = 1e9
CONST_POWER: Final = 0


def from_pgm(document: Any) -> Plain:
    """Read a file's content.

    Raises:
        NotThatFormat: it is none, or lacks what a network needs.
    """
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or document.get("type") != "input" or document.get("is_batch"):
        raise NotThatFormat("something else than power-grid-model's JSON of type 'input', or a batch of them")
    rows = {component: _rows(document, component) for component in data}
    plain = Plain()
    named = {kind: _names(rows.get(kind, []), kind) for kind in TAKEN}
    point = {row["id"]: name for row, name in zip(rows.get("node", []), named["node"], strict=True)}
    plain.points = [Point(name=point[row["id"]], rated_v=number(row, "u_rated")) for row in rows.get("node", [])]
    plain.lines = list(_lines(rows.get("line", []), named["line"], point, plain.remarks))
    for kind in ("sym_load", "sym_gen"):
        off, below = [], []
        for row, name in zip(rows.get(kind, []), named[kind], strict=True):
            if not row.get("status", 1):
                off.append(name)
                continue
            power_w, at = number(row, "p_specified", 0.0), _point(point, row, "node")
            below += [name] if power_w < 0 else []
            plain.connected.append(Connected(name=name, point=at, power_w=abs(power_w), is_generator=kind == "sym_gen"))
        plain.remarks += [*remarks_on(kind, off, "off, and left out"), *remarks_on(kind, below, BELOW_0)]
    sources = [row for row in rows.get("source", []) if row.get("status", 1)]
    plain.outside = _point(point, sources[0], "node") if sources else None
    if len(sources) > 1:
        first = f"the first, at {plain.outside}, is the connection to the outside"
        plain.remarks.append(f"{len(sources)} sources: {first}; the others are left out")
    for component in sorted(set(rows) - set(TAKEN)):
        if rows[component]:
            plain.remarks.append(f"{len(rows[component])} × {component}: este does not know it; left out")
    return plain


def _lines(rows: list[dict[str, Any]], names: list[str], point: dict[int, str], remarks: list[str]) -> Iterator[Line]:
    opened, charging = [], []
    for row, name in zip(rows, names, strict=True):
        if not (row.get("from_status", 1) and row.get("to_status", 1)):
            opened.append(name)
            continue
        charging += [name] if row.get("c1") else []
        yield Line(
            name=name,
            one=_point(point, row, "from_node"),
            other=_point(point, row, "to_node"),
            resistance_ohm=number(row, "r1"),
            reactance_ohm=number(row, "x1"),
            rating_a=number(row, "i_n", 0.0) or None,
        )
    remarks += remarks_on("line", opened, "open, and left out")
    remarks += remarks_on("line", charging, "a capacitance, which este does not reckon with")


def to_pgm(plain: Plain) -> dict[str, Any]:
    """Write a file's content."""
    ids = {point.name: i for i, point in enumerate(plain.points)}
    following = len(ids)

    def numbered(count: int) -> range:
        nonlocal following
        following += count
        return range(following - count, following)

    nodes = [{"id": ids[p.name], "u_rated": p.rated_v, "name": p.name} for p in plain.points]
    lines = [
        {
            "id": id_,
            "from_node": ids[line.one],
            "to_node": ids[line.other],
            "from_status": 1,
            "to_status": 1,
            "r1": line.resistance_ohm,
            "x1": line.reactance_ohm,
            "c1": 0.0,
            "tan1": 0.0,
            **({"i_n": line.rating_a} if line.rating_a is not None else {}),
            "name": line.name,
        }
        for id_, line in zip(numbered(len(plain.lines)), plain.lines, strict=True)
    ]
    sources = [
        {"id": id_, "node": ids[at], "status": 1, "u_ref": 1.0, "sk": RATED_SOURCE_VA, "name": "outside"}
        for at in [plain.outside]
        if at is not None
        for id_ in numbered(1)
    ]
    data: dict[str, Any] = {"node": nodes, "line": lines, "source": sources}
    for kind, is_generator in (("sym_load", False), ("sym_gen", True)):
        connected = [one for one in plain.connected if one.is_generator is is_generator]
        data[kind] = [
            {
                "id": id_,
                "node": ids[one.point],
                "status": 1,
                "type": CONST_POWER,
                "p_specified": one.power_w,
                "q_specified": 0.0,
                "name": one.name,
            }
            for id_, one in zip(numbered(len(connected)), connected, strict=True)
        ]
    return {"version": "1.0", "type": "input", "is_batch": False, "attributes": {}, "data": data}


def _rows(document: dict[str, Any], component: str) -> list[dict[str, Any]]:
    """The objects of one component, with the names of their attributes: the file may list these once for all."""
    listed, objects = document.get("attributes", {}), document["data"][component]
    if not isinstance(listed, dict) or not isinstance(objects, list):
        raise NotThatFormat(f"{component}: no list of objects")
    return [_object(component, given, listed.get(component)) for given in objects]


def _object(component: str, given: Any, attributes: Any) -> dict[str, Any]:
    row = given
    if isinstance(given, list):
        if not isinstance(attributes, list) or len(attributes) != len(given):
            raise NotThatFormat(f"{component}: a list of values without the names of its attributes")
        row = dict(zip(map(str, attributes), given, strict=True))
    if not isinstance(row, dict) or not isinstance(row.get("id"), int):
        raise NotThatFormat(f"{component}: an object without an id")
    return row


def _names(rows: list[dict[str, Any]], kind: str) -> list[str]:
    plain = kind.removeprefix("sym_")
    return unique([str(row.get("name") or f"{plain}-{row['id']}") for row in rows])


def _point(point: dict[int, str], row: dict[str, Any], key: str) -> str:
    at = row.get(key)
    if not isinstance(at, int) or at not in point:
        raise NotThatFormat(f"{key} {at!r:.40} of object {row['id']}, which is no node of the file")
    return point[at]

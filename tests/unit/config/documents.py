"""Settings files that are right by default, as YAML gives them: break one thing per test."""

from __future__ import annotations

from typing import Any

from config.load import SettingsError, check
from config.model import Model

Document = dict[str, Any]


def a_profile_document(**changes: Any) -> Document:
    """A meter with power and two energy registers in one block."""
    document: Document = {
        "id": "acme_one",
        "manufacturer": "Acme",
        "model": "One",
        "manual": "Acme One, register list, page 7",
        "grade": "one_source",
        "table": "input",
        "word_order": "high_first",
        "words_max": 80,
        "blocks": [{"first": 0x0000, "last": 0x004F}],
        "power_max_w": 11_500,
        "registers": [
            {"quantity": "active_power_w", "address": 0x000C, "type": "f32", "unit": "W"},
            {"quantity": "imported_wh", "address": 0x0048, "type": "f32", "unit": "kWh"},
            {"quantity": "exported_wh", "address": 0x004A, "type": "u32", "unit": "kWh", "scale": 0.01},
        ],
    }
    return document | changes


def a_grid_document(**changes: Any) -> Document:
    """Two nodes, a line, a wind turbine and a home."""
    document: Document = {
        "region": "sunvale",
        "reference_node": "n0",
        "rules": {
            "time": {"interval_ms": 5000, "grace_ms": 2000},
            "carbon": {"alpha": 1, "beta": 1, "gamma": 0.5, "sigma": 0.1, "demand_response": [[0, 0], [1000, 0.5]]},
            "tokens": {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200},
            "accounts": {"ceiling": 500, "restricted_ppm": 300_000},
            "rights": [{"right": "priority_purchase", "price": 40}],
        },
        "participants": [{"id": "home", "name": "The Home"}, {"id": "wind"}],
        "nodes": [{"id": "n0", "voltage_mv": 400_000}, {"id": "n1", "voltage_mv": 400_000}],
        "branches": [
            {
                "id": "b1",
                "from_node": "n0",
                "to_node": "n1",
                "resistance_uohm": 20_000,
                "reactance_uohm": 8000,
                "rating_ma": 200_000,
            }
        ],
        "meters": [
            {"id": f"m-{name}", "participant": name, "node": "n1", "gateway": "gw", "profile": "acme_one"}
            | {"power_max_w": 50_000}
            for name in ("home", "wind")
        ],
        "generators": [
            {"id": "g", "meter": "m-wind", "source": "wind", "rated_w": 50_000, "emission_g_per_kwh": 0},
        ],
        "devices": [{"id": "heat-pump", "participant": "home", "gateway": "gw", "rated_w": 9000}],
        "permits": [{"participant": "wind", "grams": 100}],
    }
    return document | changes


def an_agent_document(**changes: Any) -> Document:
    """A gateway with two meters on one bus."""
    document: Document = {
        "region": "sunvale",
        "gateway": "gw-1",
        "data": "data",
        "key_file": "keys/gateway.pem",
        "aggregator_key_file": "/etc/este/aggregator.pem",
        "broker": {"host": "broker.local", "tls": {"ca_file": "ca.pem"}},
        "buses": [
            {
                "host": "10.0.0.5",
                "meters": [
                    {"id": "m-1", "unit": 1, "profile": "acme_one"},
                    {"id": "m-2", "unit": 2, "profile": "acme_one", "serial": "17041234"},
                ],
            }
        ],
        "profile_folders": ["meters"],
        "standing_orders": [
            {"participant": "home", "right": "priority_purchase", "price_max": 50, "balance_min": 10},
        ],
    }
    return document | changes


def changed(document: Document, path: str, value: Any) -> Document:
    """The document with another value at a dotted path; numbers are places in a list."""
    key, _, rest = path.partition(".")
    copy: Any = list(document) if isinstance(document, list) else dict(document)
    place: Any = int(key) if isinstance(document, list) else key
    copy[place] = changed(copy[place], rest, value) if rest else value
    return copy  # type: ignore[no-any-return]


def mistakes_in(document: object, kind: type[Model]) -> dict[str, str]:
    """Everything that `check` says is wrong: key path → expected and got."""
    try:
        check(document, kind, "settings.yaml")
    except SettingsError as error:
        return {mistake.key_path: f"expected {mistake.expected}, got {mistake.got}" for mistake in error.mistakes}
    return {}

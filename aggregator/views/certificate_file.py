"""Certificates as rows of a file, under the names that EnergyTag's standard and registries give their fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from aggregator.views.certificates import Bundle, CertifiedInterval, Kind, Use

FORMAT: Final = "este-certificates-1"
STANDARD: Final = "EnergyTag Granular Certificate Scheme Standard, version 2 (fields; no accredited issuer)"
STATUS: Final = {
    Use.CONSUMPTION: "Claimed",
    Use.STORAGE: "Cancelled",
    Use.EXPORT: "Active",
    Use.UNALLOCATED: "Withdrawn",
    Use.DISPUTED: "Locked",
}
"""What became of a range, in the registries' words."""


def rows(
    region: str, certified: Iterable[CertifiedInterval], participant: str | None, time_of: Callable[[int], int]
) -> Iterator[dict[str, Any]]:
    """One row for each part of a range that had one fate.

    Args:
        region: who issues.
        certified: all certificates.
        participant: only what is theirs: made by their devices, or used by them; None for everybody's.
        time_of: when a block was closed, by its height.
    """
    for one in certified:
        issued_ms = time_of(one.stated.place.height)
        for bundle in one.bundles:
            if participant in {None, bundle.beneficiary, bundle.issuance.owner}:
                yield _row(region, bundle, one, issued_ms)


def uncertified_rows(certified: Iterable[CertifiedInterval], participant: str | None) -> list[dict[str, Any]]:
    """Energy that was used, and for which no device's certificates were left."""
    return [
        {
            "beneficiary": rest.beneficiary,
            "energy_source": rest.source.value,
            "usage_starting_interval": instant(rest.start_ms),
            "quantity": rest.quantity_wh,
        }
        for one in certified
        for rest in one.uncertified
        if participant in {None, rest.beneficiary}
    ]


def to_csv(table: Iterable[dict[str, Any]]) -> str:
    """Rows as a CSV file (RFC 4180) with a heading."""
    out = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for row in table:
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return out.getvalue()


def to_json(
    region: str, span: tuple[int, int], table: Iterable[dict[str, Any]], uncertified: list[dict[str, Any]]
) -> str:
    """Rows as one JSON document, with what has no certificate."""
    document = {
        "format": FORMAT,
        "standard": STANDARD,
        "issuing_body": region,
        "from": instant(span[0]),
        "to": instant(span[1]),
        "bundles": list(table),
        "uncertified": uncertified,
    }
    return json.dumps(document, indent=1) + "\n"


def instant(at_ms: int) -> str:
    """An instant as ISO 8601, UTC."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds" if at_ms % 1000 else "seconds").replace("+00:00", "Z")


def _row(region: str, bundle: Bundle, one: CertifiedInterval, issued_ms: int) -> dict[str, Any]:
    issuance = bundle.issuance
    start, end = instant(issuance.start_ms), instant(issuance.end_ms)
    is_used = bundle.use in {Use.CONSUMPTION, Use.EXPORT}
    is_charge = bundle.use is Use.STORAGE
    return {
        "certificate_type": issuance.kind.value,
        "issuance_id": f"{region}/{issuance.id}",
        "certificate_bundle_id_range_start": bundle.first,
        "certificate_bundle_id_range_end": bundle.last,
        "bundle_quantity": bundle.quantity_wh,
        "face_value": 1,
        "base_unit": "Wh",
        "energy_carrier": "electricity",
        "energy_source": bundle.source.value,
        "device_id": issuance.device,
        "device_account": issuance.owner,
        "device_capacity": issuance.capacity_w,
        "production_starting_interval": start,
        "production_ending_interval": end,
        "issuance_datestamp": instant(issued_ms)[:10],
        "issuing_body": region,
        "carbon_intensity_g_per_kwh": issuance.emission_g_per_kwh,
        "usable_for_disclosure": issuance.kind is not Kind.IMPORT and issuance.source is not None,
        "issuance_post_energy_carrier_conversion": issuance.kind is Kind.CONVERSION,
        "is_storage": issuance.kind is Kind.STORAGE,
        "certificate_bundle_status": STATUS[bundle.use],
        "purpose": bundle.use.value,
        "beneficiary": bundle.beneficiary,
        "usage_starting_interval": start if is_used else "",
        "usage_ending_interval": end if is_used else "",
        "scr_allocation_id": f"{bundle.beneficiary}/{issuance.start_ms}" if is_charge else "",
        "sdr_allocation_id": f"{issuance.device}/{issuance.start_ms}" if issuance.kind is Kind.STORAGE else "",
        "charge_records": [{"scr_allocation_id": record, "quantity": amount} for record, amount in issuance.charged],
        "evidence": f"analysis {one.stated.place.index}, block {one.stated.place.height}",
    }


def _cell(value: object) -> object:
    """A value as it stands in one cell."""
    match value:
        case bool():
            return "true" if value else "false"
        case list():
            return " ".join(f"{part['scr_allocation_id']}:{part['quantity']}" for part in value)
        case None:
            return ""
    return value

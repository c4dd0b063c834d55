"""Granular certificates: every watt-hour is numbered, claimed once at most, and told to its end."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.chains import region as region_room
from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import Flows, Mix, Parcel, ParticipantFlow, StorageContent
from aggregator.chains.intervals.known import Known
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.region import Region
from aggregator.service.past import Place, StatedInterval
from aggregator.views.certificate_file import rows, to_csv, to_json, uncertified_rows
from aggregator.views.certificates import Bundle, CertificateError, CertifiedInterval, Kind, Use, certify, check
from aggregator.views.charging import shared
from config.carriers import Carrier
from config.grid_model import Source
from tests.village import INTERVAL_MS, PROFILE, START_MS, Village, a_grid, a_grid_document

PV, WIND, GAS, GRID, OTHER = Source.PV, Source.WIND, Source.GAS, Source.GRID, Source.OTHER


@pytest.fixture(scope="module")
def region() -> Region:
    """The village with a second turbine, a neighbour, a battery of 1 kWh, and a fuel cell that a tank of gas feeds."""
    document = a_grid_document()
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 50_000}
    meters = {"m-ridge": "wind", "m-next": "next", "m-battery": "wind", "m-cell": "gas"}
    document["participants"] += [{"id": "next"}]
    document["nodes"] += [{"id": "g1", "carrier": "gas"}]
    document["meters"] += [{"id": name, "participant": who, "node": "n1", **meter} for name, who in meters.items()]
    document["meters"] += [{"id": "m-tank", "participant": "gas", "node": "g1", **meter}]
    document["generators"] += [
        {"id": "g-ridge", "meter": "m-ridge", "source": "wind", "rated_w": 50_000, "emission_g_per_kwh": 0}
    ]
    battery = {"charge_meter": "m-battery", "discharge_meter": "m-battery", "capacity_wh": 1000, "initial_wh": 100}
    document["storages"] = [{"id": "battery", **battery}]
    cell = {"kind": "fuel_cell", "inputs": ["m-tank"], "outputs": [{"meter": "m-cell", "efficiency_ppm": 500_000}]}
    document["converters"] = [{"id": "cell", **cell}]
    return Village(grid=a_grid(**document)).five.asset.region


def an_interval(
    *, fed_in: dict[str, int], used: dict[str, Mix], number: int = 0, storage: StorageContent | None = None, **more: Any
) -> StatedInterval:
    """An interval by what meters fed in and what participants used by source."""
    participants = tuple(
        ParticipantFlow(who, Carrier.ELECTRICITY, sum(wh for _, wh in mix), 0, 0, mix)
        for who, mix in sorted(used.items())
    )
    flows = Flows(participants, (), storages=(storage,) if storage else (), **more)
    start_ms = START_MS + number * INTERVAL_MS
    energies = {meter: IntervalEnergy(exported_wh=wh) for meter, wh in sorted(fed_in.items())}
    place = Place("analysis", 7, 42 + number)
    return StatedInterval(start_ms, start_ms + INTERVAL_MS, flows, place, 0, Known(energies))


def told(certified: CertifiedInterval) -> list[tuple[str, int, int, Use, str]]:
    return [(b.issuance.device, b.first, b.last, b.use, b.beneficiary) for b in certified.bundles]


def by_use(bundles: tuple[Bundle, ...], device: str) -> dict[Use, int]:
    found: dict[Use, int] = {}
    for bundle in bundles:
        if bundle.issuance.device == device:
            found[bundle.use] = found.get(bundle.use, 0) + bundle.quantity_wh
    return found


def test_every_watt_hour_is_numbered_and_claimed_by_who_used_it(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-wind": 100}, used={"home": ((WIND, 60),), "next": ((WIND, 35),)})])
    assert told(one) == [
        ("g-wind", 1, 60, Use.CONSUMPTION, "home"),
        ("g-wind", 61, 95, Use.CONSUMPTION, "next"),
        ("g-wind", 96, 100, Use.UNALLOCATED, ""),
    ]
    assert one.uncertified == ()


def test_devices_of_one_source_give_in_proportion(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-wind": 100, "m-ridge": 300}, used={"home": ((WIND, 200),)})])
    assert by_use(one.bundles, "g-wind") == {Use.CONSUMPTION: 50, Use.UNALLOCATED: 50}
    assert by_use(one.bundles, "g-ridge") == {Use.CONSUMPTION: 150, Use.UNALLOCATED: 150}


def test_what_leaves_the_region_is_told_apart(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-wind": 50}, used={"grid": ((WIND, 20),), "home": ((WIND, 25),)})])
    assert by_use(one.bundles, "g-wind") == {Use.EXPORT: 20, Use.CONSUMPTION: 25, Use.UNALLOCATED: 5}


def test_no_more_is_claimed_than_was_produced(region: Region) -> None:
    """Power tells how energy flowed, and registers how much there was: where they differ, the registers win."""
    (one,) = certify(region, [an_interval(fed_in={"m-wind": 90}, used={"home": ((WIND, 60),), "next": ((WIND, 40),)})])
    assert by_use(one.bundles, "g-wind") == {Use.CONSUMPTION: 90}
    assert [(rest.beneficiary, rest.quantity_wh) for rest in one.uncertified] == [("home", 6), ("next", 4)]


def test_a_source_is_never_claimed_as_another(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-gas": 100}, used={"home": ((WIND, 10), (GAS, 50))})])
    assert by_use(one.bundles, "g-gas") == {Use.CONSUMPTION: 50, Use.UNALLOCATED: 50}
    assert [(rest.source, rest.quantity_wh) for rest in one.uncertified] == [(WIND, 10)]


def test_energy_from_outside_is_told_and_no_certificate_of_ours(region: Region) -> None:
    interval = an_interval(fed_in={"m-grid": 30, "m-home": 5}, used={"next": ((GRID, 30), (OTHER, 5))})
    (one,) = certify(region, [interval])
    assert {issuance.kind for issuance in one.issuances} == {Kind.IMPORT}
    assert not any(row["usable_for_disclosure"] for row in rows("village", [one], None, lambda _: START_MS))


def test_what_a_converter_gives_has_the_mix_that_tracing_found(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-cell": 40, "m-wind": 10}, used={"home": ((WIND, 30), (GAS, 15))})])
    assert by_use(one.bundles, "g-wind") == {Use.CONSUMPTION: 10}
    cell = [(b.source, b.quantity_wh, b.use) for b in one.bundles if b.issuance.device == "cell"]
    assert cell == [
        (WIND, 20, Use.CONSUMPTION),
        (GAS, 15, Use.CONSUMPTION),
        (OTHER, 5, Use.UNALLOCATED),
    ]
    assert {b.issuance.kind for b in one.bundles if b.issuance.device == "cell"} == {Kind.CONVERSION}


def test_storage_passes_on_what_it_was_charged_with_and_says_when(region: Region) -> None:
    charge = StorageContent("battery", 300, 0, Parcel(((WIND, 300), (OTHER, 100))))
    discharge = StorageContent("battery", 0, 200, Parcel(((WIND, 150), (OTHER, 50))))
    first = an_interval(fed_in={"m-wind": 400}, used={"home": ((WIND, 90),)}, storage=charge)
    second = an_interval(fed_in={}, used={"home": ((WIND, 145), (OTHER, 48))}, number=1, storage=discharge)
    one, two = certify(region, [first, second])
    assert by_use(one.bundles, "g-wind") == {Use.CONSUMPTION: 90, Use.STORAGE: 300, Use.UNALLOCATED: 10}
    wind = [bundle for bundle in two.bundles if bundle.source is WIND]
    assert {bundle.issuance.kind for bundle in wind} == {Kind.STORAGE}
    assert [(bundle.quantity_wh, bundle.use) for bundle in wind] == [(145, Use.CONSUMPTION), (5, Use.UNALLOCATED)]
    assert wind[0].issuance.charged == ((f"battery/{START_MS}", 150),)
    other = next(bundle for bundle in two.bundles if bundle.source is OTHER)
    assert other.issuance.charged == (), "what it held when the region began was charged by nobody"


def test_a_storage_s_losses_are_spread_over_its_charging(region: Region) -> None:
    charge = StorageContent("battery", 400, 0, Parcel(((WIND, 300),)))
    halves = [
        StorageContent("battery", 0, 150, Parcel(((WIND, 150),))),
        StorageContent("battery", 0, 150, Parcel(())),
    ]
    intervals = [an_interval(fed_in={"m-wind": 400}, used={}, storage=charge)]
    intervals += [an_interval(fed_in={}, used={}, number=n, storage=half) for n, half in enumerate(halves, start=1)]
    _, *given = certify(region, intervals)
    links = [issuance.charged for one in given for issuance in one.issuances]
    assert links == [((f"battery/{START_MS}", 200),), ((f"battery/{START_MS}", 200),)]


def test_a_meter_that_cannot_be_true_gets_nothing_that_could_be_claimed(region: Region) -> None:
    interval = an_interval(
        fed_in={"m-wind": 50, "m-ridge": 50},
        used={"home": ((WIND, 40),)},
        findings=(Finding(FindingKind.IMPOSSIBLE_READING, "m-wind", (9, 1)),),
    )
    (one,) = certify(region, [interval])
    assert by_use(one.bundles, "g-wind") == {Use.DISPUTED: 50}
    assert by_use(one.bundles, "g-ridge") == {Use.CONSUMPTION: 40, Use.UNALLOCATED: 10}


def test_a_check_meter_makes_nothing(region: Region) -> None:
    document = a_grid_document()
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 50_000}
    document["meters"] += [{"id": "m-check", "participant": "grid", "node": "n0", "branch": "b1", **meter}]
    checked = Village(grid=a_grid(**document)).five.asset.region
    (one,) = certify(checked, [an_interval(fed_in={"m-check": 70, "m-wind": 10}, used={})])
    assert [issuance.device for issuance in one.issuances] == ["g-wind"]


def test_a_certificate_that_is_claimed_twice_is_found(region: Region) -> None:
    (one,) = certify(region, [an_interval(fed_in={"m-wind": 100}, used={"home": ((WIND, 60),)})])
    first, rest = one.bundles
    with pytest.raises(CertificateError, match="certificates 60 to 100 after 60"):
        check(region, replace(one, bundles=(first, replace(rest, first=60))))
    with pytest.raises(CertificateError, match="60 Wh told of 100 Wh"):
        check(region, replace(one, bundles=(first,)))
    with pytest.raises(CertificateError, match="claims other than what tracing says"):
        check(region, replace(one, bundles=(replace(first, beneficiary="next"), rest)))


def test_a_region_without_rows_of_its_meters_gets_none(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_room, "RESTATED_ROWS_MAX", len(region.grid.meters) - 1)
    too_large = Region(region.genesis)
    with pytest.raises(CertificateError, match="keeps no row of each meter"):
        certify(too_large, [replace(an_interval(fed_in={}, used={}), known=None)])


def test_an_interval_in_which_nobody_was_heard_has_none_and_stops_no_other(region: Region) -> None:
    silent = replace(an_interval(fed_in={}, used={}), known=None)
    heard = an_interval(fed_in={"m-wind": 10}, used={"home": ((WIND, 10),)}, number=1)
    nothing, one = certify(region, [silent, heard])
    assert (nothing.issuances, nothing.bundles, nothing.uncertified) == ((), (), ())
    assert told(one) == [("g-wind", 1, 10, Use.CONSUMPTION, "home")]


def test_a_file_says_the_same_in_both_spellings(region: Region) -> None:
    certified = certify(region, [an_interval(fed_in={"m-wind": 9}, used={"home": ((WIND, 5), (PV, 1))})])
    table = list(rows("village", certified, "home", lambda height: START_MS + height))
    assert [row["beneficiary"] for row in table] == ["home"]
    document = json.loads(to_json("village", (START_MS, START_MS), table, uncertified_rows(certified, "home")))
    (line,) = csv.DictReader(io.StringIO(to_csv(table)))
    (bundle,) = document["bundles"]
    assert line["issuance_id"] == bundle["issuance_id"] == f"village/g-wind/{START_MS}"
    assert (line["certificate_bundle_id_range_end"], bundle["certificate_bundle_id_range_end"]) == ("5", 5)
    assert line["certificate_bundle_status"] == "Claimed"
    assert bundle["evidence"] == "analysis 42, block 7"
    assert [rest["energy_source"] for rest in document["uncertified"]] == ["pv"]


energy = st.integers(0, 10_000)
mixes = st.fixed_dictionaries(dict.fromkeys((PV, WIND, GAS, GRID, OTHER), energy)).map(
    lambda by: tuple((source, wh) for source, wh in by.items() if wh)
)


@given(
    fed_in=st.dictionaries(st.sampled_from(["m-wind", "m-ridge", "m-gas", "m-grid", "m-cell", "m-home"]), energy),
    used=st.dictionaries(st.sampled_from(["home", "next", "grid", "gas"]), mixes),
    held=st.tuples(energy, energy, mixes),
)
def test_claims_never_exceed_production_and_nothing_is_lost(
    region: Region, fed_in: dict[str, int], used: dict[str, Mix], held: tuple[int, int, Mix]
) -> None:
    charged_wh, discharged_wh, mix = held
    storage = StorageContent("battery", charged_wh, discharged_wh, Parcel(mix))
    (one,) = certify(region, [an_interval(fed_in=fed_in, used=used, storage=storage)])
    for issuance in one.issuances:
        own = [bundle.quantity_wh for bundle in one.bundles if bundle.issuance == issuance]
        assert sum(own) == issuance.quantity_wh
        assert min(own, default=1) > 0
    assert sum(issuance.quantity_wh for issuance in one.issuances) == sum(fed_in.values()) + discharged_wh
    claimed = sum(b.quantity_wh for b in one.bundles if b.use in {Use.CONSUMPTION, Use.EXPORT})
    rest = sum(one.quantity_wh for one in one.uncertified)
    assert claimed + rest == sum(wh for mix in used.values() for _, wh in mix)


@given(st.lists(energy, min_size=1, max_size=6).flatmap(lambda w: st.tuples(st.integers(0, sum(w)), st.just(w))))
def test_a_share_is_never_above_its_weight(case: tuple[int, list[int]]) -> None:
    whole, weights = case
    parts = shared(whole, weights)
    assert sum(parts) == (whole if sum(weights) else 0)
    assert all(0 <= part <= weight for part, weight in zip(parts, weights, strict=True))

"""Granular certificates: every watt-hour of electricity that a device fed in, numbered, and claimed once at most.

After EnergyTag's Granular Certificate Scheme Standard: a device's metered feed-in of an interval is *issued* as a range
of certificates of 1 Wh each. Tracing says who used how much of each source; that is what is *claimed*, and nothing else
can be. What a storage was charged with is cancelled, and what it gives is issued again (SD-GC) with a link to the
charging. What no claim reaches (losses, what converters take, what no meter saw) stands as unallocated, so that every
range is told to its end. Integers only; docs/reference/certificates.md has the rules and the fields.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.flows import SOURCES
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.service.past import StatedInterval
from aggregator.views.charging import Charging, StorageTurn, shared
from config.carriers import Carrier
from config.grid_model import Source
from protocol.errors import EsteError


class CertificateError(EsteError):
    """Certificates that do not add up, or cannot be made of what the ledger keeps."""


class Kind(StrEnum):
    """What a range of certificates stands for."""

    PRODUCTION = "GC"
    """Fed in by a generator of the region."""
    CONVERSION = "GC-conversion"
    """Fed in by a converter: issued following energy carrier conversion."""
    STORAGE = "SD-GC"
    """Released from storage."""
    IMPORT = "import"
    """From outside the region, or from what has no registered generator: told for the sum, no certificate of ours."""


class Use(StrEnum):
    """What became of a part of a range."""

    CONSUMPTION = "consumption"
    STORAGE = "storage"
    EXPORT = "export"
    UNALLOCATED = "unallocated"
    DISPUTED = "disputed"
    """Of a meter that says what cannot be true: nobody may claim it until the regulator has corrected it."""


@dataclass(frozen=True, slots=True)
class Issuance:
    """What a device fed in during an interval: certificates 1 to `quantity_wh`."""

    device: str
    owner: str
    """Participant behind its meter."""
    kind: Kind
    source: Source | None
    """None for a converter: what it gives has the mix of what it took, told by each bundle."""
    start_ms: int
    end_ms: int
    quantity_wh: int
    capacity_w: int
    emission_g_per_kwh: int | None
    charged: tuple[tuple[str, int], ...] = ()
    """Of an SD-GC: storage charge records that it comes from, each with Wh of what was charged then."""

    @property
    def id(self) -> str:
        """Unique in the region."""
        mix = f"/{self.source}" if self.kind is Kind.STORAGE else ""
        return f"{self.device}{mix}/{self.start_ms}"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A part of an issuance with one fate."""

    issuance: Issuance
    source: Source
    first: int
    last: int
    """The last one, too."""
    use: Use
    beneficiary: str = ""
    """Participant who used it, or storage that was charged with it."""

    @property
    def quantity_wh(self) -> int:
        """How many certificates of 1 Wh."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Uncertified:
    """Energy that tracing gave to somebody, and for which no device's certificates are left."""

    beneficiary: str
    source: Source
    start_ms: int
    quantity_wh: int


@dataclass(frozen=True, slots=True)
class CertifiedInterval:
    """All certificates of an interval."""

    stated: StatedInterval
    issuances: tuple[Issuance, ...]
    bundles: tuple[Bundle, ...]
    uncertified: tuple[Uncertified, ...]


@dataclass(frozen=True, slots=True)
class _Claim:
    beneficiary: str
    use: Use
    source: Source
    quantity_wh: int


_Allot = Callable[[Issuance, _Claim, int], None]
"""Gives a part of an issuance to a claim."""


def certify(region: Region, intervals: Iterable[StatedInterval]) -> list[CertifiedInterval]:
    """Issue and allocate the certificates of intervals that follow each other from the region's beginning on.

    Where the region has no storage of electricity, they may begin anywhere.

    Raises:
        CertificateError: the ledger keeps no row of each meter.
    """
    charging = Charging(region)
    certified = []
    for stated in intervals:
        turns = charging.turn(stated)
        one = _certify(region, stated, turns)
        check(region, one)
        certified.append(one)
    return certified


def check(region: Region, certified: CertifiedInterval) -> None:
    """See that every certificate is claimed once at most, and every watt-hour that was used is told.

    Raises:
        CertificateError: it is not so.
    """
    ends: dict[str, int] = {}
    for bundle in certified.bundles:
        before = ends.get(bundle.issuance.id, 0)
        if bundle.first != before + 1 or bundle.last < bundle.first:
            raise CertificateError(f"{bundle.issuance.id}: certificates {bundle.first} to {bundle.last} after {before}")
        ends[bundle.issuance.id] = bundle.last
    for issuance in certified.issuances:
        if ends.get(issuance.id, 0) != issuance.quantity_wh:
            raise CertificateError(f"{issuance.id}: {ends.get(issuance.id, 0)} Wh told of {issuance.quantity_wh} Wh")
    used: dict[tuple[str, Source], int] = {}
    for bundle in certified.bundles:
        if bundle.use in {Use.CONSUMPTION, Use.EXPORT}:
            key = (bundle.beneficiary, bundle.source)
            used[key] = used.get(key, 0) + bundle.quantity_wh
    for rest in certified.uncertified:
        key = (rest.beneficiary, rest.source)
        used[key] = used.get(key, 0) + rest.quantity_wh
    wanted = {(c.beneficiary, c.source): c.quantity_wh for c in _consumption(region, certified.stated)}
    if {key: amount for key, amount in used.items() if key[0] in region.participants} != wanted:
        raise CertificateError(f"interval {certified.stated.start_ms}: claims other than what tracing says was used")


def _certify(region: Region, stated: StatedInterval, turns: Sequence[StorageTurn]) -> CertifiedInterval:
    if not region.can_restate:
        raise CertificateError("the ledger keeps no row of each meter: the region is too large to restate")
    energies = stated.energies or {}  # without a row, nobody was heard: as before the first gateway is enrolled
    issuances = [*_produced(region, stated, energies), *_released(region, stated, turns)]
    claims = [*_consumption(region, stated), *_charges(turns)]
    taken = {issuance.id: 0 for issuance in issuances}
    bundles: dict[str, list[Bundle]] = {issuance.id: [] for issuance in issuances}

    def allot(issuance: Issuance, claim: _Claim, quantity_wh: int) -> None:
        first = taken[issuance.id] + 1
        taken[issuance.id] += quantity_wh
        bundle = Bundle(issuance, claim.source, first, taken[issuance.id], claim.use, claim.beneficiary)
        bundles[issuance.id].append(bundle)

    uncertified = []
    disputed = _disputed(region, stated)
    for issuance in issuances:
        if issuance.device in disputed:
            allot(
                issuance,
                _Claim("", Use.DISPUTED, issuance.source or Source.OTHER, issuance.quantity_wh),
                issuance.quantity_wh,
            )
    for source in SOURCES:
        of_source = [claim for claim in claims if claim.source is source]
        short = _lay(of_source, [i for i in issuances if i.source is source], taken, allot)
        short = _lay(short, [i for i in issuances if i.source is None], taken, allot)
        uncertified += [
            Uncertified(claim.beneficiary, claim.source, stated.start_ms, claim.quantity_wh)
            for claim in short
            if claim.use is not Use.STORAGE
        ]
    for issuance in issuances:
        if rest := issuance.quantity_wh - taken[issuance.id]:
            allot(issuance, _Claim("", Use.UNALLOCATED, issuance.source or Source.OTHER, rest), rest)
    every = tuple(bundle for issuance in issuances for bundle in bundles[issuance.id])
    return CertifiedInterval(stated, tuple(issuances), every, tuple(uncertified))


def _lay(
    claims: Sequence[_Claim], issuances: Sequence[Issuance], taken: Mapping[str, int], allot: _Allot
) -> list[_Claim]:
    """Lay claims end to end along devices, each device bearing its share; what finds no room is handed back.

    Tracing tells sources apart, not devices of one source: so devices give in proportion to what they have left, and
    claimants, if there is not enough, get in proportion to what they claim.
    """
    left = [issuance.quantity_wh - taken[issuance.id] for issuance in issuances]
    wanted = [claim.quantity_wh for claim in claims]
    total = min(sum(left), sum(wanted))
    gives, gets = shared(total, left), shared(total, wanted)
    short = [
        _Claim(claim.beneficiary, claim.use, claim.source, claim.quantity_wh - get)
        for claim, get in zip(claims, gets, strict=True)
        if claim.quantity_wh > get
    ]
    at = 0
    for claim, get in zip(claims, gets, strict=True):
        while get:
            while not gives[at]:
                at += 1
            part = min(get, gives[at])
            allot(issuances[at], claim, part)
            gives[at] -= part
            get -= part  # noqa: PLW2901 - what is still to be laid
    return short


def _produced(region: Region, stated: StatedInterval, energies: Energies) -> Iterable[Issuance]:
    """What generators, converters, and meters without a registered generator fed into the electricity network."""
    converters = {output.meter: converter.id for converter in region.grid.converters for output in converter.outputs}
    of_storage = {storage.discharge_meter for storage in region.grid.storages}
    for name, energy in energies.items():
        asset = region.meters[name]
        meter, generator = asset.meter, asset.generator
        is_apart = meter.branch is not None or name in of_storage
        if not energy.exported_wh or is_apart or region.carriers[meter.node] is not Carrier.ELECTRICITY:
            continue
        kind, source = Kind.IMPORT, generator.source if generator else Source.OTHER
        if name in converters:
            kind = Kind.CONVERSION
        elif generator is not None and generator.source is not Source.GRID:
            kind = Kind.PRODUCTION
        yield Issuance(
            device=converters.get(name, generator.id if generator else name),
            owner=meter.participant,
            kind=kind,
            source=None if kind is Kind.CONVERSION else source,
            start_ms=stated.start_ms,
            end_ms=stated.end_ms,
            quantity_wh=energy.exported_wh,
            capacity_w=generator.rated_w if generator else meter.power_max_w,
            emission_g_per_kwh=generator.emission_g_per_kwh if generator else None,
        )


def _disputed(region: Region, stated: StatedInterval) -> frozenset[str]:
    """Devices behind a meter that was found to say what cannot be true."""
    flagged = {f.subject for f in stated.flows.findings if f.kind is FindingKind.IMPOSSIBLE_READING}
    devices = {storage.id for storage in region.grid.storages if flagged.intersection(storage.meters)}
    devices |= {converter.id for converter in region.grid.converters if flagged.intersection(converter.meters)}
    devices |= {generator.id for generator in region.grid.generators if generator.meter in flagged}
    return frozenset(devices | flagged)


def _released(region: Region, stated: StatedInterval, turns: Iterable[StorageTurn]) -> Iterable[Issuance]:
    for turn in turns:
        storage = next(one for one in region.grid.storages if one.id == turn.storage)
        meter = region.meters[storage.discharge_meter].meter
        links = dict(turn.links)
        for source, quantity_wh in turn.given_wh:
            yield Issuance(
                device=turn.storage,
                owner=meter.participant,
                kind=Kind.STORAGE,
                source=source,
                start_ms=stated.start_ms,
                end_ms=stated.end_ms,
                quantity_wh=quantity_wh,
                capacity_w=meter.power_max_w,
                emission_g_per_kwh=None,
                charged=links.get(source, ()),
            )


def _consumption(region: Region, stated: StatedInterval) -> list[_Claim]:
    """What tracing says that everybody used, by source; what the network outside took was exported."""
    return [
        _Claim(
            flow.participant, Use.EXPORT if flow.participant in region.outside else Use.CONSUMPTION, source, energy_wh
        )
        for flow in stated.flows.participants
        if flow.carrier is Carrier.ELECTRICITY
        for source, energy_wh in flow.origin_wh
    ]


def _charges(turns: Iterable[StorageTurn]) -> list[_Claim]:
    return [
        _Claim(turn.storage, Use.STORAGE, source, energy_wh) for turn in turns for source, energy_wh in turn.taken_wh
    ]

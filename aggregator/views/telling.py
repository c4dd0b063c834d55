"""An explanation as text for people, from the tokens down; fits into 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.chains.deeds import Response
from aggregator.chains.findings import Finding, FindingKind
from aggregator.economy.accounts import effect_of
from aggregator.service.past import Place, Posting, SignedReadings
from aggregator.views.explanation import EnergyLine, ExplainedInterval, Explanation, MeterLine
from aggregator.views.formulas import RoleFactor, energy
from aggregator.views.spans import spelled
from config.tables import Column, Table
from protocol.units import PPM

ROWS_MAX: Final = 48
"""With more intervals than that, each row is a day."""
DAY_MS: Final = 86_400_000
SAID: Final = {
    "used_wh": "electricity used",
    "clean_wh": "of it clean",
    "fed_in_wh": "fed in",
    "emitted_mg": "emitted",
    "heat_wh": "heat used",
    "clean_heat_wh": "of it clean",
    "response_wh": "not taken when called",
    "relief_ppm": "relief of congestion",
}
"""What the sums of a period are called."""

FOUND: Final = {
    FindingKind.NO_PATH: "no line leads to this node",
    FindingKind.NO_SOLUTION: "the power flow has no solution: everybody has the region's average mix",
    FindingKind.UNMETERED: "no reading: {0} W assumed",
    FindingKind.UNOBSERVABLE: "too little is known of this node",
    FindingKind.IMPOSSIBLE_READING: "says {0} W, where all others say {1} W: it earns nothing",
    FindingKind.INCONSISTENT: "the readings contradict each other",
    FindingKind.FROM_NOTHING: "gave {1} Wh of {0} Wh, where {2} Wh are possible",
    FindingKind.OVERDRAWN: "gave {0} Wh, and held {1} Wh",
    FindingKind.OVERFILLED: "holds {0} Wh, above its capacity of {1} Wh",
    FindingKind.NO_HISTORY: "{0} Wh arrived that were sent before the region began",
    FindingKind.UNBALANCED: "fed in {0} Wh, taken {1} Wh, rest {2} Wh",
    FindingKind.VOLTAGE: "{0} mV, more than 10 % off its rating",
}
"""Sentence of each kind of finding, with its amounts."""

_COLUMNS: Final = (
    Column(heading="from (UTC)"),
    Column(heading="network"),
    Column(heading="Wh in", is_right=True),
    Column(heading="Wh out", is_right=True),
    Column(heading="clean", is_right=True),
    Column(heading="g CO₂", is_right=True),
    Column(heading="made from"),
)


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part of what is told."""

    text: str


Told = str | Heading | Table
"""A line, a heading, or a table."""


def tell(explanation: Explanation, prove: str) -> Iterator[Told]:
    """All parts of an explanation. `prove` is the command by which a reading is proven, up to the meter's name."""
    name = f" ({explanation.name})" if explanation.name else ""
    yield f"{explanation.participant}{name} in {explanation.region}"
    yield f"{spelled(explanation.start_ms)} – {spelled(explanation.end_ms)} UTC"
    yield Heading("Tokens on the account")
    yield from _postings(explanation.postings)
    yield Heading("Tokens ← factors")
    yield from _factors(explanation)
    yield Heading("Factors ← what was done")
    yield from _sums(explanation)
    count = len(explanation.intervals)
    yield Heading(f"What was done ← {_many(count, 'interval')}")
    if not count:
        yield "  nothing was metered"
        return
    yield from _intervals(explanation.intervals)
    if any(interval.meters for interval in explanation.intervals):
        for interval in explanation.intervals:
            yield from _closely(interval, prove)
    else:
        yield from _remarkable(explanation.intervals)
        busiest = max(explanation.intervals, key=lambda one: sum(line.imported_wh for line in one.energy))
        yield ""
        yield f"Down to the readings: --interval {spelled(busiest.start_ms).replace(' ', 'T')}Z"


def found(finding: Finding) -> str:
    """A finding as a sentence."""
    try:
        return f"{finding.subject}: {FOUND[finding.kind].format(*(f'{amount:,}' for amount in finding.amounts))}"
    except (KeyError, IndexError):
        kind = finding.kind.name.lower().replace("_", " ")
        return f"{finding.subject}: {kind} {' '.join(map(str, finding.amounts))}".rstrip()


def at(place: Place) -> str:
    """Where a record stands."""
    return f"block {place.height}, {place.chain} {place.index}"


def _postings(postings: Sequence[Posting]) -> Iterator[str]:
    if not postings:
        yield "  none moved"
    for posting in postings:
        move = posting.movement
        amount = effect_of(move.kind, move.amount).participant
        what = move.kind.name.lower().replace("_", " ")
        signed = f"{amount:+,}".replace("-", "−")
        yield f"  {signed:>8}  {what:<16} balance {move.balance:>8,}   {at(posting.place)}".replace("-", "−")


def _factors(explanation: Explanation) -> Iterator[str]:
    if explanation.factors_at is None:
        yield "  none: nothing was used or fed in"
        return
    for role in explanation.roles:
        yield f"  {role.role} factor {_short(role)}, {role.tokens} tokens".replace("-", "−")
        yield from (f"    {line}" for line in role.lines)
    parts = [role.tokens for role in explanation.roles]
    if relief := explanation.relief:
        yield "  relief of congested lines"
        yield f"    {relief.before_ppm / PPM:g} carried over + {relief.relief_ppm / PPM:g} in this period"
        reached = f"the threshold was reached {_many(relief.awards, 'time')}: {relief.tokens} tokens"
        yield f"    {reached}, and {relief.after_ppm / PPM:g} is carried on"
        parts.append(relief.tokens)
    if len(parts) > 1:
        said = " + ".join(map(str, parts))
        yield f"  together {said} = {explanation.tokens}, awards at most {explanation.tokens_max}".replace("-", "−")
    if not explanation.roles:
        yield "  none: neither measured as a supplier nor a consumer"
    anew = f", restated {_many(explanation.restatements, 'time')}" if explanation.restatements else ""
    yield f"  {at(explanation.factors_at)}{anew}"


def _short(role: RoleFactor) -> str:
    above, below = map(int, role.factor.split("/"))
    return f"{above / below:.4f}"


def _sums(explanation: Explanation) -> Iterator[str]:
    for key, amount in explanation.sums.items():
        if not amount and key != next(iter(explanation.sums)):
            continue
        yield f"  {SAID.get(key, key.replace('_', ' ')):<24}{_amount(key, amount):>18}"
    if explanation.adds_up:
        yield "  the intervals below add up to the same"
        return
    apart = {
        key: explanation.added[key] for key, amount in explanation.sums.items() if explanation.added[key] != amount
    }
    yield f"  THE INTERVALS BELOW DO NOT ADD UP TO THIS, but to {apart}"


def _amount(key: str, amount: int) -> str:
    match key.rpartition("_")[2]:
        case "wh":
            return energy(amount)
        case "mg":
            return f"{amount / 1000:,.3f} g"
        case "ppm":
            return f"{amount / PPM:g}"
    return str(amount)


def _intervals(intervals: Sequence[ExplainedInterval]) -> Iterator[Told]:
    rows = []
    is_one_day = len({one.start_ms // DAY_MS for one in intervals}) == 1
    groups = _by_day(intervals) if len(intervals) > ROWS_MAX else [(one.start_ms, [one]) for one in intervals]
    for start_ms, group in groups:
        day, _, time = spelled(start_ms).partition(" ")
        when = day if len(intervals) > ROWS_MAX else time if is_one_day else f"{day} {time}"
        for line in _summed(group):
            mark = "*" if any(one.findings or one.responses or one.restatements for one in group) else ""
            rows.append([
                when + mark, line.carrier, f"{line.imported_wh:,}", f"{line.exported_wh:,}",
                _percent(line.clean_wh, line.imported_wh), f"{line.carbon_mg / 1000:,.0f}",
                mix_words(line.origin_wh, line.imported_wh, parts_max=2),
            ])  # fmt: skip
    if rows:
        yield Table(_COLUMNS, rows)


def mix_words(origin_wh: dict[str, int], whole_wh: int, parts_max: int = 9) -> str:
    """What energy was made from, the largest part first; the rest in one."""
    if not whole_wh:
        return "–"
    parts = sorted(origin_wh.items(), key=lambda part: (-part[1], part[0]))
    shown = [f"{source.replace('_', ' ')} {_percent(amount, whole_wh)}" for source, amount in parts[:parts_max]]
    rest = sum(amount for _, amount in parts[parts_max:])
    return " · ".join([*shown, *([f"+ {_percent(rest, whole_wh)}"] if rest else [])])


def _closely(interval: ExplainedInterval, prove: str) -> Iterator[Told]:
    anew = f", stated anew {_many(interval.restatements, 'time')}" if interval.restatements else ""
    yield f"  {at(interval.place)}{anew}"
    for line in interval.energy:
        for source, amount in line.origin_wh.items():
            yield f"    {line.carrier:<12}{source.replace('_', ' '):<12}{energy(amount):>14}"
        if line.imported_wh:
            yield f"    {line.carrier:<12}{'clean':<12}{energy(line.clean_wh):>14}   {line.carbon_mg / 1000:,.3f} g CO₂"
    for converter in interval.converters:
        burned = f", burned {converter.burned_mg / 1000:,.3f} g CO₂" if converter.burned_mg else ""
        took = f"took {energy(converter.input_wh)}, gave {energy(converter.output_wh)}"
        yield f"    {converter.converter}: {took}{burned}"
    for storage in interval.storages:
        yield f"    {storage.storage}: in {energy(storage.charged_wh)}, out {energy(storage.discharged_wh)}"
        held = {source.value: amount for source, amount in storage.content.mix_wh}
        yield f"      holds {energy(storage.content.energy_wh)}: {mix_words(held, storage.content.energy_wh)}"
    yield Heading("Interval ← lines on the way, from the source")
    for flow in interval.way:
        mark = "  CONGESTED" if flow.is_congested else ""
        power = f"{flow.flow_w / 1000:,.3f} kW".replace("-", "−")
        yield f"  {flow.branch:<24}{power:>16}{_percent(flow.loading_ppm, PPM):>8} of its rating{mark}"
    if not interval.way:
        yield "  none: at the node where the region is fed, or no flow is known"
    if interval.responses:
        yield Heading("Interval ← called events")
    for response in interval.responses:
        yield from _response(response)
    if interval.findings:
        yield Heading("What was found")
    yield from (f"  {found(finding)}" for finding in interval.findings)
    yield Heading("Interval ← meters ← signed readings")
    for meter in interval.meters:
        yield from _meter(meter, prove)


def _response(response: Response) -> Iterator[str]:
    yield f"  event {response.event} for {response.branch or 'the whole region'}"
    baseline = f"like days {energy(response.baseline_wh)}, metered {energy(response.metered_wh)}"
    yield f"    {baseline}: {energy(response.baseline_wh - response.metered_wh)} less"
    if response.branch:
        called = _percent(response.called_loading_ppm, PPM)
        yield f"    its loading {_percent(response.loading_ppm, PPM)}, had nobody responded {called}"
        share = f"{response.relieving_ppm / PPM:.3f} W of it for each watt less"
        yield f"    relieved by {response.relief_w:,} W ({share}): factor {response.factor_ppm / PPM:g}"


def _relieved(response: Response) -> str:
    less = energy(response.baseline_wh - response.metered_wh)
    where = f", {response.branch} relieved by {response.relief_w:,} W" if response.branch else ""
    return f"event {response.event}: {less} less than on like days{where}"


def _meter(meter: MeterLine, prove: str) -> Iterator[str]:
    counted = "no row of it is kept"
    if meter.energy is not None:
        row = meter.energy
        counted = f"in {energy(row.imported_wh)}, out {energy(row.exported_wh)}, {_many(row.readings, 'reading')}"
        counted += f", {_many(row.corrections, 'correction')}" if row.corrections else ""
    yield f"  {meter.meter}: {counted}"
    for batch in meter.batches:
        yield f"    batch {batch.sequence} of {batch.gateway}, {at(batch.place)}: {_many(batch.readings, 'reading')}"
    if meter.batches:
        yield f"    {_command(prove, meter.meter, meter.batches[-1])}"


def _command(prove: str, meter: str, batch: SignedReadings) -> str:
    moment = spelled(batch.last_ms // 1000 * 1000).replace(" ", "T")
    whole = moment if moment.count(":") == 2 else f"{moment}:00"
    return f"{prove} --meter {meter} --at {whole}.{batch.last_ms % 1000:03}Z"


def _remarkable(intervals: Iterable[ExplainedInterval]) -> Iterator[Told]:
    """What stands out in a period: findings, called events, congested lines, what was stated anew."""
    lines = []
    for one in intervals:
        when = spelled(one.start_ms)
        lines += [f"  {when}  {found(finding)}" for finding in one.findings]
        lines += [f"  {when}  {_relieved(response)}" for response in one.responses]
        lines += [
            f"  {when}  {flow.branch} on the way was loaded to {_percent(flow.loading_ppm, PPM)}"
            for flow in one.way
            if flow.is_congested
        ]
        lines += [f"  {when}  stated anew {_many(one.restatements, 'time')}"] if one.restatements else []
    if lines:
        yield Heading("What stands out")
        yield from lines[:ROWS_MAX]
    if len(lines) > ROWS_MAX:
        yield f"  and {len(lines) - ROWS_MAX} more"


def _by_day(intervals: Sequence[ExplainedInterval]) -> list[tuple[int, list[ExplainedInterval]]]:
    days: dict[int, list[ExplainedInterval]] = {}
    for one in intervals:
        days.setdefault(one.start_ms - one.start_ms % DAY_MS, []).append(one)
    return list(days.items())


def _summed(group: Iterable[ExplainedInterval]) -> list[EnergyLine]:
    """The energy of some intervals together, network by network."""
    sums: dict[str, EnergyLine] = {}
    for line in (line for one in group for line in one.energy):
        so_far = sums.get(line.carrier) or EnergyLine(line.carrier, 0, 0, 0, {}, 0, 0)
        origin = {
            source: so_far.origin_wh.get(source, 0) + line.origin_wh.get(source, 0)
            for source in {**so_far.origin_wh, **line.origin_wh}
        }
        sums[line.carrier] = EnergyLine(
            line.carrier,
            so_far.imported_wh + line.imported_wh,
            so_far.exported_wh + line.exported_wh,
            so_far.clean_wh + line.clean_wh,
            origin,
            so_far.carbon_mg + line.carbon_mg,
            so_far.emitted_mg + line.emitted_mg,
        )
    return list(sums.values())


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"

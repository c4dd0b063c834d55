"""An explanation as text for people, from the tokens down; fits into 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.periods.deeds import Response
from aggregator.economy.accounts import effect_of
from aggregator.service.past import Posting
from aggregator.views.closely import tell_closely
from aggregator.views.explanation import EnergyLine, ExplainedInterval, Explanation
from aggregator.views.findings import found
from aggregator.views.formulas import RoleFactor, energy
from aggregator.views.spans import spelled
from aggregator.views.words import Heading, Told, at, many, mix_words, percent, wrapped
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

_COLUMNS: Final = (
    Column(heading="from (UTC)"),
    Column(heading="network"),
    Column(heading="Wh in", is_right=True),
    Column(heading="Wh out", is_right=True),
    Column(heading="clean", is_right=True),
    Column(heading="g CO₂", is_right=True),
    Column(heading="made from"),
)


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
    yield Heading(f"What was done ← {many(count, 'interval')}")
    if not count:
        yield "  nothing was metered"
        return
    yield from _intervals(explanation.intervals)
    if any(interval.meters for interval in explanation.intervals):
        for interval in explanation.intervals:
            yield from tell_closely(interval, prove)
    else:
        yield from _remarkable(explanation.intervals)
        yield ""
        yield f"Down to the readings: --interval {spelled(_telling(explanation).start_ms).replace(' ', 'T')}Z"


def _telling(explanation: Explanation) -> ExplainedInterval:
    """The interval that is worth a closer look: with an event, else with a reading that cannot be, else the busiest."""

    def worth(one: ExplainedInterval) -> tuple[bool, bool, int]:
        is_doubted = any(finding.kind is FindingKind.IMPOSSIBLE_READING for finding in one.findings)
        return bool(one.responses), is_doubted, sum(line.imported_wh for line in one.energy)

    return max(explanation.intervals, key=worth)


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
    if not explanation.is_settled:
        yield "  none yet: the period runs, and this is what is known of it so far"
        return
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
        reached = f"the threshold was reached {many(relief.awards, 'time')}: {relief.tokens} tokens"
        yield f"    {reached}, and {relief.after_ppm / PPM:g} is carried on"
        parts.append(relief.tokens)
    if len(parts) > 1:
        said = " + ".join(map(str, parts))
        yield f"  together {said} = {explanation.tokens}, awards at most {explanation.tokens_max}".replace("-", "−")
    if not explanation.roles:
        yield "  none: neither measured as a supplier nor a consumer"
    anew = f", restated {many(explanation.restatements, 'time')}" if explanation.restatements else ""
    yield f"  {at(explanation.factors_at)}{anew}"


def _short(role: RoleFactor) -> str:
    above, below = map(int, role.factor.split("/"))
    return f"{above / below:.4f}"


def _sums(explanation: Explanation) -> Iterator[str]:
    for key, amount in explanation.sums.items():
        if not amount and key != next(iter(explanation.sums)):
            continue
        yield f"  {SAID.get(key, key.replace('_', ' ')):<24}{_amount(key, amount):>18}"
    below = "intervals below" if len(explanation.intervals) != 1 else "period's intervals"
    if explanation.adds_up:
        yield f"  the {below} add up to the same"
        return
    apart = {
        key: explanation.added[key] for key, amount in explanation.sums.items() if explanation.added[key] != amount
    }
    yield f"  THE {below.upper()} DO NOT ADD UP TO THIS, but to {apart}"


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
                percent(line.clean_wh, line.imported_wh), f"{line.carbon_mg / 1000:,.0f}",
                mix_words(line.origin_wh, line.imported_wh, parts_max=2),
            ])  # fmt: skip
    if rows:
        yield Table(_COLUMNS, rows)


def _relieved(response: Response) -> str:
    less = energy(response.baseline_wh - response.metered_wh)
    where = f", {response.branch} relieved by {response.relief_w:,} W" if response.branch else ""
    return f"event {response.event}: {less} less than on like days{where}"


def _remarkable(intervals: Iterable[ExplainedInterval]) -> Iterator[Told]:
    """What stands out in a period: findings, called events, congested lines, what was stated anew.

    What is found of the same subject again and again is told once.
    """
    told: dict[tuple[object, ...], list[tuple[str, str]]] = {}
    for one in intervals:
        when = spelled(one.start_ms)
        for finding in one.findings:
            told.setdefault((finding.kind, finding.subject), []).append((when, found(finding)))
        for response in one.responses:
            told[response.event, response.branch, when] = [(when, _relieved(response))]
        for flow in one.way:
            if flow.is_congested:
                loaded = f"{flow.branch} on the way was loaded to {percent(flow.loading_ppm, PPM)}"
                told.setdefault((flow.branch,), []).append((when, loaded))
        if one.restatements:
            told.setdefault((), []).append((when, f"stated anew {many(one.restatements, 'time')}"))
    if told:
        yield Heading("What stands out (* above)")
    for (when, said), *again in list(told.values())[:ROWS_MAX]:
        more = f"; and {many(len(again), 'time')} more, until {again[-1][0]}" if again else ""
        yield from wrapped(f"{when}  {said}{more}")
    if len(told) > ROWS_MAX:
        yield f"  and {len(told) - ROWS_MAX} more"


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

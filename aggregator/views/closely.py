"""One interval of a participant as text, closely: stores, lines, events, and the readings that it rests on."""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.chains.periods.deeds import Response
from aggregator.service.past import SignedReadings
from aggregator.views.explanation import ExplainedInterval, MeterLine
from aggregator.views.findings import found
from aggregator.views.formulas import energy
from aggregator.views.spans import spelled
from aggregator.views.words import Heading, Told, at, many, mix_words, percent, wrapped
from protocol.units import PPM


def tell_closely(interval: ExplainedInterval, prove: str) -> Iterator[Told]:
    """Everything about one interval, down to signed readings."""
    anew = f", stated anew {many(interval.restatements, 'time')}" if interval.restatements else ""
    yield f"  {at(interval.place)}{anew}"
    for line in interval.energy:
        for source, amount in line.origin_wh.items():
            yield f"    {line.carrier:<12}{source.replace('_', ' '):<12}{energy(amount):>14}"
        if line.imported_wh:
            yield f"    {line.carrier:<12}{'clean':<12}{energy(line.clean_wh):>14}   {line.carbon_mg / 1000:,.3f} g CO₂"
    yield from _machines(interval)
    yield Heading("Interval ← lines on the way, from the source")
    for flow in interval.way:
        mark = "  CONGESTED" if flow.is_congested else ""
        power = f"{flow.flow_w / 1000:,.3f} kW".replace("-", "−")
        yield f"  {flow.branch:<24}{power:>16}{percent(flow.loading_ppm, PPM):>8} of its rating{mark}"
    if not interval.way:
        yield "  none: at the node where the region is fed, or no flow is known"
    yield from _events(interval)
    if interval.findings:
        yield Heading("What was found")
    for finding in interval.findings:
        yield from wrapped(found(finding))
    yield Heading("Interval ← meters ← signed readings")
    for meter in interval.meters:
        yield from _meter(meter, prove)
    if interval.witnesses:
        yield Heading("Interval ← meters of others that it rests on ← signed readings")
    for meter in interval.witnesses:
        yield from _meter(meter, prove)


def _machines(interval: ExplainedInterval) -> Iterator[Told]:
    """What converters and storages did."""
    for converter in interval.converters:
        burned = f", burned {converter.burned_mg / 1000:,.3f} g CO₂" if converter.burned_mg else ""
        took = f"took {energy(converter.input_wh)}, gave {energy(converter.output_wh)}"
        yield f"    {converter.converter}: {took}{burned}"
    for storage in interval.storages:
        yield f"    {storage.storage}: in {energy(storage.charged_wh)}, out {energy(storage.discharged_wh)}"
        held = {source.value: amount for source, amount in storage.content.mix_wh}
        yield f"      holds {energy(storage.content.energy_wh)}: {mix_words(held, storage.content.energy_wh)}"
    if interval.charges:
        yield Heading("What is in store ← when it was charged")
    for charge in interval.charges:
        made_from = mix_words(charge.origin_wh, charge.charged_wh)
        yield f"  {spelled(charge.start_ms)}  {charge.storage:<10}{energy(charge.charged_wh):>10}  {made_from}"


def _events(interval: ExplainedInterval) -> Iterator[Told]:
    if interval.responses:
        yield Heading("Interval ← called events")
    for response in interval.responses:
        yield from _response(response)
    for day in interval.like_days:
        yield f"    like day {spelled(day.start_ms)}{energy(day.used_wh):>10}   {at(day.place)}"


def _response(response: Response) -> Iterator[str]:
    yield f"  event {response.event} for {response.branch or 'the whole region'}"
    baseline = f"like days {energy(response.baseline_wh)}, metered {energy(response.metered_wh)}"
    yield f"    {baseline}: {energy(response.baseline_wh - response.metered_wh)} less"
    if response.branch:
        called = percent(response.called_loading_ppm, PPM)
        yield f"    its loading {percent(response.loading_ppm, PPM)}, had nobody responded {called}"
        share = f"{response.relieving_ppm / PPM:.3f} W of it for each watt less"
        yield f"    relieved by {response.relief_w:,} W ({share}): factor {response.factor_ppm / PPM:g}"


def _meter(meter: MeterLine, prove: str) -> Iterator[str]:
    counted = "no row of it is kept"
    if meter.energy is not None:
        row = meter.energy
        counted = f"in {energy(row.imported_wh)}, out {energy(row.exported_wh)}, {many(row.readings, 'reading')}"
        counted += f", {many(row.corrections, 'correction')}" if row.corrections else ""
    yield f"  {meter.meter}: {counted}"
    for batch in meter.batches:
        yield f"    batch {batch.sequence} of {batch.gateway}, {at(batch.place)}: {many(batch.readings, 'reading')}"
    if meter.batches:
        yield f"    {_command(prove, meter.meter, meter.batches[-1])}"


def _command(prove: str, meter: str, batch: SignedReadings) -> str:
    moment = spelled(batch.last_ms // 1000 * 1000).replace(" ", "T")
    whole = moment if moment.count(":") == 2 else f"{moment}:00"
    return f"{prove} --meter {meter} --at {whole}.{batch.last_ms % 1000:03}Z"

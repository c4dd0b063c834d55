"""A live meter held to the laws of its profile: does what it shows fit together?

Given what a meter showed at two times, says of each law whether it holds, fails, or cannot be told from so little.
A finding names the numbers, and where they fit a common mistake (a turned sign, a wrong power of ten), that mistake.
Reads no meter and no clock, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from config.meter_profile import MeterProfile
from config.self_check import Law, SelfCheck
from protocol.registers import WordType
from protocol.units import ELECTRICITY_REGISTERS, PPM, Quantity

MS_PER_HOUR: Final = 3_600_000

VOLTAGE_MV: Final = (85_000, 300_000)
"""Phase to neutral, from a sagging 100 V grid to a swollen 240 V one."""

FREQUENCY_MHZ: Final = (45_000, 65_000)

HEAT_OF_WATER: Final = Fraction(115, 100)
"""Watt-hours that a litre of water carries for a kelvin: 1.163 when cold, 1.13 at 80 °C."""

PHASES: Final = (
    (Quantity.VOLTAGE_L1_MV, Quantity.CURRENT_L1_MA, Quantity.ACTIVE_POWER_L1_W),
    (Quantity.VOLTAGE_L2_MV, Quantity.CURRENT_L2_MA, Quantity.ACTIVE_POWER_L2_W),
    (Quantity.VOLTAGE_L3_MV, Quantity.CURRENT_L3_MA, Quantity.ACTIVE_POWER_L3_W),
)

MANTISSA_BITS: Final = {WordType.F32: 24, WordType.F64: 53}


class Verdict(StrEnum):
    """What can be said of a law."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"
    """Too little flows, or too little time went by, to tell."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a meter showed at one time; None where it had no value."""

    at_ms: int
    values: Mapping[Quantity, int | None]

    def get(self, quantity: Quantity) -> int | None:
        """The value, if the meter has one."""
        return self.values.get(quantity)


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one check."""

    check: str
    verdict: Verdict
    says: str


def judge(profile: MeterProfile, first: Look, second: Look) -> tuple[Finding, ...]:
    """Hold a meter to every check of its profile, and to having values at all."""
    laws: Mapping[Law, Callable[[SelfCheck], Finding]] = {
        Law.MAINS: lambda check: _mains(second),
        Law.PHASES: lambda check: _phases(check, second),
        Law.APPARENT: lambda check: _apparent(check, second),
        Law.SLOPE: lambda check: _slope(check, profile, first, second),
        Law.HEAT: lambda check: _heat(check, second),
    }
    return (_has_values(profile, second), *(laws[check.law](check) for check in profile.self_checks))


def _has_values(profile: MeterProfile, look: Look) -> Finding:
    missing = [quantity for quantity in profile.codecs if look.get(quantity) is None]
    if not missing and not any(look.values.values()):
        says = f"all {len(profile.codecs)} registers show 0: nothing was ever counted, or it is another meter's profile"
        return Finding("values", Verdict.OPEN, says)
    if not missing:
        return Finding("values", Verdict.HOLDS, f"all {len(profile.codecs)} registers have one")
    names = ", ".join(quantity.name.lower() for quantity in missing)
    vital = {*profile.always, Quantity.ACTIVE_POWER_W}.intersection(missing)
    return Finding("values", Verdict.FAILS if vital else Verdict.OPEN, f"the meter has none for {names}")


def _mains(look: Look) -> Finding:
    voltages = [look.get(voltage) for voltage, _, _ in PHASES]
    frequency = look.get(Quantity.FREQUENCY_MHZ)
    shown = [f"L{n} {_milli(value, 'V')}" for n, value in enumerate(voltages, 1) if value is not None]
    shown += [] if frequency is None else [_milli(frequency, "Hz")]
    says = ", ".join(shown) or "neither voltage nor frequency"
    odd = [v for n, v in enumerate(voltages) if v is not None and not (n and v == 0) and not _within(v, VOLTAGE_MV)]
    if odd or (frequency is not None and not _within(frequency, FREQUENCY_MHZ)):
        return Finding("mains", Verdict.FAILS, f"{says}: no public grid; a wrong address, word order, type or scale")
    return Finding("mains", Verdict.HOLDS if shown else Verdict.OPEN, says)


def _phases(check: SelfCheck, look: Look) -> Finding:
    total = look.get(Quantity.ACTIVE_POWER_W)
    parts = [look.get(power) for _, _, power in PHASES]
    known = [part for part in parts if part is not None]
    if total is None or len(known) < len(parts):
        return Finding("phases", Verdict.OPEN, "a power is missing")
    says = f"{' + '.join(map(str, known))} = {sum(known)} W, in total {total} W"
    return Finding("phases", *_compared(check, sum(known), total, says))


def _apparent(check: SelfCheck, look: Look) -> Finding:
    pairs = [(look.get(voltage), look.get(current)) for voltage, current, _ in PHASES]
    product = round(Fraction(sum(abs(v * i) for v, i in pairs if v is not None and i is not None), 1_000_000))
    told, power = look.get(Quantity.APPARENT_POWER_VA), look.get(Quantity.ACTIVE_POWER_W)
    if told is not None:
        says = f"voltage times current is {product} VA, apparent power {told} VA"
        if _flows_both_ways(look) and power is not None and abs(power) <= abs(told) <= product:
            return Finding("apparent", Verdict.HOLDS, f"{says}: the phases flow both ways, so less is right")
        return Finding("apparent", *_compared(check, product, abs(told), says))
    if power is None:
        return Finding("apparent", Verdict.OPEN, "a value is missing")
    says = f"voltage times current is {product} VA, active power {power} W"
    if max(product, abs(power)) <= check.tolerance:
        return Finding("apparent", Verdict.OPEN, f"{says}: too little to tell")
    if abs(power) > product + _slack(check, product):
        return Finding(
            "apparent", Verdict.FAILS, f"{says}: nothing can do more than that{_power_of_ten(power, product)}"
        )
    return Finding("apparent", Verdict.HOLDS, says)


def _flows_both_ways(look: Look) -> bool:
    """Whether one phase feeds in while another takes: the meter's total may then be that of their vectors' sum."""
    powers = [power for _, _, quantity in PHASES if (power := look.get(quantity)) is not None]
    return bool(powers) and min(powers) < 0 < max(powers)


def _heat(check: SelfCheck, look: Look) -> Finding:
    power, flow, difference = look.get(Quantity.HEAT_POWER_W), look.get(Quantity.HEAT_FLOW_LPH), _difference(look)
    if power is None or flow is None or difference is None:
        return Finding("heat", Verdict.OPEN, "a value is missing")
    product = round(flow * abs(difference) * HEAT_OF_WATER / 100)
    says = f"{flow} l/h by {abs(difference) / 100:.2f} K carry {product} W, heat power is {power} W"
    return Finding("heat", *_compared(check, product, abs(power), says))


def _difference(look: Look) -> int | None:
    supply, back = look.get(Quantity.SUPPLY_TEMPERATURE_CENTIC), look.get(Quantity.RETURN_TEMPERATURE_CENTIC)
    if supply is None or back is None:
        return look.get(Quantity.TEMPERATURE_DIFFERENCE_CENTIK)
    return supply - back


def _slope(check: SelfCheck, profile: MeterProfile, first: Look, second: Look) -> Finding:
    is_heat = Quantity.HEAT_POWER_W in profile.codecs
    power = Quantity.HEAT_POWER_W if is_heat else Quantity.ACTIVE_POWER_W
    up, down = (Quantity.HEAT_WH, Quantity.COOLING_WH) if is_heat else ELECTRICITY_REGISTERS
    before, after, moved = first.get(power), second.get(power), _moved(up, down, first, second)
    if before is None or after is None or moved is None:
        return Finding("slope", Verdict.OPEN, "a value is missing")
    if down not in profile.codecs:
        before, after = max(0, before), max(0, after)
    hours = Fraction(second.at_ms - first.at_ms, MS_PER_HOUR)
    mean = Fraction(before + after, 2)
    expected = mean * hours
    step = _step(profile, down if mean < 0 and down in profile.codecs else up, second)
    unsure = abs(mean) * check.tolerance_ppm / PPM + check.tolerance + Fraction(abs(after - before), 2)
    slack = step + unsure * hours
    should = f"at {round(mean)} W for {round(hours * 3600)} s energy should move {float(expected):.2f} Wh"
    says = f"{should}, and moved {moved} Wh"
    if abs(moved - expected) > slack:
        return Finding("slope", Verdict.FAILS, says + _slope_mistake(moved, expected, slack))
    if abs(expected) > slack:
        return Finding("slope", Verdict.HOLDS, says)
    return Finding("slope", Verdict.OPEN, f"{says}: {_patience(step, abs(mean) - unsure)}")


def _moved(up: Quantity, down: Quantity, first: Look, second: Look) -> int | None:
    """What flowed in, less what flowed out. A register that the meter does not have stands still."""
    total = 0
    for sign, quantity in ((1, up), (-1, down)):
        if quantity not in first.values:
            continue
        before, after = first.get(quantity), second.get(quantity)
        if before is None or after is None:
            return None
        total += sign * (after - before)
    return total


def _step(profile: MeterProfile, quantity: Quantity, look: Look) -> Fraction:
    """How far an energy register moves at once."""
    codec = profile.codecs.get(quantity)
    if codec is None:
        return Fraction(1)
    if codec.type not in MANTISSA_BITS:
        return max(codec.scale, Fraction(1))
    counts = abs(Fraction(look.get(quantity) or 0) / codec.scale)
    return max(codec.scale * Fraction(2) ** (int(counts).bit_length() - MANTISSA_BITS[codec.type]), Fraction(1))


def _slope_mistake(moved: int, expected: Fraction, slack: Fraction) -> str:
    if moved and abs(moved + expected) <= slack:
        return ": the other way; the sign of power is turned, or import and export are exchanged"
    if moved == 0:
        return ": it does not count; another tariff's register, or a partial counter?"
    return _power_of_ten(moved, expected)


def _power_of_ten(one: int | Fraction, other: int | Fraction) -> str:
    for exponent in (1, 2, 3, 4, 6):
        for big, small in ((one, other), (other, one)):
            if small and 8 <= abs(Fraction(big) / Fraction(small)) / 10 ** (exponent - 1) <= 12:
                return f": about {10**exponent} times; a scale or a unit is wrong"
    return ""


def _patience(step: Fraction, sure_w: Fraction) -> str:
    if sure_w <= 0:
        return "too little flows to tell"
    return f"one step of the counter is {float(step):g} Wh, so wait at least {round(step / sure_w * 3600) + 1} s"


def _compared(check: SelfCheck, one: int, other: int, says: str) -> tuple[Verdict, str]:
    if max(abs(one), abs(other)) <= check.tolerance:
        return Verdict.OPEN, f"{says}: too little to tell"
    if abs(one - other) <= _slack(check, max(abs(one), abs(other))):
        return Verdict.HOLDS, says
    if abs(one + other) <= _slack(check, max(abs(one), abs(other))):
        return Verdict.FAILS, f"{says}: a sign is turned"
    return Verdict.FAILS, says + _power_of_ten(one, other)


def _slack(check: SelfCheck, size: int) -> Fraction:
    return Fraction(size * check.tolerance_ppm, PPM) + check.tolerance


def _within(value: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _milli(value: int, unit: str) -> str:
    return f"{value / 1000:.2f} {unit}"


def lines(findings: tuple[Finding, ...]) -> Iterator[str]:
    """The findings, one a line, and what they come to."""
    for finding in findings:
        yield f"{finding.verdict.value:<6} {finding.check:<9} {finding.says}"
    counts = {verdict: sum(finding.verdict is verdict for finding in findings) for verdict in Verdict}
    yield ", ".join(f"{count} {verdict.value}" for verdict, count in counts.items())

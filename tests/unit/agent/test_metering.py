"""A reading is whole, or there is none."""

from __future__ import annotations

import struct

import pytest

from agent.bus.metering import (
    Watch,
    plan_for,
    reading_of,
    see_that_none_counts_twice,
    serial_of,
    value_of,
    watched,
)
from agent.bus.reading import Reading
from config.load import load_profiles
from config.settings.bus import MeterAddress
from protocol.batch import Quality
from protocol.errors import DeviceError, OperatorError
from protocol.units import BootMs, Quantity
from tests.builders import METER
from tests.unit.agent.builders import a_meter, a_profile, a_reading, answers, blocks

HOUSE = {
    Quantity.ACTIVE_POWER_W: 3600,
    Quantity.REACTIVE_POWER_VAR: -200,
    Quantity.VOLTAGE_L1_MV: 230_000,
    Quantity.IMPORTED_WH: 40_000_000,
    Quantity.EXPORTED_WH: 1_000,
    Quantity.CURRENT_L1_MA: 15_000,
}

NAN_WORDS = [0x7FC0, 0x0000]


def test_words_become_values_in_base_units() -> None:
    reading = reading_of(a_meter(), "17041234", blocks(answers(a_meter(), HOUSE)))
    assert reading == Reading(
        meter=METER,
        profile=a_profile().digest,
        serial="17041234",
        start_ms=BootMs(60_000),
        end_ms=BootMs(60_040),
        quality=Quality.NONE,
        values={quantity: HOUSE[quantity] for quantity in sorted(HOUSE) if quantity is not Quantity.CURRENT_L1_MA},
        words={
            Quantity.IMPORTED_WH: struct.pack(">f", 40_000.0),
            Quantity.EXPORTED_WH: struct.pack(">f", 1.0),
        },
    )


def test_what_nobody_asked_for_stays_in_the_house() -> None:
    reading = reading_of(a_meter(), "", blocks(answers(a_meter(), HOUSE)))
    assert Quantity.CURRENT_L1_MA not in reading.values


def test_energy_words_travel_as_they_came_even_with_the_low_word_first() -> None:
    meter = a_meter(a_profile("carlo_gavazzi_em24"))
    reading = reading_of(meter, "", blocks(answers(meter, {Quantity.IMPORTED_WH: 0x1_0002 * 100})))
    assert reading.words[Quantity.IMPORTED_WH] == bytes.fromhex("00020001")


def test_an_energy_register_without_a_value_is_a_failed_read() -> None:
    meter = a_meter()
    told = answers(meter, HOUSE)
    told[meter.requests[0]][0x48:0x4A] = NAN_WORDS
    with pytest.raises(DeviceError, match="imported_wh has no value"):
        reading_of(meter, "", blocks(told))


def test_another_quantity_without_a_value_is_flagged_and_holds_0() -> None:
    meter = a_meter()
    told = answers(meter, HOUSE)
    told[meter.requests[0]][0x00:0x02] = NAN_WORDS
    reading = reading_of(meter, "", blocks(told))
    assert reading.quality == Quality.VALUE_MISSING
    assert reading.values[Quantity.VOLTAGE_L1_MV] == 0


def test_a_value_that_no_column_can_hold_is_none() -> None:
    huge = list(struct.unpack(">2H", struct.pack(">f", 3e38)))
    assert value_of(a_profile(), Quantity.ACTIVE_POWER_W, huge) is None


def test_an_answer_with_a_word_too_few_is_a_failed_read() -> None:
    meter = a_meter()
    told = {request: words[:-1] for request, words in answers(meter, HOUSE).items()}
    with pytest.raises(DeviceError, match="75 words where 76 were asked for"):
        reading_of(meter, "", blocks(told))


def test_an_answer_that_is_missing_is_a_failed_read() -> None:
    with pytest.raises(DeviceError, match="no answer holds it"):
        reading_of(a_meter(), "", blocks({}))


def test_a_reading_comes_back_from_the_journal_as_it_went_in() -> None:
    reading = a_reading(quality=Quality.VALUE_MISSING | Quality.UNEXPLAINED_STEP)
    assert Reading.decode(reading.encode()) == reading


def test_a_reading_of_every_quantity_fits_the_journal() -> None:
    """Numbers above 23 are no keys of a map."""
    reading = a_reading(values=dict.fromkeys(Quantity, -(2**31)))
    assert Reading.decode(reading.encode()) == reading


@pytest.mark.parametrize("profile", ["eastron_sdm630", "eastron_sdm630_full", "eastron_sdm120"])
def test_one_counter_is_never_signed_for_two_meters(profile: str) -> None:
    meters = [
        plan_for(MeterAddress(id=id_, unit=5, profile=name), load_profiles(), ())
        for id_, name in (("m-1", "eastron_sdm630"), ("m-2", profile))
    ]
    with pytest.raises(OperatorError, match="m-2: unit: expected another unit than that of m-1, whose imported_wh"):
        see_that_none_counts_twice(meters)


def test_one_unit_may_hold_two_meters_with_registers_of_their_own() -> None:
    places = (("inverter", 5, "eastron_sdm630"), ("grid", 5, "abb_b23"), ("next", 6, "eastron_sdm630"))
    see_that_none_counts_twice(
        plan_for(MeterAddress(id=id_, unit=unit, profile=profile), load_profiles(), ()) for id_, unit, profile in places
    )


@pytest.mark.parametrize(
    ("profile", "told"), [("eastron_sdm63", r"did you mean 'eastron_sdm630'\?"), ("este_power_limiter", "of a meter")]
)
def test_a_meter_needs_the_profile_of_a_meter(profile: str, told: str) -> None:
    address = MeterAddress(id=METER, unit=1, profile=profile)
    with pytest.raises(OperatorError, match=told):
        plan_for(address, load_profiles(), ())


class TestWatch:
    """The flag for people: a register did what no counter may do."""

    def after(self, *values_wh: int) -> list[Quality]:
        """Flags of one reading a second."""
        watch: Watch = {}
        flags = []
        for second, value_wh in enumerate(values_wh):
            values = {Quantity.IMPORTED_WH: value_wh}
            reading = a_reading(end_ms=BootMs(1000 * second), values=values, words={Quantity.IMPORTED_WH: b"...."})
            watch, judged = watched(watch, reading, a_profile())
            flags.append(judged.quality)
        return flags

    def test_a_steady_rise_is_no_matter(self) -> None:
        assert self.after(100, 101, 101, 102) == [Quality.NONE] * 4

    def test_a_glitch_to_0_is_flagged_and_the_return_is_not(self) -> None:
        assert self.after(100, 0, 101) == [Quality.NONE, Quality.UNEXPLAINED_STEP, Quality.NONE]

    def test_a_lifetime_of_energy_in_a_second_is_flagged(self) -> None:
        assert self.after(100, 25_567_000)[-1] == Quality.UNEXPLAINED_STEP

    def test_a_flag_that_was_there_stays(self) -> None:
        reading = a_reading(quality=Quality.VALUE_MISSING)
        _, judged = watched({}, reading, a_profile())
        assert judged.quality == Quality.VALUE_MISSING


class TestSerialNumbers:
    """Who the meter says it is."""

    def test_a_number_is_spelled_in_decimals(self) -> None:
        assert serial_of(a_profile(), [0x0104, 0x0492]) == str(0x01040492)

    def test_a_text_ends_at_its_padding(self) -> None:
        profile = a_profile(serial_number={"table": "holding", "address": 0, "words": 4, "spelling": "text"})
        words = list(struct.unpack(">4H", b"AB-12\0 \0"))
        assert serial_of(profile, words) == "AB-12"

    def test_what_is_no_ascii_is_left_out(self) -> None:
        profile = a_profile(serial_number={"table": "holding", "address": 0, "words": 2, "spelling": "text"})
        assert serial_of(profile, [0x41FF, 0x0742]) == "AB"

    def test_a_word_too_few_is_a_failed_read(self) -> None:
        with pytest.raises(DeviceError, match="1 words where 2"):
            serial_of(a_profile(), [1])


# -- Words that have to stay as they are

FIXED = [{"address": 0x004E, "value": 0xFFFE, "meaning": "power of ten of imported_wh"}]


def test_a_meter_whose_scale_factor_has_changed_is_not_read() -> None:
    """Else every count would be worth ten times as much from one reading to the next."""
    meter = a_meter(a_profile(fixed_words=FIXED))
    told = answers(meter, HOUSE)
    told[meter.requests[0]][0x4E] = 0xFFFE
    assert reading_of(meter, "", blocks(told)).values[Quantity.IMPORTED_WH] == HOUSE[Quantity.IMPORTED_WH]
    told[meter.requests[0]][0x4E] = 0xFFFF
    with pytest.raises(DeviceError, match="power of ten of imported_wh at 0x004e is 0xffff, not 0xfffe"):
        reading_of(meter, "", blocks(told))


def test_a_fixed_word_that_no_answer_holds_is_a_failed_read() -> None:
    meter = a_meter(a_profile(fixed_words=FIXED))
    with pytest.raises(DeviceError, match="is untold"):
        reading_of(meter, "", blocks({}))


# -- Heat


def test_the_heat_that_a_meter_counts_is_sent_as_words_and_its_cooling_is_not() -> None:
    profile = a_profile("onicon_system10")
    meter = a_meter(profile)
    heat = {Quantity.HEAT_WH: 5_000_000, Quantity.COOLING_WH: 0, Quantity.HEAT_POWER_W: 11_500}
    reading = reading_of(meter, "", blocks(answers(meter, heat)))
    assert reading.values == heat
    assert profile.energy_registers == (Quantity.HEAT_WH,)
    assert reading.words == {Quantity.HEAT_WH: struct.pack(">f", 5000.0)}, "kilowatt-hours, as the meter spells them"


def test_a_serial_number_may_be_spelled_by_its_digits() -> None:
    number = {"table": "holding", "address": 0, "words": 2, "spelling": "digits"}
    assert serial_of(a_profile(serial_number=number), [0x1506, 0x0001]) == "15060001", "as Inepro prints it"

"""The firmware tables hold together, and their bytes are what the vendors' converters would make."""

from __future__ import annotations

import struct

import pytest

from config.load import load_profiles
from firmware_sim.firmware import ABB_B23, CARLO_GAVAZZI_EM24, SCHNEIDER_IEM3000, Firmware, Format, Printed
from firmware_sim.heat_firmware import HEAT_FIRMWARE, MODELS
from firmware_sim.meter import UJ_PER_WH, Shown
from firmware_sim.modbus_server import from_words, to_words

ALL = pytest.mark.parametrize("firmware", MODELS.values(), ids=MODELS)


@ALL
def test_every_register_lies_in_a_readable_block_and_none_overlaps(firmware: Firmware) -> None:
    taken: set[int] = set()
    for printed in firmware.registers:
        numbers = set(range(printed.number, printed.number + printed.format.words))
        assert any(first <= min(numbers) and max(numbers) <= last for first, last in firmware.blocks)
        assert not taken & numbers
        taken |= numbers


@ALL
def test_spans_cover_all_blocks_and_cut_no_register(firmware: Firmware) -> None:
    spans = [span for span in firmware.spans() if span != firmware.serial]
    assert all(span.count <= firmware.words_max for span in spans)
    covered = [address for span in spans for address in range(span.first, span.first + span.count)]
    assert covered == [firmware.address(n) for first, last in firmware.blocks for n in range(first, last + 1)]
    starts = {span.first for span in spans}
    for printed in firmware.registers:
        inside = range(firmware.address(printed.number) + 1, firmware.address(printed.number) + printed.format.words)
        assert not starts & set(inside)


@ALL
def test_whoever_reads_by_the_profile_finds_its_blocks_readable(firmware: Firmware) -> None:
    readable = {firmware.address(n) for first, last in firmware.blocks for n in range(first, last + 1)}
    profile = load_profiles()[firmware.model]
    assert profile.table.value == firmware.area.value
    assert profile.words_max <= firmware.words_max
    for block in profile.blocks:
        assert set(range(block.first, block.last + 1)) <= readable


def test_there_is_a_simulated_meter_for_every_heat_meter_of_the_library() -> None:
    heat = {name for name, profile in load_profiles().items() if any("heat" in r.quantity for r in profile.registers)}
    assert heat == set(HEAT_FIRMWARE)


@ALL
def test_the_meter_shows_every_quantity_of_its_profile(firmware: Firmware) -> None:
    shown = {printed.shown.rpartition("_")[0] for printed in firmware.registers}
    wanted = {register.quantity.rpartition("_")[0] for register in load_profiles()[firmware.model].registers}
    assert wanted <= shown


def test_manuals_that_count_from_one_are_one_off() -> None:
    assert SCHNEIDER_IEM3000.address(3_028) == 0x0BD3
    assert CARLO_GAVAZZI_EM24.address(300_041) == 0x0028
    assert ABB_B23.address(0x5B14) == 0x5B14
    assert SCHNEIDER_IEM3000.spell(3_028) == "3028"
    assert ABB_B23.spell(0x5B14) == "0x5b14"


def test_a_counter_shows_only_what_has_flowed_completely() -> None:
    energy = Printed(0, Shown.IMPORTED_UJ, Format.UINT64, "kWh", 100)
    assert energy.count(10 * UJ_PER_WH) == 1
    assert energy.count(10 * UJ_PER_WH - 1) == 0


def test_a_counter_begins_again_at_0_where_its_words_are_full() -> None:
    low_half = Printed(0, Shown.HEAT_UJ, Format.UINT32, "kWh", 1_000)
    assert low_half.count(((1 << 32) + 7) * UJ_PER_WH) == 7
    signed = Printed(0, Shown.IMPORTED_UJ, Format.INT32, "kWh", 10)
    assert signed.count((1 << 31) * 100 * UJ_PER_WH) == 0


def test_every_other_integer_is_the_nearest() -> None:
    power = Printed(0, Shown.ACTIVE_POWER_MW, Format.INT32, "W", 10)
    assert [power.count(milliwatts) for milliwatts in (149, 150, -149, -151)] == [1, 2, -1, -2]


def test_a_float_has_the_printed_unit() -> None:
    assert Printed(0, Shown.ACTIVE_POWER_MW, Format.FLOAT32, "kW").count(-1_500_000) == -1.5


@pytest.mark.parametrize(
    ("format_", "number", "packed"),
    [
        (Format.FLOAT32, 230.2, struct.pack(">f", 230.2)),
        (Format.INT32, -302_876, struct.pack(">i", -302_876)),
        (Format.UINT32, 4_000_000_000, struct.pack(">I", 4_000_000_000)),
        (Format.INT64, -5, struct.pack(">q", -5)),
        (Format.UINT64, 30_783_318, struct.pack(">Q", 30_783_318)),
        (Format.INT16, -995, struct.pack(">h", -995)),
        (Format.UINT16, 5_000, struct.pack(">H", 5_000)),
    ],
)
def test_numbers_are_spelled_high_word_first_unless_the_meter_does_otherwise(
    format_: Format, number: int | float, packed: bytes
) -> None:
    words = list(struct.unpack(f">{len(packed) // 2}H", packed))
    assert to_words(number, format_) == words
    assert to_words(number, format_, low_word_first=True) == words[::-1]
    assert from_words(words, format_) == pytest.approx(number, rel=1e-7)
    assert from_words(words[::-1], format_, low_word_first=True) == from_words(words, format_)

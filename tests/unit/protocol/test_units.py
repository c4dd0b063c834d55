"""Quantities keep their numbers and say their unit; errors say who can act."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol import errors
from protocol.batch import WORD_KEYS
from protocol.canonical import KEY_MAX
from protocol.units import ENERGY_REGISTERS, HEAT_REGISTERS, Interval, Quantity, UnixMs

NUMBERS = {
    "ACTIVE_POWER_W": (1, "W"),
    "REACTIVE_POWER_VAR": (2, "var"),
    "APPARENT_POWER_VA": (3, "VA"),
    "IMPORTED_WH": (4, "Wh"),
    "EXPORTED_WH": (5, "Wh"),
    "FREQUENCY_MHZ": (6, "mHz"),
    "VOLTAGE_L1_MV": (7, "mV"),
    "VOLTAGE_L2_MV": (8, "mV"),
    "VOLTAGE_L3_MV": (9, "mV"),
    "CURRENT_L1_MA": (10, "mA"),
    "CURRENT_L2_MA": (11, "mA"),
    "CURRENT_L3_MA": (12, "mA"),
    "ACTIVE_POWER_L1_W": (13, "W"),
    "ACTIVE_POWER_L2_W": (14, "W"),
    "ACTIVE_POWER_L3_W": (15, "W"),
    "POWER_FACTOR_PPM": (16, "ppm"),
    "APPARENT_POWER_L1_VA": (17, "VA"),
    "APPARENT_POWER_L2_VA": (18, "VA"),
    "APPARENT_POWER_L3_VA": (19, "VA"),
    "REACTIVE_POWER_L1_VAR": (20, "var"),
    "REACTIVE_POWER_L2_VAR": (21, "var"),
    "REACTIVE_POWER_L3_VAR": (22, "var"),
    "POWER_FACTOR_L1_PPM": (23, "ppm"),
    "POWER_FACTOR_L2_PPM": (24, "ppm"),
    "POWER_FACTOR_L3_PPM": (25, "ppm"),
    "PHASE_ANGLE_MDEG": (26, "mdeg"),
    "IMPORTED_L1_WH": (27, "Wh"),
    "IMPORTED_L2_WH": (28, "Wh"),
    "IMPORTED_L3_WH": (29, "Wh"),
    "EXPORTED_L1_WH": (30, "Wh"),
    "EXPORTED_L2_WH": (31, "Wh"),
    "EXPORTED_L3_WH": (32, "Wh"),
    "BOTH_WAYS_WH": (33, "Wh"),
    "BOTH_WAYS_L1_WH": (34, "Wh"),
    "BOTH_WAYS_L2_WH": (35, "Wh"),
    "BOTH_WAYS_L3_WH": (36, "Wh"),
    "REACTIVE_IMPORTED_VARH": (37, "varh"),
    "REACTIVE_EXPORTED_VARH": (38, "varh"),
    "REACTIVE_BOTH_WAYS_VARH": (39, "varh"),
    "REACTIVE_IMPORTED_L1_VARH": (40, "varh"),
    "REACTIVE_IMPORTED_L2_VARH": (41, "varh"),
    "REACTIVE_IMPORTED_L3_VARH": (42, "varh"),
    "REACTIVE_EXPORTED_L1_VARH": (43, "varh"),
    "REACTIVE_EXPORTED_L2_VARH": (44, "varh"),
    "REACTIVE_EXPORTED_L3_VARH": (45, "varh"),
    "REACTIVE_BOTH_WAYS_L1_VARH": (46, "varh"),
    "REACTIVE_BOTH_WAYS_L2_VARH": (47, "varh"),
    "REACTIVE_BOTH_WAYS_L3_VARH": (48, "varh"),
    "VOLTAGE_THD_PPM": (49, "ppm"),
    "VOLTAGE_THD_L1_PPM": (50, "ppm"),
    "VOLTAGE_THD_L2_PPM": (51, "ppm"),
    "VOLTAGE_THD_L3_PPM": (52, "ppm"),
    "HEAT_WH": (53, "Wh"),
    "COOLING_WH": (54, "Wh"),
    "HEAT_POWER_W": (55, "W"),
    "HEAT_VOLUME_L": (56, "l"),
    "HEAT_FLOW_LPH": (57, "l/h"),
    "SUPPLY_TEMPERATURE_CENTIC": (58, "0.01 °C"),
    "RETURN_TEMPERATURE_CENTIC": (59, "0.01 °C"),
    "TEMPERATURE_DIFFERENCE_CENTIK": (60, "0.01 K"),
    "STATE_OF_CHARGE_PPM": (61, "ppm"),
}
"""The golden table: numbers are part of the wire format, and never used again."""


def test_every_quantity_keeps_its_number_and_its_unit() -> None:
    assert {q.name: (q.value, q.base_unit) for q in Quantity} == NUMBERS


def test_every_quantity_that_travels_as_words_has_a_key_of_a_map() -> None:
    assert tuple(WORD_KEYS) == ENERGY_REGISTERS
    assert max(WORD_KEYS.values()) <= KEY_MAX and list(WORD_KEYS.values()) == sorted(set(WORD_KEYS.values()))


def test_nothing_but_heat_and_electricity_that_flows_in_or_out_becomes_money() -> None:
    """Not the sum of both ways, not the share of a phase, and not cooling."""
    assert ENERGY_REGISTERS == (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH, Quantity.HEAT_WH)
    assert {quantity.base_unit for quantity in (*ENERGY_REGISTERS, *HEAT_REGISTERS)} == {"Wh"}


def test_an_interval_holds_its_start_and_not_its_end() -> None:
    interval = Interval(start_ms=UnixMs(1000), end_ms=UnixMs(2000))
    assert 1000 in interval
    assert 1999 in interval
    assert 999 not in interval
    assert 2000 not in interval
    assert interval.length_ms == 1000


@pytest.mark.parametrize("end_ms", [1000, 999])
def test_an_interval_without_length_is_a_bug(end_ms: int) -> None:
    with pytest.raises(AssertionError):
        Interval(start_ms=UnixMs(1000), end_ms=UnixMs(end_ms))


def test_errors_are_one_tree_sorted_by_who_can_act() -> None:
    assert issubclass(errors.SpellingError, errors.EncodingError)
    assert issubclass(errors.TruncatedError, errors.EncodingError)
    assert issubclass(errors.OversizedError, errors.EncodingError)
    for theirs in (errors.EncodingError, errors.SignatureError, errors.ProofError):
        assert issubclass(theirs, errors.MessageError)
    for worlds in (errors.DeviceError, errors.LinkError):
        assert issubclass(worlds, errors.WorldError)
    for branch in (errors.MessageError, errors.OperatorError, errors.WorldError):
        assert issubclass(branch, errors.EsteError)
    assert not issubclass(errors.EsteError, (ValueError, RuntimeError, OSError))


def test_what_the_operator_can_mend_says_where_and_what() -> None:
    error = errors.OperatorError(Path("agent.yaml"), "broker.port", "a valid integer", "'none'")
    assert str(error) == "agent.yaml: broker.port: expected a valid integer, got 'none'"
    assert str(errors.OperatorError("agent.yaml", "", "YAML", "rubbish")) == "agent.yaml: expected YAML, got rubbish"


@pytest.mark.parametrize("retry", [True, False])
def test_what_the_world_may_mend_says_whether_to_try_again(retry: bool) -> None:
    assert errors.DeviceError("no answer", retry=retry).retry is retry

"""Whatever words a meter of the library sends: a value that a batch can hold, or none."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from agent.bus.metering import ENERGY_MAX, value_of
from config.load import load_profiles
from config.meter_profile import MeterProfile
from protocol.errors import EncodingError
from protocol.readings import VALUE_MAX
from protocol.registers import WordType
from protocol.units import Quantity

REGISTERS = [
    (profile, register.id) for profile in load_profiles().values() for register in profile.registers
]  # fmt: skip

registers = st.sampled_from(REGISTERS)
words = st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4)


@given(registers, words)
def test_any_words_are_a_value_that_a_batch_can_hold_or_none(
    register: tuple[MeterProfile, Quantity], sent: list[int]
) -> None:
    profile, quantity = register
    value = value_of(profile, quantity, sent[: profile.codecs[quantity].type.words])
    bound = ENERGY_MAX if quantity in profile.energy_registers else VALUE_MAX
    assert value is None or abs(value) <= bound


@given(registers, st.integers(-(2**31), 2**31 - 1))
def test_what_a_register_can_hold_comes_back_to_the_nearest_count(
    register: tuple[MeterProfile, Quantity], value: int
) -> None:
    profile, quantity = register
    codec = profile.codecs[quantity]
    try:
        sent = codec.encode(value)
    except EncodingError:
        return
    told = codec.decode(sent)
    assert told is not None
    step = abs(codec.scale) if codec.type not in {WordType.F32, WordType.F64} else Fraction(abs(value), 2**23)
    assert abs(told - value) <= step / 2 + 1

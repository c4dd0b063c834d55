"""SunSpec devices, word by word: laid out after the tables of sunspec/models, and not by este's map of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from protocol.errors import DeviceError

NOT = 0x8000
"""Not implemented: in an int16, and as a power of ten."""
NAN = (0x7FC0, 0x0000)


class Device:
    """Words from an address on; everything else answers exception 2."""

    def __init__(self, base: int, words: Sequence[int]) -> None:
        self.base = base
        self._words = list(words)

    def words(self, address: int, count: int) -> list[int]:
        """What stands there."""
        return self._words[address - self.base : address - self.base + count]

    def set(self, address: int, word: int) -> None:
        """Let something else stand there."""
        self._words[address - self.base] = word

    async def read(self, address: int, count: int) -> list[int]:
        """As a Modbus server would answer."""
        if not self.base <= address or address + count > self.base + len(self._words):
            raise DeviceError("Modbus exception 2: it has no such address", retry=False)
        assert count <= 125
        return self.words(address, count)


def text(value: str, words: int) -> list[int]:
    return list(struct.unpack(f">{words}H", value.encode("latin-1").ljust(2 * words, b"\x00")))


def i16(value: int) -> int:
    return value & 0xFFFF


def u32(value: int) -> list[int]:
    return [value >> 16, value & 0xFFFF]


def u64(value: int) -> list[int]:
    return [value >> 48, value >> 32 & 0xFFFF, value >> 16 & 0xFFFF, value & 0xFFFF]


def f32(value: float) -> list[int]:
    return list(struct.unpack(">2H", struct.pack(">f", value)))


def laid_out(number: int, length: int, places: dict[int, int | Sequence[int]]) -> list[int]:
    """One model: its number, its length, and what stands at which offset; all else is not implemented."""
    words = [number, length, *[NOT] * length]
    for offset, what in places.items():
        some = [what] if isinstance(what, int) else list(what)
        words[offset : offset + len(some)] = some
    return words


def a_device(models: Sequence[int], *, base: int, maker: str, model: str, serial: str) -> Device:
    common = laid_out(1, 66, {2: text(maker, 16), 18: text(model, 16), 34: text("", 8), 42: text("1.0", 8)})
    common[50:66] = text(serial, 16)
    return Device(base, [0x5375, 0x6E53, *common, *models, 0xFFFF, 0])


def a_meter(
    *,
    base: int = 40_000,
    copies: int = 1,
    maker: str = "Acme",
    model: str = "EM 24",
    serial: str = "SN-0815",
    energy_factor: int = 1,
) -> Device:
    """Model 203: three phases, the voltage of the third and reactive power not implemented."""
    places: dict[int, int | Sequence[int]] = {
        **{3: 542, 4: 100, 5: 80, 6: i16(-2)},
        **{8: 2301, 9: 2310, 10: NOT, 15: i16(-1)},
        **{16: 4998, 17: i16(-2)},
        **{18: i16(-125), 19: i16(-110), 20: i16(-10), 21: i16(-5), 22: 1},
        **{23: 130, 27: 1},
        **{28: 30, 32: NOT},
        **{38: u32(67_825), 46: u32(1_234_567), 54: energy_factor},
    }
    meters = laid_out(203, 105, places) * copies
    return a_device(meters, base=base, maker=maker, model=model, serial=serial)


def a_float_meter() -> Device:
    """Model 213."""
    nothing = dict.fromkeys(range(2, 126, 2), NAN)
    places: dict[int, int | Sequence[int]] = {**nothing, 4: f32(5.42), 12: f32(230.1), 26: f32(49.98)}
    places |= {28: f32(-1250.0), 60: f32(678_250.0), 68: f32(12_345_500.0)}
    return a_device(laid_out(213, 124, places), base=40_000, maker="Acme", model="FM", serial="77")


def an_inverter() -> Device:
    """Model 103, with models around it that este does not know."""
    places: dict[int, int | Sequence[int]] = {
        **{3: 620, 4: 620, 5: 620, 6: i16(-2), 10: 2301, 11: 2302, 12: 2303, 13: i16(-1)},
        **{14: 4300, 15: 0, 16: 4998, 17: i16(-2), 18: 4310, 19: 0, 20: 10, 21: 0, 24: u32(9_876), 26: 3},
    }
    around = laid_out(120, 26, {}), laid_out(123, 24, {})
    models = [*around[0], *laid_out(103, 50, places), *around[1]]
    return a_device(models, base=40_000, maker="Acme", model="Sun 5", serial="55")


def a_battery_701(*, batteries: int = 1) -> Device:
    """Models 701 and 802: charging with 2 kW at 55.5 %."""
    ac: dict[int, int | Sequence[int]] = {
        **{10: i16(-200), 11: 201, 12: 0, 17: u32(49_980), 19: u64(7_000_000_123), 23: u64(8_000_000_456)},
        **{41: i16(-200), 45: 87, 47: 2301},
        **{113: i16(-1), 114: i16(-1), 115: i16(-3), 116: 1, 118: 1, 119: 1, 120: 0},
    }
    storage: dict[int, int | Sequence[int]] = {11: 555, 56: i16(-1)}
    models = [*laid_out(701, 153, ac), *laid_out(802, 62, storage) * batteries]
    return a_device(models, base=0, maker="Acme", model="Store", serial="9")

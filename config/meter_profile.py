"""A meter profile: where in a meter's registers each quantity stands, and who says so.

One YAML file per meter (config/meters/). The *grade* tells how far the map may be trusted; the *digest* goes into
every batch, so that nobody can read a meter by another map than the one on the asset chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from config.model import Exact, Listed, Model, Name, Positive, guess, mistake
from config.self_check import LAW_NEEDS, Address, FixedWord, SelfCheck
from protocol.canonical import encode
from protocol.crypto import digest_of
from protocol.energy_register import RegisterLimit
from protocol.registers import RegisterCodec, WordOrder, WordType
from protocol.units import ELECTRICITY_REGISTERS, ENERGY_REGISTERS, Quantity

MODBUS_WORDS_MAX: Final = 125
"""Modbus Application Protocol 1.1b3 §6.3 and §6.4: the most words in one answer."""

BASE_UNITS_PER_UNIT: Final[Mapping[str, tuple[str, int | Fraction]]] = {
    "W": ("W", 1),
    "kW": ("W", 1000),
    "var": ("var", 1),
    "kvar": ("var", 1000),
    "VA": ("VA", 1),
    "kVA": ("VA", 1000),
    "Wh": ("Wh", 1),
    "kWh": ("Wh", 1000),
    "MWh": ("Wh", 1_000_000),
    "V": ("mV", 1000),
    "A": ("mA", 1000),
    "Hz": ("mHz", 1000),
    "1": ("ppm", 1_000_000),
    "%": ("ppm", 10_000),
    "deg": ("mdeg", 1000),
    "varh": ("varh", 1),
    "kvarh": ("varh", 1000),
    "MJ": ("Wh", Fraction(2500, 9)),
    "GJ": ("Wh", Fraction(2_500_000, 9)),
    "l": ("l", 1),
    "m3": ("l", 1000),
    "l/h": ("l/h", 1),
    "m3/h": ("l/h", 1000),
    "°C": ("0.01 °C", 100),
    "K": ("0.01 K", 100),
}
"""Units that a profile may name, and what they are in base units."""


class Grade(StrEnum):
    """How far a register map may be trusted."""

    VENDOR_MANUAL = "vendor_manual"
    """Checked against the bytes or tables of the maker's own document."""
    TWO_SOURCES = "two_sources"
    """Two independent public maps agree."""
    ONE_SOURCE = "one_source"
    SIMULATED = "simulated"
    """Exists only in este's own simulator."""


class Table(StrEnum):
    """Which of Modbus' two word tables, and so which function code."""

    HOLDING = "holding"
    """Function 3, read holding registers."""
    INPUT = "input"
    """Function 4, read input registers."""


class Block(Model):
    """Addresses that may be read in one request, both ends included."""

    first: Address
    last: Address

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise mistake("a block whose last address is not below its first", f"{self.first} to {self.last}")
        return self


def _to_quantity(name: str) -> str:
    known = [quantity.name.lower() for quantity in Quantity]
    if name not in known:
        raise mistake(f"a quantity of docs/reference/meter-profile.md{guess(name, known)}", name)
    return name


QuantityName = Annotated[str, AfterValidator(_to_quantity)]
"""A quantity as people write it."""


class Register(Model):
    """Where one quantity stands."""

    quantity: QuantityName
    address: Address
    type: Annotated[WordType, Field(strict=False)]
    unit: str
    scale: Exact = Decimal(1)
    """Units per count."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.unit not in BASE_UNITS_PER_UNIT:
            raise mistake(f"a unit out of {', '.join(BASE_UNITS_PER_UNIT)}", self.unit)
        if BASE_UNITS_PER_UNIT[self.unit][0] != self.id.base_unit:
            raise mistake(f"a unit that turns into {self.id.base_unit} for {self.quantity}", self.unit)
        if self.scale == 0 or (self.scale < 0 and self.id in ENERGY_REGISTERS):
            raise mistake("a scale other than 0, and above it for energy", str(self.scale))
        return self

    @property
    def id(self) -> Quantity:
        """The quantity's number on the wire."""
        return Quantity[self.quantity.upper()]

    @property
    def last(self) -> int:
        """The last address that it occupies."""
        return self.address + self.type.words - 1

    @property
    def base_scale(self) -> Fraction:
        """Base units per count."""
        return Fraction(self.scale) * BASE_UNITS_PER_UNIT[self.unit][1]


Pattern = Annotated[int, Field(ge=1, lt=1 << 64)]
"""Its highest bit tells how many words it fills, so it cannot be 0."""


class NotAvailable(Model):
    """Bit patterns by which a meter says that it has no value, for registers whose bits they fill."""

    unsigned: Annotated[tuple[Pattern, ...], Listed] = ()
    signed: Annotated[tuple[Pattern, ...], Listed] = ()
    floats: Annotated[tuple[Pattern, ...], Listed] = ()
    """Of a number that stands for none, such as 999999; what is no number at all needs no pattern."""

    def for_type(self, type_: WordType) -> frozenset[int]:
        """The patterns of one register type."""
        patterns = {"u": self.unsigned, "i": self.signed, "f": self.floats}[type_[0]]
        high = 16 * type_.words
        return frozenset(pattern for pattern in patterns if high - 16 < pattern.bit_length() <= high)


class SerialNumber(Model):
    """Where a meter tells who it is."""

    table: Annotated[Table, Field(strict=False)]
    address: Address
    words: Annotated[int, Field(ge=1, le=16)]
    spelling: Literal["number", "digits", "text"]
    """`digits`: four to a word, one in every half byte, as the hexadecimal spelling of the words shows them."""


class PowerLimit(Model):
    """A register that holds a device to a power, and how to let it go again."""

    address: Address
    """In the holding table, written with function 16."""
    type: Annotated[WordType, Field(strict=False)]
    unit: str
    scale: Exact
    lifted: Annotated[int, Field(ge=0, le=0xFFFF_FFFF)]
    """The raw value that means: no limit."""

    @model_validator(mode="after")
    def _is_power(self) -> Self:
        if BASE_UNITS_PER_UNIT.get(self.unit, ("", 0))[0] != "W":
            raise mistake("a unit of power, W or kW", self.unit)
        if self.scale <= 0:
            raise mistake("a scale above 0", str(self.scale))
        if self.lifted >= 1 << 16 * self.type.words:
            raise mistake(f"a lifted value that a register of type {self.type} holds", str(self.lifted))
        return self

    @property
    def base_scale(self) -> Fraction:
        """Watts per count."""
        return Fraction(self.scale) * BASE_UNITS_PER_UNIT[self.unit][1]


ALWAYS: Final = (*ENERGY_REGISTERS, Quantity.COOLING_WH, Quantity.HEAT_POWER_W)
"""What a meter is there for: one of these makes it a meter, and each that it has is read and sent."""

FAST: Final = tuple(quantity.name.lower() for quantity in (*ALWAYS, Quantity.ACTIVE_POWER_W))


class MeterProfile(Model):
    """Everything that has to be known to read one kind of meter."""

    id: Name
    manufacturer: str
    model: str
    manual: str
    """Title, version and page of the document that the map comes from."""
    grade: Annotated[Grade, Field(strict=False)]
    notes: str = ""
    table: Annotated[Table, Field(strict=False)]
    word_order: Annotated[WordOrder, Field(strict=False)]
    words_max: Annotated[int, Field(ge=2, le=MODBUS_WORDS_MAX)]
    """Most words that the meter gives in one answer."""
    blocks: Annotated[tuple[Block, ...], Listed]
    not_available: NotAvailable = NotAvailable()
    serial_number: SerialNumber | None = None
    power_max_w: Positive
    """The most that the meter can measure; a faster rise of its counters is no energy."""
    registers: Annotated[tuple[Register, ...], Listed]
    power_limit: PowerLimit | None = None
    """Holds what the device takes and what it feeds in: for one that does one of both, or cannot tell them apart."""
    take_limit: PowerLimit | None = None
    """Holds what it takes, and leaves alone what it feeds in."""
    feed_in_limit: PowerLimit | None = None
    """Holds what it feeds in, and leaves alone what it takes."""
    set_point: PowerLimit | None = None
    """What it is to take, or, below 0, to feed in; lifted, it runs as it likes."""
    fixed_words: Annotated[tuple[FixedWord, ...], Listed] = ()
    self_checks: Annotated[tuple[SelfCheck, ...], Listed] = ()
    refresh_ms: Positive | None = None
    """How often the meter renews what it shows: asking more often tells nothing new."""
    fast: Annotated[tuple[str, ...], Listed] = FAST
    """Quantities to read in every cycle; all others may be read more rarely on a slow bus."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if found := "; ".join(self._complaints()):
            raise mistake(found, "a profile where it is not so")
        return self

    def _complaints(self) -> Iterator[str]:
        """Everything that does not fit together, each as what was expected."""
        seen: dict[str, Register] = {}
        for register in self.registers:
            if register.quantity in seen:
                yield f"each quantity once, but {register.quantity} stands twice"
            seen[register.quantity] = register
            if register.type.words > self.words_max:
                yield f"words_max of at least {register.type.words}, which {register.quantity} spans"
            if not self._is_readable(register.address, register.last):
                yield f"{register.quantity} at {register.address:#06x} to lie inside one block"
        yield from self._overlaps()
        if self.registers and self._quantities().isdisjoint(ALWAYS):
            yield "at least one energy register, imported_wh or exported_wh, or a heat meter's own"
        yield from self._lever_complaints()
        if Quantity.HEAT_WH in self._quantities() and not self._quantities().isdisjoint(ELECTRICITY_REGISTERS):
            yield "heat_wh, or imported_wh and exported_wh: a meter counts the energy of one network"
        for word in self.fixed_words:
            if not self._is_readable(word.address, word.address):
                yield f"the fixed word at {word.address:#06x} to lie inside one block"
        for check in self.self_checks:
            if not any(needs <= self._quantities() for needs in LAW_NEEDS[check.law]):
                yield f"the registers that the law {check.law.value!r} is about"
        if unknown := [name for name in self.fast if name.upper() not in Quantity.__members__]:
            yield f"only quantities among the fast ones, not {unknown[0]!r}"

    @property
    def is_controlled(self) -> bool:
        """Whether there is anything to write."""
        levers = (self.power_limit, self.take_limit, self.feed_in_limit, self.set_point)
        return any(lever is not None for lever in levers)

    def _lever_complaints(self) -> Iterator[str]:
        if not self.registers and not self.is_controlled:
            yield "registers to read, or a power limit to write"
        if self.set_point is not None and self.set_point.type.is_unsigned:
            yield f"a set_point of a type with a sign, not {self.set_point.type}"

    def _overlaps(self) -> Iterator[str]:
        """Registers that share words: one of them is at a wrong address.

        Two quantities of one unit may be one register, as the power of a meter and that of its only phase; what is
        counted never is another quantity too.
        """
        for one, other in pairwise(sorted(self.registers, key=lambda register: (register.address, register.last))):
            is_same = (one.address, one.type, one.id.base_unit) == (other.address, other.type, other.id.base_unit)
            if other.address <= one.last and not (is_same and {one.id, other.id}.isdisjoint(ALWAYS)):
                yield f"{one.quantity} and {other.quantity} not to share words at {other.address:#06x}"

    def _is_readable(self, first: int, last: int) -> bool:
        return any(block.first <= first and last <= block.last for block in self.blocks)

    def _quantities(self) -> frozenset[Quantity]:
        return frozenset(register.id for register in self.registers)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the packed profile: comments and layout of the file do not matter."""
        return digest_of(encode(self.pack()))

    @cached_property
    def codecs(self) -> dict[Quantity, RegisterCodec]:
        """How to decode each quantity."""
        return {
            register.id: RegisterCodec(
                type=register.type,
                order=self.word_order,
                scale=register.base_scale,
                not_available=self.not_available.for_type(register.type),
            )
            for register in self.registers
        }

    @cached_property
    def energy_registers(self) -> tuple[Quantity, ...]:
        """The energy registers that the meter has."""
        return tuple(quantity for quantity in ENERGY_REGISTERS if quantity in self.codecs)

    @cached_property
    def always(self) -> tuple[Quantity, ...]:
        """What leaves the house whatever the settings name."""
        return tuple(quantity for quantity in ALWAYS if quantity in self.codecs)

    def register_limit(self, quantity: Quantity, power_max_w: int) -> RegisterLimit:
        """How fast an energy register can honestly move behind a connection of `power_max_w`."""
        count_wh = self.codecs[quantity].scale if self._counts_in_integers(quantity) else Fraction(1)
        return RegisterLimit(power_max_w=min(power_max_w, self.power_max_w), resolution_wh=ceil(count_wh))

    def _counts_in_integers(self, quantity: Quantity) -> bool:
        return self.codecs[quantity].type not in {WordType.F32, WordType.F64}

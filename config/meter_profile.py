"""A meter profile: where in a meter's registers each quantity stands, and who says so.

One YAML file per meter (config/meters/). The *grade* tells how far the map may be trusted; the *digest* goes into
every batch, so that nobody can read a meter by another map than the one on the asset chain.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from math import ceil
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from config.model import Exact, Listed, Model, Name, Positive, mistake
from protocol.canonical import encode
from protocol.crypto import digest_of
from protocol.energy_register import RegisterLimit
from protocol.registers import RegisterCodec, WordOrder, WordType
from protocol.units import ENERGY_REGISTERS, Quantity

MODBUS_WORDS_MAX: Final = 125
"""Modbus Application Protocol 1.1b3 §6.3 and §6.4: the most words in one answer."""

BASE_UNITS_PER_UNIT: Final = {
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


Address = Annotated[int, Field(ge=0, le=0xFFFF)]
"""As on the wire, counted from 0."""


class Block(Model):
    """Addresses that may be read in one request, both ends included."""

    first: Address
    last: Address

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise mistake("a block whose last address is not below its first")
        return self


class Register(Model):
    """Where one quantity stands."""

    quantity: str
    address: Address
    type: Annotated[WordType, Field(strict=False)]
    unit: str
    scale: Exact = Decimal(1)
    """Units per count."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.quantity not in (q.name.lower() for q in Quantity):
            raise mistake(f"a quantity out of {', '.join(q.name.lower() for q in Quantity)}")
        if self.unit not in BASE_UNITS_PER_UNIT:
            raise mistake(f"a unit out of {', '.join(BASE_UNITS_PER_UNIT)}")
        if BASE_UNITS_PER_UNIT[self.unit][0] != self.id.base_unit:
            raise mistake(f"a unit that turns into {self.id.base_unit} for {self.quantity}")
        if self.scale == 0 or (self.scale < 0 and self.id in ENERGY_REGISTERS):
            raise mistake("a scale other than 0, and above it for energy")
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

    def for_type(self, type_: WordType) -> frozenset[int]:
        """The patterns of one register type. A float that is no number needs none."""
        patterns = {"u": self.unsigned, "i": self.signed, "f": ()}[type_[0]]
        high = 16 * type_.words
        return frozenset(pattern for pattern in patterns if high - 16 < pattern.bit_length() <= high)


class SerialNumber(Model):
    """Where a meter tells who it is."""

    table: Annotated[Table, Field(strict=False)]
    address: Address
    words: Annotated[int, Field(ge=1, le=16)]
    spelling: Literal["number", "text"]


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
            raise mistake("a unit of power, W or kW")
        if self.scale <= 0:
            raise mistake("a scale above 0")
        if self.lifted >= 1 << 16 * self.type.words:
            raise mistake(f"a lifted value that a register of type {self.type} holds")
        return self

    @property
    def base_scale(self) -> Fraction:
        """Watts per count."""
        return Fraction(self.scale) * BASE_UNITS_PER_UNIT[self.unit][1]


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

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        seen: set[str] = set()
        for register in self.registers:
            if register.quantity in seen:
                raise mistake(f"each quantity once, but {register.quantity} stands twice")
            seen.add(register.quantity)
            if register.type.words > self.words_max:
                raise mistake(f"words_max of at least {register.type.words}, which {register.quantity} spans")
            if not any(block.first <= register.address and register.last <= block.last for block in self.blocks):
                raise mistake(f"{register.quantity} at {register.address:#06x} to lie inside one block")
        if self.registers and not seen & {quantity.name.lower() for quantity in ENERGY_REGISTERS}:
            raise mistake("at least one energy register, imported_wh or exported_wh")
        if not self.registers and self.power_limit is None:
            raise mistake("registers to read, or a power limit to write")
        return self

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

    def register_limit(self, quantity: Quantity, power_max_w: int) -> RegisterLimit:
        """How fast an energy register can honestly move behind a connection of `power_max_w`."""
        count_wh = self.codecs[quantity].scale if self._counts_in_integers(quantity) else Fraction(1)
        return RegisterLimit(power_max_w=min(power_max_w, self.power_max_w), resolution_wh=ceil(count_wh))

    def _counts_in_integers(self, quantity: Quantity) -> bool:
        return self.codecs[quantity].type not in {WordType.F32, WordType.F64}

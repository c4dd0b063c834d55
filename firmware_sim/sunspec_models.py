"""SunSpec's models point by point, in the order of its tables, and how each point is spelled.

Written as lists in order, without a single offset, and apart from `config/sunspec.yaml`, which has offsets and nothing
between them: where the two disagree, a test fails. After github.com/sunspec/models, json/model_*.json.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

NUMBER_AND_LENGTH: Final = 2
"""Words in front of every model's points."""

FORMS: Final[Mapping[str, tuple[str, bytes]]] = {
    "i": (">h", b"\x80\x00"),
    "u": (">H", b"\xff\xff"),
    "e": (">H", b"\xff\xff"),
    "sf": (">h", b"\x80\x00"),
    "pad": (">H", b"\x80\x00"),
    "u32": (">I", b"\xff\xff\xff\xff"),
    "b32": (">I", b"\xff\xff\xff\xff"),
    "acc32": (">I", b"\x00\x00\x00\x00"),
    "u64": (">Q", b"\xff" * 8),
    "f": (">f", b"\x7f\xc0\x00\x00"),
}
"""How each type is packed, and what stands there where the device has not implemented the point. Texts: see `_text`."""

_PHASES_701: Final = (
    "W{n}:i VA{n}:i Var{n}:i PF{n}:u A{n}:i V{n}{m}:u V{n}:u Inj{n}:u64 Abs{n}:u64 QInj{n}:u64 QAbs{n}:u64"
)

POINTS: Final[Mapping[int, str]] = {
    1: "Mn:text16 Md:text16 Opt:text8 Vr:text8 SN:text16 DA:u Pad:pad",
    103: """
        A:u AphA:u AphB:u AphC:u A_SF:sf PPVphAB:u PPVphBC:u PPVphCA:u PhVphA:u PhVphB:u PhVphC:u V_SF:sf
        W:i W_SF:sf Hz:u Hz_SF:sf VA:i VA_SF:sf VAr:i VAr_SF:sf PF:i PF_SF:sf WH:acc32 WH_SF:sf
        DCA:u DCA_SF:sf DCV:u DCV_SF:sf DCW:i DCW_SF:sf TmpCab:i TmpSnk:i TmpTrns:i TmpOt:i Tmp_SF:sf
        St:e StVnd:e Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 EvtVnd3:b32 EvtVnd4:b32""",
    113: """
        A:f AphA:f AphB:f AphC:f PPVphAB:f PPVphBC:f PPVphCA:f PhVphA:f PhVphB:f PhVphC:f W:f Hz:f VA:f VAr:f PF:f WH:f
        DCA:f DCV:f DCW:f TmpCab:f TmpSnk:f TmpTrns:f TmpOt:f
        St:e StVnd:e Evt1:b32 Evt2:b32 EvtVnd1:b32 EvtVnd2:b32 EvtVnd3:b32 EvtVnd4:b32""",
    120: """
        DERTyp:e WRtg:u WRtg_SF:sf VARtg:u VARtg_SF:sf VArRtgQ1:i VArRtgQ2:i VArRtgQ3:i VArRtgQ4:i VArRtg_SF:sf ARtg:u
        ARtg_SF:sf PFRtgQ1:i PFRtgQ2:i PFRtgQ3:i PFRtgQ4:i PFRtg_SF:sf WHRtg:u WHRtg_SF:sf AhrRtg:u AhrRtg_SF:sf
        MaxChaRte:u MaxChaRte_SF:sf MaxDisChaRte:u MaxDisChaRte_SF:sf Pad:pad""",
    203: """
        A:i AphA:i AphB:i AphC:i A_SF:sf PhV:i PhVphA:i PhVphB:i PhVphC:i PPV:i PhVphAB:i PhVphBC:i PhVphCA:i V_SF:sf
        Hz:i Hz_SF:sf W:i WphA:i WphB:i WphC:i W_SF:sf VA:i VAphA:i VAphB:i VAphC:i VA_SF:sf
        VAR:i VARphA:i VARphB:i VARphC:i VAR_SF:sf PF:i PFphA:i PFphB:i PFphC:i PF_SF:sf
        TotWhExp:acc32 TotWhExpPhA:acc32 TotWhExpPhB:acc32 TotWhExpPhC:acc32
        TotWhImp:acc32 TotWhImpPhA:acc32 TotWhImpPhB:acc32 TotWhImpPhC:acc32 TotWh_SF:sf
        TotVAhExp:acc32 TotVAhExpPhA:acc32 TotVAhExpPhB:acc32 TotVAhExpPhC:acc32
        TotVAhImp:acc32 TotVAhImpPhA:acc32 TotVAhImpPhB:acc32 TotVAhImpPhC:acc32 TotVAh_SF:sf
        ImpQ1:acc32 ImpQ1A:acc32 ImpQ1B:acc32 ImpQ1C:acc32 ImpQ2:acc32 ImpQ2A:acc32 ImpQ2B:acc32 ImpQ2C:acc32
        ExpQ3:acc32 ExpQ3A:acc32 ExpQ3B:acc32 ExpQ3C:acc32 ExpQ4:acc32 ExpQ4A:acc32 ExpQ4B:acc32 ExpQ4C:acc32
        TotVArh_SF:sf Evt:b32""",
    213: """
        A:f AphA:f AphB:f AphC:f PhV:f PhVphA:f PhVphB:f PhVphC:f PPV:f PhVphAB:f PhVphBC:f PhVphCA:f Hz:f
        W:f WphA:f WphB:f WphC:f VA:f VAphA:f VAphB:f VAphC:f VAR:f VARphA:f VARphB:f VARphC:f
        PF:f PFphA:f PFphB:f PFphC:f TotWhExp:f TotWhExpPhA:f TotWhExpPhB:f TotWhExpPhC:f
        TotWhImp:f TotWhImpPhA:f TotWhImpPhB:f TotWhImpPhC:f
        VAhExp:f VAhExpA:f VAhExpB:f VAhExpC:f VAhImp:f VAhImpA:f VAhImpB:f VAhImpC:f
        Q1:f Q1A:f Q1B:f Q1C:f Q2:f Q2A:f Q2B:f Q2C:f Q3:f Q3A:f Q3B:f Q3C:f Q4:f Q4A:f Q4B:f Q4C:f Evt:b32""",
    701: f"""
        ACType:e St:e InvSt:e ConnSt:e Alrm:b32 DERMode:b32 W:i VA:i Var:i PF:u A:i LLV:u LNV:u Hz:u32
        TotWhInj:u64 TotWhAbs:u64 TotVarhInj:u64 TotVarhAbs:u64
        TmpAmb:i TmpCab:i TmpSnk:i TmpTrns:i TmpSw:i TmpOt:i
        {_PHASES_701.format(n=1, m=2)} {_PHASES_701.format(n=2, m=3)} {_PHASES_701.format(n=3, m=1)}
        ThrotPct:u ThrotSrc:b32 A_SF:sf V_SF:sf Hz_SF:sf W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf TotWh_SF:sf TotVarh_SF:sf
        Tmp_SF:sf MnAlrmInfo:text32""",
    802: """
        AHRtg:u WHRtg:u WChaRteMax:u WDisChaRteMax:u DisChaRte:u SoCMax:u SoCMin:u SocRsvMax:u SoCRsvMin:u SoC:u DoD:u
        SoH:u NCyc:u32 ChaSt:e LocRemCtl:e Hb:u CtrlHb:u AlmRst:u Typ:e State:e StateVnd:e WarrDt:u32 Evt1:b32 Evt2:b32
        EvtVnd1:b32 EvtVnd2:b32 V:u VMax:u VMin:u CellVMax:u CellVMaxStr:u CellVMaxMod:u CellVMin:u CellVMinStr:u
        CellVMinMod:u CellVAvg:u A:i AChaMax:u ADisChaMax:u W:i ReqInvState:e ReqW:i SetOp:e SetInvState:e
        AHRtg_SF:sf WHRtg_SF:sf WChaDisChaMax_SF:sf DisChaRte_SF:sf SoC_SF:sf DoD_SF:sf SoH_SF:sf V_SF:sf CellV_SF:sf
        A_SF:sf AMax_SF:sf W_SF:sf""",
}
"""The points of every model that is simulated, each with its type."""

Values = Mapping[str, "int | float | str"]
"""What stands at each point of a model. A point that is not named is not implemented."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a model."""

    name: str
    form: str
    offset: int
    """In words, from the number of its model."""
    words: int

    def spell(self, value: int | float | str | None) -> bytes:
        """Its bytes. An integer that is too large for its type begins again at 0, as an accumulator does."""
        if self.form.startswith("text"):
            return _text(str(value or ""), self.words)
        packing, nothing = FORMS[self.form]
        if value is None:
            return nothing
        if isinstance(value, int) and packing != ">f" and self.form.startswith("acc"):
            value %= 1 << (16 * self.words)
        return struct.pack(packing, value)

    def read(self, words: Sequence[int]) -> str | None:
        """What stands there, in words; None where it is not implemented."""
        data = struct.pack(f">{self.words}H", *words)
        if self.form.startswith("text"):
            return data.rstrip(b"\x00").decode("ascii", errors="replace") or None
        packing, nothing = FORMS[self.form]
        if data == nothing:
            return None
        (value,) = struct.unpack(packing, data)
        return f"{value:.7g}" if self.form == "f" else str(value)


def points(number: int) -> Iterator[Point]:
    """The points of a model, in order.

    Raises:
        KeyError: a model that is not simulated.
    """
    offset = NUMBER_AND_LENGTH
    for told in POINTS[number].split():
        name, form = told.split(":")
        words = int(form[4:]) if form.startswith("text") else len(FORMS[form][1]) // 2
        yield Point(name, form, offset, words)
        offset += words


def model_words(number: int, values: Values) -> list[int]:
    """A whole model as words: its number, its length, its points.

    Raises:
        KeyError: a model that is not simulated, or a value for a point that it does not have.
    """
    data, unused = bytearray(), dict(values)
    for point in points(number):
        data += point.spell(unused.pop(point.name, None))
    if unused:
        raise KeyError(f"model {number} has no {', '.join(unused)}")
    return [number, len(data) // 2, *_as_words(data)]


def _as_words(data: bytes | bytearray) -> Sequence[int]:
    return struct.unpack(f">{len(data) // 2}H", data)


def _text(value: str, words: int) -> bytes:
    return value.encode("ascii")[: 2 * words].ljust(2 * words, b"\x00")

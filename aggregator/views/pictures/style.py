"""What all pictures share: colours that are told apart by everybody, one look, and files that are the same every time.

Colours are those of Okabe and Ito (Color Universal Design, 2008), and Tol's wine, given to sources as the field is
used to: yellow sun, blue wind, grey for the grid outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from config.carriers import Carrier
from config.grid_model import Source
from protocol.errors import OperatorError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK: Final = "#333333"
PALE: Final = "#bbbbbb"
ALARM: Final = "#d55e00"
"""Above a rating."""
SOURCE_COLOURS: Final[Mapping[Source, str]] = {
    Source.PV: "#f0e442",
    Source.WIND: "#56b4e9",
    Source.HYDRO: "#0072b2",
    Source.GAS: "#d55e00",
    Source.GRID: "#999999",
    Source.OTHER: "#e4e4e4",
    Source.BIOMASS: "#009e73",
    Source.SOLAR_HEAT: "#e69f00",
    Source.WASTE_HEAT: "#882255",
}
SOURCE_NAMES: Final[Mapping[Source, str]] = {
    Source.PV: "sun",
    Source.GRID: "grid outside",
    Source.OTHER: "unknown",
    Source.SOLAR_HEAT: "solar heat",
    Source.WASTE_HEAT: "waste heat",
}
"""Where people say it otherwise than the ledger."""
CARRIER_COLOURS: Final[Mapping[Carrier, str]] = {
    Carrier.ELECTRICITY: "#8da0b8",
    Carrier.HEAT: "#d9a38f",
    Carrier.GAS: "#cdbb86",
    Carrier.HYDROGEN: "#93c4b0",
}
FORMATS: Final = (".svg", ".png")
_LOOK: Final[dict[Any, Any]] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "svg.hashsalt": "este",
    "svg.fonttype": "none",
}


def use_look() -> None:
    """Draw everything from now on in the one look, without a display."""
    mpl.use("agg")
    mpl.rcParams.update(_LOOK)


def see_that_drawable(path: Path) -> None:
    """See that a picture can be written to a file of that name.

    Raises:
        OperatorError: neither SVG nor PNG, or its folder is not there.
    """
    if path.suffix.lower() not in FORMATS:
        raise OperatorError(path, "--out", "a file that ends in .svg or .png", path.suffix or "no ending")
    if not path.parent.is_dir():
        raise OperatorError(path, "--out", "a folder that is there", str(path.parent))


def save(figure: Figure, path: Path) -> None:
    """Write a picture; the same one gives the same bytes.

    Raises:
        OperatorError: it cannot be written.
    """
    is_svg = path.suffix.lower() == ".svg"
    metadata = {"Date": None, "Creator": None} if is_svg else {"Software": None}
    try:
        figure.savefig(path, dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.15, metadata=metadata)
    except OSError as error:
        raise OperatorError(path, "--out", "a file that can be written", error.strerror or str(error)) from error


def colour_of(source: Source) -> str:
    """The colour of a source."""
    return SOURCE_COLOURS.get(source, PALE)


def name_of(source: Source) -> str:
    """What people call a source."""
    return SOURCE_NAMES.get(source, source.value.replace("_", " "))


def patch_of(source: Source) -> Patch:
    """A source's entry in a legend."""
    style = {"edgecolor": "white"} | hatch_of(source)
    return Patch(facecolor=colour_of(source), label=name_of(source), **style)


def hatch_of(source: Source) -> dict[str, Any]:
    """What is of unknown origin is hatched, so that nobody takes it for a source."""
    return {"hatch": "////", "edgecolor": PALE} if source is Source.OTHER else {}


def sources_in(mixes: Iterable[Iterable[tuple[Source, int]]]) -> list[Source]:
    """The sources that occur, in the order in which they are stacked."""
    found = {source for mix in mixes for source, _ in mix}
    return [source for source in SOURCE_COLOURS if source in found]


def legend_beside(axes: Axes, handles: Iterable[Any], title: str = "") -> None:
    """A legend to the right of the axes, never on them."""
    axes.legend(
        handles=list(handles), title=title, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0,
        alignment="left",
    )  # fmt: skip


def power(power_w: float) -> str:
    """Power as people read it."""
    return _scaled(power_w, "W")


def energy(energy_wh: float) -> str:
    """Energy as people read it."""
    return _scaled(energy_wh, "Wh")


def scale_of(largest: float) -> tuple[float, str]:
    """What to divide by, and the prefix of the unit, so that the largest is easy to read."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if largest >= 2 * factor:
            return factor, prefix
    return 1.0, ""


def _scaled(value: float, unit: str) -> str:
    factor, prefix = scale_of(abs(value))
    scaled = value / factor
    digits = 0 if abs(scaled) >= 100 or factor == 1 else 1
    return f"{scaled:,.{digits}f} {prefix}{unit}".replace("-", "−")

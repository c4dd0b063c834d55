"""From floats to integers that add up: largest remainder, and rounding that comes out even over many intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from aggregator.chains.intervals.flows import SOURCES, Mix, Parcel
from aggregator.grid.network import Floats, Ints
from config.grid_model import Source

OTHER: Final = SOURCES.index(Source.OTHER)
NUMBERS: Final = len(SOURCES)
GOLDEN: Final = 0x9E3779B97F4A7C15
"""2⁶⁴ over the golden ratio: its multiples, modulo 2⁶⁴, lie evenly however many there are (Knuth, TAOCP 6.4)."""


def split(whole_wh: int, parts: Sequence[float]) -> Mix:
    """Split watt-hours in the proportion of `parts`, by largest remainder: the sum is exact.

    Among equal remainders the source that stands first gets the watt-hour. Without any parts the origin is unknown.
    """
    return mixes_of(split_many(np.array([whole_wh]), np.array([parts], dtype=np.float64)))[0]


def split_many(whole_wh: Ints, parts: Floats) -> Ints:
    """Split many amounts at once, each by its row of `parts`.

    Args:
        whole_wh: (r) amounts, 0 or more, below 2⁵³.
        parts: (r, k) 0 or more; k sources.

    Returns:
        (r, k) integers of 0 or more whose rows sum to `whole_wh`.
    """
    total = parts.sum(axis=1)
    unknown = ~(total > 0)
    if unknown.any():
        parts, total = parts.copy(), np.where(unknown, 1.0, total)
        parts[unknown] = np.eye(parts.shape[1])[OTHER]
    used = np.flatnonzero(parts.any(axis=0))
    exact = whole_wh[:, None] * (parts[:, used] / total[:, None])
    rounded = np.floor(exact)
    left = whole_wh - rounded.sum(axis=1).astype(np.int64)
    order = np.argsort(rounded - exact, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    split_up = np.zeros(parts.shape, dtype=np.int64)
    split_up[:, used] = rounded.astype(np.int64) + (rank < left[:, None])
    return split_up


def mixes_of(split_up: Ints) -> list[Mix]:
    """Rows of integers as mixes: sources without energy are left out."""
    row, source = np.nonzero(split_up)
    pairs = list(zip(map(SOURCES.__getitem__, source.tolist()), split_up[row, source].tolist(), strict=True))
    ends = np.searchsorted(row, np.arange(len(split_up) + 1)).tolist()
    return [tuple(pairs[begin:end]) for begin, end in pairwise(ends)]


def parcel_of(energy_wh: int, contents: Floats) -> Parcel:
    """An amount of energy with the mix and carbon of `contents`.

    Args:
        contents: (k + 1) by source, then carbon per unit of energy: what it is measured in does not matter.
    """
    if energy_wh <= 0:
        return Parcel(())
    total = float(contents[:NUMBERS].sum())
    carbon_mg = round(energy_wh * float(contents[NUMBERS]) / total) if total > 0 else 0
    return Parcel(split(energy_wh, contents[:NUMBERS].tolist()), carbon_mg)


def contents_of(parcel: Parcel) -> Floats:
    """(k + 1) watt-hours by source, and milligrams of carbon."""
    contents = np.zeros(NUMBERS + 1)
    for source, energy_wh in parcel.mix_wh:
        contents[SOURCES.index(source)] = energy_wh
    contents[NUMBERS] = parcel.carbon_mg
    return contents


def evenly(amount: float, number: int) -> int:
    """Round down or up so that fractions come out right over many intervals.

    A storage that loses a tenth of a watt-hour in every interval would never lose anything by rounding to the nearest.
    The state holds no fractions; so the interval's number decides, and every tenth interval loses one.
    """
    offset = (number * GOLDEN % (1 << 64)) / (1 << 64)
    return int(np.floor(round(amount, 6) + offset))

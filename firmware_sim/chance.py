"""Chance that repeats: numbers drawn from a seed and a path of names, the same on every machine, in any order.

There are no dice that are rolled one after another, so that a site added at the end changes none of the others.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

_KNOTS_MAX: Final = 1 << 16
"""Knots of noise that are kept: every curve needs two at a time, and again at the next tick."""


def draw(*path: int | str) -> float:
    """A number from 0 up to, but never, 1 that belongs to `path`, which begins with the seed."""
    digest = blake2b("/".join(map(str, path)).encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / (1 << 53)


def between(low: int, high: int, *path: int | str) -> int:
    """An integer from `low` to `high`, both included, that belongs to `path`."""
    return low + int(draw(*path) * (high - low + 1))


def noise(seed: str, channel: str, t_s: float, span_s: int) -> float:
    """A smooth wander between −1 and 1 that takes about `span_s` seconds from one turn to the next."""
    knot, fraction = divmod(t_s / span_s, 1.0)
    before, after = _knot(seed, channel, int(knot)), _knot(seed, channel, int(knot) + 1)
    eased = fraction * fraction * (3.0 - 2.0 * fraction)
    return before + (after - before) * eased


@lru_cache(maxsize=_KNOTS_MAX)
def _knot(seed: str, channel: str, number: int) -> float:
    return 2.0 * draw(seed, channel, number) - 1.0

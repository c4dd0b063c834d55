"""Contracts kept in some order while they come, change and go: nobody sorts all of them to ask for a few."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from itertools import islice

from aggregator.chains.contracts.rows import Contract

Key = tuple[int, ...]


class Sorted:
    """Contracts by a key that differs for each of them, the least first."""

    def __init__(self, key: Callable[[Contract], Key]) -> None:
        """There are none."""
        self._key = key
        self._keys: list[Key] = []
        self._contracts: dict[Key, Contract] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Contract]:
        return (self._contracts[key] for key in self._keys)

    def add(self, contract: Contract) -> None:
        """Take a contract in."""
        key = self._key(contract)
        if key not in self._contracts:
            insort(self._keys, key)
        self._contracts[key] = contract

    def remove(self, contract: Contract) -> None:
        """Leave out a contract that is in."""
        key = self._key(contract)
        del self._contracts[key]
        del self._keys[bisect_left(self._keys, key)]

    def first(self, count: int) -> list[Contract]:
        """As many of them as that, or all if there are fewer."""
        return list(islice(self, count))

    def until(self, bound: int) -> list[Contract]:
        """Those whose key begins with a number up to `bound`."""
        return [self._contracts[key] for key in self._keys[: bisect_left(self._keys, (bound + 1,))]]

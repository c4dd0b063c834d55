"""State that remembers what changed, can take it back, and has one spelling.

Every chain keeps its state in tables. All tables of a ledger share one `Journal`: a refused record is rolled back to
the mark before it, a block that does not stand is rolled back whole, and a block that does leaves the list of its
changes, in the order of their keys, for the store and the state root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from protocol.canonical import Value, decode, encode
from protocol.errors import EncodingError

Key = str | bytes | int | tuple[str, int] | tuple[int, str] | tuple[str, int, int] | tuple[str, str, int]
K = TypeVar("K", bound=Key)
V = TypeVar("V")

ROW_BYTES_MAX = 1 << 27


class Change(NamedTuple):
    """One row that a block wrote, or deleted if `value` is None."""

    key: bytes
    value: bytes | None


@dataclass(slots=True)
class Journal:
    """What has been written since the last commit, oldest first, with what stood there before."""

    _undo: list[tuple[Table[Any, Any], Any, Any]] = field(default_factory=list)

    def note(self, table: Table[K, V], key: K, before: V | None) -> None:
        """Remember what a write replaces."""
        self._undo.append((table, key, before))

    def mark(self) -> int:
        """A place to roll back to."""
        return len(self._undo)

    def roll_back(self, mark: int = 0) -> None:
        """Take back everything written after `mark`."""
        while len(self._undo) > mark:
            table, key, before = self._undo.pop()
            table.restore(key, before)

    def touched(self) -> list[tuple[Table[Any, Any], Any]]:
        """The rows written since the last commit, each once."""
        return list({(table.number, key): (table, key) for table, key, _ in self._undo}.values())

    def tables(self) -> set[int]:
        """Numbers of the tables written to since the last commit."""
        return {table.number for table, _, _ in self._undo}

    def changes(self) -> list[Change]:
        """What stands now in the rows written since the last commit, in the order of their keys."""
        return spell_rows(self.touched())

    def commit(self) -> None:
        """Forget how to undo."""
        self._undo.clear()


class Table(Generic[K, V]):
    """A mapping from keys to immutable values, as part of the ledger's state."""

    def __init__(
        self, number: int, journal: Journal, *, spell: Callable[[V], Value], read: Callable[[Value], V]
    ) -> None:
        """`number` tells the table apart in the state; `spell` and `read` turn a value into CBOR and back."""
        self.number = number
        self._journal = journal
        self._spell = spell
        self._read = read
        self._rows: dict[K, V] = {}

    def __getitem__(self, key: K) -> V:
        return self._rows[key]

    def __contains__(self, key: K) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[K]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: K) -> V | None:
        """The value under `key`, or None."""
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[K, V]]:
        """All rows, in the order of their keys: never in the order in which they happened to come."""
        return sorted(self._rows.items(), key=_first)

    def put(self, key: K, value: V) -> None:
        """Write a row."""
        self._journal.note(self, key, self._rows.get(key))
        self._rows[key] = value

    def remove(self, key: K) -> None:
        """Delete a row that is there."""
        self._journal.note(self, key, self._rows.pop(key))

    def put_or_drop(self, key: K, value: V, *, is_kept: bool) -> None:
        """Write a row, or, where it is not worth keeping, see that there is none."""
        if is_kept:
            self.put(key, value)
        elif key in self:
            self.remove(key)

    def restore(self, key: K, before: V | None) -> None:
        """Put back what stood under `key`; only the journal does this."""
        if before is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = before

    def change(self, key: K) -> Change:
        """The row under `key` as it stands now, in bytes."""
        row = self._rows.get(key)
        spelled_key = encode([self.number, list(key) if isinstance(key, tuple) else key])
        return Change(spelled_key, None if row is None else encode(self._spell(row)))

    def load(self, key: Value, value: bytes) -> None:
        """Take a row from the store. The journal does not see it."""
        self._rows[_known(key)] = self._read(decode(value, size_max=ROW_BYTES_MAX))


class WatchedTable(Table[K, V]):
    """A table that tells of every row that changes, also when a change is taken back: for whoever keeps an index."""

    def __init__(
        self,
        number: int,
        journal: Journal,
        *,
        spell: Callable[[V], Value],
        read: Callable[[Value], V],
        watch: Callable[[K, V | None, V | None], None],
    ) -> None:
        """`watch` is told the key, what stood there, and what stands there now."""
        super().__init__(number, journal, spell=spell, read=read)
        self._watch = watch

    def put(self, key: K, value: V) -> None:
        """Write a row."""
        before = self.get(key)
        super().put(key, value)
        self._watch(key, before, value)

    def remove(self, key: K) -> None:
        """Delete a row that is there."""
        before = self.get(key)
        super().remove(key)
        self._watch(key, before, None)

    def restore(self, key: K, before: V | None) -> None:
        """Put back what stood under `key`; only the journal does this."""
        gone = self.get(key)
        super().restore(key, before)
        self._watch(key, gone, before)

    def load(self, key: Value, value: bytes) -> None:
        """Take a row from the store. The journal does not see it."""
        super().load(key, value)
        self._watch(known := _known(key), None, self[known])


def spell_rows(rows: Iterable[tuple[Table[Any, Any], Any]]) -> list[Change]:
    """Rows as they stand now, in bytes, in the order of their keys."""
    return sorted((table.change(key) for table, key in rows), key=attrgetter("key"))


def load_rows(tables: Mapping[int, Table[Any, Any]], rows: Iterable[tuple[bytes, bytes]]) -> None:
    """Fill tables from the store's rows.

    Raises:
        EncodingError: a row is not what `Table.change` writes, or one of another table, or with other columns.
    """
    for spelled_key, value in rows:
        try:
            number, key = decode(spelled_key, size_max=ROW_BYTES_MAX)
            tables[number].load(key, value)
        except (EncodingError, LookupError, TypeError, ValueError) as error:
            finding = f"the state has a row {spelled_key.hex()[:40]} that another version of este has written"
            raise EncodingError(f"{finding}: {error}") from error


def flat(kind: type[V]) -> tuple[Callable[[V], Value], Callable[[Value], V]]:
    """How to spell and read a dataclass that holds nothing but integers, bytes, text and None."""
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    columns = len(names)

    def read(row: Value) -> V:
        if len(row) != columns:  # where a column has a default, a row without it would be read as another one
            raise EncodingError(f"{len(row)} columns where {kind.__name__} has {columns}")
        return kind(*row)

    if columns == 1:
        only = attrgetter(names[0])
        return lambda value: [only(value)], read
    spell = attrgetter(*names)
    return lambda value: list(spell(value)), read


def _known(key: Value) -> Any:
    """A key as tables have it, from how the store spells it."""
    return tuple(key) if isinstance(key, list) else key


def _first(row: tuple[K, V]) -> K:
    return row[0]

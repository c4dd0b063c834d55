"""Which tiles a log has, by the examples of c2sp.org/tlog-tiles."""

from __future__ import annotations

from aggregator.service.tiles import Tile, spelled_bundle, tiles_of


def widths(size: int, level: int) -> list[int]:
    return [tile.width for tile in tiles_of(size) if tile.level == level]


def test_a_log_of_70_000_has_the_tiles_of_the_specification() -> None:
    assert widths(70_000, 0) == [256] * 273 + [112]
    assert widths(70_000, 1) == [256, 17]
    assert widths(70_000, 2) == [1]
    assert widths(70_000, 3) == []


def test_a_log_of_256_has_a_full_tile_and_a_narrow_one_above() -> None:
    assert [(tile.level, tile.width) for tile in tiles_of(256)] == [(0, 256), (1, 1)]


def test_an_empty_log_has_none() -> None:
    assert list(tiles_of(0)) == []


def test_a_path_has_groups_of_three_digits() -> None:
    assert Tile(0, 1_234_067).path == "tile/0/x001/x234/067"
    assert Tile(1, 0, 17).path == "tile/1/000.p/17"
    assert Tile("entries", 1000, 1).path == "tile/entries/x001/000.p/1"


def test_a_bundle_tells_each_length_in_front() -> None:
    assert b"".join(spelled_bundle([b"ab", b""], is_large=False)) == b"\x00\x02ab\x00\x00"
    assert b"".join(spelled_bundle([b"ab"], is_large=True)) == b"\x00\x00\x00\x02ab"

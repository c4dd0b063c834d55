"""What the regulator says of tokens and money: spelled in one way, and nothing that the rule of the record forbids."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.accounts.exchanges import PAYOUTS_MAX, Payout, RateRecord
from aggregator.economy.exchange import Rate
from protocol.errors import EncodingError
from tests.builders import a_link
from tests.unit.protocol.mutation import Path, paths_in, with_field, without_field

RATE = RateRecord(a_link(author="regulator"), 5, Rate(2_000, 2_500))
PAYOUT = Payout(a_link(author="regulator"), "este-1", (("annia", -3), ("zoe", 5)))

WRONG: dict[str, tuple[Any, Path, Any]] = {
    "an instant before 1970": (RATE, (5,), -1),
    "tokens that bring more than they cost": (RATE, (6,), 2_501),
    "tokens that cost less than they bring": (RATE, (7,), 1_999),
    "tokens that cost nothing": (RATE, (7,), 0),
    "a rate beyond its bound": (RATE, (7,), 10**9 + 1),
    "a reference that is too long": (PAYOUT, (5,), "x" * 36),
    "a payout to nobody": (PAYOUT, (6,), []),
    "a payout to everybody and their neighbours": (PAYOUT, (6,), [["annia", 1]] * (PAYOUTS_MAX + 1)),
    "somebody twice": (PAYOUT, (6,), [["annia", 1], ["annia", 1]]),
    "another order": (PAYOUT, (6,), [["zoe", 5], ["annia", -3]]),
    "an amount of nothing": (PAYOUT, (6, 0, 1), 0),
    "an amount beyond 64 bits": (PAYOUT, (6, 1, 1), 2**63),
    "a name with a slash": (PAYOUT, (6, 1, 0), "z/e"),
}


@pytest.mark.parametrize("record", [RATE, PAYOUT], ids=["rate", "payout"])
def test_a_record_survives_being_written_and_read(record: Any) -> None:
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize(("record", "path", "value"), WRONG.values(), ids=WRONG)
def test_a_record_out_of_its_bounds_is_refused(record: Any, path: Path, value: Any) -> None:
    with pytest.raises(EncodingError):
        type(record).decode(with_field(record.encode(), path, value))


@pytest.mark.parametrize("record", [RATE, PAYOUT], ids=["rate", "payout"])
def test_no_field_is_of_another_type_or_missing(record: Any) -> None:
    for path in paths_in(record.encode()):
        for other in (None, True, {}, b""):
            with pytest.raises(EncodingError):
                type(record).decode(with_field(record.encode(), path, other))
        if path not in {(6, 0), (6, 1)}:  # one payout less is a payout, too
            with pytest.raises(EncodingError):
                type(record).decode(without_field(record.encode(), path))

"""What somebody would have used, had no event been called: the mean of the same interval of the last like days.

Like days are workdays or days off (Saturday and Sunday) in the region's time zone. Days with an event at that time do
not count, nor does a value beyond what the participant's connections can carry. So whoever wants a higher baseline has
to use more on up to ten days when nobody pays for it, to be paid a tenth of that on each.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from config.rules import DAY_MS, TimeRule
from config.time_zone import zone_of

LIKE_DAYS: Final = 10
"""Days that a baseline looks back on (the papers' mean, as energy markets have it)."""
LIKE_DAYS_MIN: Final = 3
"""Fewer tell nothing: then there is no baseline, and no reward."""
SATURDAY: Final = 5

Values = tuple[int, ...]
"""Watt-hours of one interval of the day on like days, oldest first; at most `LIKE_DAYS`."""


def slot_of(start_ms: int, rule: TimeRule) -> int:
    """Which intervals are like the one that starts at `start_ms`: they have the same number.

    Even numbers are of workdays, odd ones of days off. Where a day is cut short for a simulation, all days are alike.
    """
    if rule.day_ms != DAY_MS:
        return start_ms % rule.day_ms // rule.interval_ms * 2
    local = datetime.fromtimestamp(start_ms // 1000, tz=UTC).astimezone(zone_of(rule.time_zone))
    since_midnight = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
    number = since_midnight // timedelta(milliseconds=rule.interval_ms)
    return number * 2 + (local.weekday() >= SATURDAY)


def with_value(values: Values, net_wh: int, bound_wh: int) -> Values:
    """The values with one more day; `bound_wh` is what the connections carry in an interval, either way."""
    return (*values, max(-bound_wh, min(bound_wh, net_wh)))[-LIKE_DAYS:]


def baseline_wh(values: Values) -> int | None:
    """The mean, rounded down; None where there are too few days."""
    return sum(values) // len(values) if len(values) >= LIKE_DAYS_MIN else None

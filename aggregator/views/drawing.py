"""What every picture needs: a ledger, the intervals that are meant, and a file to write to."""

from __future__ import annotations

import difflib
from datetime import date, datetime, timedelta
from pathlib import Path

from matplotlib.figure import Figure

from aggregator.economy.periods import interval_start
from aggregator.service.past import Past, StatedInterval
from aggregator.service.query import LedgerFile
from aggregator.views.pictures.style import save, see_that_drawable, use_look
from aggregator.views.spans import NoSuchTimeError, closed_span, instant_of, restatable_ms, spelled
from aggregator.views.ways import lines_of
from config.time_zone import zone_of
from protocol.errors import OperatorError


class Drawing:
    """A picture that is to be made of a ledger."""

    def __init__(self, file: Path, data: Path) -> None:
        """See that it can be made.

        Raises:
            EsteError: the file's name or folder will not do, or there is no ledger.
        """
        see_that_drawable(file)
        self._file = file
        self._ledger = LedgerFile(data)
        self.region = self._ledger.five.asset.region
        use_look()

    def interval(self, at: str | None) -> StatedInterval:
        """The closed interval of an instant; the last one if none.

        Raises:
            NoSuchTimeError: it is not closed.
        """
        until_ms = self._ledger.five.analysis.cursor.next_interval_ms
        at_ms = until_ms - 1 if at is None else instant_of(at)
        found = self._between(interval_start(at_ms, self.region.rules.time), at_ms + 1)
        if not found:
            begin_ms = self.region.begin_ms
            if until_ms <= begin_ms:
                raise NoSuchTimeError(f"no interval is closed yet: the first one begins at {spelled(begin_ms)}")
            closed = f"{spelled(begin_ms)} to {spelled(until_ms)}"
            raise NoSuchTimeError(f"no closed interval at {spelled(at_ms)}; closed: {closed}")
        return found[0]

    def span(self, from_: str | None, to: str | None) -> list[StatedInterval]:
        """The closed intervals of a span of time; by default the last settled period, or else all.

        Raises:
            NoSuchTimeError: none is closed.
        """
        five = self._ledger.five
        is_settled = five.analysis.cursor.periods and from_ is None and to is None
        span = closed_span(five, from_, to, "last" if is_settled else None)
        return self._between(span.start_ms, span.end_ms)

    def day(self, day: str | None, from_: str | None, to: str | None) -> list[StatedInterval]:
        """The closed intervals of a day in the region's time zone; by default of the day up to the last one.

        Raises:
            NoSuchTimeError: it is no day, or nothing of it is closed.
        """
        if from_ is not None or to is not None:
            return self.span(from_, to)
        if day is None:
            until_ms = self._ledger.five.analysis.cursor.next_interval_ms
            found = self._between(until_ms - 86_400_000, until_ms)
        else:
            start = datetime.combine(_day(day), datetime.min.time(), zone_of(self.region.rules.time.time_zone))
            end = datetime.combine(_day(day) + timedelta(days=1), datetime.min.time(), start.tzinfo)
            found = self._between(round(start.timestamp() * 1000), round(end.timestamp() * 1000))
        if not found:
            raise NoSuchTimeError(f"no interval of {day or 'the last day'} is closed")
        return found

    def see_that_line(self, name: str) -> None:
        """See that a branch or pipe is called so.

        Raises:
            OperatorError: none is; the nearest names are told.
        """
        names = [line.id for line in lines_of(self.region.grid)]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:5]
            raise OperatorError("command line", "NAME", f"a branch or pipe such as {', '.join(near)}", name)

    def keep(self, figure: Figure) -> None:
        """Write the picture.

        Raises:
            OperatorError: it cannot be written.
        """
        save(figure, self._file)
        self._ledger.close()

    def _between(self, start_ms: int, end_ms: int) -> list[StatedInterval]:
        begin_ms = max(start_ms, self.region.begin_ms)
        return Past(self._ledger.store).intervals(begin_ms, end_ms, restatable_ms(self.region))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise NoSuchTimeError(f"expected a day such as 2026-11-20, got {text!r}") from error

"""Which UTC day counts, however the clock jumps.

The day that counts is the latest day seen: a clock that is set back gives no second
allowance, the later day is held until real time catches up. But a day that is more than
one ahead of the clock was a clock's mistake and is ignored; otherwise one minute in the
year 2099 would hold that day for ever. Then the latest of the days that counted before it,
or the clock's, counts again.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

DAYS_KEPT = 4
"""So many days are remembered: the one that counts and those that counted before it.

A day is needed again when a clock that was wrong is set right: it is the one that counted
before the jump. A wrong clock passes midnights of its own and pushes it out with the third
of them. By then two whole days have gone by, so the day before the jump is past, even when
it was a day ahead of the clock. With fewer kept it could be needed still.
"""
_IGNORED_KEPT = 8
_ONE_DAY = timedelta(days=1)


class HeldDay:
    """The day that counts, by what the clock has shown.

    Attributes:
        day: the day that counts; ``date.min`` before the first ``follow``.
        ignored: days that were seen and are ignored, the oldest finding first; at most 8.
    """

    __slots__ = ("_clock", "_seen", "day", "ignored")

    def __init__(self) -> None:
        self.day = date.min
        self.ignored: tuple[date, ...] = ()
        self._clock = date.min
        # The days that counted and were not ignored since, ascending; the last one counts.
        self._seen: list[date] = []

    def follow(self, today: date) -> bool:
        """Take the clock's day.

        Returns:
            whether another day counts from here on.
        """
        if today == self._clock:
            return False
        self._clock = today
        seen = self._seen
        while seen and seen[-1] - today > _ONE_DAY:
            self._ignore(seen.pop())
        if not seen or seen[-1] < today:
            seen.append(today)
            del seen[:-DAYS_KEPT]
        before, self.day = self.day, seen[-1]
        return self.day != before

    def remember(self, day: date) -> None:
        """Take over an earlier day of another run: it counts again when the later ones do not."""
        if day < self.day and day not in self._seen:
            insort(self._seen, day)
            del self._seen[:-DAYS_KEPT]

    def _ignore(self, day: date) -> None:
        if day not in self.ignored:
            self.ignored = (*self.ignored, day)[-_IGNORED_KEPT:]


class Start(NamedTuple):
    """With which days of the ledger to begin.

    Attributes:
        day: the one that counts: today or tomorrow.
        others: days whose sums are to be remembered beside it, the likeliest first.
        ignored: days of a wrong clock, ascending, to be told with a warning.
    """

    day: date
    others: tuple[date, ...]
    ignored: tuple[date, ...]


def starting_days(today: date, known: Iterable[date]) -> Start:
    """Choose the days to begin with, when the ledger may hold days of a wrong clock.

    A clock that was set back by hours must not give a second allowance for the day that
    was seen already; but one jump to 2099 must not hold that day for ever. Today's own
    clock may be the wrong one: the sums of the days before it are remembered too.

    Args:
        known: the days of the ledger, in any order.
    """
    days = sorted(set(known))
    believable = today + _ONE_DAY
    ignored = tuple(day for day in days if day > believable)
    day = believable if believable in days else today
    # The nearest day of a wrong clock is the first that real time could come to.
    others = (*reversed([each for each in days if each < day][-2:]), *ignored[:1])
    return Start(day, others[: DAYS_KEPT - 1], ignored)


def resets_at(day: date) -> datetime:
    """Return when the allowance of a day ends: the next 00:00 UTC."""
    return datetime.combine(day + _ONE_DAY, time.min, UTC)

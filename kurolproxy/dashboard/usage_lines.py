"""The page about usage without its queries: which days, which lines, what they may have cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, get_args

from kurolproxy.policy.catalog import Price
from kurolproxy.storage.account_usage import Counts, Place, Used

PLACES: Final[tuple[Place, ...]] = get_args(Place)
PERIODS: Final[tuple[int, ...]] = (1, 7, 30, 90)
"""Days up to today."""
MOST_DAYS: Final = 366
MOST_DAYS_BY_HOUR: Final = 3
"""Hours are added up from a row for each request: a few days of them are quick."""

_USUAL: Final = 30
_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page is asked for.

    Attributes:
        first: the first UTC day.
        last: the last UTC day.
        period: one of ``PERIODS``; 0: two days were typed.
        typed_from: what was typed.
        typed_to: what was typed.
        wrong: what is wrong with it; "": nothing.
    """

    by: Place
    first: date
    last: date
    period: int
    typed_from: str = ""
    typed_to: str = ""
    wrong: str = ""

    @property
    def days(self) -> list[date]:
        """All days of it, of hours the last few of them."""
        count = (self.last - self.first).days + 1
        if self.by == "hour":
            count = min(count, MOST_DAYS_BY_HOUR)
        return [self.last - _DAY * number for number in range(count - 1, -1, -1)]

    @property
    def cut(self) -> bool:
        """Whether ``days`` leaves some out."""
        return self.days[0] != self.first

    def query(self, **changes: str) -> dict[str, str]:
        """Return the parameters that ask for the same, but for some of them."""
        if self.period:
            asked = {"by": self.by, "period": str(self.period)}
        else:
            asked = {"by": self.by, "from": self.first.isoformat(), "to": self.last.isoformat()}
        if "period" in changes:
            asked = {"by": self.by}
        return asked | changes


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table.

    Attributes:
        place: a day, an hour, a key's id or a model, as the ledger has it.
        name: what people call it.
        cost: US dollars at today's prices; None: no price is known.
        whole: False: a part of it has no price and is not in ``cost``.
    """

    place: str
    name: str
    counts: Counts
    cost: float | None = None
    whole: bool = True

    @property
    def unix(self) -> float | None:
        """When its day or hour begins; None: it is neither."""
        try:
            return datetime.fromisoformat(self.place).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None


def asked(query: Mapping[str, str], today: date, gettext: Callable[[str], str]) -> Asked:
    """Read what the page is asked for."""
    by: Place = next((each for each in PLACES if each == query.get("by")), "day")
    period = next((each for each in PERIODS if str(each) == query.get("period")), _USUAL)
    usual = Asked(by, today - _DAY * (period - 1), today, period)
    typed = query.get("from", "").strip(), query.get("to", "").strip()
    if not any(typed):
        return usual
    wrong = ""
    try:
        first, last = (date.fromisoformat(each) if each else today for each in typed)
    except ValueError:
        wrong = gettext("These are no days: write them as 2030-12-31.")
    else:
        if first > last:
            wrong = gettext("The first day comes after the last one.")
        elif (last - first).days >= MOST_DAYS:
            text = gettext("Ask for at most %(days)d days at once.")
            wrong = text % {"days": MOST_DAYS}
        else:
            return Asked(by, first, last, 0, *typed)
    return Asked(by, usual.first, usual.last, usual.period, *typed, wrong)


def cost_of(counts: Counts, price: Price) -> float:
    """Return what some tokens cost in US dollars."""
    read_price = price.prompt if price.cache_read is None else price.cache_read
    write_price = price.prompt if price.cache_write is None else price.cache_write
    cached = counts.cache_read + counts.cache_write
    plain = max(0, counts.prompt - cached)
    millionths = (
        plain * price.prompt
        + counts.cache_read * read_price
        + counts.cache_write * write_price
        + counts.completion * price.completion
    )
    return millionths / _MILLION


def lines_of(used: Iterable[Used], prices: Mapping[str, Price]) -> dict[str, Line]:
    """Return a line for each place, by its place.

    Args:
        prices: by model; one that is missing has none.
    """
    lines: dict[str, Line] = {}
    for place, model, counts in used:
        price = prices.get(model)
        more = Line(
            place,
            place,
            counts,
            None if price is None else cost_of(counts, price),
            price is not None,
        )
        before = lines.get(place)
        lines[place] = more if before is None else _together(before, more)
    return lines


def total_of(lines: Iterable[Line]) -> Line:
    """Return all lines together."""
    total = Line("", "", Counts())
    for each in lines:
        total = _together(total, each)
    return total


def filled(lines: Mapping[str, Line], places: Sequence[str]) -> list[Line]:
    """Return the lines of days or hours, the newest first, with those that have nothing."""
    every = {place: Line(place, place, Counts()) for place in places} | dict(lines)
    return [every[place] for place in sorted(every, reverse=True)]


def by_charge(lines: Iterable[Line]) -> list[Line]:
    """Return lines with those first that counted most."""
    return sorted(lines, key=lambda line: (-line.counts.charged, line.place))


def hours_of(days: Sequence[date], now: float) -> list[str]:
    """Return the hours of some days up to now, as the ledger writes them.

    Args:
        now: unix seconds.
    """
    end = datetime.fromtimestamp(now, UTC)
    hour = datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC)
    found = []
    while hour <= end and hour.date() <= days[-1]:
        found.append(f"{hour:%Y-%m-%dT%H}:00Z")
        hour += _HOUR
    return found


def _together(one: Line, other: Line) -> Line:
    costs = [each.cost for each in (one, other) if each.cost is not None]
    return Line(
        one.place,
        one.name,
        one.counts.plus(other.counts),
        sum(costs) if costs else None,
        one.whole and other.whole,
    )

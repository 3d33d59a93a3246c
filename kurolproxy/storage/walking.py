"""Walk a table backwards in bounded steps: a list with filters that no index answers.

A row that matches may stand ten million rows away. So each query looks at a few rows only,
and after a while the walk stops and says how far it came; it can be continued there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kurolproxy.storage.lane import Queries

STEP: Final = 1_000
"""Rows that one query looks at: some 1 ms, 20 ms when they have to come from the disk."""
BUDGET_S: Final = 0.05
"""Seconds after which no further step is begun."""


@dataclass(frozen=True, slots=True)
class Path:
    """Rows of a table in the order of a number that grows.

    Attributes:
        select: the query up to its ``WHERE``; its first column is the number.
        number: the column of the number, as conditions name it.
        where: further conditions; they hold no text from outside.
        values: of the names in ``where``; ``before``, ``floor`` and ``limit`` are the walk's.
        floor: a query of the number at which a step from ``:before`` ends, ``:step`` rows
            further down; no row: at 0. "": the number has hardly any gaps.
    """

    select: str
    number: str
    where: tuple[str, ...]
    values: Mapping[str, Any]
    floor: str = ""

    @property
    def sql(self) -> str:
        """The query of one step."""
        bounds = (f"{self.number} < :before", f"{self.number} >= :floor")
        conditions = " AND ".join([*bounds, *self.where])
        return f"{self.select} WHERE {conditions} ORDER BY {self.number} DESC LIMIT :limit"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a walk found.

    Attributes:
        rows: the newest first.
        stopped_at: everything from this number on was looked at; None: the end was reached.
    """

    rows: list[tuple[Any, ...]]
    stopped_at: int | None


class Pace:
    """How long a search goes on; it may consist of several walks.

    Args:
        step: rows of one query.
        budget_s: seconds after which no further step is begun.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self,
        *,
        step: int = STEP,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.step = step
        self._clock = clock
        self._until = clock() + budget_s

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self._clock() >= self._until


def walk(
    queries: Queries,
    path: Path,
    pace: Pace,
    *,
    limit: int,
    before: int,
    lowest: int,
    ended: Callable[[int], bool] = lambda number: False,
) -> Stretch:
    """Return the rows below a number, the newest first, until they are enough or time is up.

    Args:
        limit: so many rows are enough.
        before: rows with smaller numbers only.
        lowest: the smallest number there is.
        ended: (a number that the walk has come to) -> whether nothing below it matters.
    """
    rows: list[tuple[Any, ...]] = []
    while before > lowest and not ended(before):
        floor = max(_floor(queries, path, pace, before), lowest)
        # One more than wanted tells whether there are more.
        bounds = {"before": before, "floor": floor, "limit": limit + 1 - len(rows)}
        rows += queries.rows(path.sql, {**path.values, **bounds})
        if len(rows) > limit:
            return Stretch(rows[:limit], rows[limit - 1][0] if limit else rows[0][0] + 1)
        before = floor
        if pace.over and before > lowest:
            return Stretch(rows, before)
    return Stretch(rows, None)


def _floor(queries: Queries, path: Path, pace: Pace, before: int) -> int:
    if not path.floor:
        return before - pace.step
    values = {**path.values, "before": before, "step": pace.step}
    found = queries.rows(path.floor, values)
    return int(found[0][0]) if found else 0

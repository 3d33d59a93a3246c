"""The SQL of reports: which table answers a question, and the statements that add it up.

A report is added up in a temporary table, slice by slice: each statement reads a few days,
so that none holds the database for long, and the memory of the process stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal

from kurolproxy.storage.usage import COUNTERS

By = Literal["day", "hour", "key", "model", "account"]

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is about.

    Attributes:
        by: what each line stands for; several: a line for each combination that occurs.
        since: the first UTC day; None: from the beginning.
        until: the last UTC day; None: to the end.
        account_id: of one account only.
    """

    by: tuple[By, ...]
    since: date | None = None
    until: date | None = None
    account_id: int | None = None

    @property
    def timed(self) -> bool:
        """Whether lines come in the order of time, else by what was charged."""
        return "day" in self.by or "hour" in self.by


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of what is to be added up.

    Attributes:
        first: its first day.
        last: its last day.
        accounts: the smallest and the largest account id; None: all of them.
        rowids: the same of the rows of the detail.
    """

    first: date
    last: date
    accounts: Range | None = None
    rowids: Range | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A table that reports are made of.

    Attributes:
        name: in SQL, with the index that it is to be read by.
        requests: an SQL expression: how many requests the lines of a group stand for.
        hour: an SQL expression; "" when hours are not known there.
        owned: whether it knows accounts and keys.
        detail: whether it has a line for each request.
    """

    name: str
    requests: str
    hour: str
    owned: bool
    detail: bool


HOURLY: Final = Source("usage_hourly", "sum(requests)", "hour", owned=False, detail=False)
DAILY: Final = Source("usage_daily", "sum(requests)", "", owned=True, detail=False)
# Whole seconds: SQLite rounds to milliseconds, which may be the next hour.
DETAIL: Final = Source(
    "usage INDEXED BY usage_by_day",
    "count(*)",
    "strftime('%Y-%m-%dT%H:00Z', CAST(started_at AS INTEGER), 'unixepoch')",
    owned=True,
    detail=True,
)

# In this order lines of a day are read from the tables: what is added up next to each
# other lies next to each other.
_PLACES: Final[dict[str, frozenset[By]]] = {
    "day": frozenset({"day"}),
    "hour": frozenset({"hour"}),
    "account_id": frozenset({"account", "key"}),
    "key_id": frozenset({"key"}),
    "model": frozenset({"model"}),
}
_COLUMNS: Final[dict[By, tuple[str, ...]]] = {
    "day": ("used.day AS day",),
    "hour": ("used.hour AS hour",),
    "key": ("used.key_id AS key", "keys.label AS label", "accounts.email AS account"),
    "model": ("used.model AS model",),
    "account": ("used.account_id AS account_id", "accounts.email AS account"),
}
_JOINS: Final[dict[By, tuple[str, ...]]] = {
    "key": (
        "LEFT JOIN accounts ON accounts.id = used.account_id",
        "LEFT JOIN keys ON keys.id = used.key_id",
    ),
    "account": ("LEFT JOIN accounts ON accounts.id = used.account_id",),
}
_ORDERS: Final[dict[By, tuple[str, ...]]] = {
    "day": ("day",),
    "hour": ("hour",),
    "key": ("key_id", "account_id"),
    "model": ("model",),
    "account": ("account_id",),
}


def source_of(question: Question) -> Source:
    """Return the smallest table that can answer a question."""
    if question.account_id is None and {*question.by} <= {"day", "hour", "model"}:
        return HOURLY
    return DETAIL if "hour" in question.by else DAILY


def places_of(by: Iterable[By]) -> list[str]:
    """Return the columns that tell the lines of a report apart."""
    asked = {*by}
    return [column for column, needed_by in _PLACES.items() if asked & needed_by]


def columns_of(by: Sequence[By]) -> list[str]:
    """Return the names of what a line says, in its order."""
    selected = dict.fromkeys(column for each in by for column in _COLUMNS[each])
    return [*(column.rpartition(" ")[2] for column in selected), *COUNTERS]


def create(table: str, by: Sequence[By]) -> str:
    """Return the statement that makes the temporary table of a report."""
    places = ", ".join(places_of(by))
    return (
        f"CREATE TEMP TABLE {table} ({places}, {', '.join(COUNTERS)}, PRIMARY KEY ({places}))"
        " WITHOUT ROWID"
    )


def add(table: str, question: Question, part: Slice) -> tuple[str, dict[str, Any]]:
    """Return the statement that adds a slice to the temporary table, and its values."""
    source = source_of(question)
    places = ", ".join(places_of(question.by))
    groups = [source.hour if each == "hour" else each for each in places_of(question.by)]
    sums = [source.requests, *(f"sum({each})" for each in COUNTERS[1:])]
    where, values = _where(question, part)
    sql = (
        f"INSERT INTO temp.{table} ({places}, {', '.join(COUNTERS)})"
        f" SELECT {', '.join([*groups, *sums])} FROM {source.name} WHERE {where}"
        f" GROUP BY {', '.join(groups)} ON CONFLICT ({places}) DO UPDATE SET "
        + ", ".join(f"{each} = {each} + excluded.{each}" for each in COUNTERS)
    )
    return sql, values


def arrange(table: str, arranged: str, question: Question, most: int | None) -> str:
    """Return the statement that puts the lines in order, at most so many of them."""
    times = [each for each in question.by if each in ("day", "hour")]
    others = [name for each in question.by if each not in times for name in _ORDERS[each]]
    order = ", ".join(dict.fromkeys([*times, "charged DESC", *others]))
    limit = "" if most is None else f" LIMIT {most}"
    return f"CREATE TEMP TABLE {arranged} AS SELECT * FROM temp.{table} ORDER BY {order}{limit}"


def lines(arranged: str, by: Sequence[By]) -> str:
    """Return the query of some lines as people read them; ``?``: after, and up to a rowid."""
    columns = dict.fromkeys(column for each in by for column in _COLUMNS[each])
    joins = dict.fromkeys(join for each in by for join in _JOINS.get(each, ()))
    counters = (f"used.{each}" for each in COUNTERS)
    return " ".join(
        [
            f"SELECT {', '.join([*columns, *counters])} FROM temp.{arranged} AS used",
            *joins,
            "WHERE used.rowid > ? AND used.rowid <= ? ORDER BY used.rowid",
        ]
    )


def next_day(source: Source) -> str:
    """Return the query of the first day with rows in a range of days: two seeks."""
    return f"SELECT min(day) FROM {source.name} WHERE day >= ? AND day <= ?"


def ends(source: Source, part: Slice, column: str) -> tuple[str, dict[str, Any]]:
    """Return the query of the smallest and the largest value in a slice of one day.

    Args:
        column: ``account_id``; or ``rowid``, when the slice is of one account.
    """
    where, values = _where(Question(("day",)), part)
    # Apart, each of them is one seek in the index.
    least, most = (
        f"SELECT {function}({column}) FROM {source.name} WHERE {where}"
        for function in ("min", "max")
    )
    return f"SELECT ({least}), ({most})", values


def _where(question: Question, part: Slice) -> tuple[str, dict[str, Any]]:
    values: dict[str, Any] = {"first": part.first.isoformat(), "last": part.last.isoformat()}
    # One day alone is read in the order of the index, without sorting.
    terms = ["day = :first" if part.first == part.last else "day BETWEEN :first AND :last"]
    if question.account_id is not None:
        terms.append("account_id = :account")
        values["account"] = question.account_id
    elif part.accounts is not None:
        low, high = values["low"], values["high"] = part.accounts
        terms.append("account_id = :low" if low == high else "account_id BETWEEN :low AND :high")
    if part.rowids is not None:
        values["from"], values["to"] = part.rowids
        terms.append("rowid BETWEEN :from AND :to")
    return " AND ".join(terms), values

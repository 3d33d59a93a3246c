"""What a check of the ledger found: figures, and the differences with their request ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["row", "daily", "hourly", "sums", "journal", "journal_row"]
"""What disagrees.

``row``: the columns of a row and its checksum. ``daily``, ``hourly``: a line of those sums
and the rows. ``sums``: the daily and the hourly sums of a day whose rows were let go.
``journal``: a file of the journal with itself. ``journal_row``: a row of the journal and the
row of the same id in the database.
"""

MOST_IDS: Final = 20
"""Request ids that one difference names."""
MOST_LISTED: Final = 1_000
"""Differences that are listed; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two places of the ledger that do not say the same.

    Attributes:
        text: the difference in words.
        day, hour, account_id, key_id, model: whose it is, as far as that is known.
        account: the email of ``account_id``; None when there is no such account.
        figures: name -> (what is written, what it should be).
        file: of the journal.
        requests: how many requests it concerns.
        request_ids: of them, at most ``MOST_IDS``.
    """

    kind: Kind
    text: str
    day: str | None = None
    hour: str | None = None
    account_id: int | str | None = None
    account: str | None = None
    key_id: str | None = None
    model: str | None = None
    figures: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    file: str | None = None
    requests: int = 0
    request_ids: Sequence[str] = ()


@dataclass(slots=True)
class Findings:
    """What was looked at, and what was found.

    Attributes:
        days: that have rows or sums.
        rows: of the database that were read.
        accounts: that have used something.
        without_checksum: rows of an older version, which only the sums can vouch for.
        journal_rows: readable rows of the journal.
        pending: of them, those that are not in the database yet.
        differences: the first ``MOST_LISTED``.
        not_listed: how many there are beyond.
    """

    days: int = 0
    rows: int = 0
    accounts: set[Any] = field(default_factory=set)
    without_checksum: int = 0
    journal_rows: int = 0
    pending: int = 0
    differences: list[Difference] = field(default_factory=list)
    not_listed: int = 0

    @property
    def found(self) -> int:
        """How many differences there are."""
        return len(self.differences) + self.not_listed

    @property
    def full(self) -> bool:
        """Whether further differences are counted only."""
        return len(self.differences) >= MOST_LISTED

    def add(self, difference: Difference) -> None:
        """Take a difference in."""
        if self.full:
            self.not_listed += 1
        else:
            self.differences.append(difference)

    def merge(self, other: Findings) -> None:
        """Take the differences of another one in."""
        for each in other.differences:
            self.add(each)
        self.not_listed += other.not_listed


def plain(value: Any) -> Any:
    """Return a value of a column as JSON can hold it: a changed file may hold anything."""
    return value if isinstance(value, int | float | str | None) else repr(value)


def told(figures: Mapping[str, tuple[Any, Any]], written: str, expected: str) -> str:
    """Return figures in words: ``prompt is 120 in WRITTEN, 100 in EXPECTED``."""
    parts = (f"{name} {has!r}, not {should!r}" for name, (has, should) in figures.items())
    return f"{written} say otherwise than {expected}: " + "; ".join(parts)

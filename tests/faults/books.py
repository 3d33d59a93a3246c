"""What stands in the database, compared with what clients were given."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.faults.load import Call

_FIGURES = ("prompt", "completion", "cache_read", "cache_write", "reasoning", "charged")
_SUMS = ", ".join(f"coalesce(sum({each}), 0)" for each in _FIGURES)
_ROWS = f"SELECT count(*), {_SUMS} FROM usage"
_ROLLED = "SELECT coalesce(sum(requests), 0), {} FROM {}"


@dataclass(frozen=True, slots=True)
class Books:
    """The database as it is at one moment.

    Attributes:
        rows: request id -> prompt, completion.
        sums: requests and figures of all rows.
        daily: the same of the sums by the day, ``hourly`` of those by the hour.
        integrity: what ``PRAGMA integrity_check`` says.
    """

    rows: dict[str, tuple[int, int]]
    sums: tuple[int, ...]
    daily: tuple[int, ...]
    hourly: tuple[int, ...]
    integrity: str

    @classmethod
    def open(cls, path: Path) -> Books:
        """Read a database, also while a gateway has it open."""
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")
            return cls(
                {
                    row[0]: row[1:]
                    for row in db.execute("SELECT request_id, prompt, completion FROM usage")
                },
                db.execute(_ROWS).fetchone(),
                db.execute(_ROLLED.format(_SUMS, "usage_daily")).fetchone(),
                db.execute(_ROLLED.format(_SUMS, "usage_hourly")).fetchone(),
                db.execute("PRAGMA integrity_check").fetchone()[0],
            )

    def check(self) -> None:
        """Fail when the database does not agree with itself."""
        assert self.integrity == "ok"
        assert self.daily == self.sums
        assert self.hourly == self.sums

    def lost(self, calls: Iterable[Call]) -> list[str]:
        """Return the ids of the whole answers that have no row, or one of other tokens."""
        ids = [(each.id or "", each.tokens) for each in calls if each.ok]
        return [id_ for id_, tokens in ids if self.rows.get(id_) != tokens]


def ids_of(calls: Iterable[Call]) -> Counter[str]:
    """Return the ids that answers had, with how often each was given."""
    return Counter(each.id for each in calls if each.id is not None)

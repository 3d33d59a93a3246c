"""Check the journal: each file with itself, and its rows with those of the database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

from kurolproxy.storage.errors import DatabaseUnwritable
from kurolproxy.storage.findings import MOST_IDS, Difference, Findings, plain
from kurolproxy.storage.journal import damaged_files_of, files_of
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.rows import Line, UsageRow, read_lines
from kurolproxy.storage.verify import QUERY_LIMIT_S, as_date, as_row, persistent, read

_NUMBERS: Final = 0x100000
_AT_ONCE: Final = 500
_COLUMNS: Final = ", ".join(UsageRow._fields)
# How a row begins, in bytes that are no whole line any more.
_ID: Final = re.compile(rb'\["([!#-\[\]-~]{1,64})"')


class JournalCheck:
    """The check of the journal's files.

    Blocks, as ``LedgerCheck`` does. A row that is not in the database yet is no difference:
    it waits for its import. So is none that is in two files: it is imported once.

    Args:
        folder: of the journal; there need be none.
        db: in autocommit mode, to read only.
        findings: where everything goes that is found.
        running: a gateway is writing: the last line of an open file may not be whole yet.
    """

    def __init__(
        self, folder: Path, db: sqlite3.Connection, findings: Findings, *, running: bool
    ) -> None:
        self._folder = folder
        self._db = db
        self._queries = Queries(db, QUERY_LIMIT_S)
        self._findings = findings
        self._running = running
        self._pending: set[str] = set()

    def run(self) -> None:
        """Check every file that is there.

        Raises:
            StorageError: journal or database cannot be read.
        """
        found = self._read("SELECT value FROM ledger_facts WHERE name = 'detail_from'")
        detail_from = found[0][0] if found else ""
        kept = damaged_files_of(self._folder)
        for path in sorted([*files_of(self._folder), *kept]):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                # It was imported meanwhile.
                continue
            except OSError as error:
                raise DatabaseUnwritable(f"{path} cannot be read: {error.strerror}") from error
            self._check_file(path, data, detail_from, kept=path in kept)
        self._findings.pending = len(self._pending)

    def _check_file(self, path: Path, data: bytes, detail_from: str, *, kept: bool) -> None:
        walk = _Walk(path.name, data, growing=self._running and not kept)
        before = self._findings.found
        for difference in walk.differences():
            self._findings.add(difference)
        if kept and self._findings.found == before:
            text = f"{path.name} is kept as damaged, but every line of it is whole"
            self._findings.add(Difference("journal", text, file=path.name))
        self._findings.journal_rows += len(walk.rows)
        for start in range(0, len(walk.rows), _AT_ONCE):
            self._compare(path.name, walk.rows[start : start + _AT_ONCE], detail_from, kept=kept)

    def _compare(
        self, name: str, rows: Sequence[tuple[int, UsageRow]], detail_from: str, *, kept: bool
    ) -> None:
        """Compare some rows with those of the same ids in the database."""
        ids = [row.request_id for _, row in rows]
        marks = ", ".join("?" * len(ids))
        sql = f"SELECT {_COLUMNS} FROM usage WHERE request_id IN ({marks})"
        stored = {each[0]: as_row(each, as_date(each[1])) for each in self._read(sql, ids)}
        for number, row in rows:
            there = stored.get(row.request_id)
            if there is not None:
                if there != row:
                    self._findings.add(_disagreeing(name, number, row, there))
            elif row.day.isoformat() < detail_from:
                # It was let go when its time was over.
                continue
            elif kept:
                self._findings.add(_missing(name, number, row))
            else:
                self._pending.add(row.request_id)

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return persistent(partial(read, self._db, self._queries, sql, values))


class _Walk:
    """One file, from its first line to its last.

    Args:
        name: of the file.
        growing: somebody may be writing the last line.

    Attributes:
        rows: those that can be read, with the numbers of their lines; whole once
            ``differences`` was gone through.
    """

    def __init__(self, name: str, data: bytes, *, growing: bool) -> None:
        self.rows: list[tuple[int, UsageRow]] = []
        self._name = name
        self._data = data
        self._growing = growing
        self._next = 0
        self._ended = False
        self._damage: list[Line] = []

    def differences(self) -> Iterator[Difference]:
        """Yield what does not fit: damaged lines, missing ones, a wrong end."""
        for line in read_lines(self._data):
            if line.damaged:
                self._damage.append(line)
            else:
                yield from self._whole(line)
        if self._growing and not self._data.endswith(b"\n"):
            # It is being written at this moment.
            self._damage = self._damage[:-1]
        if self._damage:
            yield self._damaged(None)

    def _whole(self, line: Line) -> Iterator[Difference]:
        assert line.number is not None
        left_out = (line.number - self._next) % _NUMBERS
        if self._ended:
            yield self._difference(f"line {line.number} comes after the line that ends the file")
        elif left_out > _NUMBERS // 2:
            yield self._difference(f"line {line.number} comes once more", line.row)
        elif self._damage:
            yield self._damaged(line)
        elif left_out:
            where = "at the end" if line.last else f"before line {line.number}"
            what = f"{left_out} {'lines are' if left_out > 1 else 'line is'} missing {where}"
            yield self._difference(what, *self._around(line))
        self._damage.clear()
        if line.row is not None:
            self.rows.append((line.number, line.row))
        self._ended = self._ended or line.last
        self._next = line.number + 1

    def _damaged(self, following: Line | None) -> Difference:
        """Return the difference of the damaged lines before a whole one, or before the end."""
        start, end = self._damage[0].start, self._damage[-1].end
        ids = [found.decode() for found in _ID.findall(self._data[start:end])[:MOST_IDS]]
        text = f"bytes {start} to {end} are damaged: line {self._next}"
        if following is not None and following.number is not None:
            last = following.number - 1
            text += f" to {last}" if last > self._next else ""
        elif not self._data.endswith(b"\n"):
            text += ", which is not whole"
        if ids:
            return self._difference(text, requests=len(ids), request_ids=ids)
        return self._difference(f"{text}; the ids are of its neighbours", *self._around(following))

    def _around(self, following: Line | None) -> list[UsageRow]:
        """Return the rows on both sides of what is missing: its own ids are lost."""
        before = [self.rows[-1][1]] if self.rows else []
        return [*before, *([following.row] if following and following.row else [])]

    def _difference(
        self,
        text: str,
        *rows: UsageRow | None,
        requests: int | None = None,
        request_ids: Sequence[str] = (),
    ) -> Difference:
        ids = request_ids or [row.request_id for row in rows if row is not None]
        return Difference(
            "journal",
            f"{self._name}: {text}",
            file=self._name,
            requests=len(ids) if requests is None else requests,
            request_ids=ids,
        )


def _disagreeing(name: str, number: int, row: UsageRow, there: UsageRow) -> Difference:
    figures = {
        field: (_plain(is_), _plain(was))
        for field, is_, was in zip(UsageRow._fields, there, row, strict=True)
        if is_ != was
    }
    said = "; ".join(f"{field} is {has!r}, was {was!r}" for field, (has, was) in figures.items())
    text = f"{name}: line {number}: the row of {row.request_id} is another in the database: {said}"
    return _of_row(text, name, row, figures)


def _missing(name: str, number: int, row: UsageRow) -> Difference:
    text = f"{name}: line {number}: the row of {row.request_id} is not in the database"
    return _of_row(text, name, row, {})


def _of_row(text: str, name: str, row: UsageRow, figures: dict[str, tuple[Any, Any]]) -> Difference:
    return Difference(
        "journal_row",
        text,
        day=row.day.isoformat(),
        account_id=row.account_id,
        key_id=row.key_id,
        model=row.model,
        figures=figures,
        file=name,
        requests=1,
        request_ids=[row.request_id],
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else plain(value)

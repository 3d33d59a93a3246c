"""The audit trail: who changed what, when; read backwards, see ``walking``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiosqlite

from kurolproxy.storage.database import Database
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.records import AuditEntry, write_audit
from kurolproxy.storage.walking import Pace, Path, walk

_SELECT: Final = "SELECT id, at, actor, action, subject, detail FROM audit"
_ENDS: Final = "SELECT (SELECT min(id) FROM audit), (SELECT max(id) FROM audit)"
_BEHIND_ALL: Final = 2**62


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which changes are wanted; "": any. All are parts, in whatever (ASCII) letter case.

    Attributes:
        action: ``account.`` finds all that happened to accounts.
        subject: an email, the id of a key or of a link; or a text of the detail.
    """

    actor: str = ""
    action: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some changes, the newest first.

    Attributes:
        older: ``before`` of the next page; None: there are no more.
        searched_to: unix seconds: the search stopped there, before there were enough of them.
    """

    entries: list[AuditEntry]
    older: int | None = None
    searched_to: float | None = None


class AuditLog:
    """Reads the audit trail, and writes what no other part of the storage does.

    Args:
        pace: how far one search goes; made when it begins.
    """

    def __init__(self, database: Database, pace: Callable[[], Pace] = Pace) -> None:
        self._database = database
        self._pace = pace

    async def page(
        self, wanted: AuditFilter, *, limit: int, before: int | None = None
    ) -> AuditPage:
        """Return some changes.

        Args:
            before: ``AuditPage.older`` of the page before; None: from the newest on.

        Raises:
            StorageError: the database cannot be read.
        """

        def work(queries: Queries) -> AuditPage:
            return _search(queries, wanted, self._pace(), limit, before)

        return await self._database.report(work)

    async def note(self, entry: AuditEntry) -> None:
        """Add an entry about something that is not in the database.

        Raises:
            StorageError: the database takes nothing now.
        """

        async def work(db: aiosqlite.Connection) -> None:
            await write_audit(db, entry)

        await self._database.write(work, durable=True)


def _search(
    queries: Queries, wanted: AuditFilter, pace: Pace, limit: int, before: int | None
) -> AuditPage:
    [(lowest, highest)] = queries.rows(_ENDS)
    if lowest is None:
        return AuditPage([])
    where, values = _conditions(wanted)
    start = min(highest + 1 if before is None else before, _BEHIND_ALL)
    path = Path(_SELECT, "id", where, values)
    stretch = walk(queries, path, pace, limit=limit, before=start, lowest=lowest)
    entries = [
        AuditEntry(at, actor, action, subject, json.loads(detail))
        for _, at, actor, action, subject, detail in stretch.rows
    ]
    if stretch.stopped_at is None or len(entries) == limit:
        return AuditPage(entries, stretch.stopped_at)
    rows = queries.rows("SELECT at FROM audit WHERE id >= ? LIMIT 1", [stretch.stopped_at])
    return AuditPage(entries, stretch.stopped_at, float(rows[0][0]) if rows else None)


def _conditions(wanted: AuditFilter) -> tuple[tuple[str, ...], dict[str, Any]]:
    where, values = [], {}
    for name, condition in (
        ("actor", "instr(lower(actor), :actor)"),
        ("action", "instr(action, :action)"),
        ("subject", "(instr(lower(subject), :subject) OR instr(lower(detail), :subject))"),
    ):
        text = getattr(wanted, name)
        if text:
            where.append(condition)
            values[name] = _lower(text)
    return tuple(where), values


def _lower(text: str) -> str:
    # As SQLite does it: only letters of ASCII.
    return "".join(each.lower() if each.isascii() else each for each in text)

"""The checks of ``doctor`` that read the ledger: its file, its journal, its days, its plans."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from kurolproxy.cli.checks import Finding, Patient
from kurolproxy.storage.errors import (
    DatabaseCorrupt,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseTooNew,
    StorageError,
)
from kurolproxy.storage.journal import FOLDER, damaged_files_of, files_of
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.migrate import CHECK_WHOLE_BYTES, check_pages
from kurolproxy.storage.reading import reading

_QUERY_LIMIT_S: Final = 2.0
_WAITING_S: Final = 600.0
_LARGE_WAL_BYTES: Final = 64 * 1024 * 1024
_EARLIEST: Final = date(2025, 1, 1)
# Between the clock and a row: what a correction of the clock may be.
_CLOCK_SLACK_S: Final = 60.0
# What a row may wait for its import: nobody locks the database for longer by chance.
_LONG_S: Final = 60.0
_SHOWN: Final = 5

_REMEDIES: Final[tuple[tuple[type[StorageError], str], ...]] = (
    (DatabaseCorrupt, "Keep the file, and restore a backup: docs/cli.md says how."),
    (DatabaseForeign, "Let `state_dir` name the right folder."),
    (DatabaseMissing, "Restore a backup; what is left in the journal is added to it then."),
    (DatabaseTooNew, "Install the newer version again, or restore a backup of an older one."),
    (StorageError, "Look at the file, its disk, and who may use them."),
)
_OWNER: Final = "Run this as the owner of the state directory or as root."


def ledger(patient: Patient) -> Iterator[Finding]:
    """The database opens, is ours, and its pages fit together."""
    path = patient.directory.database_path
    try:
        if not _exists(path) and not any(files_of(path.parent / FOLDER)):
            yield Finding("ok", f"{path} does not exist yet: the first start makes it")
            return
        with reading(path) as db:
            check_pages(db, path)
    except StorageError as error:
        remedy = next(text for kind, text in _REMEDIES if isinstance(error, kind))
        yield Finding("error", f"the ledger cannot be used: {error}", remedy)
        return
    except OSError as error:
        yield Finding("error", f"the ledger cannot be used: {path}: {error.strerror}", _OWNER)
        return
    size = path.stat().st_size
    depth = "" if size <= CHECK_WHOLE_BYTES else " in part: `backup` and `ledger verify` read all"
    yield Finding("ok", f"{path}: {size:,} bytes, checked{depth}")
    yield from _write_ahead_log(patient, path)


def _write_ahead_log(patient: Patient, path: Path) -> Iterator[Finding]:
    wal = path.with_name(path.name + "-wal")
    size = wal.stat().st_size if _exists(wal) else 0
    if size <= _LARGE_WAL_BYTES:
        return
    remedy = "Start the gateway: it moves what is in there into the database."
    if patient.status is not None:
        remedy = "End other programs that read the database (`fuser` names them)."
    yield Finding("warning", f"{wal} has grown to {size:,} bytes", remedy)


def writing(patient: Patient) -> Iterator[Finding]:
    """The gateway that runs gets its rows into the database."""
    status = patient.status
    if status is None:
        return
    rows = int(status["ledger_pending_rows"])
    if not status["ledger_writable"]:
        yield Finding(
            "error",
            f"the gateway cannot write its ledger: {rows:,} rows wait",
            "Its log says what the disk answers. It goes on by itself when that is put right.",
        )
    elif (waited_s := status.get("ledger_oldest_pending_s", 0.0)) > _LONG_S:
        yield Finding(
            "warning",
            f"{rows:,} rows wait to be imported, the oldest for {waited_s:,.0f} s",
            "End other programs that lock the database (`fuser` names them).",
        )
    else:
        yield Finding("ok", "the gateway writes its ledger")


def journal(patient: Patient) -> Iterator[Finding]:
    """Nothing waits for long in the journal, and nothing in it is damaged."""
    folder = patient.directory.path / FOLDER
    try:
        kept = damaged_files_of(folder)
        old = [each for each in files_of(folder) if _waits(each, patient.machine.now())]
    except OSError as error:
        yield Finding("error", f"{folder}: {error.strerror}", _OWNER)
        return
    if kept:
        yield Finding(
            "warning",
            f"damaged files of the journal are kept: {_some([each.name for each in kept])}",
            "`kurolproxy ledger verify` says what is damaged; then delete them.",
        )
    if old and patient.status is not None:
        yield Finding(
            "error",
            f"{_some([each.name for each in old])} of the journal is not imported for more than"
            f" {_WAITING_S / 60:.0f} min",
            "The gateway's log says why. Free the disk, or end what locks the database.",
        )
    elif old:
        yield Finding(
            "warning",
            f"usage of a gateway that was killed waits in {_some([each.name for each in old])}",
            "Start the gateway: it imports them.",
        )
    if not kept and not old:
        yield Finding("ok", "nothing waits in the journal")


def _waits(path: Path, now: float) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size > 0 and now - found.st_mtime > _WAITING_S


def clock(patient: Patient) -> Iterator[Finding]:
    """The clock can be right, and the ledger has no day or row that is ahead of it."""
    now = patient.machine.now()
    today = datetime.fromtimestamp(now, UTC).date()
    if today < _EARLIEST:
        yield Finding(
            "error", f"the clock says {today}", "Set it, and have it kept right (NTP), first."
        )
        return
    found = [*_ignored_days(patient, today), *_last_row(patient, now)]
    # A gateway of an older version says less.
    day = "" if patient.status is None else str(patient.status.get("day", ""))
    if day > today.isoformat():
        found.append(
            Finding(
                "warning",
                f"the gateway counts {day}, the clock says {today}: it was set back",
                "Nothing, when the clock is right now: that day counts until it is over.",
            )
        )
    yield from found
    if not found:
        yield Finding("ok", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC")


def _ignored_days(patient: Patient, today: date) -> Iterator[Finding]:
    """Yield the days more than one ahead: the gateway gives no allowance for them."""
    sql = "SELECT DISTINCT day FROM usage_hourly WHERE day > ? ORDER BY day"
    later = (today + timedelta(days=1)).isoformat()
    days = {str(day) for (day,) in _asked(patient, sql, [later])}
    if patient.status is not None:
        days.update(each for each in patient.status.get("ignored_days", ()) if each > later)
    if days:
        yield Finding(
            "error",
            f"the ledger has usage of days to come, which is ignored: {_some(sorted(days))}",
            f"Set the clock when {today} is wrong, and restart. When it is right, it was wrong"
            " once: that usage counts for no allowance before those days come.",
        )


def _last_row(patient: Patient, now: float) -> Iterator[Finding]:
    sql = "SELECT started_at FROM usage ORDER BY rowid DESC LIMIT 1"
    for (started_at,) in _asked(patient, sql):
        ahead = started_at - now
        # Of days to come the check above speaks.
        if _CLOCK_SLACK_S < ahead < 2 * 86_400:
            yield Finding(
                "warning",
                f"the last request began {ahead:,.0f} s after this moment: the clock was set back",
                "Have the clock kept right (NTP).",
            )


def plans_of_accounts(patient: Patient) -> Iterator[Finding]:
    """Every active account is on a plan of the file."""
    assert patient.config is not None
    plans = patient.config.catalog.plans
    sql = "SELECT plan, count(*) FROM accounts WHERE active GROUP BY plan ORDER BY plan"
    rows = _asked(patient, sql)
    missing = [(plan, count) for plan, count in rows if plan not in plans]
    for plan, count in missing:
        accounts = "1 active account is" if count == 1 else f"{count:,} active accounts are"
        yield Finding(
            "error",
            f"{accounts} on the plan {plan!r}, which the file has not: their calls get a 403",
            f"Add [[plans]] with name = {plan!r}, or `kurolproxy users set-plan EMAIL PLAN`.",
        )
    if not missing:
        yield Finding("ok", f"active accounts: {sum(count for _, count in rows):,}, on known plans")


def _asked(patient: Patient, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none from a ledger that ``ledger`` finds fault with."""
    try:
        with reading(patient.directory.database_path) as db:
            return Queries(db, _QUERY_LIMIT_S).rows(sql, values)
    except (StorageError, OSError):
        return []


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")

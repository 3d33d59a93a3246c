"""``ledger``: check that the record of usage agrees with itself."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from kurolproxy.cli.beside import beside, must_exist
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json, printable
from kurolproxy.cli.site import load_without_secrets
from kurolproxy.storage.errors import DatabaseCorrupt, StorageError
from kurolproxy.storage.findings import Difference, Findings
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.reading import reading
from kurolproxy.storage.verify import LedgerCheck
from kurolproxy.storage.verify_journal import JournalCheck


@click.group()
def ledger() -> None:
    """Check the record of usage."""


@ledger.command()
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The first day (UTC), as 2030-12-31; otherwise all.",
)
@json_option
@click.pass_obj
def verify(given: Path | None, *, since: datetime | None, as_json: bool) -> None:
    """Recompute the ledger from its rows, its journal and its sums.

    Prints every difference with the ids of its requests. Exits with 1 when there is one.
    """
    directory = StateDirectory(load_without_secrets(given).server.state_path)
    began = time.monotonic()
    with beside(directory, lambda: must_exist(directory)) as client:
        if client is not None:
            client.call("ledger.flush", {})
        try:
            found = _verify(
                directory, None if since is None else since.date(), running=client is not None
            )
        except DatabaseCorrupt as error:
            raise Failed(f"{error}. Restore a backup: docs/cli.md says how.") from error
        except StorageError as error:
            raise Failed(str(error)) from error
    if as_json:
        print_json(_facts(found, time.monotonic() - began))
    else:
        _print(found, time.monotonic() - began)
    if found.found:
        raise Failed(f"the ledger does not agree with itself: {_many(found.found, 'difference')}")


def _verify(directory: StateDirectory, since: date | None, *, running: bool) -> Findings:
    found = Findings()
    # No cycles are made, but sums by the ten thousand: the collector would go through them
    # over and over, a tenth of the time.
    gc.disable()
    try:
        with reading(directory.database_path) as db:
            with _progress(LedgerCheck(db, found).size(since)) as progress:
                LedgerCheck(db, found, progress=progress).run(since)
            JournalCheck(directory.path / FOLDER, db, found, running=running).run()
    finally:
        gc.enable()
    return found


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    with click.progressbar(length=rows, label="Checking rows", file=sys.stderr) as bar:
        yield bar.update


def _facts(found: Findings, seconds: float) -> dict[str, Any]:
    return {
        "ok": not found.found,
        "days": found.days,
        "rows": found.rows,
        "accounts": len(found.accounts),
        "rows_without_checksum": found.without_checksum,
        "journal_rows": found.journal_rows,
        "pending_rows": found.pending,
        "seconds": round(seconds, 3),
        "differences": list(map(asdict, found.differences)),
        "differences_not_listed": found.not_listed,
    }


def _print(found: Findings, seconds: float) -> None:
    for difference in found.differences:
        click.echo(printable(_line(difference)))
    if found.not_listed:
        click.echo(f"... and {_many(found.not_listed, 'further difference')}")
    parts = [
        f"{_many(found.rows, 'row')} of {_many(len(found.accounts), 'account')}"
        f" on {_many(found.days, 'day')} checked in {seconds:.1f} s",
        f"{_many(found.journal_rows, 'row')} in the journal, {found.pending:,} of them pending",
    ]
    if found.without_checksum:
        older = _many(found.without_checksum, "row")
        parts.append(f"{older} of an older version without a checksum")
    click.echo("; ".join(parts))


def _line(difference: Difference) -> str:
    if not difference.requests:
        return difference.text
    account = f" of {difference.account}" if difference.account else ""
    ids = ", ".join(difference.request_ids)
    more = difference.requests - len(difference.request_ids)
    others = f" and {more:,} more" if more > 0 else ""
    return f"{difference.text} (requests{account}: {ids}{others})"


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"

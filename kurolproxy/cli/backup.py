"""``backup``: one file with all accounts, keys and usage."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

import click

from kurolproxy.cli.beside import beside, must_exist
from kurolproxy.cli.control import ControlClient
from kurolproxy.cli.failure import Failed
from kurolproxy.cli.output import json_option, print_json
from kurolproxy.cli.site import load_without_secrets
from kurolproxy.storage.backup import BackupError, Progress, check, copy, new_file
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import StorageError
from kurolproxy.storage.findings import Findings
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.lock import StateDirectory
from kurolproxy.storage.reading import reading
from kurolproxy.storage.recovery import recover
from kurolproxy.storage.verify_journal import JournalCheck

# The gateway takes a connection that is silent for a minute for one that is gone.
_SIGN_OF_LIFE_S: Final = 10.0


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
@click.pass_obj
def backup(given: Path | None, *, path: Path, force: bool, as_json: bool) -> None:
    """Copy accounts, keys and usage to the file PATH, while the gateway runs or not.

    The copy is of one moment, checked, and holds everything that was answered before.
    """
    directory = StateDirectory(load_without_secrets(given).server.state_path)
    path = path.absolute()
    began = time.monotonic()
    if path.parent.resolve() == directory.path.resolve():
        raise Failed("a backup in the state directory would go with it: name another folder")
    try:
        with ending_properly(), new_file(path, replace=force) as partial:
            restarts, missing = _copy(directory, partial)
            if sys.stderr.isatty():
                click.echo("Checking the copy", err=True)
            check(partial)
    except (BackupError, StorageError) as error:
        raise Failed(f"no backup was made: {error}") from error
    seconds, size = time.monotonic() - began, path.stat().st_size
    if as_json:
        print_json(
            {
                "path": str(path),
                "bytes": size,
                "missing_rows": missing,
                "restarts": restarts,
                "seconds": round(seconds, 3),
            }
        )
    else:
        click.echo(f"{path}: {size:,} bytes, checked, in {seconds:.1f} s")
    if missing:
        raise Failed(
            f"{missing:,} rows of usage are not in the copy: the database does not take them."
            " They wait in the journal; `kurolproxy doctor` may say why."
        )


@contextmanager
def ending_properly() -> Iterator[None]:
    """Have SIGTERM raise ``SystemExit``: its default would leave half a copy behind."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _copy(directory: StateDirectory, partial: Path) -> tuple[int, int]:
    """Copy the database; return how often that began anew, and how many rows are missing."""
    with beside(directory, lambda: must_exist(directory)) as client:
        if client is None:
            # What cannot be imported is counted below.
            with suppress(StorageError, OSError):
                asyncio.run(_import(directory))
            missing = 0
        else:
            # As long as the conversation lasts nothing is imported: the copy would begin
            # anew with each commit.
            missing = client.call("ledger.pause", {})["missing"]
        with reading(directory.database_path) as source, _progress() as shown:
            restarts = copy(source, partial, progress=_living(client, shown))
        if client is None:
            missing = _missing(directory, partial)
    return restarts, missing


async def _import(directory: StateDirectory) -> None:
    """Do what a start of the gateway does: import what is left in the journal."""
    database = await Database.open(directory.database_path)
    try:
        await recover(database, directory.path / FOLDER)
    finally:
        await database.close()


def _missing(directory: StateDirectory, partial: Path) -> int:
    """Return how many rows of the journal a copy has not; nobody is adding to them."""
    found = Findings()
    with reading(partial) as db:
        JournalCheck(directory.path / FOLDER, db, found, running=False).run()
    return found.pending


def _living(client: ControlClient | None, shown: Progress) -> Progress:
    """Return a progress that tells the gateway now and then that we are alive."""
    told_at = time.monotonic()

    def progress(copied: int, total: int) -> None:
        nonlocal told_at
        now = time.monotonic()
        if client is not None and now - told_at > _SIGN_OF_LIFE_S:
            told_at = now
            client.call("status", {})
        shown(copied, total)

    return progress


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show a bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda copied, total: None
        return
    with click.progressbar(length=1, label="Copying pages", file=sys.stderr) as bar:
        yield _moving(bar)


def _moving(bar: Any) -> Callable[[int, int], None]:
    def move(copied: int, total: int) -> None:
        bar.length = max(total, 1)
        # It goes back when the copy begins anew.
        bar.update(copied - bar.pos)

    return move

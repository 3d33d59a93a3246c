"""What an earlier process left in the journal: imported at the next start, and deleted."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy, StorageError
from kurolproxy.storage.importer import import_piece
from kurolproxy.storage.journal import JournalFile, drop, left_in
from kurolproxy.storage.migrate import with_remedy

# Without a piece that the database takes.
_RECOVER_TIMEOUT_S = 5.0


async def recover(database: Database, folder: Path) -> tuple[list[JournalFile], int]:
    """Import what an earlier process left in the journal, and delete it.

    Returns:
        the files that are still there although all is imported, and how many lines of the
        others could not be read.

    Raises:
        StorageError: the database does not take it; the journal stays. The text names the
            file and what to do.
        OSError: the journal cannot be read.
    """
    try:
        return await _recover(database, folder)
    except StorageError as error:
        raise with_remedy(error, database.path) from error


async def _recover(database: Database, folder: Path) -> tuple[list[JournalFile], int]:
    files = await asyncio.to_thread(left_in, folder)
    deadline = time.monotonic() + _RECOVER_TIMEOUT_S
    for file in files:
        while file.imported < file.size:
            try:
                await import_piece(database, file)
            except DatabaseBusy:
                if time.monotonic() > deadline:
                    raise
            else:
                deadline = time.monotonic() + _RECOVER_TIMEOUT_S
    if not files or not await database.checkpoint():
        return files, 0
    for file in files:
        await drop_imported(file)
    return [], sum(file.damaged for file in files)


async def drop_imported(file: JournalFile) -> None:
    """Delete a file whose rows are safe in the database; say what was lost of it.

    Raises:
        OSError: it is still there.
    """
    kept = await asyncio.to_thread(drop, file)
    log, name = logging.getLogger(__name__), file.path.name
    if kept:
        text = "%d lines of the journal's %s could not be read; it is kept as %s.damaged"
        log.error(text, file.damaged, name, file.path.stem)
    elif file.damaged:
        log.error("the journal's %s was deleted before its rows were imported", name)

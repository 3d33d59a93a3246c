"""From the journal into the database: in pieces, each row once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kurolproxy.storage.database import Database
from kurolproxy.storage.journal import JournalFile
from kurolproxy.storage.rows import Line, UsageRow, read_lines
from kurolproxy.storage.usage import insert_rows

# One transaction: some 500 rows, long enough to be cheap, short enough for the changes of
# people between two.
_PIECE_BYTES = 160 * 1024


class Piece(NamedTuple):
    """What one transaction imports of a file.

    Attributes:
        end: where the next piece begins.
        damaged: lines that could not be read.
    """

    rows: Sequence[UsageRow]
    end: int
    damaged: int


async def import_piece(database: Database, file: JournalFile) -> None:
    """Import the next rows of a file.

    Only what was written before the call is looked at.

    ``file.imported``, ``file.rows`` and ``file.damaged`` are moved on.

    Raises:
        StorageError: nothing was imported.
        OSError: the file cannot be read.
    """
    path, start, size, closed = file.path, file.imported, file.size, file.closed

    def work(db: sqlite3.Connection) -> Piece:
        piece = read_piece(path, start, size, whole=closed)
        insert_rows(db, piece.rows)
        return piece

    piece = await database.bulk(work)
    file.import_to(piece.end, rows=len(piece.rows), damaged=piece.damaged)


def read_piece(path: Path, start: int, size: int, *, whole: bool) -> Piece:
    """Read the next rows of a file.

    Args:
        start: where they begin.
        size: how far the file is written.
        whole: nothing is written behind ``size`` any more.

    Raises:
        OSError: the file cannot be read.
    """
    data = _data(path, start, min(size - start, _PIECE_BYTES))
    if not data:
        # It was longer when we began: what is gone cannot be read again.
        return Piece([], size, 1)
    lines = list(read_lines(data, start))
    behind = start + len(data)
    # The last line may go on behind what was read; with nothing behind, it is damaged.
    if lines and lines[-1].damaged and not (whole and behind >= size) and len(lines) > 1:
        behind = lines.pop().start
    return _piece(lines, behind)


def _data(path: Path, start: int, size: int) -> bytes:
    """Return what stands in a file; nothing when somebody deleted it."""
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(size)
    except FileNotFoundError:
        if path.parent.is_dir():
            return b""
        # A whole folder that is gone may come back.
        raise


def _piece(lines: Sequence[Line], end: int) -> Piece:
    rows = [each.row for each in lines if each.row is not None]
    return Piece(rows, end, sum(each.damaged for each in lines))

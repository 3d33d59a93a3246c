"""A database that cannot be used: the start is refused with what to do, and nothing changed."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from kurolproxy.storage.journal import JournalFile
from kurolproxy.storage.rows import encode_row
from tests.faults.made_up import rows
from tests.faults.serving import Installation

_PAGE = 4_096


def overwritten(path: Path) -> None:
    """Put noise where its third page was."""
    with path.open("r+b") as file:
        file.seek(2 * _PAGE)
        file.write(b"\xa5" * _PAGE)


def cut(path: Path) -> None:
    """Leave out its second half."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2 // _PAGE * _PAGE)


def cut_within_a_page(path: Path) -> None:
    """Leave out everything from the middle of its third page on."""
    with path.open("r+b") as file:
        file.truncate(2 * _PAGE + 77)


def garbage(path: Path) -> None:
    """Put something else in its place."""
    path.write_bytes(bytes(range(256)) * 64)


def foreign(path: Path) -> None:
    """Put the database of another program in its place."""
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (title TEXT)")


def newer(path: Path) -> None:
    """Let it be of a version that nobody knows yet."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9999")


def emptied(path: Path) -> None:
    """Leave nothing of it."""
    path.write_bytes(b"")


def gone(path: Path) -> None:
    """Remove it."""
    path.unlink()


DAMAGES: list[tuple[Callable[[Path], None], tuple[str, ...]]] = [
    (overwritten, ("backup", "journal")),
    (cut, ("backup", "journal")),
    (cut_within_a_page, ("backup", "journal")),
    (garbage, ("backup", "journal")),
    (foreign, ("not a database of Kurol Proxy",)),
    (newer, ("9999", "newer")),
    # A database that is lost while its journal is there: a new one would take the rows over,
    # and everybody's keys would be gone without a word.
    (emptied, ("backup", "journal")),
    (gone, ("backup", "journal")),
]


def print_of(site: Installation) -> dict[str, str]:
    """Return a digest of each file that holds anything to keep."""
    files = [each for each in sorted(site.state_dir.rglob("*")) if each.is_file()]
    passing = ("lock", "kurolproxy.db-shm")
    return {
        str(each.relative_to(site.state_dir)): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in files
        if each.name not in passing
    }


def journalled(site: Installation) -> None:
    """Leave a journal as a kill does, before anything of it was imported."""
    site.journal.mkdir()
    file = JournalFile.make(site.journal / f"{1:020}.log")
    for row in islice(rows(), 5):
        file.append(encode_row(row))
    file.release()


@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=[each[0].__name__ for each in DAMAGES])
async def test_database_that_cannot_be_used_stops_the_start_and_stays_as_it_is(
    damage: Callable[[Path], None], said: tuple[str, ...], site: Installation
) -> None:
    journalled(site)
    damage(site.database)
    before = print_of(site)
    code, text = await site.refused()
    assert code == 78
    assert str(site.database) in text
    for word in said:
        assert word in text
    assert "Traceback" not in text
    assert print_of(site) == before
    assert any(each.startswith("journal/") for each in before)

"""A journal that is torn or damaged anywhere: only the record that was hit is gone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from kurolproxy.storage import importer
from kurolproxy.storage.database import Database
from kurolproxy.storage.importer import import_piece, read_piece
from kurolproxy.storage.journal import JournalFile
from kurolproxy.storage.rows import UsageRow, encode_row
from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.made_up import rows
from tests.faults.serving import Installation, rounds

ROWS = 12
CUTS = 200
FLIPS = rounds(60, 400)


class Whole:
    """A file of the journal as it was written.

    Attributes:
        data: its bytes.
        ends: where each line ends.
        ids: the request ids, in order.
    """

    def __init__(self, folder: Path, count: int, *, ended: bool) -> None:
        self.made: list[UsageRow] = list(islice(rows(), count))
        path = folder / "whole.log"
        file = JournalFile.make(path)
        self.ends: list[int] = []
        for row in self.made:
            file.append(encode_row(row))
            self.ends.append(file.size)
        if ended:
            file.end()
        file.release()
        self.data = path.read_bytes()
        self.ids = [row.request_id for row in self.made]
        path.unlink()

    def at(self, place: int) -> int:
        """Return the number of the line that a byte belongs to; past them: their number."""
        return next((n for n, end in enumerate(self.ends) if place < end), len(self.ends))

    def but(self, *numbers: int) -> list[str]:
        """Return the ids of all lines but some."""
        return [id_ for number, id_ in enumerate(self.ids) if number not in numbers]


def read(folder: Path, data: bytes, pieces: int | None = None) -> tuple[list[str], int]:
    """Read a file as a start does, piece by piece; return request ids and damaged lines."""
    path = folder / "1.log"
    path.write_bytes(data)
    found: list[str] = []
    at = damaged = 0
    while at < len(data):
        piece = read_piece(path, at, len(data), whole=True)
        found += [row.request_id for row in piece.rows]
        damaged += piece.damaged
        assert piece.end > at
        at = piece.end
    return found, damaged


@pytest.fixture(params=[True, False], ids=["closed", "killed"])
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Whole:
    """Return a file of a dozen rows, with and without the line that ends it."""
    return Whole(tmp_path, ROWS, ended=request.param)


def test_cut_journal_has_every_row_before_the_cut(whole: Whole, tmp_path: Path) -> None:
    assert read(tmp_path, whole.data) == (whole.ids, 0)
    for cut in range(1, CUTS + 1):
        data = whole.data[:-cut]
        kept = [id_ for id_, end in zip(whole.ids, whole.ends, strict=True) if end <= len(data)]
        found, damaged = read(tmp_path, data)
        assert (cut, found) == (cut, kept)
        borders = {0, *whole.ends}
        assert damaged == (len(data) not in borders), cut


DAMAGES: list[tuple[str, Callable[[int], int]]] = [
    ("every bit", lambda byte: byte ^ 0xFF),
    ("one bit", lambda byte: byte ^ 0x01),
    ("line feed", lambda byte: 0x0A if byte != 0x0A else 0x20),
    ("zero", lambda byte: 0x00),
]


@pytest.mark.parametrize("change", [each[1] for each in DAMAGES], ids=[each[0] for each in DAMAGES])
def test_changed_byte_costs_its_own_row_only(
    change: Callable[[int], int], whole: Whole, tmp_path: Path
) -> None:
    step = max(1, len(whole.data) // FLIPS)
    feeds = {end - 1 for end in whole.ends}
    for place in range(0, len(whole.data), step):
        data = bytearray(whole.data)
        data[place] = change(data[place])
        found, damaged = read(tmp_path, bytes(data))
        if place in feeds:
            assert found == whole.ids, place
            continue
        number = whole.at(place)
        # White space at the end of a figure leaves it what it was.
        harmless = damaged == 0 and found == whole.ids
        assert harmless or found == whole.but(number), place
        # A line feed in its middle makes two of one damaged line.
        assert damaged <= 2, place


def test_damage_at_the_border_of_a_piece_costs_its_own_row_only(tmp_path: Path) -> None:
    long = Whole(tmp_path, 2 * importer._PIECE_BYTES // 160, ended=True)
    assert len(long.data) > 2 * importer._PIECE_BYTES
    feeds = {end - 1 for end in long.ends}
    for border in (importer._PIECE_BYTES, 2 * importer._PIECE_BYTES):
        for place in range(border - 300, border + 300, 23):
            data = bytearray(long.data)
            data[place] ^= 0xFF
            found, damaged = read(tmp_path, bytes(data))
            lost = () if place in feeds else (long.at(place),)
            assert (place, found) == (place, long.but(*lost))
            assert damaged == len(lost)


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 4_096, b"\n" * 50, b"u", b"u0000c", b"\xff\xfe" * 300, b"u" * 200_000],
    ids=["zeros", "line feeds", "mark", "half a head", "noise", "much of it"],
)
def test_whatever_stands_behind_the_rows_costs_none(
    tail: bytes, whole: Whole, tmp_path: Path
) -> None:
    found, damaged = read(tmp_path, whole.data + tail)
    assert found == whole.ids
    assert damaged >= 1


async def test_same_file_twice_changes_nothing(whole: Whole, tmp_path: Path) -> None:
    database = await Database.open(tmp_path / "kurolproxy.db")
    path = tmp_path / "1.log"
    path.write_bytes(whole.data)
    for _ in range(2):
        file = JournalFile(path, -1, len(whole.data))
        await import_piece(database, file)
        assert file.imported == file.size
    await database.close()
    books = Books.open(tmp_path / "kurolproxy.db")
    books.check()
    assert sorted(books.rows) == whole.ids


# --- with the process -------------------------------------------------------------------


async def journalled(site: Installation, calls: int) -> list[str]:
    """Make calls that reach the journal and not the database; return their ids."""
    async with site.serving() as served:
        with closing(sqlite3.connect(site.database, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            made = [await served.call() for _ in range(calls)]
            await served.kill()
            db.execute("ROLLBACK")
    assert all(each.ok for each in made)
    return [each.id or "" for each in made]


def cut_off(files: Sequence[Path]) -> None:
    """Tear the last line."""
    data = files[-1].read_bytes()
    files[-1].write_bytes(data[:-9])


def flipped(files: Sequence[Path]) -> None:
    """Change a byte in the middle of the last line."""
    data = bytearray(files[-1].read_bytes())
    data[-40] ^= 0x20
    files[-1].write_bytes(data)


def followed_by_noise(files: Sequence[Path]) -> None:
    """Put noise in the last line's place."""
    data = files[-1].read_bytes()
    start = data.rfind(b"\n", 0, -1) + 1
    files[-1].write_bytes(data[:start] + b"\xa5" * 700)


@pytest.mark.parametrize("damage", rounds([flipped], [cut_off, flipped, followed_by_noise]))
async def test_damaged_record_costs_the_start_nothing_and_is_counted(
    damage: Callable[[Sequence[Path]], None], site: Installation, tell: Tell
) -> None:
    ids = await journalled(site, 5)
    damage(filled(site))
    async with site.serving() as served:
        await served.written()
        count = (await served.metrics())["kurol_journal_damaged_records_total"]
        rows = Books.open(site.database)
        assert (await served.call()).ok
        assert await served.stop() == 0
    tell(f"{count:.0f} of {len(ids)} records damaged, {len(rows.rows)} imported")
    rows.check()
    assert sorted(rows.rows) == sorted(ids[:-1])
    assert count == 1
    # The damaged line is kept for whoever wants to look at it.
    assert [each.suffix for each in site.journal.iterdir()] == [".damaged"]
    async with site.serving() as served:
        await served.written()
        assert len(Books.open(site.database).rows) == len(ids)


def filled(site: Installation) -> list[Path]:
    """Return the files of the journal that hold anything, oldest first."""
    return sorted(each for each in site.journal.iterdir() if each.stat().st_size)

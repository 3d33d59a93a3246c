"""A copy of the database: of one moment, checked, and nothing left of one that failed."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kurolproxy.storage import backup
from kurolproxy.storage.backup import BackupError, Progress, check, copy, new_file
from kurolproxy.storage.errors import DatabaseBusy, DatabaseCorrupt, DatabaseForeign
from kurolproxy.storage.migrate import prepare
from kurolproxy.storage.reading import reading
from kurolproxy.storage.usage import insert_rows
from tests.storage.usage_rows import row


def nothing(copied: int, total: int) -> None:
    """Watch no progress."""


def insert(path: Path, *ids: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        insert_rows(db, [row(each) for each in ids])
        db.execute("COMMIT")


def ids_of(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return [id_ for (id_,) in db.execute("SELECT request_id FROM usage ORDER BY rowid")]


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    """Yield a database that another connection has open, with rows in its WAL alone."""
    path = tmp_path / "state.db"
    prepare(path, busy_timeout_s=1.0)
    with closing(sqlite3.connect(path)) as held:
        held.execute("SELECT count(*) FROM usage").fetchall()
        insert(path, *(f"r{index}" for index in range(200)))
        yield path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


def back_up(
    source: Path, target: Path, *, replace: bool = False, progress: Progress = nothing
) -> int:
    with new_file(target, replace=replace) as partial:
        with reading(source) as db:
            restarts = copy(db, partial, progress=progress)
        check(partial)
    return restarts


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy a few pages at a time: these databases are small."""
    assert backup._STEP_PAGES * 4_096 == 4 * 1024 * 1024
    monkeypatch.setattr(backup, "_STEP_PAGES", 1)


# --- a copy -----------------------------------------------------------------------------


def test_copy_is_one_private_file_with_everything_in_it(source: Path, target: Path) -> None:
    assert back_up(source, target) == 0
    assert [each.name for each in target.parent.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert ids_of(target) == [f"r{index}" for index in range(200)]
    with closing(sqlite3.connect(target)) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_copy_can_be_served_from(source: Path, target: Path) -> None:
    back_up(source, target)
    prepare(target, busy_timeout_s=1.0)
    assert len(ids_of(target)) == 200


@pytest.mark.usefixtures("small_steps")
def test_nobody_is_held_up_between_two_steps(source: Path, target: Path) -> None:
    steps, checkpoints = [], []

    def progress(copied: int, total: int) -> None:
        steps.append(copied)
        if len(steps) in (5, 15):
            with closing(sqlite3.connect(source, timeout=0)) as db:
                checkpoints.append(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())

    back_up(source, target, progress=progress)
    # A reader would have kept it from emptying the WAL.
    assert [busy for busy, _, _ in checkpoints] == [0, 0]


@pytest.mark.usefixtures("small_steps")
def test_change_meanwhile_begins_the_copy_anew_and_is_in_it(source: Path, target: Path) -> None:
    calls = []

    def progress(copied: int, total: int) -> None:
        calls.append((copied, total))
        if len(calls) in (3, 9):
            insert(source, f"new-{len(calls)}")

    assert back_up(source, target, progress=progress) == 2
    assert ids_of(target)[200:] == ["new-3", "new-9"]
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.usefixtures("small_steps")
def test_copy_of_what_changes_all_the_time_is_given_up(source: Path, target: Path) -> None:
    calls = []

    def progress(copied: int, total: int) -> None:
        calls.append(copied)
        if len(calls) % 2 == 0:
            insert(source, f"new-{len(calls)}")

    with pytest.raises(BackupError, match="changed all the time"):
        back_up(source, target, progress=progress)
    assert list(target.parent.iterdir()) == []
    assert len(calls) < 100


def test_database_that_stays_locked_is_given_up(source: Path) -> None:
    now = iter([0.0, 1.0, 20.0, 29.0, 60.0])
    watch = backup._Watch(nothing, clock=lambda: next(now))
    for _ in range(3):
        watch(sqlite3.SQLITE_BUSY, 10, 10)
    with pytest.raises(DatabaseBusy):
        watch(sqlite3.SQLITE_BUSY, 10, 10)


# --- what fails -------------------------------------------------------------------------


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BackupError, OSError])
@pytest.mark.parametrize("before", [None, b"an older backup"])
def test_nothing_is_left_of_a_copy_that_was_ended(
    source: Path, target: Path, error: type[BaseException], before: bytes | None
) -> None:
    if before is not None:
        target.write_bytes(before)

    def progress(copied: int, total: int) -> None:
        if copied > 8:
            raise error

    with pytest.raises(BackupError if error is OSError else error):
        back_up(source, target, replace=True, progress=progress)
    left = {each.name: each.read_bytes() for each in target.parent.iterdir()}
    assert left == ({} if before is None else {"copy.db": before})


def damage(path: Path) -> None:
    """Overwrite a page in the middle of the ledger."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'usage_by_day'")
        number = page.fetchone()[0]
    with path.open("r+b") as file:
        file.seek((number - 1) * 4_096)
        file.write(b"\x0a" + bytes(4_095))


def test_copy_of_a_damaged_database_is_refused(source: Path, target: Path) -> None:
    damage(source)
    with pytest.raises(DatabaseCorrupt):
        back_up(source, target)
    assert list(target.parent.iterdir()) == []


def test_file_that_is_no_database_of_ours_is_refused(target: Path) -> None:
    with closing(sqlite3.connect(target)) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(DatabaseForeign):
        check(target)


def test_file_that_is_there_is_replaced_only_when_asked(source: Path, target: Path) -> None:
    target.write_bytes(b"an older backup")
    target.chmod(0o644)
    with pytest.raises(BackupError, match="--force"):
        back_up(source, target)
    assert target.read_bytes() == b"an older backup"
    back_up(source, target, replace=True)
    assert len(ids_of(target)) == 200
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_file_that_appears_meanwhile_is_kept(source: Path, target: Path) -> None:
    with pytest.raises(BackupError, match="--force"):
        back_up(source, target, progress=lambda copied, total: target.touch())
    assert [each.name for each in target.parent.iterdir()] == ["copy.db"]
    assert target.stat().st_size == 0


UNUSABLE: list[tuple[str, Callable[[Path], Path], str]] = [
    ("a directory", lambda folder: folder, "is a directory"),
    ("in no directory", lambda folder: folder / "none" / "copy.db", "No such file"),
    ("below a file", lambda folder: folder / "file" / "copy.db", "Not a directory"),
    ("too long a name", lambda folder: folder / ("x" * 250), "too long"),
]


@pytest.mark.parametrize(
    ("place", "said"), [each[1:] for each in UNUSABLE], ids=[each[0] for each in UNUSABLE]
)
def test_place_that_cannot_be_written_is_told(
    tmp_path: Path, source: Path, place: Callable[[Path], Path], said: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match=said):
        back_up(source, place(tmp_path))


def test_what_is_no_file_is_never_replaced(source: Path, target: Path) -> None:
    os.mkfifo(target)
    with pytest.raises(BackupError, match="no ordinary file"):
        back_up(source, target, replace=True)
    assert target.is_fifo()


def test_two_backups_do_not_write_one_file(source: Path, target: Path) -> None:
    with new_file(target, replace=False) as partial:
        with pytest.raises(BackupError, match="another backup"), new_file(target, replace=False):
            pass
        assert partial.exists()


def test_file_that_was_named_in_the_last_moment_is_not_written_over(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = target.with_name(".copy.db.partial")
    partial.write_bytes(b"a backup that is just done")

    def named_before(fd: int, how: int) -> None:
        # What the one who held it does between our opening it and our holding it.
        partial.rename(target.with_name("done.db"))
        partial.touch()

    monkeypatch.setattr(fcntl, "flock", named_before)
    with pytest.raises(BackupError, match="another backup"):
        back_up(source, target)
    assert target.with_name("done.db").read_bytes() == b"a backup that is just done"


def test_half_copy_of_a_killed_process_is_written_over(source: Path, target: Path) -> None:
    target.with_name(".copy.db.partial").write_bytes(b"x" * 1_000_000)
    back_up(source, target)
    assert [each.name for each in target.parent.iterdir()] == ["copy.db"]


def test_link_in_the_place_of_the_half_copy_is_not_followed(source: Path, target: Path) -> None:
    elsewhere = target.with_name("precious")
    elsewhere.write_bytes(b"precious")
    os.symlink(elsewhere, target.with_name(".copy.db.partial"))
    with pytest.raises(BackupError):
        back_up(source, target)
    assert elsewhere.read_bytes() == b"precious"

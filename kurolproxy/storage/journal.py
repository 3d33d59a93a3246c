"""The journal: files that a finished call's row is appended to before its answer ends.

An append is one ``write`` to a file that is open: it survives a killed process, and costs
about as much as any other system call. What takes longer (to make a file, to put one on
the disk, to delete one) is done by whoever calls the methods marked as blocking, in a thread.

The file that is appended to is never synced: an append would wait for the disk. Either it
is replaced by the next one and synced when it is closed, once a second; or, when each
answer waits for the disk, two files take turns.

Files: ``<20 digits>.log``, oldest first. One that had damaged lines is kept as
``<20 digits>.damaged`` when everything else in it was imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from kurolproxy.storage.rows import end_line, line

FOLDER: Final = "journal"
MAX_BYTES: Final = 4 * 1024 * 1024
MAX_AGE_S: Final = 1.0

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_SUFFIX: Final = ".log"
_DAMAGED: Final = ".damaged"
# Of a name; ours have 20. Longer ones are somebody else's, like everything without digits.
_MOST_DIGITS: Final = 100


class JournalFile:
    """One file of the journal.

    Attributes:
        size: bytes that were written whole.
        lines: rows that were appended by this process.
        imported: bytes whose rows are committed in the database.
        rows: how many of ``lines`` these are, damaged ones included.
        begun_at: when the first row was appended; None while it is empty.
        closed: nothing is appended any more.
        synced: it is closed, and on the disk.
        damaged: lines that could not be read.
    """

    __slots__ = (
        "_fd",
        "_torn",
        "begun_at",
        "closed",
        "damaged",
        "imported",
        "lines",
        "path",
        "rows",
        "size",
        "synced",
    )

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path = path
        self.size = size
        self.lines = 0
        self.imported = 0
        self.rows = 0
        self.begun_at: float | None = None
        self.closed = self.synced = fd < 0
        self.damaged = 0
        self._fd = fd
        self._torn = False

    @classmethod
    def make(cls, path: Path) -> JournalFile:
        """Make a new file; blocks.

        Raises:
            OSError: it cannot be made.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        return cls(path, os.open(path, flags, _FILE_MODE), 0)

    def append(self, encoded: bytes) -> None:
        """Append a row: whole, or not at all.

        Raises:
            OSError: the disk is full, read-only or failing.
        """
        self._write(line(encoded, self.lines))
        self.lines += 1

    @property
    def waiting(self) -> int:
        """Rows of this process that are not committed yet."""
        return self.lines - self.rows

    @property
    def deleted(self) -> bool:
        """Whether somebody deleted it while it is open: nobody will find what it holds."""
        return self._fd >= 0 and os.fstat(self._fd).st_nlink == 0

    @property
    def done(self) -> bool:
        """Whether the database has all that it will ever hold, and it is on the disk."""
        return self.synced and self.imported >= self.size

    def import_to(self, end: int, *, rows: int, damaged: int) -> None:
        """Note that everything before ``end`` is committed.

        Args:
            rows: that were read since the last call.
            damaged: lines that were not.
        """
        self.imported = end
        self.damaged += damaged
        # How many rows were lost in a damaged place shows only at the end.
        whole = end >= self.size
        self.rows = self.lines if whole else min(self.rows + rows, self.lines)

    def end(self) -> None:
        """Append nothing more; the last line says that nothing is missing."""
        self.closed = True
        # Without it the file only looks like one whose process was killed.
        with suppress(OSError):
            self._write(end_line(self.lines))

    def sync(self) -> None:
        """Put everything that was appended on the disk; blocks.

        Raises:
            OSError: it may not be there.
        """
        os.fdatasync(self._fd)
        if self.closed:
            self.synced = True
            self.release()

    def release(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        if self._torn:
            # What is left of a line that did not fit: its end must not swallow this one.
            data = b"\n" + data
        written = os.write(self._fd, data)
        if written != len(data):
            self._torn = True
            with suppress(OSError):
                os.ftruncate(self._fd, self.size)
                self._torn = False
            if self._torn:
                self.size += written
            raise OSError(28, "No space left on device")
        self._torn = False
        self.size += written


class Journal:
    """The files of one state directory.

    Args:
        folder: made when it is missing.
        in_turn: two files take turns, see above.
    """

    def __init__(self, folder: Path, *, in_turn: bool = False) -> None:
        self._folder = folder
        self._in_turn = in_turn
        self._next = 1
        self._current: JournalFile | None = None
        self._spares: list[JournalFile] = []

    def open(self) -> None:
        """Make the folder and a new file; blocks.

        Raises:
            OSError: the folder cannot be used.
        """
        self._make_folder()
        numbers = [int(each.stem) for each in self._folder.iterdir() if _numbered(each)]
        self._next = 1 + max(numbers, default=0)
        self.supply()
        self._current = self._spares.pop()
        if self._in_turn:
            self.supply()

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(mode=_FOLDER_MODE)
            sync_folder(self._folder.parent)

    @property
    def is_open(self) -> bool:
        """Whether there is a file to append to."""
        return self._current is not None

    @property
    def current(self) -> JournalFile:
        """The file that is appended to."""
        assert self._current is not None, "the journal is not open"
        return self._current

    @property
    def needs_supply(self) -> bool:
        """Whether ``turn`` would find no other file."""
        return not self._spares

    def supply(self) -> None:
        """Make the file that is appended to next; blocks.

        Its name is on the disk when this returns: what is synced later can be found there.

        Raises:
            OSError: it cannot be made.
        """
        # Whoever deleted it meanwhile need not start the gateway anew.
        self._make_folder()
        made = JournalFile.make(self._folder / f"{self._next:020d}{_SUFFIX}")
        self._next += 1
        try:
            sync_folder(self._folder)
        except OSError:
            made.release()
            made.path.unlink(missing_ok=True)
            raise
        self._spares.append(made)

    def due(self, now: float, *, max_age_s: float, max_bytes: int) -> bool:
        """Return whether the file that is appended to is too old or too large, or deleted."""
        current = self.current
        return _is_old(current, now, max_age_s) or current.size >= max_bytes or current.deleted

    def retire(self, now: float, *, max_age_s: float) -> list[JournalFile]:
        """End the files that wait for their turn and are too old, or deleted; return them."""
        old = [each for each in self._spares if each.deleted or _is_old(each, now, max_age_s)]
        self._spares = [each for each in self._spares if each not in old]
        for each in old:
            each.end()
        return old

    def turn(self, *, close: bool) -> JournalFile:
        """Append to another file from here on; there is one (``needs_supply``).

        Args:
            close: nothing is appended to the present one any more; else it takes its turn
                again.

        Returns:
            the file that was appended to so far.
        """
        old = self.current
        self._current = self._spares.pop()
        if close:
            old.end()
        else:
            self._spares.append(old)
        return old

    def close(self) -> list[JournalFile]:
        """End the files that are open; return them, those without rows deleted; blocks.

        For a moment only, and not to be called in a thread: nothing is appended meanwhile.
        """
        found = [*self._spares, *([self._current] if self._current else [])]
        self._spares, self._current = [], None
        kept = []
        for each in found:
            if each.size:
                each.end()
                kept.append(each)
            else:
                each.release()
                with suppress(OSError):
                    each.path.unlink(missing_ok=True)
        return kept


def files_of(folder: Path) -> Iterator[Path]:
    """Yield the files of a journal that may hold rows to import, oldest first."""
    if folder.is_dir():
        yield from sorted(each for each in folder.iterdir() if _is_ours(each, _SUFFIX))


def _is_old(file: JournalFile, now: float, max_age_s: float) -> bool:
    return file.begun_at is not None and now - file.begun_at >= max_age_s


def _numbered(path: Path) -> bool:
    digits = path.stem
    return digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS


def _is_ours(path: Path, suffix: str) -> bool:
    """Return whether a path is a file of ours: others leave copies, folders and links."""
    named = path.suffix == suffix and _numbered(path)
    return named and path.is_file() and not path.is_symlink()


def left_in(folder: Path) -> list[JournalFile]:
    """Return what an earlier process left, oldest first; blocks.

    Raises:
        OSError: the folder cannot be read.
    """
    return [JournalFile(path, -1, path.stat().st_size) for path in files_of(folder)]


def damaged_files_of(folder: Path) -> list[Path]:
    """Return the files that were kept because lines of them were damaged."""
    return sorted(each for each in folder.glob(f"*{_DAMAGED}") if _is_ours(each, _DAMAGED))


def drop(file: JournalFile) -> bool:
    """Delete a file that is imported, or keep it under another name when it was damaged; blocks.

    Returns:
        whether it is kept: somebody may have deleted it.

    Raises:
        OSError: it is still there.
    """
    file.release()
    if not file.damaged:
        file.path.unlink(missing_ok=True)
        return False
    try:
        file.path.rename(file.path.with_suffix(_DAMAGED))
    except FileNotFoundError:
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; blocks.

    Raises:
        OSError: they may not be there.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

"""Run the gateway and note what a power cut would leave: ``python -m tests.faults.recording``.

What is on the disk for certain is what was synced:

    a file of the journal   as long as it was when its last sync began
    a name in the journal   when the folder was synced after the file was made
    the database            as it was when a checkpoint had moved all of the WAL and returned:
                            SQLite has synced both by then. It is copied at that moment.

Notes and copies go to a folder of their own. ``after_the_cut`` makes a state directory of
them. Nothing of the gateway is made for this: what it calls in ``os`` and ``sqlite3`` is
wrapped.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kurolproxy.__main__ import main
from tests.faults.crashing import file_of, in_journal

_COPY = "kurolproxy.db"
_LINKS = "links"


class Notes:
    """What was synced, a JSON array a line.

    Args:
        folder: of the notes; it is there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._write = os.write
        (folder / _LINKS).mkdir(exist_ok=True)

    def add(self, kind: str, *values: Any) -> None:
        """Note something; a kill afterwards does not undo it."""
        self._write(self._fd, json.dumps([kind, *values]).encode() + b"\n")

    def keep(self, path: Path) -> None:
        """Keep what a file of the journal holds, also when its name goes."""
        link = self.folder / _LINKS / path.name
        if not link.exists():
            os.link(path, link)

    def copy(self, database: Path) -> None:
        """Keep the database as it is now."""
        made = self.folder / "copying"
        shutil.copyfile(database, made)
        made.rename(self.folder / _COPY)


def _wrap(notes: Notes) -> None:
    connect, datasync, sync, opened = sqlite3.connect, os.fdatasync, os.fsync, os.open

    def path_of(fd: int) -> Path:
        return Path(os.readlink(f"/proc/self/fd/{fd}"))

    def syncing(fd: int) -> None:
        size, begun = os.fstat(fd).st_size, time.monotonic()
        datasync(fd)
        if in_journal(fd):
            notes.add("file", path_of(fd).name, size, time.monotonic() - begun)

    def syncing_folder(fd: int) -> None:
        path = path_of(fd)
        names = os.listdir(path) if path.is_dir() else []
        sync(fd)
        if path.name == "journal":
            notes.add("folder", names)

    def opening(path: Any, flags: int, *args: Any, **options: Any) -> int:
        fd = opened(path, flags, *args, **options)
        if flags & os.O_CREAT and in_journal(fd):
            notes.keep(Path(path))
        return fd

    class Noted(sqlite3.Connection):
        def __init__(self, database: Any, *args: Any, **options: Any) -> None:
            super().__init__(database, *args, **options)
            self._path = file_of(database)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if "wal_checkpoint" not in sql:
                return super().execute(sql, *args)
            done = super().execute(sql, *args).fetchone()
            if not done[0] and done[1] == done[2]:
                notes.copy(self._path)
            return super().execute("SELECT ?, ?, ?", done)

    os.fdatasync, os.fsync, os.open = syncing, syncing_folder, opening
    sqlite3.connect = lambda *args, **options: connect(*args, **{"factory": Noted, **options})  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Disk:
    """What is on the disk for certain.

    Attributes:
        sizes: name of a file of the journal -> how long it is there.
        names: those that the folder has there.
        longest_sync_s: how long a sync took at most.
    """

    folder: Path
    sizes: dict[str, int]
    names: frozenset[str]
    longest_sync_s: float

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """Read the notes of a gateway that was killed."""
        lines = (folder / "notes").read_bytes().split(b"\n")[:-1]
        sizes: dict[str, int] = {}
        names: frozenset[str] = frozenset()
        longest = 0.0
        for kind, *values in map(json.loads, lines):
            if kind == "file":
                sizes[values[0]] = max(values[1], sizes.get(values[0], 0))
                longest = max(longest, values[2])
            else:
                names = frozenset(values[0])
        return cls(folder, sizes, names, longest)

    def after_the_cut(self, state: Path, *, whole_database: bool) -> None:
        """Turn the state directory of a killed gateway into what a power cut leaves.

        Args:
            whole_database: all that was written to SQLite's files has reached the disk, and
                no removal of a name from the journal; else nothing has that was not synced,
                and each removal.
        """
        if not whole_database:
            for each in state.glob("kurolproxy.db*"):
                each.unlink()
            shutil.copyfile(self.folder / _COPY, state / "kurolproxy.db")
        journal = state / "journal"
        there = {each.name: each for each in journal.glob("*.log")}
        for each in there.values():
            each.unlink()
        for name in self.names:
            # What is damaged is of an earlier cut, and on the disk for long.
            if name.endswith(".log") and (name in there or whole_database):
                data = (self.folder / _LINKS / name).read_bytes()
                (journal / name).write_bytes(self._left(data, self.sizes.get(name, 0)))

    def _left(self, data: bytes, synced: int) -> bytes:
        """Return what is left of a file: all that was synced, anything of the rest."""
        cut = random.randint(synced, len(data))
        rest = random.choice([b"", data[synced:cut], bytes(cut - synced)])
        return data[:synced] + rest


if __name__ == "__main__":
    where, *rest = sys.argv[1:]
    _notes = Notes(Path(where))
    _wrap(_notes)
    main(rest, prog_name="kurolproxy")

"""The files of the state directory: of the user who serves from them, and for nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kurolproxy.storage.lock import StateError

_OTHERS: Final = 0o077
# What is ours there; a mount's lost+found, say, is not.
_NAMES: Final = ("lock", "control.sock", "kurolproxy.db*", "journal", "journal/*")


def make_private(folder: Path) -> list[str]:
    """Take what others may do from the files of a state directory.

    Args:
        folder: exists, and is locked by this process.

    Returns:
        the names of the files that others could have read or changed before.

    Raises:
        StateError: something there is another user's, or a link to somewhere else.
    """
    mended = []
    for path in _ours(folder):
        # The folder itself may well be a link: systemd makes one.
        found = path.stat() if path == folder else path.lstat()
        if stat.S_ISLNK(found.st_mode):
            raise StateError(f"{path} is a link: what is kept has to be in the state directory")
        if found.st_uid != os.geteuid():
            raise StateError(
                f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}: run as"
                f" its owner, or hand over all of it (chown -R {os.geteuid()} {folder})"
            )
        if found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)
            mended.append(path.name)
    return mended


def _ours(folder: Path) -> Iterator[Path]:
    yield folder
    for name in _NAMES:
        yield from sorted(folder.glob(name))

"""The state directory: private, and of one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_DIRECTORY_MODE = 0o700
_FILE_MODE = 0o600
_POLL_S = 0.05


_OURS = frozenset({"lock", "control.sock", "journal"})


class StateError(Exception):
    """The state directory cannot be used; the text says why."""


class StateLocked(StateError):
    """Another process holds the state directory.

    Args:
        pid: of that process; None when it left none.
    """

    def __init__(self, path: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(f"the state directory {path} is in use by {who}")
        self.pid = pid


class StateDirectory:
    """One directory that holds the database and whatever else is kept.

    The lock is the kernel's (``flock``): it goes with its process, however that ends, and
    a lock file that was left behind holds nothing.

    Args:
        path: the directory; ``hold`` creates it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd: int | None = None

    @property
    def database_path(self) -> Path:
        """Where the database is."""
        return self.path / "kurolproxy.db"

    @property
    def owner_uid(self) -> int | None:
        """The user the directory belongs to; None while it does not exist."""
        try:
            return self.path.stat().st_uid
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self.path} cannot be looked at: {error.strerror}") from error

    def hold(self, wait_s: float = 0.0) -> StateDirectory:
        """Create the directory when it is missing and lock it for this process.

        Args:
            wait_s: how long to wait for another process; blocks.

        Returns:
            itself, a context manager that releases.

        Raises:
            StateLocked: another process holds it.
            StateError: it cannot be created or used.
        """
        try:
            self._make_private()
            fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _FILE_MODE)
        except OSError as error:
            raise StateError(f"{self.path} cannot be used: {error.strerror}") from error
        if not _locked(fd, wait_s):
            pid = _read_pid(fd)
            os.close(fd)
            raise StateLocked(self.path, pid)
        self._lock_fd = fd
        # On a full disk the lock holds all the same, only without a name to it.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return self

    def release(self) -> None:
        """Let another process have it; the lock file stays, or two could hold two of them."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def __enter__(self) -> StateDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()

    def _is_somebody_elses(self) -> bool:
        """Return whether the directory would be taken away from those who use it."""
        if self.path.stat().st_mode & 0o077 == 0 or self.database_path.exists():
            return False
        return any(each.name not in _OURS for each in self.path.iterdir())

    def _make_private(self) -> None:
        existed = self.path.exists()
        self.path.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
        if existed and self._is_somebody_elses():
            raise StateError(
                f"{self.path} holds other files and is open to others: a state directory has "
                "to be a folder of its own"
            )
        # Made by hand, or under a mask of its own: nobody else is to look in.
        if self.path.stat().st_mode & 0o777 != _DIRECTORY_MODE:
            self.path.chmod(_DIRECTORY_MODE)


def drop_root_to(path: Path) -> bool:
    """Become the owner of the state directory, when this process is root and it is not.

    Called before anything there is created or opened, so that no file of root's is left
    that the service could not use.

    Returns:
        whether the process has changed its user; there is no way back.

    Raises:
        StateError: the owner cannot get into the directory (the service's private
            directories are closed to everybody but root while it is down).
    """
    if os.geteuid() != 0:
        return False
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    if found.st_uid == 0:
        return False
    # The groups first: without root nobody may change them.
    os.setgroups([found.st_gid])
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StateError(
            f"{path} belongs to user {found.st_uid}, who cannot reach it: a directory above it "
            "is closed. Start the service first, or run the command as part of its unit."
        )
    return True


def _locked(fd: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)
        else:
            return True


def _read_pid(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None

"""What ``doctor`` is handed and what it finds; the checks of file, limits, disk and folder."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from kurolproxy import __version__
from kurolproxy.config.model import Config
from kurolproxy.config.problems import Problem
from kurolproxy.server.control import SOCKET_NAME
from kurolproxy.storage.journal import FOLDER
from kurolproxy.storage.lock import StateDirectory

Level = Literal["ok", "warning", "error"]

_MIB: Final = 1024 * 1024
_LITTLE_SPACE: Final = 1024 * _MIB
_NO_SPACE: Final = 64 * _MIB
_FEW_INODES: Final = 10_000
_NO_INODES: Final = 100
# A client takes one, and so does its upstream.
_FEW_FILES: Final = 4_096
# Nobody needs to read more of a kind.
_SHOWN: Final = 5


class Finding(NamedTuple):
    """What one check found.

    Attributes:
        found: in words.
        remedy: what to do about it; "" when nothing is.
    """

    level: Level
    found: str
    remedy: str = ""


class Space(NamedTuple):
    """What is left of a file system, for those who are not root.

    Attributes:
        inodes: None: it has no limit of them.
    """

    bytes: int
    inodes: int | None
    read_only: bool


def space_of(path: Path) -> Space:
    """Return what is left where a path is."""
    found = os.statvfs(path)
    return Space(
        bytes=found.f_bavail * found.f_frsize,
        inodes=found.f_favail if found.f_files else None,
        read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def open_files_of(pid: int | None) -> int:
    """Return how many files a process may have open; None: this one."""
    if pid is not None:
        try:
            for line in Path(f"/proc/{pid}/limits").read_text("ascii").splitlines():
                if line.startswith("Max open files"):
                    return int(line.split()[3])
        except (OSError, ValueError):
            # Somebody else's process, or not Linux: ours is the best guess.
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the checks ask of the machine: tests hand in others.

    Attributes:
        now: seconds since 1970.
        space: of the file system of a path; raises OSError.
        open_files: the limit of a process, of this one for None.
    """

    now: Callable[[], float] = time.time
    space: Callable[[Path], Space] = space_of
    open_files: Callable[[int | None], int] = open_files_of


@dataclass(frozen=True, slots=True)
class Patient:
    """What the checks look at.

    Attributes:
        config_path: of the file.
        config: what it says; None when it cannot be used.
        problems: what is wrong with it.
        only_secrets: nothing but secrets that this user does not have.
        status: what the gateway says that runs; None when none does.
        refused: why it could not be asked, when one may be running.
        call: whether upstreams may be called, which costs some tokens.
    """

    config_path: Path
    config: Config | None
    problems: Sequence[Problem] = ()
    only_secrets: bool = False
    status: Mapping[str, Any] | None = None
    refused: str | None = None
    call: bool = False
    machine: Machine = field(default_factory=Machine)

    @property
    def directory(self) -> StateDirectory:
        """The state directory; only with a configuration."""
        assert self.config is not None
        return StateDirectory(self.config.server.state_path)


# --- the configuration --------------------------------------------------------------------


def configuration(patient: Patient) -> Iterator[Finding]:
    """The file can be used; what ``check`` says of it."""
    remedy = "Correct the file at this place; `kurolproxy check` shows all of them."
    if patient.only_secrets:
        remedy = "Nothing, when the service is handed it; else set it where the gateway starts."
    for problem in patient.problems[:_SHOWN]:
        is_error = problem.severity == "error" and not patient.only_secrets
        yield Finding("error" if is_error else "warning", str(problem), remedy)
    if not patient.problems:
        yield Finding("ok", f"{patient.config_path} is valid")


def models_of_plans(patient: Patient) -> Iterator[Finding]:
    """Every plan has a model that can be called."""
    assert patient.config is not None
    catalog = patient.config.catalog
    active = [each.id for each in catalog.models.values() if each.active]
    empty = [each.name for each in catalog.plans.values() if not any(map(each.allows, active))]
    for name in empty:
        yield Finding(
            "warning",
            f"the plan {name!r} has no active model: its accounts can call nothing",
            f"Correct `models` of the plan {name!r}, or make one of its models active.",
        )
    if not catalog.plans:
        yield Finding("warning", "there is no plan", "Add a [[plans]] table: accounts need one.")
    elif not empty:
        yield Finding("ok", f"plans: {len(catalog.plans)}, each with an active model")


# --- the machine --------------------------------------------------------------------------


def limits(patient: Patient) -> Iterator[Finding]:
    """The gateway may open enough files."""
    pid = None if patient.status is None else int(patient.status["pid"])
    files = patient.machine.open_files(pid)
    whose = "here" if pid is None else f"by process {pid}"
    # -1: no limit.
    if 0 <= files < _FEW_FILES:
        yield Finding(
            "warning",
            f"only {files:,} files can be open {whose}: some {files // 2:,} calls at once",
            f"Raise LimitNOFILE of the unit, or `ulimit -n`, to {_FEW_FILES:,} or more.",
        )
    else:
        yield Finding("ok", f"{'any number of' if files < 0 else f'{files:,}'} files can be open")


def disk(patient: Patient) -> Iterator[Finding]:
    """The state directory's file system has room and takes it."""
    path = patient.directory.path
    existing = next(each for each in (path, *path.parents) if _exists(each))
    try:
        left = patient.machine.space(existing)
    except OSError as error:
        yield Finding(
            "error", f"{existing}: {error.strerror}", "Look at the disk, and at who may use it."
        )
        return
    room = f"{existing} has {_size(left.bytes)} left"
    if left.read_only:
        yield Finding(
            "error",
            f"the file system of {existing} is read-only",
            "Look for errors of the disk in the kernel's log, then mount it to be written.",
        )
    elif left.bytes < _NO_SPACE:
        yield Finding("error", room, "Free space now: the ledger can hardly be written.")
    elif left.inodes is not None and left.inodes < _NO_INODES:
        yield Finding("error", f"{existing}: {left.inodes} more files fit", "Delete files there.")
    elif left.bytes < _LITTLE_SPACE:
        yield Finding("warning", room, "Free space, or shorten `detail_days` of [ledger].")
    elif left.inodes is not None and left.inodes < _FEW_INODES:
        yield Finding("warning", f"{existing}: {left.inodes:,} more files fit", "Delete files.")
    else:
        yield from _writing(path, room)


def _writing(path: Path, room: str) -> Iterator[Finding]:
    """Try to write, as the owner: quotas and attributes of files show in no figure."""
    try:
        if path.stat().st_uid == os.geteuid():
            with tempfile.TemporaryFile(dir=path, buffering=0) as file:
                file.write(b"x")
    except FileNotFoundError:
        pass
    except OSError as error:
        yield Finding(
            "error",
            f"nothing can be written in {path}: {error.strerror}",
            "Look at the disk, its quota, and the attributes of the folder (`lsattr -d`).",
        )
        return
    yield Finding("ok", room)


# --- the state directory ------------------------------------------------------------------


def state_directory(patient: Patient) -> Iterator[Finding]:
    """It is private, and one user's."""
    path = patient.directory.path
    try:
        folder = path.stat()
        names = sorted(each.name for each in path.iterdir())
    except FileNotFoundError:
        yield Finding("ok", f"{path} does not exist yet: the first start makes it")
        return
    except OSError as error:
        yield Finding(
            "error",
            f"{path}: {error.strerror}",
            "Run this as the owner of the state directory or as root.",
        )
        return
    bad = [*_too_open(path, 0o700)]
    for name in names:
        if name == FOLDER or name.startswith(("kurolproxy.db", "lock")):
            bad += _of_a_file(path / name, folder.st_uid)
    for each in sorted(path.glob(f"{FOLDER}/*")):
        bad += _of_a_file(each, folder.st_uid)
    yield from bad[:_SHOWN]
    if not bad:
        yield Finding("ok", f"{path} is private to user {folder.st_uid}")


def _of_a_file(path: Path, owner: int) -> Iterator[Finding]:
    try:
        found = path.stat()
    except FileNotFoundError:
        # A file of the journal that was imported just now.
        return
    if found.st_uid != owner:
        yield Finding(
            "error",
            f"{path} belongs to user {found.st_uid}, the directory to {owner}: the gateway may"
            " not be able to use it",
            f"`chown {owner} {path}`",
        )
    yield from _too_open(path, 0o700 if path.is_dir() else 0o600)


def _too_open(path: Path, mode: int) -> Iterator[Finding]:
    found = stat.S_IMODE(path.stat().st_mode)
    if found & ~mode:
        text = f"{path} has the mode {found:04o}: accounts and usage are nobody else's business"
        yield Finding("warning", text, f"`chmod {mode:04o} {path}`")


def gateway(patient: Patient) -> Iterator[Finding]:
    """The process that runs can be talked to; nothing holds the directory otherwise."""
    path = patient.directory.path
    if patient.refused is not None:
        yield Finding(
            "error",
            patient.refused,
            "Run this as the owner of the state directory or as root. If you did: the gateway"
            " hangs, its log may say why.",
        )
    elif patient.status is not None:
        yield from _running(patient.status)
    elif holder := _holder(path / "lock"):
        yield Finding(
            "error",
            f"{holder} holds {path} and does not answer",
            "Try again, it may be starting; look at its log, and end it when it hangs.",
        )
    elif _exists(path / SOCKET_NAME):
        yield Finding(
            "warning",
            f"no gateway runs; {SOCKET_NAME} is left of one that did not end properly",
            "Start the gateway: it replaces the socket and imports what is left.",
        )
    else:
        yield Finding("ok", "no gateway runs")


def _running(status: Mapping[str, Any]) -> Iterator[Finding]:
    text = f"process {status['pid']} runs version {status['version']}"
    if status["version"] != __version__:
        remedy = "Restart the gateway."
        yield Finding("warning", f"{text}, {__version__} is installed", remedy)
    else:
        yield Finding("ok", text)


def _holder(lock: Path) -> str | None:
    """Return who holds a lock file; None when nobody does."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            return None
        pid = os.pread(fd, 32, 0).strip()
        return f"process {pid.decode()}" if pid.isdigit() else "another process"
    finally:
        os.close(fd)
    return None


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _size(count: int) -> str:
    return f"{count / _MIB / 1024:,.1f} GiB" if count >= _LITTLE_SPACE else f"{count // _MIB:,} MiB"

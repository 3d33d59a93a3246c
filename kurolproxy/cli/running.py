"""What ``serve`` and ``demo`` share: start a gateway, and wait for the signal that ends it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from kurolproxy.app import Gateway
from kurolproxy.cli.failure import Failed, Refused
from kurolproxy.server.control import SocketInUse
from kurolproxy.storage.errors import DatabaseBusy, StorageError
from kurolproxy.storage.lock import StateError, StateLocked

# What a database needs at the least to be opened.
_FULL_BYTES = 131_072
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

ENDING = (signal.SIGINT, signal.SIGTERM)


async def start(gateway: Gateway) -> None:
    """Start a gateway, or say why not in the words and the exit code of the command line.

    Raises:
        Failed: another process is in the way, or the disk is full: the service manager tries
            again, and serves when that has passed.
        Refused: configuration or environment must change first.
    """
    try:
        await gateway.start()
    except (StateLocked, SocketInUse, DatabaseBusy) as error:
        raise Failed(str(error)) from error
    except (StateError, StorageError, OSError) as error:
        if isinstance(error, OSError) and taken(error):
            raise PortTaken(str(error.strerror)) from error
        text = _told(error) if isinstance(error, OSError) else str(error)
        if _passes(error) or _is_full(gateway.config.server.state_path):
            raise Failed(f"{text} (this may pass: exit code 1)") from error
        raise Refused(text) from error


class PortTaken(Refused):
    """Another program has the address of a listener."""


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may: a connection takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # Some systems refuse "unlimited": the limit stays then as it is.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def taken(error: OSError) -> bool:
    """Return whether an address was refused because another program has it."""
    return error.errno == errno.EADDRINUSE


def ended_by(signals: Iterable[signal.Signals]) -> asyncio.Event:
    """Return an event that one of the signals sets; further ones change nothing."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in signals:
        loop.add_signal_handler(each, event.set)
    return event


class Ending:
    """The signals that end a process: the first asks it to, a further one urges it.

    Attributes:
        asked: set by the first.
        urged: set by the second.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urged = asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in ENDING:
            loop.add_signal_handler(each, self._note)

    def _note(self) -> None:
        (self.urged if self.asked.is_set() else self.asked).set()


def _passes(error: BaseException | None) -> bool:
    """Return whether what ended a start is something that comes and goes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _PASSING:
            return True
        error = error.__cause__
    return False


def _is_full(path: Path) -> bool:
    """Return whether the disk of a path takes nothing more; SQLite has many words for that."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    read_only = bool(found.f_flag & os.ST_RDONLY)
    few_files = found.f_files > 0 and found.f_favail == 0
    return not read_only and (found.f_bavail * found.f_frsize < _FULL_BYTES or few_files)


def _told(error: OSError) -> str:
    name = f"{error.filename}: " if error.filename else ""
    return f"{name}{error.strerror or error}"

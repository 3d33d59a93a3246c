"""The memory that the process may take, and what it takes: refuse calls before the kernel kills.

States of ``MemoryWatch``: enough -> short, when 90 % of the limit are resident; short ->
enough, when it is under 85 % again.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
_STATM = "/proc/self/statm"

LOOK_S = 0.5
"""Seconds between two looks at what is resident."""
_TELL_S = 60.0
_SHORT, _ENOUGH = 0.90, 0.85
# Version 1 says "unlimited" by the largest multiple of a page that an int64 can hold.
_UNLIMITED = 1 << 60


def memory_limit(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int | None:
    """Return the bytes that our control group, or one above it, may take.

    Args:
        cgroups: where the file systems of control groups are mounted.
        own: the file that names the groups of this process.

    Returns:
        None when there is no limit, or nobody can say it.

    Source: cgroups(7): version 2 is ``0::PATH`` and ``memory.max``, version 1
    ``N:memory:PATH`` and ``memory.limit_in_bytes``.
    """
    with suppress(OSError):
        limits = [_number(each) for each in _limit_files(cgroups, own.read_text())]
        return min((each for each in limits if each is not None), default=None)
    return None


def _limit_files(cgroups: Path, own: str) -> Iterator[Path]:
    for line in own.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            root, name = cgroups / "memory", "memory.limit_in_bytes"
        elif number == "0" and not controllers:
            root, name = cgroups, "memory.max"
        else:
            continue
        # In a container the mount may begin at our own group: then the path leads nowhere,
        # and the file stands at the root.
        group = PurePosixPath(path.lstrip("/"))
        for each in (group, *group.parents):
            yield root / each / name


def _number(path: Path) -> int | None:
    """Return the limit that a file holds; None for ``max``, or when there is no such file."""
    with suppress(OSError, ValueError):
        limit = int(path.read_text())
        return limit if 0 < limit < _UNLIMITED else None
    return None


class Resident:
    """What of this process is in memory: call it for the bytes.

    The file stays open: asking costs two microseconds, and works without any descriptor free.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = os.open(_STATM, os.O_RDONLY | os.O_CLOEXEC)
        self._page = os.sysconf("SC_PAGE_SIZE")

    def __call__(self) -> int:
        """Return the bytes; 0 where the system does not tell."""
        if self._fd is None:
            return 0
        return int(os.pread(self._fd, 256, 0).split(maxsplit=2)[1]) * self._page

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def give_back_freed() -> None:
    """Have the C library give freed memory back to the system, where it knows how to."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryWatch:
    """Whether there is memory left for more calls.

    Args:
        limit: bytes; None: there is none, and never too little.
        resident: returns the bytes that are taken.
        tell: is called with those and the limit when it became too little, then once a
            minute while it is.
        give_back: is called before memory is called short.

    Attributes:
        short: there is too little.
        resident: returns the bytes that are taken.
    """

    def __init__(
        self,
        limit: int | None = None,
        resident: Callable[[], int] = lambda: 0,
        tell: Callable[[int, int], None] = lambda resident, limit: None,
        give_back: Callable[[], None] = give_back_freed,
    ) -> None:
        self.limit = limit
        self.short = False
        self.resident = resident
        self._tell = tell
        self._give_back = give_back
        self._looks_at = self._tells_at = 0.0

    def look(self, now: float) -> None:
        """Look how much is taken, when that was not done just now; called at each sweep.

        Args:
            now: seconds of a monotonic clock.
        """
        if self.limit is None or now < self._looks_at:
            return
        self._looks_at = now + LOOK_S
        # What large bodies held may be free and still ours.
        if self.resident() >= self.limit * _ENOUGH:
            self._give_back()
        taken = self.resident()
        self.short = taken >= self.limit * (_ENOUGH if self.short else _SHORT)
        if self.short and now >= self._tells_at:
            self._tells_at = now + _TELL_S
            self._tell(taken, self.limit)

"""What another process takes of the machine, as the kernel tells it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cli.sites import COMMAND

MIB = 1 << 20
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a process takes: bytes in memory, seconds of CPU so far, open descriptors.

    Attributes:
        sockets: those of the descriptors that are one.
    """

    resident: int
    cpu_s: float
    descriptors: int
    sockets: int


def taken(pid: int) -> Taken:
    """Look at a process."""
    folder = Path(f"/proc/{pid}")
    # The name of the program stands in brackets and may hold blanks.
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / _TICKS
    resident = int((folder / "statm").read_text().split()[1]) * _PAGE
    links = list(_links(folder / "fd"))
    return Taken(resident, cpu, len(links), sum(each.startswith("socket:") for each in links))


def _links(folder: Path) -> Iterator[str]:
    for each in list(folder.iterdir()):
        # It may have been closed meanwhile.
        with suppress(FileNotFoundError):
            yield os.readlink(each)


def with_descriptors(limit: int) -> tuple[str, ...]:
    """Return the command that runs the gateway with so many descriptors at most."""
    return ("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *COMMAND)


def with_memory(folder: Path) -> tuple[str, ...]:
    """Return the command that runs the gateway with control groups from a folder."""
    return (sys.executable, "-m", "tests.faults.squeezed", str(folder))

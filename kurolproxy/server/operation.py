"""What operators look at: the process and what is around it, the upstreams and their figures."""

from __future__ import annotations

import asyncio
import os
import platform
import sqlite3
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from kurolproxy.policy.catalog import Upstream
from kurolproxy.policy.figures import LONGEST_S
from kurolproxy.server.lag import LoopLag
from kurolproxy.server.state import State

Facts = dict[str, Any]

WINDOWS_S: Final = (60.0, 300.0, LONGEST_S)
"""Seconds of the windows that figures are told of."""

_OPEN_FILES: Final = Path("/proc/self/fd")


def upstream_facts(state: State) -> list[Facts]:
    """Return how each upstream is and how it went lately, as JSON values, without a secret.

    To what ``Health.facts`` says come ``protocols``, ``credentials`` (how many), ``models``
    (those that it can be asked for), ``windows`` (seconds and the fields of
    ``figures.Window``), ``last_failed_s`` (seconds ago) and ``last_failure`` (its kind).
    """
    catalog, now = state.setup.catalog, state.clock.now()
    facts = state.health.facts(catalog, now)
    models: dict[str, list[str]] = {name: [] for name in catalog.upstreams}
    for model in catalog.models.values():
        if model.active:
            for name in dict.fromkeys(each.upstream.name for each in model.targets):
                models[name].append(model.id)
    for each in facts:
        upstream = catalog.upstreams[each["name"]]
        each |= _shape(upstream) | {"models": models[upstream.name]} | _figures(state, upstream)
    return facts


def _shape(upstream: Upstream) -> Facts:
    return {"protocols": list(upstream.protocols), "credentials": len(upstream.api_keys)}


def _figures(state: State, upstream: Upstream) -> Facts:
    figures, now = state.figures, state.clock.now()
    windows = []
    for seconds in WINDOWS_S:
        window = figures.window(upstream.name, seconds, now)
        windows.append({"seconds": seconds, **asdict(window), "error_rate": window.error_rate})
    failed = figures.last_failure(upstream.name, now)
    ago, kind = (None, "") if failed is None else failed
    return {"windows": windows, "last_failed_s": ago, "last_failure": kind}


async def system_facts(state: State, lag: LoopLag, folder: Path) -> Facts:
    """Return how the process and its surroundings are, as JSON values; None: nobody tells.

    Args:
        folder: the state directory.
    """
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "sqlite": sqlite3.sqlite_version,
        "resident_bytes": state.memory.resident() or None,
        "memory_limit_bytes": state.memory.limit,
        "memory_short": state.memory.short,
        "descriptors_limit": state.descriptors.limit,
        "descriptors_short": state.descriptors.short,
        "loop_lag_s": lag.seconds,
        "body_bytes_in_flight": state.bodies.held,
        # A disk that does not answer holds up nobody else.
        **await asyncio.to_thread(_of_disk, folder),
    }


def _of_disk(folder: Path) -> Facts:
    facts: Facts = {"disk_free_bytes": None, "disk_bytes": None, "descriptors": None}
    with suppress(OSError):
        found = os.statvfs(folder)
        facts["disk_free_bytes"] = found.f_bavail * found.f_frsize
        facts["disk_bytes"] = found.f_blocks * found.f_frsize
    with suppress(OSError):
        facts["descriptors"] = len(os.listdir(_OPEN_FILES)) - 1
    return facts

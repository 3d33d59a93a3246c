"""What of a changed configuration takes effect only at a start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kurolproxy.config.model import Config

AT_START: Final[Mapping[str, tuple[str, ...]]] = {
    "server": ("listen", "state_dir"),
    "limits": ("header_timeout_s", "idle_connection_timeout_s"),
    "ledger": ("durability", "detail_days"),
    "metrics": ("listen",),
    "log": ("format",),
}
"""Section -> its keys that a reload leaves as they were when the process started."""


def needs_restart(started: Config, read: Config) -> list[str]:
    """Return the keys of which a running gateway does not take the new value.

    Args:
        started: what the process was started with.
        read: what the file says now.
    """
    return [
        f"{section}.{key}"
        for section, keys in AT_START.items()
        for key in keys
        if getattr(getattr(started, section), key) != getattr(getattr(read, section), key)
    ]

"""How many descriptors are left: the last ones are kept for calls that run.

A running call needs one for its upstream, the ledger one for its next file. The kernel gives
out the lowest number that is free, so the number of a new one says how many are taken.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable

_MOST_KEPT = 64
_SHARE_KEPT = 4
_TELL_S = 60.0


def descriptor_limit() -> int | None:
    """Return how many descriptors the process may have; None: as many as it likes."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


class Descriptors:
    """Whether there are descriptors left for more calls.

    Args:
        limit: how many the process may have; None: there is no limit.
        make_room: closes what can be closed; it is called at each sweep while ``short``.
        tell: is called with the limit when they became short, then once a minute.

    Attributes:
        short: calls would take those that are kept.
        highest: a new connection whose number is above it is closed at once.
    """

    def __init__(
        self,
        limit: int | None = None,
        make_room: Callable[[], None] = lambda: None,
        tell: Callable[[int], None] = lambda limit: None,
    ) -> None:
        self.limit = limit
        self.short = False
        self._kept = 0 if limit is None else min(_MOST_KEPT, limit // _SHARE_KEPT)
        self.highest = None if limit is None else limit - self._kept // 2
        self._make_room = make_room
        self._tell = tell
        self._tells_at = 0.0

    def look(self, now: float) -> None:
        """Look how many are left; called at each sweep.

        Args:
            now: seconds of the loop's clock.
        """
        if self.limit is None:
            return
        self.short = _lowest_free(self.limit) >= self.limit - self._kept
        if not self.short:
            return
        self._make_room()
        if now >= self._tells_at:
            self._tells_at = now + _TELL_S
            self._tell(self.limit)


def _lowest_free(limit: int) -> int:
    try:
        free = os.dup(1)
    except OSError as error:
        # Whoever started us may have closed standard output: then it is free itself.
        return limit if error.errno in (errno.EMFILE, errno.ENFILE) else 0
    os.close(free)
    return free

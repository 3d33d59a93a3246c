"""What the ledger cannot do at the moment, told once a minute."""

from __future__ import annotations

import logging
from collections.abc import Callable

_LOG_INTERVAL_S = 60.0


class Troubles:
    """What does not work at the moment; one line in the log a minute says so.

    Args:
        clock: seconds of a monotonic clock.
    """

    # A database that is held by others for a while is no failure.
    _HARMLESS = frozenset({"busy", "reader"})

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._log = logging.getLogger(__name__)
        self._present: set[str] = set()
        self._logged_at: float | None = None
        # The log's last word is that something does not work.
        self._told = False

    def __bool__(self) -> bool:
        """Whether something fails."""
        return bool(self._present - self._HARMLESS)

    def note(self, what: str, error: Exception, rows: int) -> None:
        """Remember that something does not work.

        Args:
            rows: that wait.
        """
        self._present.add(what)
        now = self._clock()
        if self._logged_at is None or now - self._logged_at >= _LOG_INTERVAL_S:
            self._logged_at, self._told = now, True
            # The exception itself is never false, its text may be.
            text = str(error) or type(error).__name__
            self._log.error("%d usage rows wait (%s): %s", rows, what, text)

    def over(self, *what: str) -> None:
        """Remember that something works again."""
        if not self._present:
            return
        self._present.difference_update(what)
        if not self._present and self._told:
            # The minute goes on: a disk that is full takes a little now and then.
            self._told = False
            self._log.warning("usage is written again")

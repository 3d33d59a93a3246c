"""How late the event loop is: what blocks it delays everybody."""

from __future__ import annotations

_WINDOW_S = 15.0


class LoopLag:
    """The largest delay of a regular timer, of the last 15 to 30 seconds.

    Args:
        period_s: how often the timer is to fire.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._last: float | None = None
        self._turns_at = 0.0
        self._before = self._now = 0.0

    def tick(self, now: float) -> None:
        """Note that the timer fired.

        Args:
            now: seconds of the loop's clock.
        """
        if self._last is not None:
            self._now = max(self._now, now - self._last - self._period_s)
        self._last = now
        if now >= self._turns_at:
            self._turns_at = now + _WINDOW_S
            self._before, self._now = self._now, 0.0

    @property
    def seconds(self) -> float:
        """The largest delay."""
        return max(self._before, self._now)

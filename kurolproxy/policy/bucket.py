"""Requests per minute of one account, or of a key that narrows it."""

from __future__ import annotations

from collections import deque

_MICROS_PER_S = 1_000_000
# The level is counted in (requests per minute) x microseconds: a microsecond adds
# ``requests_per_minute`` units and one request costs 60 s of them. All integers, so that
# no sum of small refills ever drifts from N + floor(T * N / 60).
_REQUEST = 60 * _MICROS_PER_S
_NEVER = -(1 << 62)
_REFUND_WINDOW_S = 60


class TokenBucket:
    """Admit a burst of N requests, then N a minute.

    A burst that lasts T seconds gets exactly N + floor(T * N / 60) requests through.

    Args:
        requests_per_minute: N, at least 1.

    Raises:
        ValueError: ``requests_per_minute`` is less than 1.
    """

    __slots__ = ("_at", "_full", "_level", "_refunds", "requests_per_minute")

    def __init__(self, requests_per_minute: int) -> None:
        if requests_per_minute < 1:
            raise ValueError("requests per minute must be at least 1")
        self.requests_per_minute = requests_per_minute
        self._full = requests_per_minute * _REQUEST
        self._level = self._full
        self._at = _NEVER
        # [whole second, refunds in it]; one entry a second, whatever N is.
        self._refunds: deque[list[int]] | None = None

    def take(self, now: float) -> float:
        """Spend one request.

        Args:
            now: seconds of a monotonic clock; never smaller than in the call before.

        Returns:
            0.0 when it was allowed, else the seconds until the next one is
            (the ``Retry-After`` of a 429); a refused request spends nothing.
        """
        wait_s = self.wait_s(now)
        if wait_s == 0.0:
            self._level -= _REQUEST
        return wait_s

    def wait_s(self, now: float) -> float:
        """Return what ``take`` would, and spend nothing."""
        self._refill(now)
        missing = _REQUEST - self._level
        if missing <= 0:
            return 0.0
        return -(-missing // self.requests_per_minute) / _MICROS_PER_S

    def give_back(self, now: float) -> bool:
        """Return the token of one request that the gateway itself could not serve.

        Returns:
            False when N were given back within the last 60 s already: a client that
            hammers a failing upstream is slowed down in the end.
        """
        self._refill(now)
        if not self._may_refund(int(now)):
            return False
        self._level = min(self._full, self._level + _REQUEST)
        return True

    def remaining(self, now: float) -> int:
        """Return how many requests would be admitted at once."""
        self._refill(now)
        return self._level // _REQUEST

    def reset_s(self, now: float) -> float:
        """Return the seconds until the whole burst is free again."""
        self._refill(now)
        missing = self._full - self._level
        return -(-missing // self.requests_per_minute) / _MICROS_PER_S

    def idle(self, now: float) -> bool:
        """Return whether a fresh bucket would behave the same from here on."""
        return self.remaining(now) == self.requests_per_minute and not self._refunded(int(now))

    def resize(self, requests_per_minute: int) -> None:
        """Change N, as a reload or another plan does; it grants no second burst.

        The share of the burst that is spent stays spent, since a full burst takes 60 s to
        come back whatever N is: going to a smaller N and back changes nothing.
        """
        if requests_per_minute < 1:
            raise ValueError("requests per minute must be at least 1")
        spent = self._full - self._level
        self._full = requests_per_minute * _REQUEST
        self._level = self._full + (-spent * requests_per_minute // self.requests_per_minute)
        self.requests_per_minute = requests_per_minute

    def _refill(self, now: float) -> None:
        # Whole microseconds: a float of seconds keeps them exactly for 285 years.
        at = round(now * _MICROS_PER_S)
        elapsed = at - self._at
        if elapsed > 0:
            self._level = min(self._full, self._level + elapsed * self.requests_per_minute)
            self._at = at

    def _may_refund(self, second: int) -> bool:
        if self._refunded(second) >= self.requests_per_minute:
            return False
        if self._refunds is None:
            self._refunds = deque()
        if self._refunds and self._refunds[-1][0] == second:
            self._refunds[-1][1] += 1
        else:
            self._refunds.append([second, 1])
        return True

    def _refunded(self, second: int) -> int:
        if self._refunds is None:
            return 0
        # Only when it is more than 60 whole seconds old has the last refund of that
        # second left the window: late by up to a second, never early.
        while self._refunds and second - self._refunds[0][0] > _REFUND_WINDOW_S:
            self._refunds.popleft()
        return sum(count for _, count in self._refunds)

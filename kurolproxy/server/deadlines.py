"""Deadlines and keep-alives of all running calls, swept by one timer.

Nothing is scheduled per call or per chunk: a call moves a number, the sweep compares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_NEVER = float("inf")
SWEEP_S = 0.1
"""Seconds between two sweeps."""
# A sweep that is later than this finds a process that stood still itself: what came meanwhile
# waits in the sockets, unread. It is no silence of anybody else's.
STOOD_STILL_S = 0.5


class Watch:
    """The limits of one running call.

    A call that waits states until when; the sweep cancels its task once that has
    passed, and ``expired`` says that it was us. While the client is silent-fed, the
    sweep calls ``ping`` every ``interval_s`` seconds after ``ping_at``.

    Attributes:
        owner: the id of the key whose call it is, once that is known.
        stood_s: how long this process stood still while the call ran; who counts a limit
            from an earlier time adds it.
    """

    __slots__ = (
        "deadline",
        "ended",
        "expired",
        "interval_s",
        "owner",
        "ping",
        "ping_at",
        "stood_s",
        "task",
    )

    def __init__(self, task: asyncio.Task[object] | None, interval_s: float) -> None:
        self.task = task
        self.interval_s = interval_s
        self.deadline = _NEVER
        self.ping_at = _NEVER
        self.ping: Callable[[], None] | None = None
        self.expired = False
        self.ended: Exception | None = None
        self.owner = ""
        self.stood_s = 0.0

    def put_off(self, seconds: float) -> None:
        """Wait so much longer for everything."""
        self.stood_s += seconds
        self.deadline += seconds
        self.ping_at += seconds

    def end(self, error: Exception) -> None:
        """End the call with an error, wherever it waits; the first that ends it says why."""
        self.rest()
        self.ended = self.ended or error
        # Cancelled twice, by the sweep of the same moment, it would look like a client that left.
        if not self.expired and self.task is not None:
            self.task.cancel()
        self.expired = True

    def rest(self) -> None:
        """Stop waiting for anything."""
        self.deadline = _NEVER
        self.ping_at = _NEVER

    def sweep(self, now: float) -> None:
        """End the wait when its time is over, or feed the silence."""
        if now >= self.deadline:
            self.rest()
            self.expired = True
            if self.task is not None:
                self.task.cancel()
        elif now >= self.ping_at and self.ping is not None:
            self.ping_at = now + self.interval_s
            self.ping()


class Deadlines:
    """All watches and the one timer.

    Args:
        period_s: seconds between two sweeps: how late a deadline can be.
    """

    def __init__(self, period_s: float = SWEEP_S) -> None:
        self._period_s = period_s
        self._watches: set[Watch] = set()
        self._each_sweep: list[Callable[[float], None]] = []
        self._handle: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._due = 0.0

    def add(self, watch: Watch) -> None:
        """Sweep a watch from now on."""
        self._watches.add(watch)

    def remove(self, watch: Watch) -> None:
        """Forget a watch."""
        # What it calls holds the call and all that was read of the answer, and the call holds
        # the watch: only the collector would part them.
        watch.ping = None
        self._watches.discard(watch)
        if self._empty is not None and not self._watches:
            self._empty.set()

    async def emptied(self, within_s: float) -> bool:
        """Wait until no call runs.

        Returns:
            False when some still run after ``within_s`` seconds.
        """
        if not self._watches:
            return True
        self._empty = asyncio.Event()
        try:
            async with asyncio.timeout(within_s):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def __len__(self) -> int:
        return len(self._watches)

    def end(self, owner: str, error: Callable[[], Exception]) -> int:
        """End all calls of a key; return how many."""
        found = [watch for watch in self._watches if watch.owner == owner]
        for watch in found:
            watch.end(error())
        return len(found)

    def end_all(self, error: Callable[[], Exception]) -> None:
        """End every call."""
        for watch in list(self._watches):
            watch.end(error())

    def each_sweep(self, call: Callable[[float], None]) -> None:
        """Call ``call(now)`` at every sweep."""
        self._each_sweep.append(call)

    def start(self) -> None:
        """Start the timer in the running loop."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._period_s
        self._handle = loop.call_later(self._period_s, self._sweep, loop)

    def stop(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._handle = loop.call_later(self._period_s, self._sweep, loop)
        now = loop.time()
        late = now - self._due
        self._due = now + self._period_s
        if late > STOOD_STILL_S:
            for watch in self._watches:
                watch.put_off(late)
        for watch in list(self._watches):
            watch.sweep(now)
        for call in self._each_sweep:
            call(now)


class Limit:
    """Turn the sweep's cancellation of a wait into an error: ``with Limit(watch, error):``.

    Args:
        error: makes the error; called only when the time was over.
    """

    __slots__ = ("_error", "_watch")

    def __init__(self, watch: Watch, error: Callable[[], Exception]) -> None:
        self._watch = watch
        self._error = error

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        watch = self._watch
        watch.rest()
        if watch.expired and isinstance(error, asyncio.CancelledError):
            watch.expired = False
            # A client that left in the same moment has cancelled the task once more:
            # that cancellation stays.
            if watch.task is None or watch.task.uncancel() == 0:
                raise (watch.ended or self._error()) from None

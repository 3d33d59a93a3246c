"""Who watches live: one feed for each account that somebody looks at, built once for all of them.

A feed sleeps until a call of its account begins or ends. The first end after a pause goes
out at once, the next updates half a second apart, as do the tokens of calls that run. A
begin waits a little: of a short call there is one update, and it comes at its end.
One sweep for all feeds ends those who may not look any more, and says that we are still
here. Whoever does not take what is sent is sent nothing: the next update that he takes
holds the state of then, the calls that ended meanwhile as far as they are kept, and how
many more there were.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from kurolproxy.dashboard.updates import Facts, Updates
from kurolproxy.policy.keys import Account, KeyTable
from kurolproxy.policy.sessions import Session, SessionTable

PERIOD_S: Final = 0.5
"""Seconds between two updates of one viewer, at least."""
_BEGIN_S: Final = 0.2
QUIET_S: Final = 15.0
"""Seconds until somebody to whom nothing was said hears a sign of life."""
SWEEP_S: Final = 2.0
"""Seconds between two sweeps."""
MOST_VIEWERS: Final = 1_000
"""Of all accounts together."""
_MOST_OF_ACCOUNT: Final = 20
# What may wait for a viewer's socket when another update is written behind it.
_MOST_UNTAKEN: Final = 16_384
_SIGN_OF_LIFE: Final = b":\n\n"
# Timers may come a millisecond early.
_EARLY_S: Final = 0.01


class TooManyViewers(Exception):
    """There is no room for another viewer: the page has to ask now and then."""


class Viewer:
    """Somebody who watches: what he may see, and how far he has been told.

    Args:
        account_id: who it is.
        everybody: he watches all accounts, as an admin.
        token: of his session.
        transport: of his connection; written to by the feed alone.
        chunked: his HTTP has chunks.
        after: the number of the last call that he knows of; None: of none.

    Attributes:
        over: done when there is nothing more to come.
    """

    __slots__ = (
        "_chunked",
        "_transport",
        "account_id",
        "after",
        "everybody",
        "not_before",
        "over",
        "pending",
        "token",
        "unwatch",
    )

    def __init__(
        self,
        account_id: int,
        token: str,
        transport: asyncio.WriteTransport,
        *,
        everybody: bool,
        chunked: bool,
        after: int | None,
    ) -> None:
        self.account_id = account_id
        self.token = token
        self.everybody = everybody
        self.after = after
        self.pending = True
        self.not_before = 0.0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.unwatch: Callable[[], None] | None = None
        self._transport = transport
        self._chunked = chunked

    @property
    def watched(self) -> int | None:
        """Whose calls he sees; None: everybody's."""
        return None if self.everybody else self.account_id

    @property
    def takes(self) -> bool:
        """Whether his socket has taken what was written before."""
        return self._transport.is_closing() or self.untaken <= _MOST_UNTAKEN

    @property
    def untaken(self) -> int:
        """How many bytes wait for his socket."""
        return self._transport.get_write_buffer_size()

    def write(self, piece: bytes) -> None:
        """Write a piece of the stream."""
        if self._transport.is_closing():
            return
        if self._chunked:
            self._transport.writelines((b"%x\r\n" % len(piece), piece, b"\r\n"))
        else:
            self._transport.write(piece)

    def end(self) -> None:
        """Let nothing more come."""
        if not self.over.done():
            self.over.set_result(None)


class Feed:
    """What the viewers of one account, or of all accounts, are told.

    Args:
        account_id: None: of all accounts.
    """

    def __init__(self, updates: Updates, account_id: int | None, may_watch: _Allowed) -> None:
        self.viewers: set[Viewer] = set()
        self._updates = updates
        self._account_id = account_id
        self._may_watch = may_watch
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._told: Facts = {}
        self._last = 0
        self._ticked = float("-inf")
        self._spoke = self._loop.time()

    def began(self) -> None:
        """A call began: tell it soon."""
        self._tick_at(self._loop.time() + _BEGIN_S)

    def ended(self) -> None:
        """Something changed: tell it as soon as it may be told."""
        self._tick_at(self._loop.time())

    def _tick_at(self, at: float) -> None:
        at = max(at, self._ticked + PERIOD_S)
        if self._timer is not None:
            if self._due <= at:
                return
            self._timer.cancel()
        self._due = at
        self._timer = self._loop.call_at(at, self._tick)

    def join(self, viewer: Viewer) -> None:
        """Tell a new viewer how things stand, at once."""
        self.viewers.add(viewer)
        state = self._updates.state(self._account_id)
        self._tell([viewer], state)
        self._told, self._last = self._told or state, self._last or viewer.after or 0
        if state["running"]:
            self.ended()

    def sweep(self, now: float) -> None:
        """End who may not watch any more; give a sign of life; look whether a limit moved."""
        for viewer in [each for each in self.viewers if not self._may_watch(each)]:
            viewer.end()
        told = self._told
        if told.get("rpm_left") != told.get("rpm_limit"):
            # Requests of the minute come back by themselves.
            self.ended()
        if now - self._spoke < QUIET_S:
            return
        self._spoke = now
        if self._updates.state(self._account_id) != told:
            # Another day, another plan.
            self.ended()
            return
        for viewer in self.viewers:
            # To one who takes nothing nothing moves: so the server's sweep finds him.
            if not viewer.untaken:
                viewer.write(_SIGN_OF_LIFE)

    def close(self) -> None:
        """End all viewers, and tick no more."""
        for viewer in self.viewers:
            viewer.end()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._ticked = now = self._loop.time()
        state = self._updates.state(self._account_id)
        last = self._updates.live.last(self._account_id)
        if state != self._told or last != self._last:
            self._told, self._last = state, last
            for viewer in self.viewers:
                viewer.pending = True
        waiting = [each for each in self.viewers if each.pending]
        ready = [each for each in waiting if each.not_before <= now + _EARLY_S and each.takes]
        self._tell(ready, state)
        if state["running"] or len(ready) < len(waiting):
            self.ended()

    def _tell(self, viewers: list[Viewer], state: Facts) -> None:
        """Send an update: built once for all who know of the same calls."""
        built: dict[int | None, tuple[int, bytes]] = {}
        now = self._loop.time()
        for viewer in viewers:
            if not self._may_watch(viewer):
                viewer.end()
                continue
            if viewer.after not in built:
                built[viewer.after] = self._event(state, viewer.after)
            viewer.after, event = built[viewer.after]
            viewer.write(event)
            viewer.pending = False
            viewer.not_before = now + PERIOD_S
        if built:
            self._spoke = now

    def _event(self, state: Facts, after: int | None) -> tuple[int, bytes]:
        since = self._updates.since(self._account_id, after)
        data = msgspec.json.encode(state | since)
        return since["seq"], b"id: %d\nevent: update\ndata: %s\n\n" % (since["seq"], data)


@dataclass(frozen=True, slots=True)
class _Allowed:
    """Says whether a viewer may watch."""

    keys: KeyTable
    sessions: SessionTable
    unix: Callable[[], float]
    enabled: Callable[[], bool]

    def __call__(self, viewer: Viewer) -> bool:
        if not self.enabled():
            return False
        session = self.sessions.find(viewer.token, self.unix())
        if session is None or session.account_id != viewer.account_id:
            return False
        account = self.keys.account(viewer.account_id)
        return account is not None and may_watch(account, everybody=viewer.everybody)


def may_watch(account: Account, *, everybody: bool) -> bool:
    """Return whether an account may watch its own calls, or everybody's."""
    return account.active and (account.role == "admin" or not everybody)


class Feeds:
    """All feeds that somebody watches.

    Args:
        most: viewers of all accounts together.
        enabled: whether the dashboard is served; a reload may switch it off.

    Attributes:
        sweep_s: seconds between two sweeps; tests take less.
    """

    def __init__(
        self,
        updates: Updates,
        sessions: SessionTable,
        *,
        most: int = MOST_VIEWERS,
        most_of_account: int = _MOST_OF_ACCOUNT,
        enabled: Callable[[], bool] = lambda: True,
    ) -> None:
        self.updates = updates
        self.sweep_s = SWEEP_S
        self._sessions = sessions
        self._allowed = _Allowed(updates.keys, sessions, updates.unix, enabled)
        self._most = most
        self._most_of_account = most_of_account
        self._feeds: dict[int | None, Feed] = {}
        self._of_account: Counter[int] = Counter()
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    def __len__(self) -> int:
        return self._of_account.total()

    def check_room(self, account_id: int) -> None:
        """See to it that an account may have another viewer.

        Raises:
            TooManyViewers: it has too many, or all accounts together have, or we leave.
        """
        full = len(self) >= self._most
        if self._closed or full or self._of_account[account_id] >= self._most_of_account:
            raise TooManyViewers

    def enter(self, viewer: Viewer, session: Session) -> None:
        """Let somebody watch, from now until ``leave``; he is told at once how things stand.

        Args:
            session: whose end ends the watching.
        """
        self._of_account[viewer.account_id] += 1
        viewer.unwatch = self._sessions.watch(session, viewer.end)
        feed = self._feeds.get(viewer.watched)
        if feed is None:
            feed = self._feeds[viewer.watched] = Feed(self.updates, viewer.watched, self._allowed)
            self.updates.live.watch(viewer.watched, feed)
        if self._sweeping is None:
            self._sweep_later()
        feed.join(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer who entered."""
        if viewer.unwatch is not None:
            viewer.unwatch()
        self._of_account[viewer.account_id] -= 1
        if not self._of_account[viewer.account_id]:
            del self._of_account[viewer.account_id]
        feed = self._feeds[viewer.watched]
        feed.viewers.discard(viewer)
        if not feed.viewers:
            del self._feeds[viewer.watched]
            self.updates.live.unwatch(viewer.watched)
            feed.close()
        if not self._feeds and self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def close(self) -> None:
        """Let everybody go: the gateway leaves. Nobody enters any more."""
        self._closed = True
        for feed in self._feeds.values():
            feed.close()

    def _sweep_later(self) -> None:
        self._sweeping = asyncio.get_running_loop().call_later(self.sweep_s, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        for feed in list(self._feeds.values()):
            feed.sweep(now)
        self._sweep_later()

"""What goes on now, in memory: the server writes it, the dashboard reads it.

The server says when a call begins and when it is over, nothing in between: how far a call
came is asked of the call itself, and only when somebody watches. All that is kept is
bounded, and none of it is what anybody wrote or was told.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import date
from itertools import islice
from typing import Final, NamedTuple, Protocol

OF_ACCOUNT: Final = 30
"""So many of an account's last calls are kept."""
OF_ALL: Final = 200
"""So many of everybody's last calls are kept."""
_MOST_ACCOUNTS: Final = 10_000
# Of all accounts: 10 MB. With 10,000 busy ones each would otherwise hold its 30 for ever.
_MOST_ROWS: Final = 20_000
_MOST_TOOLS: Final = 50
_MICROS: Final = 1_000_000


class Running(NamedTuple):
    """A call that runs, at the moment it was asked.

    Attributes:
        client: the slug of the tool that sent it; "" when nothing tells.
        prompt: tokens, estimated until the upstream tells them.
        completion: tokens so far; the same.
    """

    request_id: str
    started_at: float
    account_id: int
    key_id: str
    key_label: str
    model: str
    client_protocol: str
    client: str
    streamed: bool
    prompt: int
    completion: int


Call = Callable[[], Running]
"""Tells how far a running call came; asked twice a second while somebody watches."""


class Finished(NamedTuple):
    """A call that is over: its row in the ledger, field by field, and two more.

    Attributes:
        client: the slug of the tool that sent it; "" when nothing tells.
        key_label: of its key at that time.
    """

    request_id: str
    day: date
    started_at: float
    account_id: int
    key_id: str
    model: str
    upstream: str
    client_protocol: str
    upstream_protocol: str
    status: int
    outcome: str
    prompt: int
    completion: int
    cache_read: int
    cache_write: int
    reasoning: int
    charged: int
    estimated: bool
    streamed: bool
    duration_ms: int
    ttft_ms: int | None
    client: str = ""
    key_label: str = ""


class Watcher(Protocol):
    """Somebody who wants to know; told in the middle of a call, he returns at once."""

    def began(self) -> None:
        """Another call runs."""
        ...

    def ended(self) -> None:
        """A call is over."""
        ...


class Since(NamedTuple):
    """What ended since somebody looked.

    Attributes:
        rows: the oldest first, with their numbers.
        last: the number of the last call that ended; 0: none did.
        missed: how many more ended since, and are not kept any more.
    """

    rows: list[tuple[int, Finished]]
    last: int
    missed: int


class Ring:
    """The last calls that ended, numbered without a gap.

    The first has the moment it began as its number, in microseconds: whoever comes with
    the number of an earlier ring (before a restart, or before this one was forgotten)
    comes with a smaller one, as nobody makes a million calls a second.

    Args:
        most: how many are kept.
    """

    __slots__ = ("_first", "_most", "_rows", "last")

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: list[Finished] = []
        self._first = 0
        self.last = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: Finished) -> None:
        """Add the next; the oldest goes when there is no room."""
        if not self.last:
            self._first = max(1, int(row.started_at * _MICROS))
            self.last = self._first - 1
        if len(self._rows) == self._most:
            del self._rows[0]
        self._rows.append(row)
        self.last += 1

    def since(self, number: int | None) -> Since:
        """Return what ended after the call of a number.

        Args:
            number: None, and one that was never given: all that is kept.
        """
        oldest = self.last - len(self._rows) + 1
        if number is None or number > self.last:
            begin, missed = oldest, 0
        else:
            begin = max(number + 1, oldest)
            missed = max(0, oldest - max(number + 1, self._first))
        rows = self._rows[begin - oldest :]
        return Since(list(enumerate(rows, begin)), self.last, missed)


class _Owner:
    """What is kept of one account."""

    __slots__ = ("ring", "tools")

    def __init__(self, most: int) -> None:
        self.ring = Ring(most)
        self.tools: frozenset[str] = frozenset()


_NOTHING: Final = Ring(0)


class Live:
    """The calls that run, and the last ones that ended, of each account and of all.

    Args:
        most_accounts: of so many accounts something is kept; the one whose last call is
            longest ago is forgotten first.
        most_rows: of all accounts together.
    """

    def __init__(self, *, most_accounts: int = _MOST_ACCOUNTS, most_rows: int = _MOST_ROWS) -> None:
        self._most_accounts = most_accounts
        self._most_rows = most_rows
        self._running: dict[int, dict[str, Call]] = {}
        self._owners: OrderedDict[int, _Owner] = OrderedDict()
        self._rows = 0
        self._all = Ring(OF_ALL)
        self._watchers: dict[int | None, Watcher] = {}

    # --- what the server writes -------------------------------------------------------

    def begin(self, account_id: int, request_id: str, call: Call) -> None:
        """A call was admitted."""
        calls = self._running.get(account_id)
        if calls is None:
            self._running[account_id] = {request_id: call}
        else:
            calls[request_id] = call
        for watcher in self._watching(account_id) if self._watchers else ():
            watcher.began()

    def end(self, account_id: int, request_id: str) -> None:
        """A call is over, however it ended; one that never began changes nothing."""
        calls = self._running.get(account_id)
        if calls is None or calls.pop(request_id, None) is None:
            return
        if not calls:
            del self._running[account_id]
        for watcher in self._watching(account_id) if self._watchers else ():
            watcher.ended()

    def add(self, row: Finished) -> None:
        """Keep what is known of a call that is over."""
        owners, account_id = self._owners, row.account_id
        owner = owners.get(account_id)
        if owner is None:
            owner = owners[account_id] = _Owner(OF_ACCOUNT)
        else:
            owners.move_to_end(account_id)
        if row.client not in owner.tools and row.client and len(owner.tools) < _MOST_TOOLS:
            owner.tools |= {row.client}
        self._rows -= len(owner.ring)
        owner.ring.add(row)
        self._rows += len(owner.ring)
        self._all.add(row)
        if self._rows > self._most_rows or len(owners) > self._most_accounts:
            self._forget_oldest()
        for watcher in self._watching(account_id) if self._watchers else ():
            watcher.ended()

    def _forget_oldest(self) -> None:
        owners = self._owners
        while len(owners) > 1 and (
            self._rows > self._most_rows or len(owners) > self._most_accounts
        ):
            _, gone = owners.popitem(last=False)
            self._rows -= len(gone.ring)

    # --- what the dashboard reads -----------------------------------------------------

    def running(self, account_id: int | None, most: int) -> tuple[list[Running], int]:
        """Return the calls of an account that run, the oldest first, and how many there are.

        Args:
            account_id: None: of all accounts.
            most: how many are asked.
        """
        if account_id is not None:
            calls = self._running.get(account_id, {})
            return [each() for each in islice(calls.values(), most)], len(calls)
        owned = self._running.values()
        every = (call for calls in owned for call in calls.values())
        return [each() for each in islice(every, most)], sum(map(len, owned))

    def finished(self, account_id: int | None, after: int | None = None) -> Since:
        """Return the calls of an account that ended after a number, as far as they are kept.

        Args:
            account_id: None: of all accounts, which have numbers of their own.
            after: None: all that are kept.
        """
        return self._ring(account_id).since(after)

    def last(self, account_id: int | None) -> int:
        """Return the number of the last call of an account that ended; 0: none is known."""
        return self._ring(account_id).last

    def tools_seen(self, account_id: int) -> frozenset[str]:
        """Return the slugs of the tools that an account has called with lately."""
        owner = self._owners.get(account_id)
        return frozenset() if owner is None else owner.tools

    def _ring(self, account_id: int | None) -> Ring:
        if account_id is None:
            return self._all
        owner = self._owners.get(account_id)
        return _NOTHING if owner is None else owner.ring

    # --- who wants to be told -----------------------------------------------------------

    def watch(self, account_id: int | None, watcher: Watcher) -> None:
        """Tell somebody of each begin and end of an account's calls.

        Args:
            account_id: None: of all accounts; each has one watcher at most.
        """
        self._watchers[account_id] = watcher

    def unwatch(self, account_id: int | None) -> None:
        """Tell nobody any more."""
        self._watchers.pop(account_id, None)

    def _watching(self, account_id: int) -> list[Watcher]:
        watchers = self._watchers
        return [watchers[each] for each in (account_id, None) if each in watchers]

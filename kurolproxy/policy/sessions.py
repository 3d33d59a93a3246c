"""Who is logged in: the sessions of the dashboard in memory, by the digest of their token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Final

IDLE_S: Final = 12 * 3_600.0
"""A session that did nothing for so long is over."""
LONGEST_S: Final = 30 * 86_400.0
"""No session lasts longer, whatever it does."""


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is logged in.

    Attributes:
        id: short and public: what its owner calls it by.
        digest: SHA-256 of the token in the cookie, which nobody else knows.
        created_at: unix seconds.
        seen_at: unix seconds of the last page; what a page does by itself does not count.
        address: of the client at login.
        agent: what its browser calls itself, cut short.
    """

    id: str
    account_id: int
    digest: bytes = field(repr=False)
    created_at: float
    seen_at: float
    address: str = ""
    agent: str = ""

    def over(self, unix_now: float) -> bool:
        """Return whether it has ended by itself."""
        idle = unix_now - self.seen_at >= IDLE_S
        return idle or unix_now - self.created_at >= LONGEST_S


class SessionTable:
    """All sessions in memory; whoever changes it has changed the database before.

    When a session was used is the exception: that is in memory first, and written now and
    then (``used``, ``note``).
    """

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}
        self._of_account: dict[int, set[bytes]] = {}
        self._used: set[bytes] = set()
        self._watchers: dict[bytes, set[Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, token: str, unix_now: float) -> Session | None:
        """Return the session of a cookie's token, or None when there is none that lasts."""
        found = self._sessions.get(digest(token))
        return None if found is None or found.over(unix_now) else found

    def of(self, account_id: int) -> list[Session]:
        """Return the sessions of an account, the latest used first."""
        found = [self._sessions[each] for each in self._of_account.get(account_id, ())]
        return sorted(found, key=lambda each: each.seen_at, reverse=True)

    def all(self) -> Iterator[Session]:
        """Return every session."""
        return iter(self._sessions.values())

    def put(self, session: Session) -> None:
        """Add a session, or replace it."""
        self._sessions[session.digest] = session
        self._of_account.setdefault(session.account_id, set()).add(session.digest)

    def seen(self, session: Session, unix_now: float) -> Session:
        """Write down that a session was used; return it as it is now."""
        later = replace(session, seen_at=unix_now)
        if session.digest in self._sessions:
            self._sessions[session.digest] = later
            self._used.add(session.digest)
        return later

    def used(self) -> list[Session]:
        """Return the sessions that were used since that was noted for the last time."""
        return [self._sessions[each] for each in self._used if each in self._sessions]

    def note(self, sessions: Iterable[Session]) -> None:
        """Take note that the last use of sessions is written down."""
        for session in sessions:
            if self._sessions.get(session.digest) in (session, None):
                self._used.discard(session.digest)

    def over(self, unix_now: float) -> list[Session]:
        """Return the sessions that have ended by themselves and are still here."""
        return [each for each in self._sessions.values() if each.over(unix_now)]

    def remove(self, session: Session) -> None:
        """Forget a session, and tell who watches it."""
        if self._sessions.pop(session.digest, None) is not None:
            siblings = self._of_account[session.account_id]
            siblings.discard(session.digest)
            if not siblings:
                del self._of_account[session.account_id]
        self._used.discard(session.digest)
        for tell in self._watchers.pop(session.digest, ()):
            tell()

    def remove_account(self, account_id: int) -> None:
        """Forget all sessions of an account."""
        for session in self.of(account_id):
            self.remove(session)

    def watch(self, session: Session, tell: Callable[[], None]) -> Callable[[], None]:
        """Have a function called when a session is ended by somebody.

        One that ends by itself (idle, or too old) is not told until it is cleared away:
        whoever has to know to the second asks ``find``.

        Args:
            tell: called with nothing, on the loop; it must not raise.

        Returns:
            a function that ends the watching; to be called once, whatever was told.
        """
        self._watchers.setdefault(session.digest, set()).add(tell)

        def leave() -> None:
            told = self._watchers.get(session.digest, set())
            told.discard(tell)
            if not told:
                self._watchers.pop(session.digest, None)

        return leave


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token: the only form that is kept."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()

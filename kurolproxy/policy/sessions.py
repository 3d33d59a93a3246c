"""Who is logged in: the sessions of the dashboard in memory, by the digest of their token."""

from __future__ import annotations

from collections.abc import Iterator
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
    """All sessions in memory; whoever changes it has changed the database before."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, token: str, unix_now: float) -> Session | None:
        """Return the session of a cookie's token, or None when there is none that lasts."""
        found = self._sessions.get(digest(token))
        return None if found is None or found.over(unix_now) else found

    def of(self, account_id: int) -> list[Session]:
        """Return the sessions of an account, the latest used first."""
        found = [each for each in self._sessions.values() if each.account_id == account_id]
        return sorted(found, key=lambda each: each.seen_at, reverse=True)

    def all(self) -> Iterator[Session]:
        """Return every session."""
        return iter(self._sessions.values())

    def put(self, session: Session) -> None:
        """Add a session, or replace it."""
        self._sessions[session.digest] = session

    def seen(self, session: Session, unix_now: float) -> Session:
        """Write down that a session was used; return it as it is now."""
        later = replace(session, seen_at=unix_now)
        if session.digest in self._sessions:
            self._sessions[session.digest] = later
        return later

    def remove(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session.digest, None)


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token: the only form that is kept."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()

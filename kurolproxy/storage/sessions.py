"""The sessions of the dashboard: a change goes to SQLite first, then to memory."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

import aiosqlite

from kurolproxy.policy.sessions import IDLE_S, LONGEST_S, Session, SessionTable, digest
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import NotFound, StorageError
from kurolproxy.storage.records import AuditEntry, only, rows_of, write_audit

TOKEN_BYTES: Final = 32
MOST_OF_ONE: Final = 100
"""Of one account; one more ends the one that was not used for longest."""
# How often is written when sessions were used.
_PERIOD_S: Final = 300.0
_ID_BYTES: Final = 6
_MAX_AGENT_CHARS: Final = 300
_COLUMNS: Final = "id, account_id, digest, created_at, seen_at, address, agent"
_LASTING: Final = "created_at > ? AND seen_at > ?"


def make_token() -> str:
    """Return a new token: 256 random bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


class SessionStore:
    """Who is logged in, over restarts.

    Of a token only the digest is ever written. Sessions of an account that is disabled or
    deleted, or whose password is changed, are ended by ``AccountStore`` in the transaction
    of that change.

    Args:
        table: the sessions in memory to keep in step.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        table: SessionTable,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._table = table
        self._clock = clock

    async def load(self) -> None:
        """Delete the sessions that have ended, and read the others into memory."""
        await self._database.write(self._delete_ended)
        for row in await self._database.read(f"SELECT {_COLUMNS} FROM sessions"):
            self._table.put(Session(*row))

    async def create(
        self,
        account_id: int,
        *,
        address: str = "",
        agent: str = "",
        instead_of: Session | None = None,
        password_hash: str | None = None,
    ) -> tuple[Session, str]:
        """Log somebody in.

        Args:
            address: of the client.
            agent: what its browser calls itself.
            instead_of: the session that this browser had before: it ends.
            password_hash: what the password was checked against, and has to be still; None:
                no password was asked for.

        Returns:
            the session, and its token: the only time that anybody but its browser sees it.

        Raises:
            NotFound: the account is gone or disabled, or its password was changed meanwhile.
        """
        token, now = make_token(), self._clock()
        agent = "".join(each for each in agent if each.isprintable())[:_MAX_AGENT_CHARS]
        id_ = f"session_{secrets.token_hex(_ID_BYTES)}"
        made = Session(id_, account_id, digest(token), now, now, address, agent)
        ended = self._table.of(account_id)[MOST_OF_ONE - 1 :]
        if instead_of is not None:
            ended.append(instead_of)

        async def work(db: aiosqlite.Connection) -> None:
            email = await _email_of(db, account_id, password_hash)
            await _delete(db, ended)
            marks = ", ".join("?" * 7)
            await db.execute(f"INSERT INTO sessions ({_COLUMNS}) VALUES ({marks})", _values(made))
            detail = {"address": address, "session": id_}
            await write_audit(db, AuditEntry(now, email, "session.login", email, detail))

        def put(_: None) -> None:
            for session in ended:
                self._table.remove(session)
            self._table.put(made)

        await self._database.write(work, durable=True, then=put)
        return made, token

    async def end(self, session: Session) -> None:
        """End a session; once more changes nothing."""
        await self._end(lambda: [session])

    async def end_one(self, session_id: str, account_id: int) -> Session:
        """End one session of an account.

        Raises:
            NotFound: it has none of that id; somebody else's is as unknown as none.
        """
        for session in self._table.of(account_id):
            if session.id == session_id:
                await self.end(session)
                return session
        raise NotFound("there is no such session")

    async def end_all(self, account_id: int, *, but: Session | None = None) -> int:
        """End the sessions of an account; return how many they were.

        Args:
            but: the one that stays.
        """
        kept = None if but is None else but.digest
        return await self._end(
            lambda: [each for each in self._table.of(account_id) if each.digest != kept]
        )

    async def _end(self, which: Callable[[], list[Session]]) -> int:
        """End sessions; which they are is found out when no other change is under way."""

        async def work(db: aiosqlite.Connection) -> list[Session]:
            found = which()
            await _delete(db, found)
            return found

        def forget(found: list[Session]) -> None:
            for session in found:
                self._table.remove(session)

        ended = await self._database.write(work, durable=True, then=forget)
        return len(ended)

    async def tidy(self) -> None:
        """Write when sessions were used, and clear away those that have ended by themselves."""
        if used := self._table.used():
            times = [(each.seen_at, each.digest) for each in used]

            async def note(db: aiosqlite.Connection) -> None:
                await db.executemany("UPDATE sessions SET seen_at = ? WHERE digest = ?", times)

            await self._database.write(note, then=lambda _: self._table.note(used))
        if self._table.over(self._clock()):
            await self._end(lambda: self._table.over(self._clock()))

    async def keep(self, period_s: float = _PERIOD_S) -> NoReturn:
        """Tidy every five minutes, beside everything else; cancel it to end it."""
        while True:
            await asyncio.sleep(period_s)
            try:
                await self.tidy()
            except StorageError as error:
                # The sessions in memory go on; the next round writes what was not written.
                logging.getLogger(__name__).warning("sessions could not be written: %s", error)

    async def _delete_ended(self, db: aiosqlite.Connection) -> None:
        now = self._clock()
        await db.execute(
            f"DELETE FROM sessions WHERE NOT ({_LASTING})", (now - LONGEST_S, now - IDLE_S)
        )


async def _email_of(db: aiosqlite.Connection, account_id: int, password_hash: str | None) -> str:
    """Return the email of an active account that has this password, when one is given."""
    sql = (
        "SELECT email FROM accounts WHERE id = ?1 AND active = 1"
        " AND (?2 IS NULL OR password_hash = ?2)"
    )
    found: str = only(await rows_of(db, sql, account_id, password_hash), "no such account")["email"]
    return found


async def _delete(db: aiosqlite.Connection, sessions: list[Session]) -> None:
    digests = [(each.digest,) for each in sessions]
    await db.executemany("DELETE FROM sessions WHERE digest = ?", digests)


def _values(session: Session) -> tuple[Any, ...]:
    return (
        session.id,
        session.account_id,
        session.digest,
        session.created_at,
        session.seen_at,
        session.address,
        session.agent,
    )


async def end_sessions(db: aiosqlite.Connection, account_id: int) -> None:
    """End all sessions of an account, in the transaction of what ends them."""
    await db.execute("DELETE FROM sessions WHERE account_id = ?", (account_id,))

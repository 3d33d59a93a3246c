"""Links that let somebody in once: to make an account, to set a password; and the demo's own."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import aiosqlite

from kurolproxy.policy.keys import Account, AccountRole, KeyTable
from kurolproxy.policy.sessions import SessionTable, digest
from kurolproxy.storage.changes import NewAccount, has_admin, insert_account, write_password
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import Conflict, Invalid, NotFound
from kurolproxy.storage.records import (
    SELECT_ACCOUNT,
    AuditEntry,
    Who,
    checked_email,
    checked_text,
    find_account,
    folded,
    rows_of,
    write_audit,
)
from kurolproxy.storage.sessions import make_token

LinkKind = Literal["setup", "invite", "password", "login"]
LINK_PATH: Final = "/dashboard/link/"
"""What stands before a token, behind the public URL."""

_DAY_S: Final = 86_400.0
_LASTS_S: Final[Mapping[LinkKind, float]] = {
    "setup": _DAY_S,
    "invite": 7 * _DAY_S,
    "password": _DAY_S,
    # The demo's state goes with the demo.
    "login": 3_650 * _DAY_S,
}
_MAKES_ACCOUNT: Final = frozenset({"setup", "invite"})
# How long a link is remembered that is good for nothing any more.
_REMEMBERED_S: Final = 30 * _DAY_S
_ID_BYTES: Final = 6
_SELECT: Final = (
    "SELECT id, kind, account_id, email, plan, role, first, created_at, created_by, expires_at"
    " FROM links"
)
_OPEN: Final = "ended_at IS NULL AND expires_at > ?"
_USEFUL: Final = (
    "(account_id IS NULL OR EXISTS"
    " (SELECT 1 FROM accounts WHERE id = account_id AND active = 1))"
    " AND (first = 0 OR NOT EXISTS"
    " (SELECT 1 FROM accounts WHERE role = 'admin' AND active = 1))"
)


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of a link; its token is not among it.

    Attributes:
        id: what an admin calls it by.
        account_id: whose it is; None: it makes an account.
        email: of the account; "": whoever uses the link says his own.
        plan: of the account that it makes; "": whoever uses it chooses.
        first: good only as long as there is no active admin.
        created_at, expires_at: unix seconds.
        created_by: who made it.
    """

    id: str
    kind: LinkKind
    account_id: int | None
    email: str
    plan: str
    role: AccountRole
    first: bool
    created_at: float
    created_by: str
    expires_at: float


class Links:
    """The one-time links.

    A link is used up in the transaction of what it brings about: of two who use it at the
    same time one is too late. Only the digest of its token is kept.

    Args:
        keys: the accounts in memory to keep in step.
        sessions: those in memory; likewise.
        invites: whether accounts can be made by invitation now.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        keys: KeyTable,
        sessions: SessionTable,
        *,
        invites: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._keys = keys
        self._sessions = sessions
        self._invites = invites
        self._clock = clock

    # --- for who hands them out ---------------------------------------------------------

    async def create(
        self,
        kind: LinkKind,
        *,
        who: Who | None = None,
        email: str = "",
        plan: str = "",
        role: AccountRole = "user",
        first: bool = False,
        actor: str = "operator",
    ) -> tuple[Link, str]:
        """Make a link.

        Args:
            who: the account, of ``password`` and ``login``. An earlier link of the kind for
                it ends.
            email: of an ``invite``: the only one that it is good for; "": any.
            plan: of an ``invite``; whether the catalog has it is for the caller to check.
            role: of an ``invite``.
            first: of a ``setup``: good only as long as there is no active admin. Earlier
                ones of that sort end.

        Returns:
            the link, and its token: the only time that anybody sees it. It is used at
            ``LINK_PATH`` + token.

        Raises:
            NotFound: there is no such account.
            Conflict: the email has an account already, or sign-up is closed.
            Invalid: a text makes no sense.
        """
        email, plan = checked_email(email) if email else "", checked_text(plan, "plan")
        if kind == "invite":
            self._check_invite(plan)
        now, token = self._clock(), make_token()
        role = "admin" if kind == "setup" else role
        id_ = f"link_{secrets.token_hex(_ID_BYTES)}"
        lasts = now + _LASTS_S[kind]
        draft = Link(id_, kind, None, email, plan, role, first, now, actor, lasts)

        async def work(db: aiosqlite.Connection) -> Link:
            link = await self._owned(db, draft, who)
            await self._forget(db, now)
            await self._replace(db, link, now)
            await _insert(db, link, digest(token))
            detail = {"kind": kind, "email": link.email, "plan": plan, "role": link.role}
            await write_audit(db, AuditEntry(now, actor, "link.create", link.id, detail))
            return link

        return await self._database.write(work, durable=True), token

    async def admin_wanted(self) -> bool:
        """Return whether there is no active admin yet."""
        return not await self._database.read(
            "SELECT 1 FROM accounts WHERE role = 'admin' AND active = 1 LIMIT 1"
        )

    async def list(self, kind: LinkKind = "invite") -> list[Link]:
        """Return the links of a kind that can be used, the newest first."""
        sql = f"{_SELECT} WHERE kind = ? AND {_OPEN} ORDER BY created_at DESC, id"
        rows = await self._database.read(sql, [kind, self._clock()])
        return [_link(row) for row in rows]

    async def revoke(self, link_id: str, *, actor: str = "operator") -> Link:
        """Make a link good for nothing.

        Raises:
            NotFound: there is none of that id that could be used.
        """

        async def work(db: aiosqlite.Connection) -> Link:
            now = self._clock()
            rows = await rows_of(db, f"{_SELECT} WHERE id = ? AND {_OPEN}", link_id, now)
            if not rows:
                raise NotFound(f"there is no open link {link_id[:60]!r}")
            await db.execute("UPDATE links SET ended_at = ? WHERE id = ?", (now, link_id))
            await write_audit(db, AuditEntry(now, actor, "link.revoke", link_id, {}))
            return _link(rows[0])

        return await self._database.write(work, durable=True)

    # --- for who was given one ------------------------------------------------------------

    async def find(self, token: str) -> Link:
        """Return the link of a token; nothing changes.

        Raises:
            NotFound: it is none, or good for nothing any more.
        """
        rows = await self._database.read(
            f"{_SELECT} WHERE digest = ? AND {_OPEN} AND {_USEFUL}", [digest(token), self._clock()]
        )
        return self._allowed([_link(row) for row in rows])

    async def make_account(self, token: str, new: NewAccount) -> Account:
        """Use a link that makes an account: ``setup`` or ``invite``.

        Args:
            new: what the link fixes (email, plan, role) is taken from there.

        Raises:
            NotFound: the link is good for nothing any more.
            Conflict: the email has an account already; the link can be used again.
            Invalid: a text makes no sense; likewise.
        """

        async def work(db: aiosqlite.Connection) -> Account:
            now = self._clock()
            link = await self._take(db, token, now)
            if link.kind not in _MAKES_ACCOUNT:
                raise NotFound("this link makes no account")
            wanted = replace(
                new, email=link.email or new.email, plan=link.plan or new.plan, role=link.role
            ).checked()
            detail = {"by": link.kind, "link": link.id}
            return await insert_account(db, wanted, now, wanted.email, **detail)

        return await self._database.write(work, durable=True, then=self._keys.put_account)

    async def set_password(self, token: str, password_hash: str) -> Account:
        """Use a ``password`` link; all sessions of the account end.

        Raises:
            NotFound: the link is good for nothing any more.
        """

        async def work(db: aiosqlite.Connection) -> Account:
            now = self._clock()
            link = await self._take(db, token, now)
            if link.kind != "password" or link.account_id is None:
                raise NotFound("this link sets no password")
            account = await find_account(db, link.account_id)
            await write_password(db, account, password_hash, now, account.email)
            return account

        def forget(account: Account) -> None:
            self._sessions.remove_account(account.id)

        return await self._database.write(work, durable=True, then=forget)

    # --- inside a transaction -------------------------------------------------------------

    async def _take(self, db: aiosqlite.Connection, token: str, now: float) -> Link:
        """Use a link up."""
        given = digest(token)
        sql = f"{_SELECT} WHERE digest = ? AND {_OPEN} AND {_USEFUL}"
        link = self._allowed([_link(row) for row in await rows_of(db, sql, given, now)])
        await db.execute("UPDATE links SET ended_at = ? WHERE digest = ?", (now, given))
        return link

    def _allowed(self, found: Sequence[Link]) -> Link:
        if not found or (found[0].kind == "invite" and not self._invites()):
            raise NotFound("this link is used up, too old or none at all")
        return found[0]

    def _check_invite(self, plan: str) -> None:
        if not plan:
            raise Invalid("an invitation needs a plan", field="plan")
        if not self._invites():
            raise Conflict(
                'sign-up is closed: set signup = "invite" in [dashboard] for invitations, or make'
                " the account yourself"
            )

    async def _owned(self, db: aiosqlite.Connection, draft: Link, who: Who | None) -> Link:
        """Return a link with the account that it is for."""
        if draft.kind in _MAKES_ACCOUNT:
            if draft.email and await rows_of(
                db, f"{SELECT_ACCOUNT} WHERE email_folded = ?", folded(draft.email)
            ):
                raise Conflict(f"there is an account {draft.email!r} already", field="email")
            return draft
        if who is None:
            raise Invalid("say which account the link is for", field="email")
        account = await find_account(db, who)
        if not account.active:
            raise Conflict(f"the account {account.email!r} is disabled", field="email")
        return replace(
            draft, account_id=account.id, email=account.email, plan=account.plan, role=account.role
        )

    async def _replace(self, db: aiosqlite.Connection, link: Link, now: float) -> None:
        """End the links that a new one stands for."""
        if link.first:
            if await has_admin(db):
                raise Conflict("there is an admin already")
            sql, values = "kind = ? AND first = ?", (link.kind, 1)
        elif link.account_id is not None:
            sql, values = "kind = ? AND account_id = ?", (link.kind, link.account_id)
        else:
            return
        sql = f"UPDATE links SET ended_at = ? WHERE ended_at IS NULL AND {sql}"
        await db.execute(sql, (now, *values))

    async def _forget(self, db: aiosqlite.Connection, now: float) -> None:
        sql = "DELETE FROM links WHERE coalesce(ended_at, expires_at) < ?"
        await db.execute(sql, (now - _REMEMBERED_S,))


def _link(row: sqlite3.Row) -> Link:
    id_, kind, account_id, email, plan, role, first, *rest = tuple(row)
    return Link(id_, kind, account_id, email, plan, role, bool(first), *rest)


async def _insert(db: aiosqlite.Connection, link: Link, hashed: bytes) -> None:
    await db.execute(
        "INSERT INTO links (digest, id, kind, account_id, email, plan, role, first, created_at,"
        " created_by, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            hashed,
            link.id,
            link.kind,
            link.account_id,
            link.email,
            link.plan,
            link.role,
            int(link.first),
            link.created_at,
            link.created_by,
            link.expires_at,
        ),
    )

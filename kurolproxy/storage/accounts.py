"""Accounts and keys: a change goes to SQLite first, then to memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial

import aiosqlite

from kurolproxy.policy.keys import (
    Account,
    AccountRole,
    Key,
    KeyTable,
)
from kurolproxy.policy.sessions import SessionTable
from kurolproxy.storage.changes import (
    AccountChange,
    NewAccount,
    check_admin_stays,
    insert_account,
    steps,
    write_change,
    write_password,
)
from kurolproxy.storage.database import Database
from kurolproxy.storage.key_rows import some_keys
from kurolproxy.storage.key_store import MAX_KEYS_PER_ACCOUNT, KeyStore
from kurolproxy.storage.links import Links
from kurolproxy.storage.paging import Page, account_page
from kurolproxy.storage.records import (
    SELECT_ACCOUNT,
    SELECT_KEY,
    AuditEntry,
    Who,
    account_of,
    audit_of,
    by_who,
    find_account,
    key_of,
    only,
)

_OPERATOR = "operator"


class AccountStore(KeyStore):
    """The people: accounts, their keys, and the trail of who changed what.

    Every change is one transaction that is safe on the disk, its audit row included,
    when the method returns; and in memory, before any other change. Secrets are returned
    once and never stored or logged. Every changing method takes ``actor``: who asked for
    it, for the audit trail.

    Args:
        table: the keys in memory to keep in step; None when nobody serves from them.
        sessions: those in memory, of the dashboard; likewise.
        max_keys: how many keys that are not revoked one account may have.
        invites: whether accounts can be made by invitation now.
        clock: seconds since 1970.
        random: so many bytes of a cryptographic source.

    Attributes:
        links: those that make an account, or set the password of one.
    """

    def __init__(
        self,
        database: Database,
        table: KeyTable | None = None,
        *,
        sessions: SessionTable | None = None,
        max_keys: int = MAX_KEYS_PER_ACCOUNT,
        invites: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        table = KeyTable() if table is None else table
        super().__init__(database, table, max_keys=max_keys, clock=clock, random=random)
        self._sessions = SessionTable() if sessions is None else sessions
        self.links = Links(database, self._table, self._sessions, invites=invites, clock=clock)

    # --- reading ----------------------------------------------------------------------

    async def load(self) -> list[tuple[Key, Account]]:
        """Read all accounts, and all keys that are not revoked, into the key table."""
        accounts = {account.id: account for account in await self.list_accounts()}
        pairs: list[tuple[Key, Account]] = []
        last: int | None = 0
        while last is not None:
            last, keys = await self._database.report(partial(some_keys, last))
            pairs += ((key, accounts[key.account_id]) for key in keys)
        for account in accounts.values():
            self._table.put_account(account)
        for key, account in pairs:
            self._table.put(key, account)
        return pairs

    async def list_accounts(self) -> list[Account]:
        """Return all accounts, the oldest first."""
        return [
            account_of(row) for row in await self._database.read(f"{SELECT_ACCOUNT} ORDER BY id")
        ]

    async def account_page(
        self, *, after: int = 0, limit: int, email: str | None = None
    ) -> Page[Account]:
        """Return some accounts; see ``paging.account_page``."""
        return await account_page(self._database, after=after, limit=limit, email=email)

    async def get_account(self, who: Who) -> Account:
        """Return an account.

        Raises:
            NotFound: there is none.
        """
        where, value = by_who(who)
        rows = await self._database.read(f"{SELECT_ACCOUNT} WHERE {where}", [value])
        return account_of(only(rows, f"there is no account {who!r}"))

    async def get_password_hash(self, who: Who) -> str | None:
        """Return the hash of an account's password; None when it has none.

        Raises:
            NotFound: there is no such account.
        """
        where, value = by_who(who)
        sql = f"SELECT password_hash FROM accounts WHERE {where}"
        rows = await self._database.read(sql, [value])
        found: str | None = only(rows, f"there is no account {who!r}")["password_hash"]
        return found

    async def list_keys(self, who: Who | None = None) -> list[Key]:
        """Return the keys of one account, or of all; revoked ones too, the oldest first.

        Raises:
            NotFound: there is no such account.
        """
        if who is None:
            rows = await self._database.read(f"{SELECT_KEY} ORDER BY created_at, id")
            return [key_of(row) for row in rows]
        account = await self.get_account(who)
        sql = f"{SELECT_KEY} WHERE account_id = ? ORDER BY created_at, id"
        return [key_of(row) for row in await self._database.read(sql, [account.id])]

    async def list_audit(self, *, limit: int = 100) -> list[AuditEntry]:
        """Return the last changes, the newest first."""
        sql = "SELECT at, actor, action, subject, detail FROM audit ORDER BY id DESC LIMIT ?"
        return [audit_of(row) for row in await self._database.read(sql, [limit])]

    # --- accounts ---------------------------------------------------------------------

    async def create_account(
        self,
        email: str,
        plan: str,
        name: str = "",
        role: AccountRole = "user",
        password_hash: str | None = None,
        *,
        actor: str = _OPERATOR,
    ) -> Account:
        """Make an account.

        Args:
            plan: whether the catalog has it is for the caller to check.
            password_hash: of argon2, never a password.

        Raises:
            Conflict: the email has an account, in whatever letter case.
            Invalid: the email is none, or a text is no single line.
        """
        new = NewAccount(email, plan, name, role, password_hash).checked()

        async def work(db: aiosqlite.Connection) -> Account:
            return await insert_account(db, new, self._clock(), actor)

        return await self._database.write(work, durable=True, then=self._table.put_account)

    async def change(self, who: Who, change: AccountChange, *, actor: str = _OPERATOR) -> Account:
        """Change an account, from its next request on; what is so already is no change.

        Args:
            change: whether the catalog has its plan is for the caller to check.

        Raises:
            NotFound: there is no such account.
            Conflict: the last active admin would be none any more.
            Invalid: a text is no single line.
        """
        change = change.checked()

        async def work(db: aiosqlite.Connection) -> Account:
            before = await find_account(db, who)
            after = change.applied(before)
            await check_admin_stays(db, before, after)
            await write_change(db, after, self._clock())
            for action, detail in steps(before, after):
                await self._audit(db, actor, action, before.email, **detail)
            return after

        def put(account: Account) -> None:
            self._table.put_account(account)
            if not account.active:
                self._sessions.remove_account(account.id)

        return await self._database.write(work, durable=True, then=put)

    async def set_plan(self, who: Who, plan: str, *, actor: str = _OPERATOR) -> Account:
        """Give an account another plan; see ``change``."""
        return await self.change(who, AccountChange(plan=plan), actor=actor)

    async def disable(self, who: Who, *, actor: str = _OPERATOR) -> Account:
        """Make all keys of an account invalid; see ``change``."""
        return await self.change(who, AccountChange(active=False), actor=actor)

    async def enable(self, who: Who, *, actor: str = _OPERATOR) -> Account:
        """Let a disabled account call again; see ``change``."""
        return await self.change(who, AccountChange(active=True), actor=actor)

    async def set_password(
        self, who: Who, password_hash: str | None, *, actor: str = _OPERATOR
    ) -> Account:
        """Replace the hash of a password, and end all sessions of the account.

        Args:
            password_hash: None leaves the account without one.

        Raises:
            NotFound: there is no such account.
        """

        async def work(db: aiosqlite.Connection) -> Account:
            account = await find_account(db, who)
            await write_password(db, account, password_hash, self._clock(), actor)
            return account

        def forget(account: Account) -> None:
            self._sessions.remove_account(account.id)

        return await self._database.write(work, durable=True, then=forget)

    async def renew_hash(self, account_id: int, before: str, after: str) -> None:
        """Replace the hash of a password by another of the same; nothing else changes.

        Args:
            before: the hash that it must still be.
        """

        async def work(db: aiosqlite.Connection) -> None:
            sql = "UPDATE accounts SET password_hash = ? WHERE id = ? AND password_hash = ?"
            await db.execute(sql, (after, account_id, before))

        await self._database.write(work)

    async def delete(self, who: Who, *, actor: str = _OPERATOR) -> Account:
        """Delete an account and its keys; what they used stays in the ledger.

        Returns:
            the account that was.

        Raises:
            NotFound: there is no such account.
            Conflict: it is the last active admin.
        """

        async def work(db: aiosqlite.Connection) -> Account:
            account = await find_account(db, who)
            await check_admin_stays(db, account, None)
            await db.execute("DELETE FROM accounts WHERE id = ?", (account.id,))
            await self._audit(db, actor, "account.delete", account.email, id=account.id)
            return account

        def forget(account: Account) -> None:
            self._table.remove_account(account.id)
            self._sessions.remove_account(account.id)

        return await self._database.write(work, durable=True, then=forget)

"""Accounts made and changed: what is written, what the audit trail calls it, what forbids it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiosqlite

from kurolproxy.policy.keys import Account, AccountRole
from kurolproxy.storage.errors import Conflict
from kurolproxy.storage.records import (
    SELECT_ACCOUNT,
    AuditEntry,
    checked_email,
    checked_text,
    find_account,
    folded,
    rows_of,
    write_audit,
)
from kurolproxy.storage.sessions import end_sessions

Step = tuple[str, dict[str, Any]]
"""An action of the audit trail, and its detail."""

_OTHER_ADMIN: Final = (
    "SELECT 1 FROM accounts WHERE role = 'admin' AND active = 1 AND id != ? LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account that is to be made; ``password_hash`` is one of argon2, never a password."""

    email: str
    plan: str
    name: str = ""
    role: AccountRole = "user"
    password_hash: str | None = field(default=None, repr=False)

    def checked(self) -> NewAccount:
        """Return it with its texts without the spaces around them.

        Raises:
            Invalid: the email is none, or a text is no single line.
        """
        return replace(
            self,
            email=checked_email(self.email),
            name=checked_text(self.name, "name"),
            plan=checked_text(self.plan, "plan"),
        )


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What is to become of an account; None leaves it as it is."""

    plan: str | None = None
    name: str | None = None
    role: AccountRole | None = None
    active: bool | None = None

    def checked(self) -> AccountChange:
        """Return it with its texts without the spaces around them.

        Raises:
            Invalid: a text is no single line.
        """
        plan = None if self.plan is None else checked_text(self.plan, "plan")
        name = None if self.name is None else checked_text(self.name, "name")
        return replace(self, plan=plan, name=name)

    def applied(self, account: Account) -> Account:
        """Return what an account becomes."""
        return Account(
            account.id,
            account.email,
            account.name if self.name is None else self.name,
            account.role if self.role is None else self.role,
            account.plan if self.plan is None else self.plan,
            account.active if self.active is None else self.active,
        )


def steps(before: Account, after: Account) -> Iterator[Step]:
    """Yield what the audit trail is to hold of a change; what stayed is none."""
    if after.plan != before.plan:
        yield "account.set-plan", {"plan": after.plan}
    if after.name != before.name:
        yield "account.rename", {"name": after.name}
    if after.role != before.role:
        yield "account.set-role", {"role": after.role}
    if after.active != before.active:
        yield ("account.enable" if after.active else "account.disable"), {}


async def insert_account(
    db: aiosqlite.Connection, new: NewAccount, now: float, actor: str, **detail: Any
) -> Account:
    """Write a new account, in the transaction of what makes it.

    Args:
        new: checked.
        now: unix seconds.
        detail: what else the audit trail is to hold.

    Raises:
        Conflict: the email has an account, in whatever letter case.
    """
    if await rows_of(db, f"{SELECT_ACCOUNT} WHERE email_folded = ?", folded(new.email)):
        raise Conflict(f"there is an account {new.email!r} already", field="email")
    await db.execute(
        "INSERT INTO accounts (email, email_folded, name, role, plan, password_hash, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (new.email, folded(new.email), new.name, new.role, new.plan, new.password_hash, now),
    )
    detail = {"plan": new.plan, "role": new.role, **detail}
    await write_audit(db, AuditEntry(now, actor, "account.create", new.email, detail))
    return await find_account(db, new.email)


async def write_password(
    db: aiosqlite.Connection, account: Account, password_hash: str | None, now: float, actor: str
) -> None:
    """Write another password, in the transaction of the change; all sessions end.

    So do the links that would set yet another one: whoever has one that went astray is out.
    """
    sql = "UPDATE accounts SET password_hash = ? WHERE id = ?"
    await db.execute(sql, (password_hash, account.id))
    await end_sessions(db, account.id)
    await _end_password_links(db, account.id, now)
    await write_audit(db, AuditEntry(now, actor, "account.set-password", account.email, {}))


async def _end_password_links(db: aiosqlite.Connection, account_id: int, now: float) -> None:
    sql = (
        "UPDATE links SET ended_at = ?"
        " WHERE account_id = ? AND kind = 'password' AND ended_at IS NULL"
    )
    await db.execute(sql, (now, account_id))


async def write_change(db: aiosqlite.Connection, after: Account, now: float) -> None:
    """Write what can change of an account, in the transaction of the change.

    Of one that is disabled all sessions end, and the links that set a password: enabled
    again, it has none of before.

    Args:
        now: unix seconds.
    """
    if not after.active:
        await end_sessions(db, after.id)
        await _end_password_links(db, after.id, now)
    await db.execute(
        "UPDATE accounts SET plan = ?, name = ?, role = ?, active = ? WHERE id = ?",
        (after.plan, after.name, after.role, int(after.active), after.id),
    )


async def check_admin_stays(
    db: aiosqlite.Connection, before: Account, after: Account | None
) -> None:
    """See to it that somebody can manage the gateway, in the transaction of the change.

    An installation without any admin is left as it is: the command line manages it.

    Args:
        after: None: the account is to be deleted.

    Raises:
        Conflict: the last admin that is active would be none any more.
    """
    if not _manages(before) or (after is not None and _manages(after)):
        return
    if not await has_admin(db, but=before.id):
        raise Conflict(
            f"{before.email} is the last active admin: make another account an admin first"
        )


async def has_admin(db: aiosqlite.Connection, *, but: int = 0) -> bool:
    """Return whether there is an active admin, in a transaction.

    Args:
        but: the id of an account that does not count.
    """
    return bool(await rows_of(db, _OTHER_ADMIN, but))


def _manages(account: Account) -> bool:
    return account.active and account.role == "admin"

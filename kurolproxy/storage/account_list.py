"""All accounts as an admin looks through them: a page at a time, by a text, a plan, a role."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from kurolproxy.policy.keys import Account, AccountRole
from kurolproxy.storage.database import Database
from kurolproxy.storage.paging import Page
from kurolproxy.storage.records import folded, only

_KEYS: Final = "(SELECT count(*) FROM keys WHERE account_id = accounts.id AND revoked_at IS NULL)"
_SELECT: Final = (
    "SELECT id, email, name, role, plan, active, created_at, password_hash IS NOT NULL,"
    f" {_KEYS} FROM accounts"
)
_BY_PLAN: Final = "SELECT plan, count(*), sum(active) FROM accounts GROUP BY plan ORDER BY plan"
_CONDITIONS: Final[Mapping[str, str]] = {
    "plan": "plan = :plan",
    "role": "role = :role",
    "active": "active = :active",
}


@dataclass(frozen=True, slots=True)
class Search:
    """Which accounts are wanted; None: any.

    Attributes:
        text: a part of the email or the name, in whatever letter case; "": any.
    """

    text: str = ""
    plan: str | None = None
    role: AccountRole | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """An account, and what only admins ask about it.

    Attributes:
        created_at: unix seconds.
        has_password: whether somebody can log in with it.
        keys: how many it has that are not revoked.
    """

    account: Account
    created_at: float
    has_password: bool
    keys: int


@dataclass(frozen=True, slots=True)
class PlanCount:
    """How many accounts have a plan, and how many of them are active."""

    accounts: int
    active: int


async def accounts_like(
    database: Database, wanted: Search, *, before: int | None = None, limit: int
) -> Page[Listed]:
    """Return some accounts, the newest first.

    Args:
        before: the id of the last one that is known; None: from the newest on.

    Raises:
        StorageError: the database cannot be read.
    """
    where = ["id < :before"]
    values: dict[str, Any] = {"before": 2**62 if before is None else before, "limit": limit + 1}
    for name, condition in _CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            where.append(condition)
            values[name] = value
    if wanted.text:
        where.append("(email_folded LIKE :email ESCAPE '!' OR name LIKE :name ESCAPE '!')")
        values["email"], values["name"] = _like(folded(wanted.text)), _like(wanted.text.strip())
    sql = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT :limit"
    rows = [_listed(each) for each in await database.read(sql, values)]
    return Page(rows[:limit], len(rows) > limit)


async def one_account(database: Database, account_id: int) -> Listed:
    """Return one account.

    Raises:
        NotFound: there is none of this id.
        StorageError: the database cannot be read.
    """
    rows = await database.read(f"{_SELECT} WHERE id = ?", [account_id])
    return _listed(only(rows, f"there is no account {account_id}"))


async def accounts_by_plan(database: Database) -> dict[str, PlanCount]:
    """Return how many accounts have each plan; one that nobody has is left out.

    Raises:
        StorageError: the database cannot be read.
    """
    rows = await database.read(_BY_PLAN)
    return {plan: PlanCount(count, active) for plan, count, active in map(tuple, rows)}


def _listed(row: sqlite3.Row) -> Listed:
    id_, email, name, role, plan, active, created_at, has_password, keys = tuple(row)
    account = Account(id_, email, name, role, plan, bool(active))
    return Listed(account, created_at, bool(has_password), keys)


def _like(text: str) -> str:
    """Return the pattern of texts that hold this one."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"

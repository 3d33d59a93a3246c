"""Accounts and keys a page at a time: a gateway may have a hundred thousand of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from kurolproxy.policy.keys import Account, Key
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import NotFound
from kurolproxy.storage.records import SELECT_ACCOUNT, SELECT_KEY, account_of, folded, key_of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list, the oldest first.

    Attributes:
        more: whether some come behind the last one.
    """

    rows: list[T]
    more: bool


async def account_page(
    database: Database, *, after: int = 0, limit: int, email: str | None = None
) -> Page[Account]:
    """Return the accounts that follow one.

    Args:
        after: the id of the last one that is known; 0: from the beginning.
        email: only the account with this email, in whatever letter case.
    """
    where, values = "id > :after", {"after": after, "limit": limit + 1, "email": ""}
    if email is not None:
        where += " AND email_folded = :email"
        values["email"] = folded(email)
    sql = f"{SELECT_ACCOUNT} WHERE {where} ORDER BY id LIMIT :limit"
    rows = [account_of(row) for row in await database.read(sql, values)]
    return Page(rows[:limit], len(rows) > limit)


async def key_page(
    database: Database, account_id: int, *, after: str | None = None, limit: int
) -> Page[Key]:
    """Return the keys of an account that follow one; revoked ones too.

    Args:
        after: the id of the last one that is known; None: from the beginning.

    Raises:
        NotFound: the account has no key ``after``.
    """
    last = 0
    if after is not None:
        sql = "SELECT rowid FROM keys WHERE id = ? AND account_id = ?"
        found = await database.read(sql, [after, account_id])
        if not found:
            raise NotFound(f"there is no key {after!r} of this account", field="after")
        last = found[0][0]
    sql = f"{SELECT_KEY} WHERE account_id = ? AND rowid > ? ORDER BY rowid LIMIT ?"
    rows = [key_of(row) for row in await database.read(sql, [account_id, last, limit + 1])]
    return Page(rows[:limit], len(rows) > limit)

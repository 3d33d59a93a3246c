"""Keys as they are written, and read in great numbers."""

from __future__ import annotations

import json
from typing import Final

import aiosqlite

from kurolproxy.policy.keys import Key
from kurolproxy.storage.errors import Conflict, Limit
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.records import SELECT_KEY, key_of, rows_of

_SOME_KEYS: Final = f"""
{SELECT_KEY.replace("SELECT ", "SELECT rowid, ")}
WHERE rowid > ? AND revoked_at IS NULL ORDER BY rowid LIMIT 5000
"""


async def check_new(db: aiosqlite.Connection, key: Key, max_keys: int) -> None:
    """See to it that a key can be added, in the transaction that adds it.

    Args:
        max_keys: how many keys that are not revoked one account may have.

    Raises:
        Conflict: another key has the same secret.
        Limit: the account has too many already.
    """
    if await rows_of(db, "SELECT 1 FROM keys WHERE digest = ?", key.digest):
        raise Conflict("this key is in use already", field="secret")
    sql = "SELECT count(*) FROM keys WHERE account_id = ? AND revoked_at IS NULL"
    count = (await rows_of(db, sql, key.account_id))[0][0]
    if count >= max_keys:
        raise Limit(f"an account may have {max_keys} keys: revoke one first")


async def insert_key(db: aiosqlite.Connection, key: Key, created_at: float) -> None:
    """Write a new key, in the transaction that adds it.

    Args:
        created_at: unix seconds.
    """
    values = {
        "id": key.id,
        "account_id": key.account_id,
        "label": key.label,
        "digest": key.digest,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "models": None if key.models is None else json.dumps(key.models),
        "requests_per_minute": key.requests_per_minute,
        "daily_tokens": key.daily_tokens,
        "expires_at": key.expires_at,
        "admin": int(key.admin),
        "created_at": created_at,
    }
    marks = ", ".join(f":{column}" for column in values)
    await db.execute(f"INSERT INTO keys ({', '.join(values)}) VALUES ({marks})", values)


def some_keys(after: int, queries: Queries) -> tuple[int | None, list[Key]]:
    """Return the rowid of the last of the next valid keys, and the keys.

    Not all at once: a slow disk reads some of them in the time of a query.
    """
    rows = queries.rows(_SOME_KEYS, [after])
    return (rows[-1][0] if rows else None), [key_of(row[1:]) for row in rows]

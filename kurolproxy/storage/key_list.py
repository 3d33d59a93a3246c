"""The keys of one account as its owner sees them: with the dates that only he asks for."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kurolproxy.policy.keys import Key
from kurolproxy.storage.database import Database
from kurolproxy.storage.records import SELECT_KEY, key_of, only

_SELECT: Final = SELECT_KEY.replace("SELECT ", "SELECT created_at, ")
_IN_USE: Final = f"{_SELECT} WHERE account_id = ? AND revoked_at IS NULL ORDER BY created_at, id"
_REVOKED: Final = (
    f"{_SELECT} WHERE account_id = ? AND revoked_at IS NOT NULL"
    " ORDER BY revoked_at DESC, id LIMIT ?"
)
_ONE: Final = f"{_SELECT} WHERE account_id = ? AND id = ?"
_NAMES: Final = (
    "SELECT keys.id, label, prefix, last_four FROM json_each(?) AS wanted"
    " CROSS JOIN keys ON keys.id = wanted.value WHERE account_id = ?"
)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, and when it came and went.

    Attributes:
        created_at: unix seconds.
        revoked_at: unix seconds; None: it is not revoked.
    """

    key: Key
    created_at: float
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class KeyName:
    """What people recognise a key by."""

    label: str
    prefix: str
    last_four: str


async def keys_of(database: Database, account_id: int) -> list[KeyRow]:
    """Return the keys of an account that are not revoked, the oldest first.

    Raises:
        StorageError: the database cannot be read.
    """
    return [_row(each) for each in await database.read(_IN_USE, [account_id])]


async def revoked_keys_of(database: Database, account_id: int, limit: int) -> list[KeyRow]:
    """Return the keys of an account that were revoked last, the latest first.

    Raises:
        StorageError: the database cannot be read.
    """
    return [_row(each) for each in await database.read(_REVOKED, [account_id, limit])]


async def one_key_of(database: Database, account_id: int, key_id: str) -> KeyRow:
    """Return a key of an account, revoked or not.

    Raises:
        NotFound: there is none of this id, or it is somebody else's.
        StorageError: the database cannot be read.
    """
    rows = await database.read(_ONE, [account_id, key_id])
    return _row(only(rows, f"there is no key {key_id[:60]!r}"))


async def names_of(database: Database, account_id: int, ids: Iterable[str]) -> dict[str, KeyName]:
    """Return the names of some keys of an account, by id; unknown ones are left out.

    Raises:
        StorageError: the database cannot be read.
    """
    rows = await database.read(_NAMES, [json.dumps([*ids]), account_id])
    return {id_: KeyName(*name) for id_, *name in map(tuple, rows)}


def _row(row: sqlite3.Row) -> KeyRow:
    created_at, *rest = row
    return KeyRow(key_of(rest), created_at, row["revoked_at"])

"""The keys of accounts: a change goes to SQLite first, then to memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import aiosqlite

from kurolproxy.policy.keys import (
    SECRET_BYTES,
    Account,
    Key,
    KeyTable,
    digest,
    make_secret,
)
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import Conflict, Invalid, NotFound
from kurolproxy.storage.key_rows import check_new, insert_key
from kurolproxy.storage.paging import Page, key_page
from kurolproxy.storage.records import (
    SELECT_ACCOUNT,
    SELECT_KEY,
    AuditEntry,
    Who,
    account_of,
    checked_limit,
    checked_patterns,
    checked_secret,
    checked_text,
    find_account,
    find_key,
    key_of,
    only,
    rows_of,
    shown,
    write_audit,
)

MAX_KEYS_PER_ACCOUNT = 20
LATEST_EXPIRY = 253_402_300_800.0
"""10000-01-01T00:00:00Z in Unix seconds: no date can be written from there on."""

_OPERATOR = "operator"
_KEY_ID_BYTES = 6


class KeyStore:
    """Makes, changes and ends keys; see ``AccountStore``, which it is a part of.

    Args:
        table: the keys in memory to keep in step.
        max_keys: how many keys that are not revoked one account may have.
        clock: seconds since 1970.
        random: so many bytes of a cryptographic source.
    """

    def __init__(
        self,
        database: Database,
        table: KeyTable,
        *,
        max_keys: int,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self.max_keys = max_keys
        self._database = database
        self._table = table
        self._clock = clock
        self._random = random

    async def key_page(self, account_id: int, *, after: str | None = None, limit: int) -> Page[Key]:
        """Return some keys of an account; see ``paging.key_page``."""
        return await key_page(self._database, account_id, after=after, limit=limit)

    async def owner_of(self, key_id: str, *, account_id: int | None = None) -> tuple[Key, Account]:
        """Return a key, revoked or not, and its account.

        Args:
            account_id: whose key it must be; None: anybody's.

        Raises:
            NotFound: there is no such key, or it is somebody else's.
        """
        missing = f"there is no key {key_id[:60]!r}"
        rows = await self._database.read(f"{SELECT_KEY} WHERE id = ?", [key_id])
        own = [row for row in rows if account_id in (None, row["account_id"])]
        key = key_of(only(own, missing))
        rows = await self._database.read(f"{SELECT_ACCOUNT} WHERE id = ?", [key.account_id])
        return key, account_of(only(rows, missing))

    async def create_key(
        self,
        who: Who,
        *,
        label: str = "",
        models: Iterable[str] | None = None,
        requests_per_minute: int | None = None,
        daily_tokens: int | None = None,
        expires_at: float | None = None,
        admin: bool = False,
        secret: str | None = None,
        account_id: int | None = None,
        actor: str = _OPERATOR,
    ) -> tuple[Key, str]:
        """Make a key of an account.

        Args:
            models: patterns that narrow the plan's models.
            requests_per_minute: narrows the plan's.
            daily_tokens: narrows the plan's.
            expires_at: unix seconds.
            admin: a management key, which cannot call models; of an admin's account.
            secret: brought along from elsewhere instead of made here.
            account_id: which account it must be; None: any.

        Returns:
            the key, and its secret: the only time that anybody sees it.

        Raises:
            NotFound: there is no such account, or it is somebody else's.
            Limit: the account has ``max_keys`` already.
            Conflict: the secret that was brought along is in use, or a management key is to
                be of somebody who is no admin.
            Invalid: a value makes no sense.
        """
        secret = self._secret(secret, admin=admin)
        if expires_at is not None:
            self._check_expiry(expires_at)
        draft = replace(
            self._draft(secret, label, admin=admin),
            models=checked_patterns(models),
            requests_per_minute=checked_limit(requests_per_minute, "requests per minute"),
            daily_tokens=checked_limit(daily_tokens, "daily tokens"),
            expires_at=expires_at,
        )

        async def work(db: aiosqlite.Connection) -> tuple[Key, Account]:
            account = await find_account(db, who)
            if account_id not in (None, account.id):
                raise NotFound(f"there is no account {who!r}")
            _check_owner(account, admin=admin)
            key = replace(draft, account_id=account.id)
            await check_new(db, key, self.max_keys)
            await insert_key(db, key, self._clock())
            await self._audit(db, actor, "key.create", key.id, email=account.email, admin=admin)
            return key, account

        key, _ = await self._database.write(work, durable=True, then=self._put)
        return key, secret

    def _secret(self, given: str | None, *, admin: bool) -> str:
        """Return the secret of a new key: a fresh one, or what was brought along."""
        if given is None:
            return make_secret(self._random(SECRET_BYTES), admin=admin)
        return checked_secret(given, admin=admin)

    def _draft(self, secret: str, label: str, *, admin: bool) -> Key:
        """Return a key of nobody that narrows nothing."""
        prefix, last_four = shown(secret)
        return Key(
            id=f"key_{self._random(_KEY_ID_BYTES).hex()}",
            account_id=0,
            label=checked_text(label, "label"),
            digest=digest(secret),
            prefix=prefix,
            last_four=last_four,
            admin=admin,
        )

    def _check_expiry(self, expires_at: float) -> None:
        # Not "not less" in vain: NaN is neither.
        if not expires_at < LATEST_EXPIRY:
            raise Invalid("a key cannot expire after the year 9999", field="expires_at")
        if expires_at <= self._clock():
            raise Invalid("the key would have expired already", field="expires_at")

    async def revoke_key(
        self, key_id: str, *, account_id: int | None = None, actor: str = _OPERATOR
    ) -> Key:
        """Make a key invalid for ever, from the next request on; once more changes nothing.

        Args:
            account_id: whose key it must be; None: anybody's.

        Raises:
            NotFound: there is no such key, or it is somebody else's.
        """

        async def work(db: aiosqlite.Connection) -> Key:
            key = await find_key(db, key_id, account_id)
            if not key.revoked:
                now = self._clock()
                await db.execute("UPDATE keys SET revoked_at = ? WHERE id = ?", (now, key.id))
                await self._audit(db, actor, "key.revoke", key.id)
            return replace(key, revoked=True)

        def forget(key: Key) -> None:
            self._table.remove(key.id)

        return await self._database.write(work, durable=True, then=forget)

    async def rename_key(
        self, key_id: str, label: str, *, account_id: int | None = None, actor: str = _OPERATOR
    ) -> Key:
        """Give a key another label; a revoked one too: its usage is listed by it.

        Args:
            account_id: whose key it must be; None: anybody's.

        Raises:
            NotFound: there is no such key, or it is somebody else's.
            Invalid: the label is no single line.
        """
        label = checked_text(label, "label")

        async def work(db: aiosqlite.Connection) -> tuple[Key, Account]:
            before = await find_key(db, key_id, account_id)
            if label != before.label:
                await db.execute("UPDATE keys SET label = ? WHERE id = ?", (label, before.id))
                await self._audit(db, actor, "key.rename", before.id, label=label)
            return replace(before, label=label), await find_account(db, before.account_id)

        def put(pair: tuple[Key, Account]) -> None:
            if not pair[0].revoked:
                self._put(pair)

        return (await self._database.write(work, durable=True, then=put))[0]

    async def rotate_key(
        self, key_id: str, *, account_id: int | None = None, actor: str = _OPERATOR
    ) -> tuple[Key, str]:
        """Give a key a new secret; the old one is invalid from the next request on.

        Id, label, limits and what was used today stay.

        Args:
            account_id: whose key it must be; None: anybody's.

        Returns:
            the key, and its secret: the only time that anybody sees it.

        Raises:
            NotFound: there is no such key, or it is somebody else's.
            Conflict: it is revoked.
        """
        random = self._random(SECRET_BYTES)

        async def work(db: aiosqlite.Connection) -> tuple[Key, Account, str]:
            key = await find_key(db, key_id, account_id)
            if key.revoked:
                raise Conflict(f"the key {key_id!r} is revoked: make a new one")
            secret = make_secret(random, admin=key.admin)
            prefix, last_four = shown(secret)
            key = replace(key, digest=digest(secret), prefix=prefix, last_four=last_four)
            await db.execute(
                "UPDATE keys SET digest = ?, prefix = ?, last_four = ? WHERE id = ?",
                (key.digest, prefix, last_four, key.id),
            )
            await self._audit(db, actor, "key.rotate", key.id)
            rows = await rows_of(db, f"{SELECT_ACCOUNT} WHERE id = ?", key.account_id)
            return key, account_of(rows[0]), secret

        def put(result: tuple[Key, Account, str]) -> None:
            self._table.put(result[0], result[1])

        key, _, secret = await self._database.write(work, durable=True, then=put)
        return key, secret

    # --- inside a transaction ---------------------------------------------------------

    async def _audit(
        self, db: aiosqlite.Connection, actor: str, action: str, subject: str, **detail: Any
    ) -> None:
        await write_audit(db, AuditEntry(self._clock(), actor, action, subject, detail))

    def _put(self, pair: tuple[Key, Account]) -> None:
        self._table.put(*pair)


def _check_owner(account: Account, *, admin: bool) -> None:
    """See to it that an account may have a key, or a management key."""
    if admin and account.role != "admin":
        text = f"{account.email} is no admin: a management key needs one"
        raise Conflict(text, field="admin")

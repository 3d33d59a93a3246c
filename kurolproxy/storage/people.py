"""The verbs about people: the one place where accounts and keys change.

The command line calls them through the control socket of a gateway that runs, or directly
when none does; either way a change is in SQLite first and then in the memory that the
store keeps in step. Arguments and results are JSON values.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from kurolproxy.policy.keys import Account, Key, state_of
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.changes import AccountChange
from kurolproxy.storage.errors import Invalid, NotFound
from kurolproxy.storage.links import Link
from kurolproxy.storage.wanted import (
    AccountsAfter,
    ById,
    Changes,
    KeysAfter,
    NewAccount,
    NewKey,
    NewLabel,
    NewLink,
    NewName,
    NewPassword,
    NewPlan,
    NewRole,
    NoArgs,
    SomeKeys,
    SomeLinks,
    Whose,
)

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class By:
    """On whose behalf a verb is carried out.

    Attributes:
        actor: who asked, for the audit trail.
        account_id: whose keys it may be about; None: anybody's.
    """

    actor: str = "operator"
    account_id: int | None = None


OPERATOR: Final = By()
"""Whoever may use the command line."""


class People:
    """Accounts and keys, by verb.

    Args:
        store: keeps the key table of a running gateway in step, when there is one.
        plans: the plans there are now.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: AccountStore,
        plans: Callable[[], Collection[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._plans = plans
        self._clock = clock

    async def call(self, verb: str, args: Mapping[str, Any], by: By = OPERATOR) -> Any:
        """Carry out one verb.

        Args:
            verb: one of ``VERBS``.
            args: what the verb's structure names; nothing else.
            by: on whose behalf.

        Returns:
            an object for one thing, an array for a list.

        Raises:
            StoreError: the change was refused; the text is for whoever asked.
            StorageError: the database did not do it.
        """
        found = VERBS.get(verb)
        if found is None:
            raise Invalid(f"there is no verb {verb[:60]!r}; the versions may differ")
        shape, method = found
        try:
            # SQLite takes no lone surrogates: bytes of a command line that are no UTF-8.
            json.dumps(args, ensure_ascii=False).encode()
            wanted = msgspec.convert(args, shape)
        except UnicodeEncodeError as error:
            raise Invalid(f"{verb}: a text is not UTF-8") from error
        except msgspec.ValidationError as error:
            # It names fields and types, never a value.
            raise Invalid(f"{verb}: {error}") from error
        return await method(self, wanted, by)

    # --- accounts -----------------------------------------------------------------

    async def create_account(self, new: NewAccount, by: By = OPERATOR) -> Facts:
        """Make an account on a plan that exists."""
        self._check_plan(new.plan)
        account = await self._store.create_account(
            new.email, new.plan, new.name, new.role, new.password_hash, actor=by.actor
        )
        return account_facts(account)

    async def list_accounts(self, _: NoArgs, by: By = OPERATOR) -> list[Facts]:
        """Return all accounts, the oldest first, with the number of their valid keys."""
        counts: dict[int, int] = {}
        for key in await self._store.list_keys():
            counts[key.account_id] = counts.get(key.account_id, 0) + (not key.revoked)
        accounts = await self._store.list_accounts()
        return [{**account_facts(each), "keys": counts.get(each.id, 0)} for each in accounts]

    async def page_accounts(self, which: AccountsAfter, by: By = OPERATOR) -> Facts:
        """Return some accounts, the oldest first: ``rows``, and whether there are ``more``."""
        page = await self._store.account_page(
            after=which.after, limit=which.limit, email=which.email
        )
        return {"rows": [account_facts(each) for each in page.rows], "more": page.more}

    async def get_account(self, whose: Whose, by: By = OPERATOR) -> Facts:
        """Return one account."""
        return account_facts(await self._store.get_account(whose.who))

    async def change(self, change: Changes, by: By = OPERATOR) -> Facts:
        """Change several things of an account at once, from its next request on."""
        if change.plan is not None:
            self._check_plan(change.plan)
        wanted = AccountChange(change.plan, change.name, change.role, change.active)
        return account_facts(await self._store.change(change.who, wanted, actor=by.actor))

    async def set_plan(self, change: NewPlan, by: By = OPERATOR) -> Facts:
        """Move an account to another plan that exists, from its next request on."""
        self._check_plan(change.plan)
        return await self._changed(change, AccountChange(plan=change.plan), by)

    async def rename(self, change: NewName, by: By = OPERATOR) -> Facts:
        """Give an account another name to be displayed."""
        return await self._changed(change, AccountChange(name=change.name), by)

    async def set_role(self, change: NewRole, by: By = OPERATOR) -> Facts:
        """Make an account an admin, or a user again."""
        return await self._changed(change, AccountChange(role=change.role), by)

    async def disable(self, whose: Whose, by: By = OPERATOR) -> Facts:
        """Make all keys of an account invalid."""
        return await self._changed(whose, AccountChange(active=False), by)

    async def enable(self, whose: Whose, by: By = OPERATOR) -> Facts:
        """Let a disabled account call again."""
        return await self._changed(whose, AccountChange(active=True), by)

    async def _changed(self, whose: Whose, change: AccountChange, by: By) -> Facts:
        return account_facts(await self._store.change(whose.who, change, actor=by.actor))

    async def delete(self, whose: Whose, by: By = OPERATOR) -> Facts:
        """Delete an account and its keys; its usage stays in the ledger."""
        return account_facts(await self._store.delete(whose.who, actor=by.actor))

    async def reset_password(self, change: NewPassword, by: By = OPERATOR) -> Facts:
        """Replace the password of an account."""
        hashed = change.password_hash
        account = await self._store.set_password(change.who, hashed, actor=by.actor)
        return account_facts(account)

    # --- links --------------------------------------------------------------------

    async def create_link(self, new: NewLink, by: By = OPERATOR) -> Facts:
        """Make a link that can be used once; its token is in the result and nowhere else."""
        if new.kind == "password":
            made = self._store.links.create(new.kind, who=new.who, actor=by.actor)
        else:
            if new.kind == "invite":
                self._check_plan(new.plan)
            made = self._store.links.create(
                new.kind, email=new.email or "", plan=new.plan, role=new.role, actor=by.actor
            )
        link, token = await made
        return {**link_facts(link), "token": token}

    async def list_links(self, which: SomeLinks, by: By = OPERATOR) -> list[Facts]:
        """Return the links that can be used, the newest first."""
        return [link_facts(each) for each in await self._store.links.list(which.kind)]

    async def revoke_link(self, which: ById, by: By = OPERATOR) -> Facts:
        """Make a link good for nothing."""
        return link_facts(await self._store.links.revoke(which.id, actor=by.actor))

    # --- keys ---------------------------------------------------------------------

    async def create_key(self, new: NewKey, by: By = OPERATOR) -> Facts:
        """Make a key; its secret is in the result and nowhere else."""
        wanted = msgspec.structs.asdict(new)
        del wanted["email"], wanted["account_id"]
        key, secret = await self._store.create_key(
            new.who, **wanted, account_id=by.account_id, actor=by.actor
        )
        return await self._told(key, secret)

    async def get_key(self, which: ById, by: By = OPERATOR) -> Facts:
        """Return one key."""
        key, account = await self._store.owner_of(which.id, account_id=by.account_id)
        return key_facts(key, account, self._clock())

    async def page_keys(self, which: KeysAfter, by: By = OPERATOR) -> Facts:
        """Return some keys of an account, the oldest first: ``rows``, whether there are ``more``.

        Revoked and expired ones are among them.
        """
        account = await self._own(which, by)
        page = await self._store.key_page(account.id, after=which.after, limit=which.limit)
        now = self._clock()
        return {"rows": [key_facts(each, account, now) for each in page.rows], "more": page.more}

    async def _own(self, whose: Whose, by: By) -> Account:
        """Return the account that is meant.

        Raises:
            NotFound: there is none, or it is not the one that the verb may be about.
        """
        account = await self._store.get_account(whose.who)
        if by.account_id not in (None, account.id):
            raise NotFound(f"there is no account {whose.who!r}")
        return account

    async def list_keys(self, which: SomeKeys, by: By = OPERATOR) -> list[Facts]:
        """Return keys, the oldest first, revoked and expired ones too."""
        now = self._clock()
        if which.named or by.account_id is not None:
            account = await self._own(which if which.named else Whose(account_id=by.account_id), by)
            keys = await self._store.list_keys(account.id)
            return [key_facts(each, account, now) for each in keys]
        accounts = {each.id: each for each in await self._store.list_accounts()}
        keys = await self._store.list_keys()
        # Whoever was deleted between the two reads took the keys along.
        return [
            key_facts(each, accounts[each.account_id], now)
            for each in keys
            if each.account_id in accounts
        ]

    async def revoke_key(self, which: ById, by: By = OPERATOR) -> Facts:
        """Make a key invalid for ever, from the next request on."""
        key = await self._store.revoke_key(which.id, account_id=by.account_id, actor=by.actor)
        return await self._told(key)

    async def rename_key(self, change: NewLabel, by: By = OPERATOR) -> Facts:
        """Give a key another label."""
        key = await self._store.rename_key(
            change.id, change.label, account_id=by.account_id, actor=by.actor
        )
        return await self._told(key)

    async def rotate_key(self, which: ById, by: By = OPERATOR) -> Facts:
        """Give a key another secret; the old one is invalid from the next request on."""
        key, secret = await self._store.rotate_key(
            which.id, account_id=by.account_id, actor=by.actor
        )
        return await self._told(key, secret)

    async def _told(self, key: Key, secret: str | None = None) -> Facts:
        facts = key_facts(key, await self._owner(key), self._clock())
        return facts if secret is None else {"id": key.id, "key": secret, **facts}

    async def _owner(self, key: Key) -> Account | None:
        try:
            return await self._store.get_account(key.account_id)
        except NotFound:
            # Deleted in this very moment, and the key with it.
            return None

    def _check_plan(self, name: str) -> None:
        known = list(self._plans())
        if name in known:
            return
        if not known:
            message = "the configuration has no plan: add a [[plans]] table"
            raise Invalid(message, field="plan")
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        message = f"there is no plan {name[:60]!r}: {hint}there are: {_listed(known)}"
        raise Invalid(message, field="plan")


VERBS: Final[Mapping[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[Any]]]]] = {
    "users.create": (NewAccount, People.create_account),
    "users.list": (NoArgs, People.list_accounts),
    "users.page": (AccountsAfter, People.page_accounts),
    "users.get": (Whose, People.get_account),
    "users.change": (Changes, People.change),
    "users.set_plan": (NewPlan, People.set_plan),
    "users.set_role": (NewRole, People.set_role),
    "users.rename": (NewName, People.rename),
    "users.disable": (Whose, People.disable),
    "users.enable": (Whose, People.enable),
    "users.delete": (Whose, People.delete),
    "users.reset_password": (NewPassword, People.reset_password),
    "links.create": (NewLink, People.create_link),
    "links.list": (SomeLinks, People.list_links),
    "links.revoke": (ById, People.revoke_link),
    "keys.create": (NewKey, People.create_key),
    "keys.list": (SomeKeys, People.list_keys),
    "keys.page": (KeysAfter, People.page_keys),
    "keys.get": (ById, People.get_key),
    "keys.rename": (NewLabel, People.rename_key),
    "keys.revoke": (ById, People.revoke_key),
    "keys.rotate": (ById, People.rotate_key),
}
"""Verb -> the structure of its arguments, and the method that carries it out."""


def account_facts(account: Account) -> Facts:
    """Return what may be shown of an account."""
    return asdict(account)


def link_facts(link: Link) -> Facts:
    """Return what may be shown of a link."""
    return {
        "id": link.id,
        "kind": link.kind,
        "email": link.email,
        "plan": link.plan,
        "role": link.role,
        "created_at": stamp(link.created_at),
        "created_by": link.created_by,
        "expires_at": stamp(link.expires_at),
    }


def key_facts(key: Key, account: Account | None, unix_now: float) -> Facts:
    """Return what may be shown of a key; ``status`` says why it is not valid."""
    return {
        "id": key.id,
        "account_id": key.account_id,
        "email": None if account is None else account.email,
        "label": key.label,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "admin": key.admin,
        "models": None if key.models is None else list(key.models),
        "requests_per_minute": key.requests_per_minute,
        "daily_tokens": key.daily_tokens,
        "expires_at": None if key.expires_at is None else stamp(key.expires_at),
        "status": state_of(key, account, unix_now),
    }


def stamp(unix: float) -> str:
    """Return a moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

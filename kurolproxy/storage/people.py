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
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from kurolproxy.policy.keys import Account, AccountRole, Key, state_of
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.errors import Invalid

Facts = dict[str, Any]

# What JSON and every client can hold.
_Count = Annotated[int, Meta(ge=1, le=2**53)]
_Patterns = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]


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


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb without arguments."""


class ByEmail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb about one account."""

    email: str


class ById(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb about one key."""

    id: str


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users.create``; ``password_hash`` as ``storage.passwords`` makes it."""

    email: str
    plan: str
    name: str = ""
    role: AccountRole = "user"
    password_hash: str | None = None


class NewPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users.set_plan``."""

    email: str
    plan: str


class NewPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users.reset_password``."""

    email: str
    password_hash: str


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``keys.create``: the arguments of ``AccountStore.create_key``."""

    email: str
    label: str = ""
    models: _Patterns | None = None
    requests_per_minute: _Count | None = None
    daily_tokens: _Count | None = None
    expires_at: float | None = None
    secret: str | None = None
    admin: bool = False


class SomeKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``keys.list``; ``email`` None: of all accounts."""

    email: str | None = None


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

    async def set_plan(self, change: NewPlan, by: By = OPERATOR) -> Facts:
        """Move an account to another plan that exists, from its next request on."""
        self._check_plan(change.plan)
        account = await self._store.set_plan(change.email, change.plan, actor=by.actor)
        return account_facts(account)

    async def disable(self, whose: ByEmail, by: By = OPERATOR) -> Facts:
        """Make all keys of an account invalid."""
        return account_facts(await self._store.disable(whose.email, actor=by.actor))

    async def enable(self, whose: ByEmail, by: By = OPERATOR) -> Facts:
        """Let a disabled account call again."""
        return account_facts(await self._store.enable(whose.email, actor=by.actor))

    async def delete(self, whose: ByEmail, by: By = OPERATOR) -> Facts:
        """Delete an account and its keys; its usage stays in the ledger."""
        return account_facts(await self._store.delete(whose.email, actor=by.actor))

    async def reset_password(self, change: NewPassword, by: By = OPERATOR) -> Facts:
        """Replace the password of an account."""
        account = await self._store.set_password(change.email, change.password_hash, actor=by.actor)
        return account_facts(account)

    # --- keys ---------------------------------------------------------------------

    async def create_key(self, new: NewKey, by: By = OPERATOR) -> Facts:
        """Make a key; its secret is in the result and nowhere else."""
        key, secret = await self._store.create_key(**msgspec.structs.asdict(new), actor=by.actor)
        return await self._told(key, secret)

    async def list_keys(self, which: SomeKeys, by: By = OPERATOR) -> list[Facts]:
        """Return keys, the oldest first, revoked and expired ones too."""
        accounts = {each.id: each for each in await self._store.list_accounts()}
        keys = await self._store.list_keys(which.email)
        now = self._clock()
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

    async def rotate_key(self, which: ById, by: By = OPERATOR) -> Facts:
        """Give a key another secret; the old one is invalid from the next request on."""
        key, secret = await self._store.rotate_key(
            which.id, account_id=by.account_id, actor=by.actor
        )
        return await self._told(key, secret)

    async def _told(self, key: Key, secret: str | None = None) -> Facts:
        accounts = {each.id: each for each in await self._store.list_accounts()}
        account = accounts.get(key.account_id)
        facts = key_facts(key, account, self._clock())
        return facts if secret is None else {"id": key.id, "key": secret, **facts}

    def _check_plan(self, name: str) -> None:
        known = list(self._plans())
        if name in known:
            return
        if not known:
            raise Invalid("the configuration has no plan: add a [[plans]] table")
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise Invalid(f"there is no plan {name[:60]!r}: {hint}there are: {_listed(known)}")


VERBS: Final[Mapping[str, tuple[type[msgspec.Struct], Callable[..., Awaitable[Any]]]]] = {
    "users.create": (NewAccount, People.create_account),
    "users.list": (NoArgs, People.list_accounts),
    "users.set_plan": (NewPlan, People.set_plan),
    "users.disable": (ByEmail, People.disable),
    "users.enable": (ByEmail, People.enable),
    "users.delete": (ByEmail, People.delete),
    "users.reset_password": (NewPassword, People.reset_password),
    "keys.create": (NewKey, People.create_key),
    "keys.list": (SomeKeys, People.list_keys),
    "keys.revoke": (ById, People.revoke_key),
    "keys.rotate": (ById, People.rotate_key),
}
"""Verb -> the structure of its arguments, and the method that carries it out."""


def account_facts(account: Account) -> Facts:
    """Return what may be shown of an account."""
    return asdict(account)


def key_facts(key: Key, account: Account | None, unix_now: float) -> Facts:
    """Return what may be shown of a key; ``status`` says why it is not valid."""
    return {
        "id": key.id,
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

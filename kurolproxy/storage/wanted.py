"""What the verbs about people take: the structure of the arguments of each."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from kurolproxy.policy.keys import AccountRole
from kurolproxy.storage.errors import Invalid
from kurolproxy.storage.records import Who

# What JSON and every client can hold.
_Count = Annotated[int, Meta(ge=1, le=2**53)]
_From = Annotated[int, Meta(ge=0, le=2**53)]
_PageSize = Annotated[int, Meta(ge=1, le=1_000)]
_Patterns = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb without arguments."""


class Whose(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A verb about one account: by its email, or by its id."""

    email: str | None = None
    account_id: _Count | None = None

    @property
    def named(self) -> bool:
        """Whether an account is named at all."""
        return self.email is not None or self.account_id is not None

    @property
    def who(self) -> Who:
        """The account.

        Raises:
            Invalid: not exactly one of the two is given.
        """
        who = self.account_id if self.email is None else self.email
        if who is None or None not in (self.email, self.account_id):
            raise Invalid("say which account it is, by email or by account_id")
        return who


class ById(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A verb about one key, or one link."""

    id: str


class NewAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users.create``; ``password_hash`` as ``storage.passwords`` makes it."""

    email: str
    plan: str
    name: str = ""
    role: AccountRole = "user"
    password_hash: str | None = None


class NewPlan(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``users.set_plan``."""

    plan: str


class NewName(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``users.rename``."""

    name: str


class NewRole(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``users.set_role``."""

    role: AccountRole


class Changes(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``users.change``: several changes at once, all of them or none."""

    plan: str | None = None
    name: str | None = None
    role: AccountRole | None = None
    active: bool | None = None


class NewPassword(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``users.reset_password``."""

    password_hash: str


class NewLink(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``links.create``; ``email`` of an invitation is the only one that it is good for."""

    kind: Literal["setup", "invite", "password"]
    plan: str = ""
    role: AccountRole = "user"


class SomeLinks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``links.list``: those of a kind that can be used."""

    kind: Literal["setup", "invite", "password"] = "invite"


class NewKey(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``keys.create``: the arguments of ``AccountStore.create_key``."""

    label: str = ""
    models: _Patterns | None = None
    requests_per_minute: _Count | None = None
    daily_tokens: _Count | None = None
    expires_at: float | None = None
    secret: str | None = None
    admin: bool = False


class NewLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``keys.rename``."""

    id: str
    label: str


class SomeKeys(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``keys.list``; without an account: of all of them."""


class AccountsAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``users.page``; ``after``: the id of the last one known; ``email``: this one alone."""

    limit: _PageSize
    after: _From = 0
    email: str | None = None


class KeysAfter(Whose, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``keys.page``; ``after``: the id of the last one known."""

    limit: _PageSize
    after: str | None = None

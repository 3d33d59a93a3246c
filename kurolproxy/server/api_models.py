"""The bodies and parameters of the management API: what is read, written and documented."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kurolproxy.policy.keys import AccountRole, KeyState
from kurolproxy.storage.records import (
    EMAIL_PATTERN,
    LARGEST_LIMIT,
    MAX_EMAIL_CHARS,
    MAX_TEXT_CHARS,
    MOST_PATTERNS,
    TEXT_PATTERN,
    WORD_PATTERN,
)
from kurolproxy.storage.report_sql import By

PAGE: Final = 100
LARGEST_ID: Final = 2**53
KEY_ID_PATTERN: Final = r"^key_[0-9a-f]{12}$"
PATTERN_WORDS: Final = {
    EMAIL_PATTERN: "must be an email address",
    TEXT_PATTERN: "must be one line of visible characters",
    WORD_PATTERN: "must be visible characters without spaces",
    KEY_ID_PATTERN: "must be the id of a key",
}
"""Regular expression -> what it means, for error texts."""

AccountId = Annotated[
    int, Meta(ge=1, le=LARGEST_ID, description="The number of an account.", examples=[7])
]
KeyId = Annotated[
    str,
    Meta(pattern=KEY_ID_PATTERN, description="The id of a key.", examples=["key_0123456789ab"]),
]
Email = Annotated[
    str,
    Meta(
        pattern=EMAIL_PATTERN,
        max_length=MAX_EMAIL_CHARS,
        description="One account has it, in whatever letter case.",
        examples=["ann@example.org"],
    ),
]
PlanName = Annotated[
    str,
    Meta(
        pattern=TEXT_PATTERN,
        min_length=1,
        max_length=MAX_TEXT_CHARS,
        description="A plan of the configuration, exactly as written.",
        examples=["team"],
    ),
]
Name = Annotated[
    str,
    Meta(
        pattern=TEXT_PATTERN,
        max_length=MAX_TEXT_CHARS,
        description="What is displayed; one line.",
        examples=["Ann"],
    ),
]
Role = Annotated[
    AccountRole, Meta(description="An `admin` sees the operator's pages and has management keys.")
]
Active = Annotated[bool, Meta(description="No key of an account that is not active is valid.")]
Limit = Annotated[int, Meta(ge=1, le=LARGEST_LIMIT)]
Patterns = Annotated[
    tuple[Annotated[str, Meta(pattern=WORD_PATTERN, max_length=MAX_TEXT_CHARS)], ...],
    Meta(
        min_length=1,
        max_length=MOST_PATTERNS,
        description="Patterns of model ids that the plan is narrowed to; `*` is anything.",
        examples=[["gpt-*"]],
    ),
]
Moment = Annotated[
    datetime,
    Meta(
        tz=True,
        description="In the future, with a time zone (RFC 3339).",
        examples=["2099-12-31T00:00:00Z"],
    ),
]
PageSize = Annotated[int, Meta(ge=1, le=1_000, description="How many of them at most.")]


class _Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a client sends: nothing that is not named here is taken."""


class _Output(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered; later versions may have more fields."""


# --- accounts ---------------------------------------------------------------------------


class NewAccount(_Input, frozen=True, kw_only=True):
    """An account to be made; it has no password yet."""

    email: Email
    plan: PlanName
    name: Name = ""
    role: Role = "user"


class AccountPatch(_Input, frozen=True, kw_only=True):
    """What is to change of an account; all of it, or nothing when anything is refused."""

    plan: PlanName | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    active: Active | UnsetType = UNSET


class Account(_Output, frozen=True, kw_only=True):
    """One person or team: the owner of keys, and of all limits of a plan."""

    id: AccountId
    email: str
    name: str
    role: AccountRole
    plan: str
    active: bool


class AccountList(_Output, frozen=True, kw_only=True):
    """Accounts, the oldest first."""

    data: list[Account]
    has_more: Annotated[bool, Meta(description="Ask again with `after` = `last_id`.")]
    last_id: AccountId | None


# --- keys -------------------------------------------------------------------------------


class NewKey(_Input, frozen=True, kw_only=True):
    """A key to be made; what it limits narrows the plan of its account, never widens it."""

    label: Name = ""
    models: Patterns | None = None
    requests_per_minute: Limit | None = None
    daily_tokens: Limit | None = None
    expires_at: Moment | None = None
    admin: Annotated[
        bool,
        Meta(description="A management key, which calls no model; its account is an admin's."),
    ] = False


class Key(_Output, frozen=True, kw_only=True):
    """A key, without its secret."""

    id: KeyId
    account_id: AccountId
    email: Annotated[str | None, Meta(description="Of its account.")]
    label: str
    prefix: Annotated[str, Meta(description="How the secret begins.")]
    last_four: Annotated[str, Meta(description="How the secret ends.")]
    admin: bool
    models: list[str] | None
    requests_per_minute: int | None
    daily_tokens: int | None
    expires_at: datetime | None
    status: Annotated[KeyState, Meta(description="`valid`, or why it is not.")]


class KeyWithSecret(Key, frozen=True, kw_only=True):
    """A key with its secret, which is told this once only."""

    key: Annotated[str, Meta(description="The secret: what clients send.")]


class KeyList(_Output, frozen=True, kw_only=True):
    """Keys of an account, the oldest first; those that are revoked or expired, too."""

    data: list[Key]
    has_more: Annotated[bool, Meta(description="Ask again with `after` = `last_id`.")]
    last_id: KeyId | None


# --- the catalog ------------------------------------------------------------------------


class Target(_Output, frozen=True, kw_only=True):
    """One way to reach a model."""

    upstream: str
    model: Annotated[str, Meta(description="The upstream's own name of the model.")]
    protocols: list[str]
    priority: int
    weight: int


class Price(_Output, frozen=True, kw_only=True):
    """US dollars for a million tokens."""

    prompt: float
    completion: float
    cache_read: float | None
    cache_write: float | None


class Model(_Output, frozen=True, kw_only=True):
    """A model of the configuration."""

    id: str
    aliases: list[str]
    active: bool
    plans: Annotated[list[str], Meta(description="The plans that have it.")]
    context_window: int | None
    max_output_tokens: int | None
    price: Price | None
    targets: list[Target]


class ModelList(_Output, frozen=True, kw_only=True):
    """All models, in the order of the configuration."""

    data: list[Model]


class Plan(_Output, frozen=True, kw_only=True):
    """A plan of the configuration; a limit that is null is unlimited."""

    name: str
    models: Annotated[list[str], Meta(description="Patterns of model ids.")]
    requests_per_minute: int | None
    daily_tokens: int | None
    concurrent_requests: int | None
    max_output_tokens: int | None
    reserve_output_tokens: int | None
    cached_tokens_weight: float


class PlanList(_Output, frozen=True, kw_only=True):
    """All plans, in the order of the configuration."""

    data: list[Plan]


# --- usage ------------------------------------------------------------------------------


class UsageLine(_Output, frozen=True, kw_only=True):
    """What was used of one combination of what `by` names; the rest is left out."""

    day: date | UnsetType = UNSET
    hour: Annotated[str, Meta(examples=["2030-12-31T23:00Z"])] | UnsetType = UNSET
    key: Annotated[str, Meta(description="A key's id.")] | UnsetType = UNSET
    label: str | UnsetType | None = UNSET
    model: str | UnsetType = UNSET
    account_id: int | UnsetType = UNSET
    account: Annotated[
        str | UnsetType | None, Meta(description="An email; null: it was deleted.")
    ] = UNSET
    requests: int
    prompt: int
    completion: int
    cache_read: int
    cache_write: int
    reasoning: int
    charged: Annotated[int, Meta(description="What counted against the daily tokens.")]
    estimated: Annotated[int, Meta(description="Requests whose usage the upstream did not report.")]


class UsageReport(_Output, frozen=True, kw_only=True):
    """Sums of the ledger: days and hours in order, all else by what was charged."""

    pending: Annotated[int, Meta(description="Requests that the ledger does not hold yet.")]
    ends_with: Annotated[
        date | None, Meta(description="Later days would be too many lines, and are left out.")
    ]
    left_out: Annotated[int, Meta(description="So many lines at the end are left out.")]
    detail_from: Annotated[
        date | None, Meta(description="Hours of accounts and keys are known from this day on.")
    ]
    data: list[UsageLine]


# --- parameters -------------------------------------------------------------------------


class NoQuery(_Input, frozen=True, kw_only=True):
    """No parameter at all."""


class AccountsQuery(_Input, frozen=True, kw_only=True):
    """Which accounts."""

    limit: PageSize = PAGE
    after: Annotated[
        int, Meta(ge=0, le=LARGEST_ID, description="The last id that is known; 0: from the first.")
    ] = 0
    email: (
        Annotated[
            str,
            Meta(
                pattern=EMAIL_PATTERN,
                max_length=MAX_EMAIL_CHARS,
                description="Only the account with this email.",
            ),
        ]
        | UnsetType
    ) = UNSET


class KeysQuery(_Input, frozen=True, kw_only=True):
    """Which keys."""

    limit: PageSize = PAGE
    after: (
        Annotated[str, Meta(pattern=KEY_ID_PATTERN, description="The last id that is known.")]
        | UnsetType
    ) = UNSET


class RevokeQuery(_Input, frozen=True, kw_only=True):
    """How to revoke."""

    now: Annotated[bool, Meta(description="End the calls of the key that run, too.")] = False


class UsageQuery(_Input, frozen=True, kw_only=True):
    """Which usage, and how it is added up."""

    by: Annotated[
        tuple[By, ...],
        Meta(
            min_length=1,
            max_length=5,
            description="What a line stands for: one or several, separated by commas.",
        ),
    ] = ("day",)
    since: Annotated[date | UnsetType, Meta(description="The first UTC day.")] = UNSET
    until: Annotated[date | UnsetType, Meta(description="The last UTC day.")] = UNSET
    account_id: (
        Annotated[int, Meta(ge=1, le=LARGEST_ID, description="Of this account only.")] | UnsetType
    ) = UNSET
    format: Annotated[
        Literal["json", "csv"] | UnsetType,
        Meta(description="Without it the header `Accept` decides: `text/csv`, else JSON."),
    ] = UNSET


# --- errors -----------------------------------------------------------------------------


class Problem(_Output, frozen=True, kw_only=True):
    """What is wrong with one field or parameter."""

    param: Annotated[str | None, Meta(description="Its name; null: the request as a whole.")]
    message: str


class ErrorDetail(_Output, frozen=True, kw_only=True):
    """What went wrong, in words, and by the names of the table of errors."""

    message: str
    type: str
    param: str | None
    code: str | None
    problems: Annotated[
        list[Problem] | UnsetType, Meta(description="Of a 422: each field at fault.")
    ] = UNSET


class Error(_Output, frozen=True, kw_only=True):
    """The body of an error."""

    error: ErrorDetail

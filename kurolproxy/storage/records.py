"""Rows of accounts and keys: how they are read, what may stand in them, the audit trail."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiosqlite

from kurolproxy.policy.keys import ADMIN_KEY_PREFIX, Account, Key
from kurolproxy.storage.errors import Invalid, NotFound

SELECT_ACCOUNT = "SELECT id, email, name, role, plan, active FROM accounts"
SELECT_KEY = (
    "SELECT id, account_id, label, digest, prefix, last_four, models, requests_per_minute,"
    " daily_tokens, expires_at, revoked_at, admin FROM keys"
)
Who = str | int
"""An account, by its email in whatever letter case, or by its id."""

MAX_TEXT_CHARS: Final = 200
MAX_EMAIL_CHARS: Final = 254
# Controls, line ends, and characters that nobody sees or that turn the text around: a name
# must not look like another, or make two lines of one.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_SPACES = r" \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
TEXT_PATTERN: Final = f"^[^{_UNSEEN}]*$"
"""What a name or a label is made of; a regular expression that JSON Schema knows, too."""
WORD_PATTERN: Final = f"^[^{_UNSEEN}{_SPACES}]+$"
"""The same without spaces."""
EMAIL_PATTERN: Final = f"^[^{_UNSEEN}{_SPACES}@]+@[^{_UNSEEN}{_SPACES}@]+$"
LARGEST_LIMIT: Final = 10**15
"""Of the limits that a key narrows."""
MOST_PATTERNS: Final = 100
"""Of models, of one key: each call looks through them."""

_SHORTEST_SECRET_CHARS = 20
_PREFIX_CHARS = 12


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who made it, what it was, to whom or what, and when.

    Attributes:
        at: unix seconds.
        subject: an account's email or a key's id.
        detail: what was set; never a secret.
    """

    at: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]


def account_of(row: sqlite3.Row) -> Account:
    """Read an account out of a row of ``SELECT_ACCOUNT``."""
    id_, email, name, role, plan, active = tuple(row)
    return Account(id_, email, name, role, plan, bool(active))


def key_of(row: Iterable[Any]) -> Key:
    """Read a key out of a row of ``SELECT_KEY``."""
    # By place, not by name: a start reads a hundred thousand of them.
    (id_, account_id, label, digest, prefix, last_four, *rest) = row
    models, requests_per_minute, daily_tokens, expires_at, revoked_at, admin = rest
    return Key(
        id_,
        account_id,
        label,
        digest,
        prefix,
        last_four,
        None if models is None else tuple(json.loads(models)),
        requests_per_minute,
        daily_tokens,
        expires_at,
        revoked_at is not None,
        bool(admin),
    )


def audit_of(row: sqlite3.Row) -> AuditEntry:
    """Read one change out of a row of the audit trail."""
    detail = json.loads(row["detail"])
    return AuditEntry(row["at"], row["actor"], row["action"], row["subject"], detail)


def by_who(who: Who) -> tuple[str, Who]:
    """Return the condition that finds an account, and its value."""
    return ("id = ?", who) if isinstance(who, int) else ("email_folded = ?", folded(who))


async def find_account(db: aiosqlite.Connection, who: Who) -> Account:
    """Return an account, inside a transaction.

    Raises:
        NotFound: there is none.
    """
    where, value = by_who(who)
    rows = await rows_of(db, f"{SELECT_ACCOUNT} WHERE {where}", value)
    return account_of(only(rows, f"there is no account {who!r}"))


async def find_key(db: aiosqlite.Connection, key_id: str, account_id: int | None) -> Key:
    """Return a key, inside a transaction.

    Args:
        account_id: whose it must be; a foreign key is as unknown as none.

    Raises:
        NotFound: there is none.
    """
    rows = await rows_of(db, f"{SELECT_KEY} WHERE id = ?", key_id)
    found = [row for row in rows if account_id in (None, row["account_id"])]
    return key_of(only(found, f"there is no key {key_id!r}"))


async def rows_of(db: aiosqlite.Connection, sql: str, *values: Any) -> list[sqlite3.Row]:
    """Run a query inside a transaction."""
    return list(await db.execute_fetchall(sql, values))


async def write_audit(db: aiosqlite.Connection, entry: AuditEntry) -> None:
    """Add a row to the audit trail, in the transaction of the change."""
    await db.execute(
        "INSERT INTO audit (at, actor, action, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (entry.at, entry.actor, entry.action, entry.subject, json.dumps(entry.detail)),
    )


def only(rows: Sequence[sqlite3.Row], missing: str) -> sqlite3.Row:
    """Return the first row.

    Raises:
        NotFound: there is none; ``missing`` is its text.
    """
    if not rows:
        raise NotFound(missing)
    return rows[0]


def folded(email: str) -> str:
    """Return the form in which two spellings of one address are equal."""
    return unicodedata.normalize("NFKC", email.strip()).casefold()


def checked_email(email: str) -> str:
    """Return an email address without the spaces around it.

    Raises:
        Invalid: it is no address.
    """
    email = email.strip()
    if len(email) > MAX_EMAIL_CHARS or not re.fullmatch(EMAIL_PATTERN, email):
        text = f"{email[:MAX_EMAIL_CHARS]!r} is not an email address"
        raise Invalid(text, field="email")
    return email


def checked_text(text: str, what: str, field: str = "") -> str:
    """Return a name or a label without the spaces around it.

    Args:
        what: how the error calls it.
        field: the name of its field; "": the same.

    Raises:
        Invalid: it is too long, or has characters that nobody can see.
    """
    text = text.strip()
    if len(text) > MAX_TEXT_CHARS or not re.fullmatch(TEXT_PATTERN, text):
        message = f"the {what} must be one line of at most {MAX_TEXT_CHARS} characters"
        raise Invalid(message, field=field or what)
    return text


def checked_limit(limit: int | None, what: str) -> int | None:
    """Return a limit of a key.

    Raises:
        Invalid: it is not a number from 1 up.
    """
    if limit is not None and not 1 <= limit <= LARGEST_LIMIT:
        message = f"{what} must be a number from 1 to {LARGEST_LIMIT}"
        raise Invalid(message, field=what.replace(" ", "_"))
    return limit


def checked_patterns(models: Iterable[str] | None) -> tuple[str, ...] | None:
    """Return the patterns of models that a key is narrowed to.

    Raises:
        Invalid: there is none, or an empty one, or too many.
    """
    if models is None:
        return None
    patterns = tuple(checked_text(pattern, "pattern of models", "models") for pattern in models)
    if len(patterns) > MOST_PATTERNS:
        message = f"a key can be narrowed to at most {MOST_PATTERNS} patterns of models"
        raise Invalid(message, field="models")
    if not patterns or "" in patterns:
        message = "a key must be narrowed to at least one pattern of models"
        raise Invalid(message, field="models")
    return patterns


def checked_secret(secret: str, *, admin: bool) -> str:
    """Return a secret that was brought along instead of made here.

    Raises:
        Invalid: it is too short or could not be sent in a header; the text does not hold it.
    """
    sendable = secret.isascii() and secret.isprintable() and " " not in secret
    if not sendable or not _SHORTEST_SECRET_CHARS <= len(secret) <= MAX_TEXT_CHARS:
        raise Invalid(
            f"a key must be {_SHORTEST_SECRET_CHARS} to {MAX_TEXT_CHARS} visible ASCII characters",
            field="secret",
        )
    if secret.startswith(ADMIN_KEY_PREFIX) != admin:
        message = f"management keys, and no others, start with {ADMIN_KEY_PREFIX}"
        raise Invalid(message, field="secret")
    return secret


def shown(secret: str) -> tuple[str, str]:
    """Return the beginning and the end of a secret that may be kept and shown.

    A short one that was brought along shows less of itself.
    """
    return secret[: min(_PREFIX_CHARS, len(secret) // 3)], secret[-4:]

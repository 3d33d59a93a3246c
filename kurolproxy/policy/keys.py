"""Accounts and their keys: make a secret, digest it, look its owner up."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, Literal

AccountRole = Literal["user", "admin"]
KeyState = Literal["valid", "revoked", "expired", "account disabled", "account is no admin"]

KEY_PREFIX = "sk-kurol-"
ADMIN_KEY_PREFIX = "sk-kurol-admin-"
SECRET_BYTES = 32
"""So many random bytes make one fast hash enough: there is nothing to guess."""


@dataclass(frozen=True, slots=True)
class Account:
    """One person or team: the owner of keys, and of all limits of a plan.

    Attributes:
        plan: the plan's name; the catalog may have lost it.
        active: a disabled account has no valid key.
    """

    id: int
    email: str
    name: str
    role: AccountRole
    plan: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key; never the secret itself.

    Attributes:
        id: short and public: what people and the ledger call the key.
        digest: SHA-256 of the whole secret.
        prefix: the first characters of the secret, to recognise it by.
        last_four: the last characters of the secret, for the same.
        models: patterns that narrow the plan's models; None: no narrowing.
        requests_per_minute: narrows the plan's; None: no narrowing.
        daily_tokens: narrows the plan's; None: no narrowing.
        expires_at: unix seconds; from then on the key is not valid.
        admin: a management key: it cannot call models.
    """

    id: str
    account_id: int
    label: str
    digest: bytes = field(repr=False)
    prefix: str
    last_four: str
    models: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    daily_tokens: int | None = None
    expires_at: float | None = None
    revoked: bool = False
    admin: bool = False

    @property
    def narrows_limits(self) -> bool:
        """Whether requests or tokens are counted for this key on its own."""
        return self.requests_per_minute is not None or self.daily_tokens is not None


SESSION_KEY_ID: Final = "playground"
"""The key column of calls that somebody makes in the dashboard, without a key."""


def session_key(account_id: int) -> Key:
    """Return what stands for a key when an account calls by its session; it narrows nothing."""
    return Key(
        id=SESSION_KEY_ID,
        account_id=account_id,
        label=SESSION_KEY_ID,
        digest=b"",
        prefix="",
        last_four="",
    )


def state_of(key: Key, account: Account | None, unix_now: float) -> KeyState:
    """Return whether a key is valid, or what ended it.

    Args:
        account: its owner; None: it is gone.
        unix_now: seconds since 1970.
    """
    if key.revoked:
        return "revoked"
    if key.expires_at is not None and unix_now >= key.expires_at:
        return "expired"
    if account is None or not account.active:
        return "account disabled"
    # Whoever is no admin any more manages nothing, and again as soon as he is one.
    return "account is no admin" if key.admin and account.role != "admin" else "valid"


def make_secret(random: bytes, *, admin: bool = False) -> str:
    """Write a new key's secret.

    Args:
        random: 32 bytes of a cryptographic source, used for nothing else.
        admin: make a management key.

    Raises:
        ValueError: ``random`` has another length.
    """
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a secret is made of {SECRET_BYTES} random bytes, not {len(random)}")
    prefix = ADMIN_KEY_PREFIX if admin else KEY_PREFIX
    return prefix + urlsafe_b64encode(random).rstrip(b"=").decode("ascii")


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a whole secret: the only form that is stored or compared."""
    # A header of raw bytes reaches us with lone surrogates: they are a wrong key, no crash.
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


class KeyTable:
    """All keys in memory, by the digest of their secret, and all accounts.

    One look-up of one digest, whatever was sent: nothing compares prefixes or lengths,
    so that the time it takes says nothing about a wrong key.
    """

    def __init__(self) -> None:
        self._owners: dict[bytes, tuple[Key, Account]] = {}
        self._digests: dict[str, bytes] = {}
        self._of_account: dict[int, set[str]] = {}
        self._accounts: dict[int, Account] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def find(self, secret: str) -> tuple[Key, Account] | None:
        """Return the key with this secret and its account, valid or not, or None."""
        return self._owners.get(digest(secret))

    def all(self) -> Iterator[tuple[Key, Account]]:
        """Return every key with its account."""
        return iter(self._owners.values())

    def current(self, key: Key) -> tuple[Key, Account] | None:
        """Return what the table says of this key now, or None when it is gone.

        A rotated key has another digest: who came with the old one finds nothing. The key of
        a session stands in no table: it is there as long as its account.
        """
        if key.id == SESSION_KEY_ID:
            account = self._accounts.get(key.account_id)
            return None if account is None else (key, account)
        return self._owners.get(key.digest)

    def knows(self, key_id: str) -> bool:
        """Return whether a key of this id is in the table."""
        return key_id in self._digests

    def count_of(self, account_id: int) -> int:
        """Return how many keys an account has, expired ones too."""
        return len(self._of_account.get(account_id, ()))

    def narrows_limits(self, key_id: str) -> bool:
        """Return whether the key of this id is here and is counted on its own."""
        found = self._digests.get(key_id)
        return found is not None and self._owners[found][0].narrows_limits

    def account(self, account_id: int) -> Account | None:
        """Return an account as it is now, active or not; None when there is none."""
        return self._accounts.get(account_id)

    def put(self, key: Key, account: Account) -> None:
        """Add a key, or replace the one of the same id, its old secret included."""
        if account.id != key.account_id:
            raise ValueError(f"key {key.id} is not of account {account.id}")
        self.remove(key.id)
        self._accounts[account.id] = account
        self._owners[key.digest] = (key, account)
        self._digests[key.id] = key.digest
        self._of_account.setdefault(account.id, set()).add(key.id)

    def remove(self, key_id: str) -> None:
        """Forget a key; an unknown id changes nothing."""
        found = self._digests.pop(key_id, None)
        if found is None:
            return
        key, _ = self._owners.pop(found)
        siblings = self._of_account[key.account_id]
        siblings.discard(key_id)
        if not siblings:
            del self._of_account[key.account_id]

    def put_account(self, account: Account) -> None:
        """Add an account, or replace it, for all its keys too: a new plan, disabled, enabled."""
        self._accounts[account.id] = account
        for key_id in self._of_account.get(account.id, ()):
            key, _ = self._owners[self._digests[key_id]]
            self._owners[key.digest] = (key, account)

    def remove_account(self, account_id: int) -> None:
        """Forget an account and all its keys."""
        self._accounts.pop(account_id, None)
        for key_id in tuple(self._of_account.get(account_id, ())):
            self.remove(key_id)

"""Passwords of the dashboard: only their argon2id hash is ever kept or sent."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kurolproxy.policy.damping import neighbourhood

T = TypeVar("T")

SHORTEST_PASSWORD: Final = 8
# Hashing is slow on purpose; a text without an end must not make it slower.
_LONGEST_PASSWORD: Final = 1_024
# 64 MiB, three passes (RFC 9106). One lane: each further one is a thread that takes the
# processor away from the loop, and there is always one who logs in and many who call.
_LANES: Final = 1
_AT_ONCE: Final = 2
_MOST_WAITING: Final = 16
# Half: whoever has an account, or a link, may have passwords looked at without an end.
_MOST_OF_ONE: Final = (_AT_ONCE + _MOST_WAITING) // 2


class BadPassword(ValueError):
    """A password that is not accepted; the text does not hold it."""


class PasswordsBusy(Exception):
    """So many passwords are looked at already that one more would wait for seconds."""


def hash_password(password: str) -> str:
    """Return the argon2id hash of a new password; takes some 150 ms of one core.

    Raises:
        BadPassword: it is too short, too long or cannot be typed.
    """
    check_password(password)
    return _hasher().hash(password)


def check_password(password: str) -> None:
    """See to it that a new password can be one.

    Raises:
        BadPassword: it is too short, too long or cannot be typed.
    """
    if len(password) < SHORTEST_PASSWORD:
        raise BadPassword(f"a password has at least {SHORTEST_PASSWORD} characters")
    if len(password) > _LONGEST_PASSWORD:
        raise BadPassword(f"a password has at most {_LONGEST_PASSWORD} characters")
    if not password.isprintable():
        raise BadPassword("a password is printable text")


class Passwords:
    """Hashes and checks passwords beside the loop, at most two at a time.

    Whoever comes while many wait is turned away: a queue without an end would hold the
    memory and the patience of everybody. One address takes no more than half of the room.

    Args:
        hasher: with the parameters that new hashes get; None: ours.

    Attributes:
        worked: how many were hashed or checked; that costs the same for an account that
            does not exist.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or _hasher()
        self._nobody = nobodys_hash(self._hasher)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="passwords")
        self._inside = 0
        self._of_one: Counter[str] = Counter()
        self.worked = 0

    def close(self) -> None:
        """Let go of the threads; who waits is given up."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash(self, password: str, *, address: str = "") -> str:
        """Return the hash of a new password.

        Args:
            address: of the client; "": nobody's.

        Raises:
            BadPassword: it is too short, too long or cannot be typed.
            PasswordsBusy: too many wait, or too many of this address.
        """
        check_password(password)
        return await self._work(lambda: self._hasher.hash(password), address)

    async def matches(self, hashed: str | None, password: str, *, address: str = "") -> bool:
        """Return whether a password is the one that was hashed.

        Args:
            hashed: None: the account does not exist, or has none; that takes as long.
            address: of the client; "": nobody's.

        Raises:
            PasswordsBusy: too many wait, or too many of this address.
        """
        # What could never have been set is as wrong as any other, and costs no more.
        given = password[:_LONGEST_PASSWORD].encode("utf-8", "surrogatepass")
        found = await self._work(lambda: self._verify(hashed or self._nobody, given), address)
        return found and hashed is not None and len(password) <= _LONGEST_PASSWORD

    def outdated(self, hashed: str) -> bool:
        """Return whether a hash was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(hashed)

    def _verify(self, hashed: str, given: bytes) -> bool:
        try:
            return self._hasher.verify(hashed, given)
        except (VerificationError, InvalidHashError):
            return False

    async def _work(self, work: Callable[[], T], address: str) -> T:
        where = neighbourhood(address)
        if self._inside >= _AT_ONCE + _MOST_WAITING:
            raise PasswordsBusy
        if where and self._of_one[where] >= _MOST_OF_ONE:
            raise PasswordsBusy
        self._inside += 1
        self._of_one[where] += 1
        try:
            self.worked += 1
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._inside -= 1
            self._of_one[where] -= 1
            if not self._of_one[where]:
                del self._of_one[where]


def nobodys_hash(hasher: PasswordHasher) -> str:
    """Return a hash of no password, which takes as long to check as that of any."""
    salt, hashed = (b64encode(bytes(n)).rstrip(b"=").decode() for n in (16, hasher.hash_len))
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${cost}${salt}${hashed}"


def _hasher() -> PasswordHasher:
    return PasswordHasher(parallelism=_LANES)

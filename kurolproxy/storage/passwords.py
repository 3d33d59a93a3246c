"""Passwords of the dashboard: only their argon2id hash is ever kept or sent."""

from __future__ import annotations

from typing import Final

from argon2 import PasswordHasher

SHORTEST_PASSWORD: Final = 8
# Hashing is slow on purpose; a text without an end must not make it slower.
_LONGEST_PASSWORD: Final = 1_024


class BadPassword(ValueError):
    """A password that is not accepted; the text does not hold it."""


def hash_password(password: str) -> str:
    """Return the argon2id hash of a new password; takes some 50 ms of one core.

    Raises:
        BadPassword: it is too short, too long or cannot be typed.
    """
    if len(password) < SHORTEST_PASSWORD:
        raise BadPassword(f"a password has at least {SHORTEST_PASSWORD} characters")
    if len(password) > _LONGEST_PASSWORD:
        raise BadPassword(f"a password has at most {_LONGEST_PASSWORD} characters")
    if not password.isprintable():
        raise BadPassword("a password is printable text")
    return PasswordHasher().hash(password)

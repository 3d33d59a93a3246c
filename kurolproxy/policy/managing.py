"""Who may use the management API."""

from __future__ import annotations

from typing import Final

from kurolproxy.errors import ManagementForbidden, Unauthenticated
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.keys import KeyTable, state_of
from kurolproxy.policy.refusals import INVALID_KEY

NO_KEY: Final = (
    "No API key was sent. Send a management key as 'Authorization: Bearer sk-kurol-admin-...' or"
    " 'x-api-key'."
)
CALLING_KEY: Final = "This key calls models: /api/v1 wants a management key (sk-kurol-admin-...)."


def manager(keys: KeyTable, secret: str | None, unix_now: float) -> Caller:
    """Find out who manages: the account is an admin's, now.

    Args:
        secret: the key as it was sent; None when there was none.
        unix_now: seconds since 1970, for the expiry of keys.

    Raises:
        Unauthenticated: no key, or none that is valid.
        ManagementForbidden: the key calls models.
    """
    if not secret:
        raise Unauthenticated(NO_KEY)
    found = keys.find(secret)
    if found is None or state_of(*found, unix_now) != "valid":
        raise Unauthenticated(INVALID_KEY)
    if not found[0].admin:
        raise ManagementForbidden(CALLING_KEY)
    return Caller(*found)

"""The key out of a request, four forms in one order, and whose it is."""

from __future__ import annotations

from aiohttp.web import BaseRequest

from kurolproxy.errors import BadRequest, TooManyFailures, Unauthenticated
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.damping import WINDOW_S
from kurolproxy.policy.keys import KeyTable
from kurolproxy.policy.managing import manager
from kurolproxy.server.peer import client_address
from kurolproxy.server.state import State

_PREFIX = "sk-kurol-"
_ADMIN = "sk-kurol-admin-"
_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")


def authenticated(state: State, request: BaseRequest, *, query_key: bool) -> Caller:
    """Return whose request it is.

    Args:
        query_key: whether ``?key=`` counts on this route (Gemini's only).

    Raises:
        BadRequest: a credential stands there twice.
        Unauthenticated: there is no key, or it may not call models.
        TooManyFailures: one more wrong key of an address that has sent too many.
    """
    key = credential(request, query_key=query_key)
    try:
        return state.admission.authenticate(key, state.clock.unix())
    except Unauthenticated:
        # Who sends none guesses nothing.
        if key:
            count_failure(state, request)
        raise


def count_failure(state: State, request: BaseRequest) -> None:
    """Count a wrong key or token of the client's address.

    Raises:
        TooManyFailures: there were too many within a minute.
    """
    settings = state.setup.settings
    address = client_address(request, settings.trusted_proxies)
    if state.damping.failed(address, state.clock.now(), settings.failed_logins_per_minute):
        raise TooManyFailures(
            "Too many wrong keys came from this address. Check the key, and wait a minute.",
            retry_after_s=WINDOW_S,
        ) from None


def managing(state: State, request: BaseRequest, keys: KeyTable) -> Caller:
    """Return whose request to the management API it is.

    Raises:
        BadRequest: a credential stands there twice.
        Unauthenticated: there is no key, or none that is valid.
        ManagementForbidden: the key calls models.
        TooManyFailures: one more wrong key of an address that has sent too many.
    """
    key = credential(request, query_key=False, managing=True)
    try:
        return manager(keys, key, state.clock.unix())
    except Unauthenticated:
        if key:
            count_failure(state, request)
        raise


def credential(request: BaseRequest, *, query_key: bool, managing: bool = False) -> str | None:
    """Return the key that a request carries.

    The order is ``Authorization: Bearer``, ``x-api-key``, ``x-goog-api-key``, ``?key=``;
    of several that differ, the first that looks like a key of ours wins.

    Args:
        query_key: whether ``?key=`` counts on this route (Gemini's only).
        managing: a management key is what is looked for.

    Raises:
        BadRequest: the same header stands there twice.
    """
    found: list[str] = []
    for name in _HEADERS:
        values = request.headers.getall(name, ())
        if len(values) > 1:
            raise BadRequest(f"The header {name} stands in the request more than once.")
        if values and (value := _value(name, values[0])):
            found.append(value)
    if query_key and (value := request.query.get("key", "")):
        found.append(value)
    for value in found:
        if value.startswith(_PREFIX) and value.startswith(_ADMIN) == managing:
            return value
    return found[0] if found else None


def _value(name: str, raw: str) -> str:
    if name != "authorization":
        return raw.strip()
    scheme, _, rest = raw.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else ""

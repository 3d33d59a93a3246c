"""A call that somebody makes in the dashboard: by a session, in the place of a key."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

from aiohttp.web import BaseRequest

from kurolproxy.errors import RouteNotFound
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.keys import Account, session_key
from kurolproxy.server.asking import Endpoint, Named
from kurolproxy.server.endpoints import (
    COUNT,
    GENERATING,
    MODEL_PREFIXES,
    gemini_call,
    names_method,
)
from kurolproxy.server.generate import generate
from kurolproxy.server.reply import Written
from kurolproxy.server.state import State


async def call_as(state: State, request: BaseRequest, account: Account, target: str) -> Written:
    """Answer the body of a request as a call of an account, as if it had come with a key.

    Admission, quota, ledger and the wire form of errors are the same; the ledger's key column
    says ``playground``.

    Args:
        request: whoever sent it was found out already; no credential of it is looked at.
        target: path and query of an endpoint.

    Returns:
        the answer, already written.

    Raises:
        RouteNotFound: there is no such endpoint; nothing was written.
    """
    endpoint, named = _endpoint(target)
    caller = Caller(session_key(account.id), account)
    return await generate(state, request, endpoint, named, caller)


def _endpoint(target: str) -> tuple[Endpoint, Named | None]:
    path, _, query = target.partition("?")
    path = unquote(path)
    known = GENERATING.get(path)
    if known is not None:
        return known, None
    if path.startswith(MODEL_PREFIXES) and names_method(path):
        events = ("alt", "sse") in parse_qsl(query)
        endpoint, named, method = gemini_call(path, events=events)
        if method != COUNT:
            return endpoint, named
    raise RouteNotFound("There is no such endpoint.")

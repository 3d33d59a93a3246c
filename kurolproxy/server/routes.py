"""URLs: from a method and a path to a handler; errors in the wire form of the path's family."""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar

from aiohttp.web import BaseRequest, StreamResponse

from kurolproxy.errors import (
    BadRequest,
    GatewayError,
    MethodNotAllowed,
    Misdirected,
    RouteNotFound,
    Unauthenticated,
)
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.admission import Caller, Standing
from kurolproxy.protocols import wire
from kurolproxy.protocols.anthropic.error import encode_error as anthropic_error
from kurolproxy.protocols.gemini.error import encode_error as gemini_error
from kurolproxy.protocols.openai_errors import encode_error as openai_error
from kurolproxy.protocols.registry import CODECS
from kurolproxy.server import models, openapi
from kurolproxy.server.asking import Endpoint
from kurolproxy.server.counting import count
from kurolproxy.server.credential import authenticated, count_failure
from kurolproxy.server.endpoints import (
    COUNT,
    GENERATING,
    MODEL_PREFIXES,
    gemini_call,
    names_method,
)
from kurolproxy.server.generate import generate
from kurolproxy.server.hardening import check_framing
from kurolproxy.server.headers import error_headers, id_headers, limit_headers
from kurolproxy.server.log import printable
from kurolproxy.server.peer import client_address, names_us
from kurolproxy.server.reply import Headers, Written, whole
from kurolproxy.server.state import State
from kurolproxy.storage.links import LINK_PATH

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]

_JSON = ("content-type", "application/json")
_ERRORS = {"gemini": gemini_error, "anthropic": anthropic_error}
_OTHER_APIS = ("embeddings", "completions", "images", "audio", "moderations", "rerank")
_BARE = ("/chat/", "/responses", "/messages", "/models")
PAGES = ("/dashboard", "/docs")
"""How the paths begin that are for browsers."""
_MANAGED = "/api/v1"
_SHOWN = 200
_LINK = re.compile(re.escape(LINK_PATH), re.IGNORECASE)
# Of requests that never came to a handler, by the status of the answer.
_MALFORMED = {400: "bad_request", 431: "headers_too_large", 500: "internal"}


class Routes:
    """The handlers of the main port.

    Args:
        state: handed to every handler.
        pages: answers the paths of ``PAGES``, and browsers at ``/``; None: nobody does.
        managed: answers the paths below ``/api/v1``; None: nobody does.
        document: returns what ``/openapi.json`` is.
    """

    def __init__(
        self,
        state: State,
        pages: Handler | None = None,
        managed: Handler | None = None,
        document: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._state = state
        self._pages = pages
        self._managed = managed
        self._document = document
        self._exact: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._front, "HEAD": self._hello},
            "/api/hello": {"GET": self._hello, "HEAD": self._hello},
            "/livez": {"GET": self._livez, "HEAD": self._livez},
            "/readyz": {"GET": self._readyz, "HEAD": self._readyz},
            openapi.PATH: {"GET": self._openapi, "HEAD": self._openapi},
            "/metrics": {"GET": self._metrics},
            "/v1/usage": {"GET": self._usage},
            "/v1/models": {"GET": self._models},
            "/v1beta/models": {"GET": self._models},
        }
        for path, endpoint in GENERATING.items():
            self._exact[path] = {"POST": self._generating(endpoint)}
        for codec in CODECS.values():
            counting = codec.counting
            if counting is not None and codec.passing.model_in_body:
                counted = Endpoint(codec, counting.path)
                self._exact[counting.path] = {"POST": self._counting(counted)}

    async def dispatch(self, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        path = request.path
        try:
            check_framing(request)
        except BadRequest as error:
            return self._refuse(request, canonical(path), error, close=True)
        hosts = self._state.setup.settings.allowed_hosts
        if hosts and not names_us(request, hosts):
            return self._misdirected(request, path)
        methods = self._exact.get(path)
        if methods is None and self._pages is not None and path.startswith(PAGES):
            return await self._pages(request)
        if methods is None and self._managed is not None and path.startswith(_MANAGED):
            return await self._managed(request)
        if methods is None:
            path = canonical(path)
            methods = self._exact.get(path)
        if methods is None and path.startswith(MODEL_PREFIXES):
            methods = {"GET": self._model}
            if request.method == "POST" and ":" in path.rpartition("/")[2]:
                methods = {"POST": self._called_by_path} if names_method(path) else None
        try:
            if methods is None and request.method != "CONNECT":
                raise _unknown(path)
            methods = methods or {}
            handler = methods.get(request.method)
            if handler is None:
                raise MethodNotAllowed(
                    f"{_shown(path)} does not take {request.method[:20]}; it takes"
                    f" {' and '.join(methods) or 'nothing of that kind'}.",
                    allow=tuple(methods),
                )
            return await handler(request)
        except GatewayError as error:
            # What follows a CONNECT is meant for somebody else: no request to us.
            return self._refuse(request, path, error, close=request.method == "CONNECT")

    def _generating(self, endpoint: Endpoint) -> Handler:
        state = self._state

        async def handle(request: BaseRequest) -> StreamResponse:
            return await generate(state, request, endpoint)

        return handle

    def _counting(self, endpoint: Endpoint) -> Handler:
        state = self._state

        async def handle(request: BaseRequest) -> StreamResponse:
            return await count(state, request, endpoint)

        return handle

    async def _called_by_path(self, request: BaseRequest) -> StreamResponse:
        """Serve Gemini's calls: ``/v1beta/models/{model}:{method}``, the same under ``/v1``."""
        events = request.query.get("alt") == "sse"
        endpoint, named, method = gemini_call(canonical(request.path), events=events)
        answer = count if method == COUNT else generate
        return await answer(self._state, request, endpoint, named)

    def _refuse(
        self,
        request: BaseRequest,
        path: str,
        error: GatewayError,
        caller: Caller | None = None,
        *,
        close: bool = False,
    ) -> Written:
        """Write an error; who is known reads in it where he stands."""
        family = family_of(request, path)
        request_id = self._state.ids.request()
        body = _ERRORS.get(family, openai_error)(error, request_id)
        headers = [*id_headers(family, request_id), _JSON, *error_headers(error)]
        if caller is not None:
            headers += self._limits(family, caller)
        self._book(request, path, error, request_id)
        unread = not request.content.at_eof()
        return whole(request, error.status, headers, body, close=close or unread)

    def _misdirected(self, request: BaseRequest, path: str) -> Written:
        """Answer who calls us by a foreign name: nothing of ours stands in that answer."""
        error = Misdirected("This host is not served here.")
        request_id = self._state.ids.request()
        self._book(request, path, error, request_id)
        kind = ("content-type", "text/plain; charset=utf-8")
        headers = [*id_headers(None, request_id), kind, *error_headers(error)]
        body = error.message.encode() + b"\n"
        return whole(request, error.status, headers, body, close=True)

    def _book(self, request: BaseRequest, path: str, error: GatewayError, request_id: str) -> None:
        """Count and log a request that was refused before any call began."""
        proxies = self._state.setup.settings.trusted_proxies
        _book(
            self._state,
            error.kind,
            request_id=request_id,
            endpoint=_shown(path),
            method=request.method,
            remote=client_address(request, proxies),
            status=error.status,
        )

    # --- what needs no key --------------------------------------------------------

    async def _front(self, request: BaseRequest) -> StreamResponse:
        """Send browsers to the dashboard; probes of clients hear that somebody is here."""
        if self._pages is not None and "text/html" in request.headers.get("accept", ""):
            return await self._pages(request)
        return await self._hello(request)

    async def _hello(self, request: BaseRequest) -> StreamResponse:
        kind = ("content-type", "text/plain; charset=utf-8")
        return whole(request, 200, [*self._named(), kind], b"")

    async def _livez(self, request: BaseRequest) -> StreamResponse:
        return liveness(self._state, request)

    async def _readyz(self, request: BaseRequest) -> StreamResponse:
        return readiness(self._state, request)

    async def _openapi(self, request: BaseRequest) -> StreamResponse:
        return whole(request, 200, [*self._named(), _JSON], wire.dumps(self._document()))

    async def _metrics(self, request: BaseRequest) -> StreamResponse:
        wanted = self._state.setup.settings.metrics_token
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if not wanted:
            raise _unknown("/metrics")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.encode("utf-8", "replace"), wanted.encode()
        ):
            if given:
                count_failure(self._state, request)
            raise Unauthenticated("/metrics wants its own bearer token.")
        return metrics_answer(self._state, request)

    # --- what needs a key ---------------------------------------------------------

    async def _models(self, request: BaseRequest) -> StreamResponse:
        state = self._state
        shape = models.shape_of(request, beta=request.path.startswith("/v1beta"))

        def listed(caller: Caller) -> bytes:
            found = state.admission.models(caller)
            return models.listing(shape, found, request, state.started_unix)

        return self._keyed(request, shape, listed)

    async def _model(self, request: BaseRequest) -> StreamResponse:
        state = self._state
        path = canonical(request.path)
        shape = models.shape_of(request, beta=path.startswith("/v1beta"))
        name = path.partition("/models/")[2]

        def shown(caller: Caller) -> bytes:
            found = state.admission.models(caller)
            return models.single(shape, found, name, state.started_unix)

        return self._keyed(request, shape, shown)

    async def _usage(self, request: BaseRequest) -> StreamResponse:
        return self._keyed(request, "openai-chat", self._used, query_key=False)

    def _used(self, caller: Caller) -> bytes:
        standing = self._standing(caller)
        # The day that is counted: after a clock was set back, not the clock's.
        day = (standing.tokens_resets_at - timedelta(days=1)).date()
        body = {
            "object": "usage",
            "day": day.isoformat(),
            "plan": caller.account.plan,
            "daily_tokens": {
                "limit": standing.tokens_limit,
                "used": standing.tokens_used,
                "reserved": standing.tokens_reserved,
                "remaining": standing.tokens_remaining,
                "resets_at": standing.tokens_resets_at.isoformat().replace("+00:00", "Z"),
            },
            "requests_per_minute": {
                "limit": standing.requests_limit,
                "remaining": standing.requests_remaining,
            },
        }
        return wire.dumps(body)

    def _keyed(
        self,
        request: BaseRequest,
        shape: ProtocolName,
        write: Callable[[Caller], bytes],
        *,
        query_key: bool = True,
    ) -> Written:
        """Answer what a key may see, with its limits in the dialect of the answer."""
        state = self._state
        caller = authenticated(state, request, query_key=query_key)
        try:
            body = write(caller)
        except GatewayError as error:
            return self._refuse(request, canonical(request.path), error, caller)
        headers = [*self._named(shape), _JSON, *self._limits(shape, caller)]
        return whole(request, 200, headers, body)

    def _standing(self, caller: Caller) -> Standing:
        clock = self._state.clock
        return self._state.admission.standing(caller, clock.now(), clock.today())

    def _limits(self, shape: ProtocolName, caller: Caller) -> Headers:
        return limit_headers(shape, self._standing(caller), self._state.clock.unix())

    def _named(self, shape: ProtocolName | None = None) -> Headers:
        return id_headers(shape, self._state.ids.request())


def malformed(state: State, request: BaseRequest, status: int) -> str:
    """Book a request that is none, or that failed outside of a call; return its id.

    Nothing of what was sent is looked at; so behind a proxy it is the proxy's address that
    stands in the log.
    """
    request_id = state.ids.request()
    kind = _MALFORMED.get(status, "bad_request")
    _book(state, kind, request_id=request_id, remote=request.remote, status=status)
    return request_id


def _book(state: State, kind: str, **fields: object) -> None:
    state.metrics.rejections.add((kind,))
    if state.log.wants(error=True):
        state.log.request(state.clock.unix(), {**fields, "outcome": kind})


def metrics_answer(state: State, request: BaseRequest) -> Written:
    """Write the Prometheus text."""
    kind = "text/plain; version=0.0.4; charset=utf-8"
    headers = [*id_headers(None, state.ids.request()), ("content-type", kind)]
    return whole(request, 200, headers, state.metrics.render())


def liveness(state: State, request: BaseRequest) -> Written:
    """Say that the process answers."""
    headers = [*id_headers(None, state.ids.request()), _JSON]
    return whole(request, 200, headers, b'{"status":"ok"}', close=state.draining)


def readiness(state: State, request: BaseRequest) -> Written:
    """Say whether calls should come here; 503 from the first moment of a drain on."""
    reason = None
    if state.leaving or state.draining:
        reason = "draining"
    elif not state.usage.writable:
        reason = "the ledger cannot be written"
    body = wire.dumps({"status": "unready", "reason": reason} if reason else {"status": "ok"})
    headers = [*id_headers(None, state.ids.request()), _JSON]
    return whole(request, 503 if reason else 200, headers, body, close=state.draining)


def canonical(path: str) -> str:
    """Return the path that a slip in a base URL meant.

    ``/v1/v1/...``, ``/v1/v1beta/...``, a trailing slash, and the bare ``/chat/completions``,
    ``/messages``, ``/models`` without ``/v1`` all reach the same handler.
    """
    if len(path) > 1 and path.endswith("/"):
        path = path.rstrip("/")
    if path.startswith(("/v1/v1/", "/v1/v1beta/")):
        path = path[3:]
    if path.startswith(_BARE):
        path = "/v1" + path
    return path


def family_of(request: BaseRequest, path: str) -> ProtocolName:
    """Return whose wire form an error on this path takes."""
    if path.startswith("/v1beta/") or (path.startswith(MODEL_PREFIXES) and names_method(path)):
        return "gemini"
    if path.startswith("/v1/models"):
        return models.shape_of(request, beta=False)
    if path.startswith("/v1/messages") or "anthropic-version" in request.headers:
        return "anthropic"
    return "openai-chat"


def _shown(path: str) -> str:
    """Return a path as a text or a log may hold it: without the token of a link.

    The pages log their routes; what comes here never got to them, for its host or for a slash
    too many, and the link is still good.
    """
    found = _LINK.search(path)
    return printable(path if found is None else f"{path[: found.end()]}…", _SHOWN) or ""


def _unknown(path: str) -> RouteNotFound:
    shown = _shown(path)
    if any(f"/{name}" in path for name in _OTHER_APIS):
        return RouteNotFound(f"{shown}: this gateway serves chat models only.")
    return RouteNotFound(
        f"There is no route {shown}. The base URL ends with /v1 for OpenAI's clients, and with the"
        " host for Anthropic's and Google's."
    )


class MetricsRoutes:
    """The handler of the metrics listener, the last to be closed."""

    _PAGES: ClassVar[Mapping[str, Callable[[State, BaseRequest], Written]]] = {
        "/metrics": metrics_answer,
        "/livez": liveness,
        "/readyz": readiness,
    }

    def __init__(self, state: State) -> None:
        self._state = state

    async def dispatch(self, request: BaseRequest) -> StreamResponse:
        """Answer ``GET`` for the metrics and the probes; there is nothing else here."""
        page = self._PAGES.get(request.path) if request.method == "GET" else None
        if page is not None:
            return page(self._state, request)
        text = b'{"error":{"message":"only GET /metrics, /livez and /readyz are served here"}}'
        headers = [*id_headers(None, self._state.ids.request()), _JSON]
        return whole(request, 404, headers, text)

"""The demo vendor's server: routes and streams; any gateway could be pointed at it."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from kurolproxy.demo import listing
from kurolproxy.demo.ask import Ask
from kurolproxy.demo.read import Refused, dumps, loads
from kurolproxy.demo.reply import Fragment, Reply, events
from kurolproxy.demo.script import MODELS, DemoModel, count_prompt, reply
from kurolproxy.demo.sending import Sending
from kurolproxy.demo.wires import (
    CHAT,
    GEMINI,
    MESSAGES,
    RESPONSES,
    Received,
    Wire,
    Writer,
)

_Response = web.StreamResponse
Handler = Callable[[web.Request], Awaitable[_Response]]


class DemoVendor:
    """A vendor on a loopback port that speaks all four protocols, always the same way.

    Args:
        api_key: the credential that every call needs; None: none does.
        pace_s: seconds between two words of the slow model.
        max_body_bytes: what a request body may hold.
        clock: Unix seconds, for the ``created`` of answers.
        answers: what its models say; ``Refused`` from it is an error answer.

    Attributes:
        base_url: where it listens, without a path; "" until it is started.
        running: how many requests are being answered.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        pace_s: float = 0.05,
        max_body_bytes: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time.time,
        answers: Callable[[Ask], Reply] = reply,
    ) -> None:
        self.base_url = ""
        self.running = 0
        self._api_key = api_key
        self._pace_s = pace_s
        self._max_body_bytes = max_body_bytes
        self._clock = clock
        self._reply = answers
        self._request_ids = itertools.count(1)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5
        )
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        self._runner = runner
        self.base_url = f"http://{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening and end what is being answered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=self._max_body_bytes)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._answers(CHAT)),
                web.post("/v1/responses", self._answers(RESPONSES)),
                web.post("/v1/responses/input_tokens", self._counts(RESPONSES)),
                web.post("/v1/messages", self._answers(MESSAGES)),
                web.post("/v1/messages/count_tokens", self._counts(MESSAGES)),
                web.post("/v1beta/models/{call:.+}", self._gemini),
                web.get("/v1/models", self._list),
                web.get("/v1/models/{model:.+}", self._list),
                web.get("/v1beta/models", self._list_gemini),
                web.get("/v1beta/models/{model:.+}", self._list_gemini),
                web.route("*", "/{path:.*}", self._not_found),
            ]
        )
        return app

    # --- handlers ---

    def _answers(self, wire: Wire) -> Handler:
        async def handle(request: web.Request) -> _Response:
            return await self._guarded(wire, request, self._answer)

        return handle

    def _counts(self, wire: Wire) -> Handler:
        async def handle(request: web.Request) -> _Response:
            return await self._guarded(wire, request, self._count)

        return handle

    async def _gemini(self, request: web.Request) -> web.StreamResponse:
        calls = {
            "generateContent": self._answer,
            "streamGenerateContent": self._answer,
            "countTokens": self._count,
        }
        verb = request.match_info["call"].rpartition(":")[2]
        return await self._guarded(GEMINI, request, calls.get(verb, _unknown_url))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if "anthropic-version" in request.headers:
            shape = _Listing(MESSAGES, listing.anthropic_list, listing.anthropic_model)
        else:
            shape = _Listing(CHAT, listing.openai_list, listing.openai_model)
        return await self._guarded(shape.wire, request, shape.show)

    async def _list_gemini(self, request: web.Request) -> web.StreamResponse:
        shape = _Listing(GEMINI, listing.gemini_list, listing.gemini_model)
        return await self._guarded(shape.wire, request, shape.show)

    async def _not_found(self, request: web.Request) -> web.StreamResponse:
        wire = GEMINI if request.path.startswith("/v1beta") else CHAT
        return await self._guarded(wire, request, _unknown_url)

    # --- one request ---

    async def _guarded(
        self, wire: Wire, request: web.Request, call: Callable[[_Exchange], Awaitable[_Response]]
    ) -> _Response:
        """Check the credential and turn a refusal into the vendor's own words."""
        exchange = _Exchange(wire, request, f"req_demo{next(self._request_ids):08d}")
        self.running += 1
        try:
            self._check_key(exchange)
            return await call(exchange)
        except Refused as error:
            return exchange.json(wire.refusal(error, exchange.request_id), error.status)
        finally:
            self.running -= 1

    def _check_key(self, exchange: _Exchange) -> None:
        if self._api_key is None:
            return
        given = _credential(exchange)
        if given != self._api_key:
            missing, wrong = exchange.wire.unauthenticated
            code = None if given is None else "invalid_api_key"
            raise Refused(401, missing if given is None else wrong, code=code)

    async def _count(self, exchange: _Exchange) -> _Response:
        received = await exchange.receive()
        count = count_prompt(exchange.wire.read(received))
        return exchange.json(exchange.wire.counted(count))

    async def _answer(self, exchange: _Exchange) -> _Response:
        received = await exchange.receive()
        ask = exchange.wire.read(received)
        answer = self._reply(ask)
        sending = Sending(ask.model, ask.fingerprint, int(self._clock()), received.body)
        if ask.stream:
            writer = exchange.wire.writer(answer, sending, received)
            return await self._stream(exchange, received, answer, writer)
        if answer.slow:
            words = sum(isinstance(event, Fragment) for event in events(answer))
            await asyncio.sleep(words * self._pace_s)
        return exchange.json(exchange.wire.whole(answer, sending))

    async def _stream(
        self, exchange: _Exchange, received: Received, answer: Reply, writer: Writer
    ) -> _Response:
        response = web.StreamResponse(headers=exchange.headers)
        response.headers["content-type"] = exchange.wire.content_type(received)
        response.headers["cache-control"] = "no-cache"
        await response.prepare(exchange.request)
        for event in events(answer):
            data = writer.write(event)
            if data:
                await response.write(data)
            if answer.slow and isinstance(event, Fragment):
                await asyncio.sleep(self._pace_s)
        return response


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request of one protocol, and the id it goes by."""

    wire: Wire
    request: web.Request
    request_id: str

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer."""
        return {self.wire.request_id_header: self.request_id}

    def json(self, value: dict[str, Any], status: int = 200) -> web.Response:
        """Answer a JSON object."""
        return web.Response(
            text=dumps(value),
            status=status,
            content_type="application/json",
            headers=self.headers,
        )

    async def receive(self) -> Received:
        """Read the body and look for the model, before anything else is judged."""
        request = self.request
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Refused(413, "Request exceeds the maximum size") from error
        body = loads(raw)
        model, _, verb = request.match_info.get("call", "").rpartition(":")
        asked = model if self.wire is GEMINI else body.get("model")
        if isinstance(asked, str) and asked not in MODELS:
            raise self.wire.unknown_model(asked)
        return Received(
            body=body,
            fingerprint=hashlib.sha256(raw).hexdigest(),
            model=model,
            verb=verb,
            version=request.headers.get("anthropic-version", ""),
            sse=request.query.get("alt") == "sse",
            counting=request.path.endswith(("count_tokens", "input_tokens", ":countTokens")),
        )


@dataclass(frozen=True, slots=True)
class _Listing:
    """One shape of the model listing: the whole of it and one entry."""

    wire: Wire
    whole: Callable[[], dict[str, Any]]
    one: Callable[[DemoModel], dict[str, Any]]

    async def show(self, exchange: _Exchange) -> _Response:
        """Answer the list, or the model that the path names."""
        name = exchange.request.match_info.get("model")
        if name is None:
            return exchange.json(self.whole())
        if name not in MODELS:
            raise self.wire.unknown_model(name)
        return exchange.json(self.one(MODELS[name]))


async def _unknown_url(exchange: _Exchange) -> _Response:
    message = f"Invalid URL ({exchange.request.method} {exchange.request.path})"
    raise Refused(404, message, code="unknown_url")


def _credential(exchange: _Exchange) -> str | None:
    """Return the key of a request, where this protocol's clients put it."""
    request = exchange.request
    bearer = request.headers.get("authorization", "")
    if bearer.lower().startswith("bearer "):
        return bearer[len("bearer ") :].strip()
    if exchange.wire is GEMINI:
        return request.headers.get("x-goog-api-key") or request.query.get("key")
    return request.headers.get("x-api-key") if exchange.wire is MESSAGES else None

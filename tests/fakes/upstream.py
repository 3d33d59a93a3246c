"""A vendor for tests: it answers what a test scripted, and remembers what it was sent.

``FakeUpstream`` is a real server on 127.0.0.1. A test hands it answers (``answers.py``),
each a list of steps and the way it ends. ``raw.py`` holds its sibling that speaks TCP
alone, for what no HTTP server would ever say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from tests.fakes.answers import PLANTED, Answer, failure, finish, take


@dataclass(slots=True)
class SeenRequest:
    """One request as it arrived.

    Attributes:
        path: path and query, percent-encoding untouched.
        headers: as they came, in order; ``header`` finds one.
        body: the raw bytes.
        connection: a number for each TCP connection, from 0.
        outcome: how the answer ended: ``answered``; ``broken`` when the script broke it
            off; ``gone`` when the other side closed first; None while it runs.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    outcome: Literal["answered", "broken", "gone"] | None = None

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def model(self) -> str | None:
        """The model asked for: in the body, or in a Gemini path."""
        tail = self.path.partition("?")[0].rpartition("/models/")[2]
        if self.method == "POST" and "/models/" in self.path:
            return tail.rpartition(":")[0]
        with contextlib.suppress(ValueError, AttributeError):
            model = self.json.get("model")
            return model if isinstance(model, str) else None
        return None

    def header(self, name: str) -> str | None:
        """Return the first header of this name, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.headers if key.lower() == wanted), None)


Handler = Callable[[SeenRequest], Answer | Awaitable[Answer]]


class FakeUpstream:
    """A scripted vendor.

    An answer is taken from the first that has one: the queue of the request's model,
    the queue of all models, the model's handler, the handler of all. A request that
    nobody scripted gets a 500 and stands in ``unscripted``.

    Attributes:
        requests: everything received, in order.
        unscripted: those of them that had no answer.
        connections: TCP connections accepted so far.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.requests: list[SeenRequest] = []
        self.unscripted: list[SeenRequest] = []
        self.connections = 0
        self._numbers: dict[int, int] = {}
        self._queues: defaultdict[str | None, deque[Answer]] = defaultdict(deque)
        self._handlers: dict[str | None, Handler] = {}
        self._holds: list[asyncio.Event] = []
        self._gone: asyncio.Queue[SeenRequest] = asyncio.Queue()
        self._arrived = asyncio.Condition()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; ``base_url`` says where."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            shutdown_timeout=0.5,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.base_url = f"http://{host}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening and drop whatever is still being answered."""
        self.release()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> FakeUpstream:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # --- the script ---

    def answer(self, *answers: Answer, model: str | None = None) -> None:
        """Queue answers, one for each request (of ``model``, when it is named)."""
        self._queues[model].extend(answers)

    def always(self, what: Answer | Handler, *, model: str | None = None) -> None:
        """Answer every request (of ``model``) that finds no queued answer."""
        self._handlers[model] = (lambda _: what) if isinstance(what, Answer) else what

    def hold(self) -> asyncio.Event:
        """Return an event to stand in a script; ``release`` and ``stop`` set it."""
        event = asyncio.Event()
        self._holds.append(event)
        return event

    def hold_each(self, answer: Answer) -> asyncio.Event:
        """Answer every request from now on, but not before the event that is returned is set."""
        gate = self.hold()

        async def held(_: SeenRequest) -> Answer:
            await gate.wait()
            return answer

        self.always(held)
        return gate

    def release(self) -> None:
        """Let everything go on that waits for an event of ``hold``."""
        for event in self._holds:
            event.set()
        self._holds.clear()

    # --- what happened ---

    @property
    def last(self) -> SeenRequest:
        """The latest request."""
        return self.requests[-1]

    async def client_gone(self, within_s: float = 5.0) -> SeenRequest:
        """Wait until the other side closed a connection before its answer had ended.

        Each such request is returned once.
        """
        return await asyncio.wait_for(self._gone.get(), within_s)

    async def received(self, count: int = 1, within_s: float = 5.0) -> list[SeenRequest]:
        """Wait until so many requests have arrived in all, and return them."""
        async with self._arrived:
            await asyncio.wait_for(
                self._arrived.wait_for(lambda: len(self.requests) >= count), within_s
            )
        return self.requests

    # --- the server ---

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        seen = await self._record(request)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            answer = await self._choose(seen)
            response = await self._play(request, answer)
            seen.outcome = "answered" if answer.end == "eof" else "broken"
        except (asyncio.CancelledError, ConnectionError):
            # Our own stop cancels too, but leaves the connection open.
            if request.transport is None or request.transport.is_closing():
                seen.outcome = "gone"
                self._gone.put_nowait(seen)
            raise
        finally:
            self._tasks.discard(task)
        return response

    async def _record(self, request: web.Request) -> SeenRequest:
        body = await request.read()
        headers = tuple(
            (name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers
        )
        seen = SeenRequest(request.method, request.raw_path, headers, body, self._number(request))
        async with self._arrived:
            self.requests.append(seen)
            self._arrived.notify_all()
        return seen

    def _number(self, request: web.Request) -> int:
        key = id(request.protocol)
        if key not in self._numbers:
            self._numbers[key] = self.connections
            self.connections += 1
        return self._numbers[key]

    async def _choose(self, seen: SeenRequest) -> Answer:
        for key in (seen.model, None):
            if self._queues[key]:
                return self._queues[key].popleft()
        for key in (seen.model, None):
            if key in self._handlers:
                chosen = self._handlers[key](seen)
                return chosen if isinstance(chosen, Answer) else await chosen
        self.unscripted.append(seen)
        return failure(500, f"the test scripted no answer for {seen.method} {seen.path}")

    async def _play(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        if answer.hold is not None:
            await answer.hold.wait()
        response = web.StreamResponse(status=answer.status, headers={**PLANTED, **answer.headers})
        if answer.content_type is not None:
            response.headers["content-type"] = answer.content_type
        if answer.sized:
            response.content_length = sum(len(s) for s in answer.steps if isinstance(s, bytes))
        await response.prepare(request)
        for step in answer.steps:
            await take(step, response.write)
        finish(answer.end, request.transport)
        return response

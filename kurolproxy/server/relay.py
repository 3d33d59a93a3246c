"""The one loop: upstream bytes -> rewriter -> client, with back-pressure.

A chunk costs a read, a ``feed`` and a write; nothing else is awaited unless the client
does not keep up. The head is held until the first content, or until a silence as long
as the keep-alive interval, so that an early failure still has a status of its own.
"""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8

from kurolproxy.errors import GatewayError, UpstreamError, UpstreamTimeout
from kurolproxy.ir import Failure
from kurolproxy.policy.catalog import Target
from kurolproxy.protocols.translator import Rewriter, Translation, Whole
from kurolproxy.server.deadlines import Limit
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.failures import broken
from kurolproxy.server.reply import ClientStream, Written
from kurolproxy.upstream.client import Answer

_NEVER = float("inf")


class StalledReader(Exception):
    """The client stopped reading for too long."""


async def relay(
    exchange: Exchange, answer: Answer, translation: Translation, target: Target
) -> Written:
    """Stream an answer to the client.

    Raises:
        UpstreamError, UpstreamTimeout: the answer failed; what was produced so far went out
            when content was among it.
    """
    stream = Relay(exchange, translation, target)
    exchange.state.metrics.streams_in_flight += 1
    try:
        if answer.content_type == "application/json":
            await stream.spread(answer)
        else:
            await stream.pump(answer)
    finally:
        # First: a fault in what follows leaves no stream running for ever.
        exchange.state.metrics.streams_in_flight -= 1
        stream.book()
    written = await stream.finish()
    answer.leave()
    await written_out(exchange)
    return written


async def written_out(exchange: Exchange) -> None:
    """Wait until the client took what was written of a finished answer.

    Raises:
        StalledReader: it does not read; what is held for it would stay for ever.
    """
    request = exchange.request
    if request.protocol is None or not request.protocol.writing_paused:
        return
    try:
        with Limit(exchange.watch, StalledReader):
            stalled = exchange.setup.settings.stalled_reader_timeout_s
            exchange.watch.deadline = asyncio.get_running_loop().time() + stalled
            await request.writer.drain()
    except GatewayError:
        # The gateway leaves, or the key was revoked: no error may follow a whole answer.
        raise StalledReader from None


class Relay:
    """One streamed answer on its way.

    Attributes:
        out: the client's side.
    """

    __slots__ = (
        "_exchange",
        "_held",
        "_held_bytes",
        "_idle",
        "_interval",
        "_last",
        "_loop",
        "_open",
        "_over",
        "_rewriter",
        "_showing",
        "_target",
        "_translation",
        "_waits_for_client",
        "_watch",
        "out",
    )

    def __init__(self, exchange: Exchange, translation: Translation, target: Target) -> None:
        self._exchange = exchange
        self._translation = translation
        self._target = target
        self._rewriter: Rewriter = translation.rewriter()
        exchange.rewriter = self._rewriter
        self._watch = exchange.watch
        self._loop = asyncio.get_running_loop()
        self._interval = exchange.watch.interval_s
        self._idle = target.timeouts.idle_timeout_s
        self._held: list[bytes] = []
        self._held_bytes = 0
        # Content came.
        self._showing = False
        # Events went out: from here on no other attempt can take this one's place.
        self._open = False
        self._over = False
        # The terminal bytes, when they wait for the disk.
        self._last: bytes | None = None
        self._waits_for_client = False
        # Of several attempts the first that shows anything opens the stream.
        self.out: ClientStream = exchange.out or exchange.open_stream()

    async def pump(self, answer: Answer) -> None:
        """Move the answer piece by piece until its terminal event."""
        # One for all of it: what a wait is for, and so its error, is kept in fields.
        with Limit(self._watch, self._expired):
            await self._begin(answer)
            while not self._over:
                await answer.pipe(self._step)
                if not self._over:
                    await self._drain()

    async def _begin(self, answer: Answer) -> None:
        """Hold what comes before the first content."""
        watch, rewriter = self._watch, self._rewriter
        watch.ping = self._show_life
        watch.ping_at = self._exchange.silent_since + self._interval
        while not self._showing:
            # What is held shows the client nothing: reads do not put off the signs of life.
            watch.deadline = self._exchange.limit(self._target, stream=True)
            data = await answer.read()
            piece = rewriter.feed(data) if data else rewriter.close()
            if rewriter.failure is not None or rewriter.finished:
                return self._end(piece)
            if rewriter.content:
                self._first_content()
            self._give(piece, flush=self._open)
            if self.out.paused():
                await self._drain()
        self._extend()

    def _show_life(self) -> None:
        """Feed a silence; the answer's beginning goes out first where the protocol wants it."""
        if self._exchange.endpoint.codec.ping_opens and not self._open:
            # Comments may be held too, they begin nothing.
            began = any(b"data:" in each for each in self._held)
            opening = b"" if began else self._rewriter.opening()
            if began or opening:
                self._open = True
                self._give(opening, flush=True)
        self._exchange.show_life()

    def _step(self, data: bytes) -> bool:
        """Give the client what one read holds for it; False: do not go on like this."""
        rewriter = self._rewriter
        piece = rewriter.feed(data) if data else rewriter.close()
        if rewriter.failure is not None or rewriter.finished:
            self._end(piece)
            return False
        now = self._loop.time()
        self._watch.deadline = now + self._idle
        # A comment is no sign of life to every client, and reasoning may be hidden from it.
        if piece and not piece.startswith(b":"):
            self._watch.ping_at = now + self._interval
        if piece:
            self.out.write(piece)
        return not self.out.paused()

    def _extend(self) -> None:
        now = self._loop.time()
        self._watch.ping_at = now + self._interval
        self._watch.deadline = now + self._idle

    def _end(self, piece: bytes) -> None:
        """Give the client the last of the answer."""
        self._over = True
        failure = self._rewriter.failure
        if failure is not None:
            self._give(piece, flush=self._open)
            raise self._failed(failure)
        # Booked before the terminal bytes go out: who got a whole answer is charged.
        self._first_content()
        self.book()
        self._exchange.settle()
        if self._exchange.state.usage.strict:
            self._last = piece
        else:
            self._give(piece, flush=True)

    async def finish(self) -> Written:
        """End the answer; its last bytes wait for the disk where the ledger is strict."""
        if self._last is not None:
            await self._exchange.on_disk()
            self._give(self._last, flush=True)
        return self.out.end()

    async def spread(self, answer: Answer) -> None:
        """Stream an answer that came whole although a stream was asked for."""
        with Limit(self._watch, self._expired):
            self._exchange.await_upstream(self._target, stream=True)
            data = await answer.body(self._exchange.setup.settings.max_answer_bytes)
        self._rewriter = self._exchange.rewriter = self._translation.spread(data)
        self._end(self._rewriter.close())

    def book(self) -> None:
        """Write down how far the answer came."""
        progress, rewriter = self._exchange.progress, self._rewriter
        progress.shown = self._open
        progress.content = self._showing
        progress.finished = rewriter.finished
        progress.usage = rewriter.usage
        progress.emitted_bytes = rewriter.emitted_bytes

    def _first_content(self) -> None:
        exchange = self._exchange
        self._showing = self._open = True
        if exchange.first_token_s is None:
            exchange.works()
            exchange.first_token_s = exchange.state.clock.now() - exchange.started

    def _give(self, piece: bytes, *, flush: bool) -> None:
        """Write a piece, or hold it while nothing of the answer has to be shown yet."""
        if not flush:
            self._hold(piece)
            return
        if self._held:
            piece = b"".join([*self._held, piece])
            self._held.clear()
        if piece:
            self.out.shown = True
            self.out.write(piece)

    def _hold(self, piece: bytes) -> None:
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes > self._exchange.setup.settings.max_event_bytes:
            raise UpstreamError("The upstream sent too much before any content.")

    async def _drain(self) -> None:
        """Wait for the client; the upstream is not read meanwhile, which slows it down."""
        self._waits_for_client = True
        self._watch.ping_at = _NEVER
        self._watch.deadline = (
            self._loop.time() + self._exchange.setup.settings.stalled_reader_timeout_s
        )
        await self.out.drain()
        self._waits_for_client = False
        self._extend()

    def _failed(self, failure: Failure) -> GatewayError:
        translation, scrubber = self._translation, self._exchange.setup.scrubber
        codec, view = translation.upstream, translation.view
        # An answer that began had a prompt that fits, also when all of it came in one read.
        content = self._showing or self._rewriter.content
        return broken(failure, codec, view, scrubber, content=content)

    def _expired(self) -> Exception:
        if self._waits_for_client:
            return StalledReader()
        if self._rewriter.content:
            silent_s = self._target.timeouts.idle_timeout_s
            return UpstreamTimeout(
                f"The upstream fell silent in the middle of its answer, for {silent_s:.3g} s."
            )
        return self._exchange.too_slow()


async def whole_answer(
    exchange: Exchange, answer: Answer, translation: Translation, target: Target
) -> Written:
    """Give the client a whole answer.

    Raises:
        UpstreamError, UpstreamTimeout: there is none.
    """
    settings, watch = exchange.setup.settings, exchange.watch
    streamed = answer.content_type == "text/event-stream"
    # A stream that nobody asked for is held, too: endless lines end here.
    limit = 2 * settings.max_event_bytes if streamed else settings.max_answer_bytes
    with Limit(watch, exchange.too_slow):
        exchange.await_upstream(target, stream=False)
        # Few clients can read JSON behind a byte order mark, which is not part of it.
        data = (await answer.body(limit)).removeprefix(BOM_UTF8)
    whole: Whole = translation.gather(data) if streamed else translation.whole(data)
    progress = exchange.progress
    progress.usage = whole.usage
    if whole.failure is not None:
        codec, view, scrubber = translation.upstream, translation.view, exchange.setup.scrubber
        content = whole.emitted_bytes > 0
        raise broken(whole.failure, codec, view, scrubber, content=content)
    progress.content = progress.finished = True
    progress.emitted_bytes = whole.emitted_bytes
    exchange.settle()
    await exchange.on_disk()
    written = exchange.answer(whole.body)
    await written_out(exchange)
    return written

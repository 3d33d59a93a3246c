"""The record of one call: who, what, how it ended; settled exactly once."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp.web import BaseRequest

from kurolproxy.connect.detect import tool_of
from kurolproxy.errors import GatewayError, UpstreamTimeout
from kurolproxy.live import Finished
from kurolproxy.policy.admission import Ask, Caller, charge
from kurolproxy.policy.booking import booked
from kurolproxy.policy.catalog import Model, Target
from kurolproxy.policy.choice import Way
from kurolproxy.policy.estimate import Estimate
from kurolproxy.policy.keys import SESSION_KEY_ID
from kurolproxy.policy.meter import Grant
from kurolproxy.protocols.asked import Asked
from kurolproxy.protocols.losses import header_value
from kurolproxy.protocols.translator import Rewriter, Translation
from kurolproxy.server.asking import Endpoint, Named, Progress
from kurolproxy.server.deadlines import Watch
from kurolproxy.server.headers import error_headers, id_headers, limit_headers
from kurolproxy.server.log import printable
from kurolproxy.server.peer import client_address
from kurolproxy.server.reply import ClientStream, Headers, Written, whole
from kurolproxy.server.state import State
from kurolproxy.storage.rows import UsageRow
from kurolproxy.tokens import Usage

_NO_USAGE = Usage()
# A browser that called is not to guess what an answer is.
_FOR_BROWSERS = ("x-content-type-options", "nosniff")
# Times the limit of one attempt.
_TOTAL = 2


class Exchange:
    """One client request from its first byte to its settlement.

    Args:
        named: the model, when the path names it.
        caller: whose call it is, where that was found out already.
        booked: whether the call has a row in the ledger; counting tokens has none.

    Attributes:
        setup: the configuration of this call, to its end; a reload meanwhile is not its.
    """

    __slots__ = (
        "asked",
        "asked_at",
        "attempt_at",
        "begun",
        "body_size",
        "booked",
        "caller",
        "dropped",
        "endpoint",
        "error",
        "first_token_s",
        "gone",
        "grant",
        "id",
        "longest_s",
        "model",
        "named",
        "out",
        "progress",
        "prompt_estimate",
        "request",
        "rewriter",
        "settled",
        "setup",
        "silent_since",
        "started",
        "started_unix",
        "state",
        "target",
        "translation",
        "upstream_status",
        "watch",
        "way",
    )

    def __init__(
        self,
        state: State,
        request: BaseRequest,
        endpoint: Endpoint,
        named: Named | None = None,
        caller: Caller | None = None,
        *,
        booked: bool = True,
    ) -> None:
        self.state = state
        self.setup = state.setup
        self.named = named
        self.booked = booked
        self.request = request
        self.endpoint = endpoint
        self.id = state.ids.request()
        self.started = state.clock.now()
        self.started_unix = state.clock.unix()
        self.watch = Watch(asyncio.current_task(), self.setup.settings.keepalive_interval_s)
        self.caller = caller
        self.asked: Asked | None = None
        self.model: Model | None = None
        self.grant: Grant | None = None
        self.target: Target | None = None
        self.way: Way | None = None
        self.translation: Translation | None = None
        self.rewriter: Rewriter | None = None
        self.out: ClientStream | None = None
        self.error: GatewayError | None = None
        self.progress = Progress()
        self.asked_at = 0.0
        self.attempt_at = 0.0
        # Of the state's clock, unlike the two above.
        self.begun = 0.0
        self.longest_s = 0.0
        self.silent_since = 0.0
        self.upstream_status: int | None = None
        self.prompt_estimate = 0
        self.body_size = 0
        self.first_token_s: float | None = None
        self.dropped: tuple[str, ...] = ()
        self.gone = False
        self.settled = False

    # --- admission ----------------------------------------------------------------

    def admit(self, caller: Caller, model: Model, asked: Asked, estimate: Estimate) -> Grant:
        """Ask for leave and hold the tokens of this call.

        Args:
            estimate: of the prompt.

        Raises:
            ConcurrencyLimited, RateLimited, QuotaExceeded: as ``Admission.admit`` says.
        """
        self.model = model
        self.asked = asked
        self.prompt_estimate = estimate.prompt
        ask = Ask(
            prompt_estimate=estimate.reservation,
            max_tokens=asked.max_tokens,
            n=asked.n,
            thinking_budget=asked.thinking_budget,
        )
        clock = self.state.clock
        grant = self.state.admission.admit(caller, model, ask, clock.now(), clock.today())
        self.grant = grant
        return grant

    # --- answers ------------------------------------------------------------------

    def headers(self) -> Headers:
        """Return what every answer to this caller carries."""
        codec = self.endpoint.codec
        headers = id_headers(codec.name, self.id)
        if self.caller is not None:
            clock = self.state.clock
            standing = self.state.admission.standing(self.caller, clock.now(), clock.today())
            headers += limit_headers(codec.name, standing, clock.unix())
            if self.caller.key.id == SESSION_KEY_ID:
                headers.append(_FOR_BROWSERS)
        if self.dropped:
            headers.append(("x-kurol-dropped", header_value(self.dropped)))
        if self.grant is not None and self.grant.output_cap is not None:
            headers.append(("x-kurol-output-cap", str(self.grant.output_cap)))
        return headers

    def open_stream(self) -> ClientStream:
        """Return the client's side of a streamed answer; nothing is written yet."""
        self.out = ClientStream(self.request, self._stream_headers)
        return self.out

    def _stream_headers(self) -> Headers:
        kind = ("content-type", self.endpoint.codec.content_type)
        return [*self.headers(), kind, ("x-accel-buffering", "no")]

    def start_asking(self) -> None:
        """Begin with the attempts: their time in all, and the client's silence, count from now."""
        self.asked_at = self.silent_since = asyncio.get_running_loop().time()

    def begin_attempt(self, way: Way, begun: float) -> None:
        """Turn to a way to the model; the row and the limits of time are about this one now.

        Args:
            begun: when it was taken, of the state's clock.
        """
        self.way = way
        self.begun = begun
        self.target = way.target
        self.upstream_status = None
        self.attempt_at = asyncio.get_running_loop().time()

    def limit(self, target: Target, *, stream: bool) -> float:
        """Return until when, on the loop's clock, an attempt may wait for its answer.

        Each attempt has its own time, and all together twice as much as the most patient of
        them: who waited long for the first target may still ask the next, quicker one.
        """
        timeouts = target.timeouts
        limit = timeouts.first_content_timeout_s if stream else timeouts.answer_timeout_s
        self.longest_s = max(self.longest_s, limit)
        until = min(self.attempt_at + limit, self.asked_at + _TOTAL * self.longest_s)
        return until + self.watch.stood_s

    def too_slow(self) -> UpstreamTimeout:
        """Return the error of an attempt that waited for too long: for what, and how long."""
        waited_s = asyncio.get_running_loop().time() - self.attempt_at
        whose = "" if self.asked is None else f" of {self.asked.model}"
        return UpstreamTimeout(
            f"The upstream{whose} did not answer within {waited_s:.3g} s. Try again, or use another"
            " model."
        )

    def out_of_time(self, target: Target) -> bool:
        """Return whether the time of all attempts is over."""
        now = asyncio.get_running_loop().time()
        stream = self.asked is not None and self.asked.stream
        self.attempt_at = now
        return self.limit(target, stream=stream) <= now

    def await_upstream(self, target: Target, *, stream: bool) -> None:
        """Set the limit of the wait for an upstream.

        The client of a stream is shown signs of life meanwhile: its silence goes on from one
        attempt to the next, and from the head of an answer to its first content.
        """
        self.watch.deadline = self.limit(target, stream=stream)
        if stream:
            self.watch.ping = self.show_life
            self.watch.ping_at = self.silent_since + self.watch.interval_s

    def works(self) -> None:
        """The first content came: the way to the model works, however long the answer takes."""
        if self.way is not None:
            self.state.health.answered(self.way, self.begun)

    def show_life(self) -> None:
        """Feed a silence: the head, and a sign of life between two events.

        What is held of a stream stays held: another attempt may still take its place.
        """
        if self.out is not None:
            codec = self.endpoint.codec
            self.silent_since = asyncio.get_running_loop().time()
            self.out.write(codec.ping if self.out.shown else codec.ping_early)

    def answer(self, body: bytes, extra: Headers | None = None) -> Written:
        """Write a whole answer."""
        headers = [*self.headers(), *(extra or ()), ("content-type", "application/json")]
        return whole(self.request, 200, headers, body, close=self.state.draining)

    def refuse(self, error: GatewayError) -> Written:
        """Write an error in the caller's wire form: in-band once the head is out."""
        codec = self.endpoint.codec
        if self.out is not None and self.out.started and self.translation is not None:
            self.out.write(self._late(self.translation, error))
            return self.out.end()
        self.out = None
        headers = [*self.headers(), ("content-type", "application/json"), *error_headers(error)]
        unread = not self.request.content.at_eof()
        body = codec.encode_error(error, self.id)
        close = unread or self.state.draining
        return whole(self.request, error.status, headers, body, close=close)

    def _late(self, translation: Translation, error: GatewayError) -> bytes:
        codec = self.endpoint.codec
        shown = self.out is not None and self.out.shown
        if codec.late_error is not None:
            return codec.late_error(error, self.id, begun=shown)
        if not shown:
            # What was encoded so far was held and is gone: the error stands alone.
            return codec.encoder(translation.answer()).error(error, self.id)
        return (self.rewriter or translation.rewriter()).error(error, self.id)

    # --- settlement ---------------------------------------------------------------

    def settle(self) -> None:
        """Book the call: quota, ledger, metrics, log. Only the first call counts."""
        if self.settled:
            return
        self.settled = True
        try:
            usage, estimated = self._usage()
            charged = self._close_grant(usage)
        finally:
            # Whatever fails there, nothing stays reserved; a grant that was closed stays closed.
            if self.grant is not None:
                self.grant.settle(0)
            if self.caller is not None:
                self.state.live.end(self.caller.account.id, self.id)
        duration = self.state.clock.now() - self.started
        outcome = self._outcome()
        if self.grant is not None and self.booked:
            row = self._row(usage, charged, outcome, duration, estimated)
            self.state.usage.add(row)
            self.state.live.add(Finished(*row, tool_of(self.request.headers), self._key_label))
        self._count(usage, outcome, duration, estimated)
        if self.state.log.wants(error=outcome != "ok"):
            self.state.log.request(self.started_unix, self._line(usage, outcome, duration))

    async def on_disk(self) -> None:
        """Wait until the row of a settled call survives a power cut, if the ledger is strict."""
        usage = self.state.usage
        if usage.strict and self.grant is not None and self.booked:
            await usage.durable()

    @property
    def _key_label(self) -> str:
        return "" if self.caller is None else self.caller.key.label

    def _usage(self) -> tuple[Usage, bool]:
        progress = self.progress
        if not (progress.finished or progress.content or (self.gone and progress.sent)):
            # The upstream refused, failed or was never asked: nothing is owed.
            return _NO_USAGE, False
        return booked(
            progress.usage,
            prompt_estimate=self.prompt_estimate,
            emitted_bytes=progress.emitted_bytes,
            whole=progress.finished,
        )

    def _close_grant(self, usage: Usage) -> int:
        grant = self.grant
        if grant is None:
            return 0
        charged = charge(usage, grant.plan)
        failed = self.error is not None and self.error.status in (502, 503, 504)
        refund = failed and not self.progress.content
        if refund:
            grant.release(refund_request=True, now=self.state.clock.now())
            return 0
        grant.settle(charged)
        return charged

    def _outcome(self) -> str:
        if self.progress.finished:
            return "ok"
        if self.error is not None:
            return self.error.kind
        return "shutdown" if self.state.draining else "client_gone"

    def _status(self) -> int:
        if self.out is not None and self.out.started:
            return 200
        if self.error is not None:
            return self.error.status
        return 200 if self.progress.finished else 499

    def _row(
        self, usage: Usage, charged: int, outcome: str, duration: float, estimated: bool
    ) -> UsageRow:
        grant, caller, model = self.grant, self.caller, self.model
        assert grant is not None
        assert caller is not None
        assert model is not None
        translation, first = self.translation, self.first_token_s
        return UsageRow(
            request_id=self.id,
            day=grant.day,
            started_at=self.started_unix,
            account_id=caller.account.id,
            key_id=caller.key.id,
            model=model.id,
            upstream=self.target.upstream.name if self.target else "",
            client_protocol=self.endpoint.codec.name,
            upstream_protocol=translation.upstream.name if translation else "",
            status=self._status(),
            outcome=outcome,
            prompt=usage.prompt,
            completion=usage.completion,
            cache_read=usage.cache_read,
            cache_write=usage.cache_write,
            reasoning=usage.reasoning,
            charged=charged,
            estimated=estimated,
            streamed=self.asked.stream if self.asked else False,
            duration_ms=round(duration * 1000),
            ttft_ms=round(first * 1000) if first is not None else None,
        )

    def _count(self, usage: Usage, outcome: str, duration: float, estimated: bool) -> None:
        metrics = self.state.metrics
        model = self.model.id if self.model is not None else "other"
        plan = self.caller.account.plan if self.caller is not None else ""
        label = self.endpoint.label
        metrics.requests.add((model, label, plan, outcome))
        metrics.duration.observe((model, label), duration)
        if self.target is None and self.error is not None:
            metrics.rejections.add((self.error.kind,))
        if usage.total:
            metrics.count_tokens(model, usage)
            if estimated:
                metrics.estimated.add((model,), usage.total)
        if self.first_token_s is not None:
            metrics.first_token.observe((model, label), self.first_token_s)
            if usage.completion > 1:
                rest = (duration - self.first_token_s) / (usage.completion - 1)
                metrics.per_token.observe((model, label), rest)
        if outcome == "client_gone":
            metrics.client_disconnects.add((label,))

    def _words(self) -> str | None:
        """Return what the log may hold of the error: it can name what the caller wrote."""
        if self.error is None or self.error.foreign:
            return None
        return printable(self.error.message, 200)

    def _line(self, usage: Usage, outcome: str, duration: float) -> dict[str, Any]:
        caller, first = self.caller, self.first_token_s
        headers = self.request.headers
        return {
            "request_id": self.id,
            "client_request_id": printable(
                headers.get("x-request-id") or headers.get("x-client-request-id")
            ),
            "endpoint": self.endpoint.label,
            "remote": client_address(self.request, self.setup.settings.trusted_proxies),
            "account": caller.account.id if caller else None,
            "key": caller.key.id if caller else None,
            "model": self.model.id if self.model else None,
            "upstream": self.target.upstream.name if self.target else None,
            "upstream_protocol": self.translation.upstream.name if self.translation else None,
            "stream": self.asked.stream if self.asked else None,
            "status": self._status(),
            "outcome": outcome,
            "error": self._words(),
            "upstream_status": self.upstream_status,
            "prompt": usage.prompt,
            "completion": usage.completion,
            "duration_ms": round(duration * 1000, 1),
            "ttft_ms": round(first * 1000, 1) if first is not None else None,
        }

"""The story of one call, top to bottom: read this first.

credential -> body -> model and plan -> limits -> target and protocol -> send, with
failover until the first content -> relay -> settle, exactly once, whatever happened.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TypeVar

from aiohttp.web import BaseRequest

from kurolproxy.errors import (
    GatewayError,
    Internal,
    Overloaded,
)
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.admission import Caller
from kurolproxy.policy.catalog import Model, Target
from kurolproxy.policy.choice import Way
from kurolproxy.policy.estimate import body_estimate_in_steps
from kurolproxy.protocols.asked import read_in_steps
from kurolproxy.protocols.base import Circumstances, Codec, TargetView
from kurolproxy.protocols.nesting import STEP, finished
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Translation, translate_in_steps
from kurolproxy.server.asking import Endpoint, Named, Progress
from kurolproxy.server.body import check_head, read_body
from kurolproxy.server.credential import authenticated
from kurolproxy.server.deadlines import Limit
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.failover import first_that_answers
from kurolproxy.server.failures import ProofRefused, failure_of
from kurolproxy.server.relay import StalledReader, relay, whole_answer
from kurolproxy.server.reply import Written, hang_up
from kurolproxy.server.state import State
from kurolproxy.server.telling import told
from kurolproxy.upstream.address import headers_for
from kurolproxy.upstream.client import Answer, Call

T = TypeVar("T")

# For the words of an error, behind its status.
_WORDS_S = 10.0
_TRACE = ("traceparent", "tracestate")


async def generate(
    state: State,
    request: BaseRequest,
    endpoint: Endpoint,
    named: Named | None = None,
    caller: Caller | None = None,
) -> Written:
    """Answer one call of a model.

    Args:
        caller: whose call it is, where that was found out already: then no key is asked for.

    Returns:
        the answer, already written: a result or an error in the caller's wire form.
    """
    return await attend(Exchange(state, request, endpoint, named, caller), _answer)


async def attend(exchange: Exchange, story: Callable[[Exchange], Awaitable[Written]]) -> Written:
    """Go through the story of a call; whatever happens, it is settled and answered."""
    state, request = exchange.state, exchange.request
    state.deadlines.add(exchange.watch)
    try:
        return await story(exchange)
    except GatewayError as error:
        # With the frames that it came through it would hold itself, and the body, until the
        # collector comes by.
        exchange.error = error.with_traceback(None)
    except StalledReader:
        exchange.gone = True
        return hang_up(request)
    except asyncio.CancelledError:
        exchange.gone = True
        raise
    except Exception as error:  # the outermost boundary of a call
        state.log.event(
            state.clock.unix(),
            "fault",
            request_id=exchange.id,
            kind=type(error).__name__,
            where=_where(error),
        )
        exchange.error = Internal(
            "The gateway failed. Its operator finds the cause in the log, by this answer's"
            " x-request-id."
        )
    finally:
        state.deadlines.remove(exchange.watch)
        state.bodies.give_back(exchange.body_size)
        # Last: a fault in it keeps nothing of the above.
        exchange.settle()
    # What came before the error is charged, too.
    await exchange.on_disk()
    return exchange.refuse(exchange.error)


async def _answer(exchange: Exchange) -> Written:
    state, codec, named = exchange.state, exchange.endpoint.codec, exchange.named
    caller, body = await called(exchange)
    depth = exchange.setup.settings.max_json_depth
    if named is None:
        reading = read_in_steps(body, codec.passing, depth)
    else:
        reading = read_in_steps(body, codec.passing, depth, model=named.model, stream=named.stream)
    asked = await in_turns(exchange, len(body), reading)
    estimate = await in_turns(exchange, len(body), body_estimate_in_steps(body))
    # What is asked from here on is decided by one configuration: a body may have taken long.
    exchange.setup = state.setup
    model = state.admission.model(caller, asked.model)
    exchange.admit(caller, model, asked, estimate)
    state.live.begin(caller.account.id, exchange.id, partial(told, exchange))
    state.metrics.overhead.observe((exchange.endpoint.label,), state.clock.now() - exchange.started)
    return await first_that_answers(exchange, model, lambda way: _attempt(exchange, model, way))


async def called(exchange: Exchange) -> tuple[Caller, bytes]:
    """Find out whose call it is and read its body."""
    state, request = exchange.state, exchange.request
    caller = exchange.caller
    if caller is None:
        caller = authenticated(state, request, query_key=exchange.endpoint.query_key)
        exchange.caller = caller
    exchange.watch.owner = caller.key.id
    settings = exchange.setup.settings
    if state.draining:
        raise Overloaded("The gateway is shutting down; try again in a second.", retry_after_s=1)
    if not state.usage.writable and (settings.fail_closed or state.usage.full):
        raise Overloaded(
            "The gateway cannot write its ledger just now; try again in a few seconds.",
            retry_after_s=5,
        )
    if state.memory.short:
        raise Overloaded(
            "The gateway is short of memory just now; try again in a few seconds.",
            retry_after_s=5,
        )
    if state.descriptors.short:
        raise Overloaded(
            "The gateway has no room for more connections just now; try again in a second.",
            retry_after_s=1,
        )
    check_head(request, settings.body)
    body = await read_body(request, settings.body, state.bodies, exchange.watch)
    exchange.body_size = len(body)
    return caller, body


async def in_turns(exchange: Exchange, size: int, steps: Generator[None, None, T]) -> T:
    """Take the steps of some work on a body of ``size`` bytes, see ``Turns``."""
    if size <= STEP:
        return finished(steps)
    # No time limit: who waits here waits for us. But the call may be ended meanwhile.
    with Limit(exchange.watch, exchange.too_slow):
        return await exchange.state.turns.take(size, steps)


async def _attempt(exchange: Exchange, model: Model, way: Way) -> Written:
    """Ask one target with one credential, a second time when it refuses a proof."""
    target, key = way
    upstream = CODECS[_protocol(exchange, target)]
    translation = await in_turns(
        exchange, exchange.body_size, translation_for(exchange, model, target, upstream)
    )
    try:
        return await _ask(exchange, target, key, translation)
    except ProofRefused:
        bare = translation.without_reasoning()
        if bare is None:
            raise
        # The proofs came from another account, before a failover: the conversation would
        # be lost for ever, without its old thoughts it goes on.
        exchange.translation = bare
        exchange.dropped = bare.dropped
        return await _ask(exchange, target, key, bare)


async def _ask(
    exchange: Exchange, target: Target, key: str | None, translation: Translation
) -> Written:
    """Send the request and hand on the answer."""
    # From here on the vendor may charge for the prompt, whether or not the client stays.
    exchange.progress = Progress(sent=True)
    exchange.upstream_status = None
    if translation.asked.stream and exchange.out is None:
        exchange.open_stream()
    began = exchange.state.clock.now()
    outcome = "client_gone"
    try:
        written = await _exchange(exchange, target, key, translation)
        outcome = "ok"
    except GatewayError as error:
        outcome = error.kind
        raise
    finally:
        metrics, usage = exchange.state.metrics, exchange.progress.usage
        metrics.upstream_requests.add((target.upstream.name, outcome))
        _note_attempt(exchange, target, outcome, began)
        if usage is not None and usage.clamped:
            metrics.clamped.add((target.upstream.name,))
    return written


def _note_attempt(exchange: Exchange, target: Target, outcome: str, began: float) -> None:
    """Add an attempt that has ended to the figures of its upstream.

    Args:
        began: when it was sent, of the state's clock.
    """
    progress, now = exchange.progress, exchange.state.clock.now()
    content_at = None
    if progress.content and exchange.first_token_s is not None:
        content_at = exchange.started + exchange.first_token_s
    elif outcome == "ok":
        content_at = now
    exchange.state.figures.add(
        target.upstream.name,
        outcome,
        now,
        head_s=None if progress.head_at is None else progress.head_at - began,
        content_s=None if content_at is None else content_at - began,
    )


async def _exchange(
    exchange: Exchange, target: Target, key: str | None, translation: Translation
) -> Written:
    """Send the request and read the answer; the connection is given up or back."""
    answer = await _send(exchange, target, key, translation)
    exchange.upstream_status = answer.status
    exchange.progress.head_at = exchange.state.clock.now()
    try:
        if answer.status != 200:
            with Limit(exchange.watch, exchange.too_slow):
                exchange.await_upstream(target, stream=translation.asked.stream)
                patience_s = min(target.timeouts.idle_timeout_s, _WORDS_S)
                exchange.watch.deadline = min(exchange.watch.deadline, _loop_time() + patience_s)
                raise await failure_of(
                    answer, translation.upstream, translation.view, exchange.setup.scrubber
                )
        if translation.asked.stream:
            return await relay(exchange, answer, translation, target)
        return await whole_answer(exchange, answer, translation, target)
    finally:
        answer.close()


def _protocol(exchange: Exchange, target: Target) -> ProtocolName:
    """Return what to speak to a target.

    Some models refuse tools on Chat while they think: there it is the protocol that
    ``tools_with_reasoning`` names, unless the client switched thinking off.
    """
    protocol = target.protocol_for(exchange.endpoint.codec.name)
    other = target.thinks_with_tools_in
    if protocol != "openai-chat" or other is None:
        return protocol
    assert exchange.asked is not None
    top = exchange.asked.top
    offers_tools = bool(top.get("tools") or top.get("functions"))
    return other if offers_tools and top.get("reasoning_effort") != "none" else protocol


def translation_for(
    exchange: Exchange, model: Model, target: Target, upstream: Codec
) -> Generator[None, None, Translation]:
    """Return what a target is asked, in steps.

    Raises:
        BadRequest: the upstream's protocol cannot say it.
    """
    state, codec, asked = exchange.state, exchange.endpoint.codec, exchange.asked
    settings = exchange.setup.settings
    assert asked is not None
    assert exchange.grant is not None
    view = TargetView(
        model=target.model,
        public_model=asked.model,
        traits=target.traits,
        max_output_tokens=model.max_output_tokens,
        hash_user=_hasher(settings.hash_secret) if target.traits.forward_user else None,
    )
    around = Circumstances(
        created=int(exchange.started_unix),
        new_id=state.ids.fresh,
        output_cap=exchange.grant.output_cap,
        strict=exchange.request.headers.get("x-kurol-strict") == "1",
        max_event_bytes=settings.max_event_bytes,
        max_depth=settings.max_json_depth,
    )
    translation = yield from translate_in_steps(codec, upstream, asked, view, around)
    exchange.translation = translation
    exchange.dropped = translation.dropped
    if translation.dropped:
        state.metrics.dropped.add((codec.name, upstream.name), len(translation.dropped))
    return translation


async def _send(
    exchange: Exchange, target: Target, key: str | None, translation: Translation
) -> Answer:
    """Send the request and wait for the head of the answer."""
    stream = translation.asked.stream
    upstream = translation.upstream
    path = (upstream.stream_path if stream else None) or upstream.path
    call = call_for(exchange, target, key, translation, path)
    with Limit(exchange.watch, exchange.too_slow):
        exchange.await_upstream(target, stream=stream)
        return await exchange.state.upstream.send(call)


def call_for(
    exchange: Exchange, target: Target, key: str | None, translation: Translation, path: str
) -> Call:
    """Return the request to an upstream at one of its protocol's paths."""
    upstream = translation.upstream
    return Call(
        address=exchange.setup.addresses.address(target, upstream.name, path),
        headers=headers_for(
            target.upstream,
            key,
            upstream.auth,
            _passed_headers(exchange, target, translation, upstream),
            user_agent=exchange.setup.settings.user_agent,
            stream=translation.asked.stream,
        ),
        body=translation.body,
        connect_timeout_s=target.timeouts.connect_timeout_s,
        proxy=target.upstream.proxy,
    )


def _passed_headers(
    exchange: Exchange, target: Target, translation: Translation, upstream: Codec
) -> dict[str, str]:
    """Return the protocol's own headers, and those of the client that may go on."""
    given = exchange.request.headers
    found = dict(translation.headers)
    if translation.passed:
        found.update(upstream.passing.defaults)
        names = upstream.passing.headers
        found.update({name: value for name in names if (value := given.get(name))})
    if target.upstream.trace:
        found.update({name: value for name in _TRACE if (value := given.get(name))})
    return found


def _hasher(secret: bytes) -> Callable[[str], str]:
    def hashed(user: str) -> str:
        return hmac.new(secret, user.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    return hashed


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _where(error: BaseException) -> str:
    """Return file and line of a fault of ours; its text may hold a secret and stays out."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"

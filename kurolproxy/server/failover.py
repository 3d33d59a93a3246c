"""Try the ways to a model in turn until one gives content."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from kurolproxy.errors import GatewayError, UpstreamError, UpstreamTimeout
from kurolproxy.policy.catalog import Model
from kurolproxy.policy.choice import MAX_ATTEMPTS, Way, ways
from kurolproxy.policy.health import Change, Failed
from kurolproxy.protocols.sessions import conversation_of
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.log import RequestLog
from kurolproxy.server.reply import Written
from kurolproxy.server.state import Clock


async def first_that_answers(
    exchange: Exchange, model: Model, attempt: Callable[[Way], Awaitable[Written]]
) -> Written:
    """Answer a call by the first way that gives content.

    At most three attempts are made, in one total time; ways that rest are left out.

    Raises:
        GatewayError: what the last way said (a failure that no repetition can cure only
            when all were such); ``Overloaded`` when no way was open.
    """
    health, clock = exchange.state.health, exchange.state.clock
    exchange.asked_at = asyncio.get_running_loop().time()
    found = health.order(ways(model, lambda: session_of(exchange), spin), clock.now())
    failure: GatewayError | None = None
    attempts = 0
    for way in found:
        if attempts == MAX_ATTEMPTS or exchange.out_of_time(way.target):
            break
        if not health.take(way, clock.now()):
            continue
        attempts += 1
        try:
            return await _try(exchange, way, attempt)
        except (UpstreamError, UpstreamTimeout) as error:
            if exchange.progress.shown:
                raise
            if failure is None or error.may_retry or not failure.may_retry:
                failure = error
        finally:
            health.end(way)
    raise failure or health.refusal(found, model.id, clock.now())


async def _try(
    exchange: Exchange, way: Way, attempt: Callable[[Way], Awaitable[Written]]
) -> Written:
    """Make one attempt, and remember what it says about the way."""
    state = exchange.state
    exchange.begin_attempt(way)
    begun = state.clock.now()
    try:
        written = await attempt(way)
    except (UpstreamError, UpstreamTimeout) as error:
        now = state.clock.now()
        state.health.failed(way, _failed(exchange, error, now - begun), now)
        if not exchange.progress.shown and exchange.progress.usage is not None:
            wasted = exchange.progress.usage.total
            state.metrics.wasted.add((way.target.upstream.name,), wasted)
        raise
    except GatewayError:
        if exchange.upstream_status is not None:
            # It judged the request: it works, and it takes the credential.
            state.health.answered(way)
        raise
    state.health.answered(way)
    return written


def _failed(exchange: Exchange, error: UpstreamError | UpstreamTimeout, waited_s: float) -> Failed:
    status = exchange.upstream_status
    # The words of an upstream may quote a prompt: they are for the caller, not for the log.
    why = f"HTTP {status}" if error.foreign or status not in (None, 200) else error.message
    if isinstance(error, UpstreamTimeout):
        return Failed("failing", why, waited_s)
    return Failed(error.blame, why, waited_s, error.rest_s)


def session_of(exchange: Exchange) -> bytes | None:
    """Return the conversation that a call belongs to."""
    asked, caller = exchange.asked, exchange.caller
    if asked is None or caller is None:
        return None
    header = exchange.request.headers.get("x-session-id")
    return conversation_of(asked, exchange.endpoint.codec.passing, header, caller.account.id)


def spin() -> float:
    """Return a random number in (0, 1]."""
    return 1.0 - random.random()


def tell_health(log: RequestLog, clock: Clock, change: Change) -> None:
    """Log that something began to rest, or is used again."""
    log.event(
        clock.unix(),
        "upstream_works" if change.rests_s is None else "upstream_rests",
        upstream=change.upstream,
        credential=change.credential,
        model=change.model,
        why=change.why,
        seconds=change.rests_s,
    )

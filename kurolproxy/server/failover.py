"""Try the ways to a model in turn until one gives content."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

from kurolproxy.errors import BadRequest, GatewayError, TooLarge, UpstreamError, UpstreamTimeout
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

    At most three attempts are made, in one total time; ways that rest, and targets whose
    protocol cannot say the request, are left out.

    Raises:
        GatewayError: what the last way said (a failure that no repetition can cure only
            when all were such); ``Overloaded`` when no way was open; ``BadRequest`` when
            no target that was can be asked this.
    """
    health, clock, account = exchange.state.health, exchange.state.clock, account_of(exchange)
    exchange.start_asking()
    found = health.order(ways(model, lambda: session_of(exchange), spin), clock.now())
    failures: list[GatewayError] = []
    closed: list[Way] = []
    mute: dict[int, GatewayError] = {}
    more = False
    for way in found:
        if id(way.target) in mute:
            continue
        if len(failures) == MAX_ATTEMPTS or exchange.out_of_time(way.target):
            more = True
            continue
        begun = clock.now()
        if not health.take(way, begun, account):
            closed.append(way)
            continue
        try:
            return await _try(exchange, way, begun, attempt)
        except (UpstreamError, UpstreamTimeout) as error:
            if exchange.progress.shown:
                raise
            # Without the frames, which hold this list.
            failures.append(error.with_traceback(None))
        except BadRequest as error:
            if exchange.upstream_status is not None:
                raise
            mute[id(way.target)] = error.with_traceback(None)
        finally:
            health.end(way)
    if curable := [each for each in failures if each.may_retry]:
        raise curable[-1]
    if failures and more:
        # What refused rests now: a repetition goes the ways that are left.
        raise UpstreamError(f"Several upstreams of {model.id} refused; try again.")
    if closed or not found:
        raise health.refusal(closed, model.id, clock.now(), account)
    raise [*mute.values(), *failures][-1]


async def _try(
    exchange: Exchange, way: Way, begun: float, attempt: Callable[[Way], Awaitable[Written]]
) -> Written:
    """Make one attempt, and remember what it says about the way."""
    health = exchange.state.health
    exchange.begin_attempt(way, begun)
    told = False
    try:
        written = await attempt(way)
        told = True
    except (UpstreamError, UpstreamTimeout) as error:
        told = True
        now, progress = exchange.state.clock.now(), exchange.progress
        if _is_current(exchange, way):
            health.failed(way, _failed(exchange, error, now - begun), now)
        if not progress.shown and progress.usage is not None:
            wasted = progress.usage.total
            exchange.state.metrics.wasted.add((way.target.upstream.name,), wasted)
        raise
    except (BadRequest, TooLarge):
        if exchange.upstream_status is not None:
            # It judged the request: it works, and it takes the credential.
            health.answered(way, begun)
        raise
    finally:
        if not told:
            # The client left, or it was never asked: another request is the probe.
            health.unproven(way, begun)
    if exchange.first_token_s is None:
        # Of a stream that was told at its first content; how it ends says no more.
        health.answered(way, begun)
    return written


def _is_current(exchange: Exchange, way: Way) -> bool:
    """Return whether an upstream is still what a call knows: no reload made another of it."""
    upstream = way.target.upstream
    return exchange.state.setup.catalog.upstreams.get(upstream.name) == upstream


def account_of(exchange: Exchange) -> int:
    """Return whose call it is; 0: nobody's."""
    return exchange.caller.account.id if exchange.caller is not None else 0


def _failed(exchange: Exchange, error: UpstreamError | UpstreamTimeout, waited_s: float) -> Failed:
    status = exchange.upstream_status
    # The words of an upstream may quote a prompt: they are for the caller, not for the log.
    why = f"HTTP {status}" if error.foreign or status not in (None, 200) else error.message
    if isinstance(error, UpstreamTimeout):
        return Failed("failing", why, waited_s, account=account_of(exchange))
    return Failed(error.blame, why, waited_s, error.rest_s, account_of(exchange))


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
        account=change.account,
    )

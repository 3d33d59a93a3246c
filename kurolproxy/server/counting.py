"""How many tokens a prompt has: asked of an upstream that can count, else our estimate."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace

from aiohttp.web import BaseRequest

from kurolproxy.errors import BadRequest, UpstreamError, UpstreamTimeout
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.catalog import Model, Target
from kurolproxy.policy.choice import ways
from kurolproxy.policy.estimate import body_estimate_in_steps
from kurolproxy.protocols import wire
from kurolproxy.protocols.asked import Asked, read_in_steps
from kurolproxy.protocols.base import Codec, Counting
from kurolproxy.protocols.registry import CODECS
from kurolproxy.protocols.translator import Translation
from kurolproxy.server.asking import Endpoint, Named
from kurolproxy.server.deadlines import Limit
from kurolproxy.server.exchange import Exchange
from kurolproxy.server.failover import account_of, session_of, spin
from kurolproxy.server.generate import attend, call_for, called, in_turns, translation_for
from kurolproxy.server.reply import Written
from kurolproxy.server.state import State
from kurolproxy.tokens import Usage

_PATIENCE_S = 5.0
_MAX_ANSWER = 65_536


async def count(
    state: State, request: BaseRequest, endpoint: Endpoint, named: Named | None = None
) -> Written:
    """Answer one call that counts the tokens of a prompt.

    It takes a request of the minute and a slot of those at once, but no tokens, and has no
    row in the ledger. Nothing fails because an upstream cannot count: then the answer is
    our estimate, and says so (``x-kurol-estimate: true``).
    """
    return await attend(Exchange(state, request, endpoint, named, booked=False), _count)


async def _count(exchange: Exchange) -> Written:
    state, counting = exchange.state, exchange.endpoint.codec.counting
    assert counting is not None
    caller, body = await called(exchange)
    asked = await in_turns(exchange, len(body), _asked(exchange, counting, body))
    exchange.setup = state.setup
    model = exchange.model = state.admission.model(caller, asked.model)
    exchange.asked = asked
    clock = state.clock
    exchange.grant = state.admission.admit_count(caller, clock.now(), clock.today())
    exchange.start_asking()
    tokens = await _ask(exchange, model)
    estimate = 0
    if tokens is None:
        found = await in_turns(exchange, len(body), body_estimate_in_steps(body))
        estimate = found.prompt
    extra = [("x-kurol-estimate", "true")] if tokens is None else None
    exchange.progress.usage = Usage()
    exchange.progress.finished = True
    exchange.settle()
    return exchange.answer(counting.answer(tokens if tokens is not None else estimate), extra)


def _asked(exchange: Exchange, counting: Counting, body: bytes) -> Generator[None, None, Asked]:
    """Read the generating call that this one is about, in steps.

    Raises:
        BadRequest: it is none.
    """
    depth = exchange.setup.settings.max_json_depth
    document = yield from wire.load_object_in_steps(body, depth)
    yield
    generating = counting.generating(document)
    if generating is not document:
        body = wire.dumps(generating)
        yield
    named = exchange.named
    rules = exchange.endpoint.codec.passing
    model = named.model if named is not None else None
    return (yield from read_in_steps(body, rules, depth, model=model))


async def _ask(exchange: Exchange, model: Model) -> int | None:
    """Return what the first upstream that can count says, None when none of them does."""
    until = exchange.asked_at + _PATIENCE_S
    health, now = exchange.state.health, exchange.state.clock.now
    refused: BadRequest | None = None
    for way in ways(model, lambda: session_of(exchange), spin):
        target, key = way
        protocol = _protocol(exchange.endpoint.codec.name, target)
        if protocol is None or asyncio.get_running_loop().time() >= until:
            continue
        # What rests is probed by calls that somebody waits for.
        if not health.take(way, now(), account_of(exchange), may_probe=False):
            continue
        exchange.target = target
        try:
            with Limit(exchange.watch, _too_slow):
                exchange.watch.deadline = until
                return await _ask_one(exchange, model, target, key, protocol)
        except (UpstreamError, UpstreamTimeout):
            # It cannot count, or not now.
            continue
        except BadRequest as error:
            refused = error
        finally:
            health.end(way)
    if refused is not None:
        raise refused
    return None


def _protocol(client: ProtocolName, target: Target) -> ProtocolName | None:
    """Return a protocol in which a target counts: the client's own, else the first."""
    for name in (target.protocol_for(client), *target.protocols):
        # A path of the operator's own is the generating call's: where the other is, nobody said.
        if CODECS[name].counting is not None and name not in target.upstream.paths:
            return name
    return None


async def _ask_one(
    exchange: Exchange, model: Model, target: Target, key: str | None, protocol: ProtocolName
) -> int:
    """Ask one upstream.

    Raises:
        BadRequest: the prompt cannot be said in its protocol.
        UpstreamError: it gave no number.
    """
    upstream = CODECS[protocol]
    counting = upstream.counting
    assert counting is not None
    asking = _asking(exchange, model, target, upstream, counting)
    about = await exchange.state.turns.take(exchange.body_size, asking)
    call = call_for(exchange, target, key, about, counting.path)
    answer = await exchange.state.upstream.send(call)
    exchange.upstream_status = answer.status
    try:
        data = await answer.body(_MAX_ANSWER)
    finally:
        answer.close()
    tokens = counting.read(_parsed(data)) if answer.status == 200 else None
    if tokens is None:
        raise UpstreamError("The upstream did not count.")
    return tokens


def _asking(
    exchange: Exchange, model: Model, target: Target, upstream: Codec, counting: Counting
) -> Generator[None, None, Translation]:
    """Return what an upstream is asked to count, in steps."""
    translation = yield from translation_for(exchange, model, target, upstream)
    depth = exchange.setup.settings.max_json_depth
    document = yield from wire.load_object_in_steps(translation.body, depth)
    yield
    return replace(translation, body=wire.dumps(counting.asking(document, target.model)))


def _parsed(data: bytes) -> object:
    try:
        return wire.load_upstream(data)
    except wire.WireError:
        return None


def _too_slow() -> UpstreamTimeout:
    return UpstreamTimeout("The upstream did not count in time.")

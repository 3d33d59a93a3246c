"""How far a running call came, for those who watch."""

from __future__ import annotations

from kurolproxy.connect.detect import tool_of
from kurolproxy.live import Running
from kurolproxy.policy.booking import booked
from kurolproxy.server.exchange import Exchange


def told(exchange: Exchange) -> Running:
    """Return how far a call came that was admitted."""
    caller, model, asked = exchange.caller, exchange.model, exchange.asked
    assert caller is not None
    assert model is not None
    assert asked is not None
    rewriter = exchange.rewriter
    usage, _ = booked(
        None if rewriter is None else rewriter.usage,
        prompt_estimate=exchange.prompt_estimate,
        emitted_bytes=0 if rewriter is None else rewriter.emitted_bytes,
        whole=False,
    )
    return Running(
        request_id=exchange.id,
        started_at=exchange.started_unix,
        account_id=caller.account.id,
        key_id=caller.key.id,
        key_label=caller.key.label,
        model=model.id,
        client_protocol=exchange.endpoint.codec.name,
        client=tool_of(exchange.request.headers),
        streamed=asked.stream,
        prompt=usage.prompt,
        completion=usage.completion,
    )

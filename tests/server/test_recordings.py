"""Every Chat and Messages recording as upstream, read by both clients, whole and cut.

What a client must see is computed from the recorded bytes by the independent reader of
``tests/fakes/recordings.py``.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.conftest import Running
from tests.fakes.answers import replay
from tests.fakes.recordings import (
    Call,
    Expected,
    Recording,
    expected,
    ids,
    needs_recordings,
    select,
)
from tests.fakes.upstream import FakeUpstream
from tests.server.reading import Seen, by_chat, by_messages

CUTS = (None, 1, 2, 3, 7, 64)
# One byte at a time only where that ends in time: a write and a read for each.
SMALL = 12_000

COUNTING = ("/count_tokens",)
RECORDINGS = [
    seen
    for protocol in ("chat", "messages")
    for seen in select(protocol=protocol)
    if not any(path in seen.path for path in COUNTING)
]

# An upstream's word for the end -> what each client reads.
TO_CHAT = {
    "end_turn": "stop",
    "pause_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
}
TO_MESSAGES = {
    "stop": "end_turn",
    "eos": "end_turn",
    "": "end_turn",
    None: "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


@needs_recordings
@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize("seen", RECORDINGS, ids=ids(RECORDINGS))
async def test_client_sees_what_was_recorded(
    seen: Recording, client: str, gateway: Running, fake: FakeUpstream
) -> None:
    want = expected(seen)
    for cut in CUTS:
        if cut is not None and cut < 64 and len(seen.response) > SMALL * cut:
            continue
        fake.always(replay(seen, cut=cut))
        got = await ask(gateway, seen, client)
        check(seen, client, want, got)
    assert gateway.gateway.state.admission.reserved == 0


async def ask(gateway: Running, seen: Recording, client: str) -> Seen:
    model = "c-model" if seen.protocol == "chat" else "m-model"
    read = by_chat if client == "chat" else by_messages
    return await read(gateway.base_url, gateway.key, model, stream=seen.stream)


def check(seen: Recording, client: str, want: Expected, got: Seen) -> None:
    if not want.whole or (client == "chat" and want.restarts):
        # What the first of two messages said is out and cannot be taken back: a client of
        # another protocol gets an error instead of two answers in one.
        check_broken(seen, want, got)
        return
    assert got.error is None
    same = seen.protocol == client
    want = as_seen_by(client, want, same=same)
    if seen.vendor == "xai" and not same and want.usage is not None:
        # Its total says that its completion leaves the reasoning out; ours includes it.
        whole = want.usage.completion + want.usage.reasoning
        want = replace(want, usage=want.usage._replace(completion=whole))
    if want.restarts:
        # Passed through as it came; what the client makes of it is its own affair.
        want = replace(want, reasoning=got.reasoning)
    assert got.text == want.text
    assert got.calls == list(want.calls)
    assert got.finish == want.finish
    if want.usage is not None:
        assert got.usage == want.usage
    if not (seen.protocol == "messages" and client == "chat" and "redacted" in seen.stem):
        assert got.reasoning == want.reasoning


def check_broken(seen: Recording, want: Expected, got: Seen) -> None:
    """An error recording becomes a well-formed error, never a whole answer."""
    assert got.error
    if seen.status == 200:
        assert want.text.startswith(got.text)
        return
    own_fault = seen.status in (400, 413, 422)
    assert got.status == (seen.status if seen.status == 413 else 400 if own_fault else 502)


def as_object(arguments: str) -> str:
    """Return arguments as Messages has them: the bare input of a custom tool is wrapped."""
    try:
        json.loads(arguments)
    except ValueError:
        return arguments if arguments.startswith("{") else json.dumps({"input": arguments})
    return arguments


def as_seen_by(client: str, want: Expected, *, same: bool) -> Expected:
    """Return what a client of another protocol must see."""
    if same:
        return want
    if client == "chat":
        return replace(want, finish=TO_CHAT[want.finish or ""])
    finish = "tool_use" if want.calls and want.finish != "length" else TO_MESSAGES[want.finish]
    calls = tuple(Call(call.name, as_object(call.arguments)) for call in want.calls)
    return replace(want, finish=finish, text=want.text + want.refusal, calls=calls)

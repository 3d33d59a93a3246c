"""Every recording as upstream, read by all four clients, whole and cut.

What a client must see is computed from the recorded bytes by the independent readers of
``tests/fakes``, and from there by the tables of ``crossing.py``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.policy.health import Health
from tests.conftest import PLANTED_KEY, new_key, soon
from tests.fakes.answers import CUTS, replay
from tests.fakes.cutting import CuttingVendor
from tests.fakes.recordings import (
    PROTOCOLS,
    Expected,
    Recording,
    expected,
    ids,
    needs_recordings,
    select,
)
from tests.server.crossing import RAISED, TYPES, as_seen_by, reason
from tests.server.reading import Readers
from tests.server.seen import Seen

# One byte at a time only where that ends in time: a write and a read for each.
SMALL = 12_000

COUNTING = ("/count_tokens", ":countTokens")
EVERY = [seen for protocol in PROTOCOLS for seen in select(protocol=protocol)]
COUNTED = [seen for seen in EVERY if seen.path.partition("?")[0].endswith(COUNTING)]
RECORDINGS = [seen for seen in EVERY if seen not in COUNTED]

pytestmark = [needs_recordings, pytest.mark.asyncio(loop_scope="module")]


@dataclass(slots=True)
class Stage:
    """One gateway for all exchanges, what it calls, and who calls it."""

    gateway: Gateway
    vendor: CuttingVendor
    readers: Readers


def toml(base_url: str, state_dir: str) -> str:
    """Return a configuration: a model for each protocol of the vendor."""
    upstreams = "".join(
        f"""
[[upstreams]]
name = "{name}"
base_url = "{base_url}"
protocols = ["{protocol}"]
api_keys = ["{PLANTED_KEY}"]

[[models]]
id = "{name}-model"
targets = [{{ upstream = "{name}", model = "plain", reasoning_family = "{name}" }}]
"""
        for name, protocol in PROTOCOLS.items()
    )
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "{state_dir}"

[metrics]
listen = "127.0.0.1:0"
{upstreams}
[[plans]]
name = "default"
models = ["*"]
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("recordings")
    async with contextlib.AsyncExitStack() as stack:
        vendor = await stack.enter_async_context(CuttingVendor())
        log = stack.enter_context((folder / "log").open("wb"))
        text = toml(vendor.base_url, str(folder / "state"))
        gateway = Gateway(parse(text, "test.toml", {}), log_fd=log.fileno())
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        key = await new_key(gateway, "someone@example.org", "default")
        host, port = gateway.addresses[0]
        readers = Readers(f"http://{host}:{port}", key)
        stack.push_async_callback(readers.close)
        yield Stage(gateway, vendor, readers)


def asked_streams(seen: Recording) -> set[bool]:
    """Return whether the client asks for a stream, as who got the recorded answer did.

    Gemini without ``alt=sse`` streams one JSON array: that one must serve either client.
    """
    return {seen.stream, seen.stream or "streamGenerateContent" in seen.path}


@pytest.mark.parametrize("client", PROTOCOLS)
@pytest.mark.parametrize("seen", RECORDINGS, ids=ids(RECORDINGS))
async def test_client_sees_what_was_recorded(seen: Recording, client: str, stage: Stage) -> None:
    want = expected(seen)
    for cut in CUTS:
        if cut is not None and cut < 64 and len(seen.response) > SMALL * cut:
            continue
        stage.vendor.answer = replay(seen, cut=cut)
        for stream in asked_streams(seen):
            # A refusal that was recorded lets its credential rest; the next is another story.
            stage.gateway.state.health = Health()
            # What passes through may contradict itself; what we write may not.
            strict = client == "responses" and client != seen.protocol and cut is None
            more = {"strict": True} if strict else {}
            got = await stage.readers.ask(client, f"{seen.protocol}-model", stream=stream, **more)
            check(seen, client, want, got)
    await soon(lambda: stage.gateway.state.admission.reserved == 0)


@pytest.mark.parametrize("client", ["messages", "responses", "gemini"])
@pytest.mark.parametrize("seen", COUNTED, ids=ids(COUNTED))
async def test_client_is_told_what_was_counted(seen: Recording, client: str, stage: Stage) -> None:
    stage.gateway.state.health = Health()
    stage.vendor.answer = replay(seen, cut=1)
    counted = await stage.readers.count(client, f"{seen.protocol}-model")
    usage = expected(seen).usage
    if usage is not None:
        assert counted == usage.prompt
    else:
        # The vendor refused to count: the caller gets our estimate.
        assert counted > 0


def check(seen: Recording, client: str, want: Expected, got: Seen) -> None:
    """Assert that a client saw what a recording holds."""
    if _breaks_off(seen, client, want):
        check_broken(seen, client, want, got)
        return
    assert got.error is None
    want = as_seen_by(client, seen, want)
    if want.restarts:
        # Passed through as it came; what the client makes of it is its own affair.
        want = replace(want, reasoning=got.reasoning)
    assert got.text == want.text
    assert got.reasoning == want.reasoning
    assert got.refusal == want.refusal
    assert got.calls == list(want.calls)
    assert got.finish == want.finish
    if want.usage is not None:
        assert got.usage == want.usage
    if got.final is not None:
        _same_again(got, got.final)


def _breaks_off(seen: Recording, client: str, want: Expected) -> bool:
    """Return whether the client must get an error.

    What the first of two messages said is out and cannot be taken back: a client of another
    protocol gets an error instead of two answers in one. It has no word either for the
    calls that Gemini itself calls mistakes.
    """
    return not want.whole or (
        client != seen.protocol and (want.restarts > 0 or reason(want) == "error")
    )


def _same_again(got: Seen, final: Seen) -> None:
    assert (final.text, final.reasoning, final.refusal) == (got.text, got.reasoning, got.refusal)
    assert final.calls == got.calls


def check_broken(seen: Recording, client: str, want: Expected, got: Seen) -> None:
    """Assert that a client got a well-formed error, in its SDK's own exception."""
    assert got.error
    check_form(client, got)
    if seen.status == 200:
        assert want.text.startswith(got.text)
        # Nothing that looks like an end of the answer.
        assert client == seen.protocol or got.finish in (None, "failed")
        assert got.status in ((502, None) if seen.stream else (502,))
        return
    # The client's own fault keeps its reason; what is between us and the vendor does not.
    own_fault = seen.status in (400, 413, 422)
    status = 413 if seen.status == 413 else 400 if own_fault else 502
    assert got.status == status
    assert isinstance(got.raised, RAISED[client][status])
    if own_fault:
        assert want.error
        assert want.error[:30] in got.error


def check_form(client: str, got: Seen) -> None:
    """Assert that an error has the form of the client's protocol, early or late."""
    kind = TYPES[client][got.status]
    wire = got.wire
    if client == "messages":
        assert wire["type"] == "error"
        assert wire["request_id"]
        assert wire["error"] == {"type": kind, "message": got.error}
    elif client == "gemini":
        assert wire["error"].items() >= {"message": got.error, "status": kind}.items()
        assert wire["error"]["code"] == (got.status or 502)
    else:
        assert {"message", "type", "param", "code"} <= set(wire)
        assert wire["type"] == kind

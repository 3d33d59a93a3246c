"""A stream from its first byte to its end: held heads, silence, breaks, clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter, soon, toml
from tests.fakes.answers import Answer, Step, failure, frame, stream_answer
from tests.fakes.upstream import FakeUpstream

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
PAIRS = [(path, model) for path in (CHAT, MESSAGES) for model in ("c-model", "m-model")]
pairs = pytest.mark.parametrize(("path", "model"), PAIRS)

FAST = """
[timeouts]
first_content_timeout_s = 0.6
idle_timeout_s = 0.6
answer_timeout_s = 0.6
"""


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "plain"}
    return frame({**head, "choices": [choice], **more})


def event(kind: str, **more: Any) -> bytes:
    return frame({"type": kind, **more}, kind)


def words(model: str, texts: Iterable[str]) -> list[bytes]:
    """Return the frames of some text, without the beginning and the end."""
    if model == "c-model":
        return [chunk({"content": text}) for text in texts]
    return [
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})
        for text in texts
    ]


def begin(model: str) -> list[bytes]:
    """Return frames that come before any content."""
    if model == "c-model":
        return [chunk({"role": "assistant", "content": ""})]
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "plain",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": 1},
    }
    return [
        event("message_start", message=message),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ]


def end(model: str) -> list[bytes]:
    if model == "c-model":
        usage = {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15}
        return [
            chunk({}, "stop"),
            frame(
                {
                    "id": "1",
                    "object": "chat.completion.chunk",
                    "created": 1,
                    "model": "plain",
                    "choices": [],
                    "usage": usage,
                }
            ),
            b"data: [DONE]\n\n",
        ]
    return [
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 4},
        ),
        event("message_stop"),
    ]


def sent(model: str, **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "stream": True,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "x"}],
        **more,
    }


class Reading:
    """A raw streamed answer."""

    def __init__(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.status = status
        self.data = data
        self.headers = headers

    @property
    def text(self) -> str:
        """All words of both protocols."""
        found = ""
        for line in self.data.split(b"\n"):
            if not line.startswith(b"data: {"):
                continue
            value = json.loads(line[6:])
            found += (value.get("delta") or {}).get("text") or ""
            for choice in value.get("choices") or []:
                found += choice["delta"].get("content") or ""
        return found

    @property
    def looks_whole(self) -> bool:
        return b"[DONE]" in self.data or b"message_stop" in self.data

    @property
    def error(self) -> dict[str, Any] | None:
        """The in-band error, the last frame."""
        last = self.data.rstrip().rpartition(b"data: ")[2]
        value = json.loads(last)
        error: dict[str, Any] | None = value.get("error")
        return error


async def ask(
    http: aiohttp.ClientSession, gateway: Running, path: str, body: dict[str, Any]
) -> Reading:
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + path, json=body, headers=headers) as got:
        return Reading(got.status, await got.read(), dict(got.headers))


async def rows(gateway: Running) -> list[Any]:
    await gateway.gateway.state.usage.flush()
    return await gateway.gateway.database.read("SELECT * FROM usage ORDER BY started_at")


@pairs
async def test_head_names_the_request_and_forbids_caches(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([*begin(model), *words(model, ["a", "b"]), *end(model)]))
    got = await ask(http, gateway, path, sent(model))
    low = {name.lower(): value for name, value in got.headers.items()}
    assert (got.status, got.text, got.looks_whole) == (200, "ab", True)
    assert low["content-type"].startswith("text/event-stream")
    assert low["cache-control"] == "no-cache"
    assert low["x-accel-buffering"] == "no"
    assert low["x-request-id"].startswith("req_")
    assert ("request-id" in low) == (path == MESSAGES)
    assert set(low) <= {
        "content-type",
        "cache-control",
        "x-accel-buffering",
        "x-request-id",
        "request-id",
        "transfer-encoding",
    }


@pairs
@pytest.mark.parametrize("how", ["eof", "close", "reset"])
async def test_stream_that_breaks_after_content_ends_in_an_error_of_the_callers_form(
    path: str,
    model: str,
    how: Any,
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.answer(stream_answer([*begin(model), *words(model, ["ab", "cd"]), 0.05], end=how))
    got = await ask(http, gateway, path, sent(model))
    assert got.status == 200
    assert got.text == "abcd"
    assert not got.looks_whole
    error = got.error
    assert error is not None
    assert error["type"] == ("api_error" if path == MESSAGES else "server_error")
    (row,) = await rows(gateway)
    assert (row["outcome"], row["estimated"]) == ("upstream_error", 1)
    assert row["completion"] >= 2
    assert gateway.gateway.state.admission.reserved == 0


@pairs
async def test_stream_that_breaks_before_content_has_a_status_of_its_own(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(lambda _: stream_answer(begin(model), end="eof"))
    got = await ask(http, gateway, path, sent(model))
    assert got.status == 502
    assert json.loads(got.data)["error"]["message"]
    (row,) = await rows(gateway)
    assert (row["status"], row["charged"]) == (502, 0)


@pairs
async def test_error_inside_a_stream_reaches_the_caller_without_secrets(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    words_of_it = "Overloaded: sk-upstream-credential-of-the-operator at http://10.1.2.3/x"
    if model == "c-model":
        late = frame({"error": {"message": words_of_it, "type": "server_error", "code": None}})
    else:
        late = event("error", error={"type": "overloaded_error", "message": words_of_it})
    fake.answer(stream_answer([*begin(model), *words(model, ["ab"]), late, *end(model)]))
    got = await ask(http, gateway, path, sent(model))
    assert got.text == "ab"
    assert not got.looks_whole
    assert got.error is not None
    assert "Overloaded" in got.error["message"]
    assert b"sk-upstream" not in got.data
    assert b"10.1.2.3" not in got.data


@pairs
async def test_silence_is_fed_and_the_answer_still_comes_whole(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.2"))
    steps: list[Step] = [*begin(model), 0.7, *words(model, ["a"]), 0.5, *words(model, ["b"])]
    fake.answer(stream_answer([*steps, *end(model)]))
    got = await ask(http, gateway, path, sent(model))
    assert (got.status, got.text, got.looks_whole) == (200, "ab", True)
    before, _, after = got.data.partition(b'"a"')
    assert before.startswith(b": ping\n\n")
    # Once the stream has begun, each protocol has its own sign of life.
    sign = b"event: ping\n" if path == MESSAGES else b": ping\n\n"
    assert sign in after


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_responses_are_kept_alive_by_events_behind_their_first_one(
    model: str, begun: bool, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.2"))
    quiet: list[Step] = [*begin(model), 0.7] if begun else [0.7, *begin(model)]
    fake.answer(stream_answer([*quiet, *words(model, ["a"]), *end(model)]))
    body = {"model": model, "stream": True, "input": "x"}
    got = await ask(http, gateway, RESPONSES, body)
    events = [line[7:].decode() for line in got.data.split(b"\n") if line.startswith(b"event: ")]
    assert events[:3] == ["response.created", "response.in_progress", "keepalive"]
    assert events.count("response.created") == 1
    assert events[-1] == "response.completed"


async def test_failure_behind_the_first_event_of_responses_is_in_band(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.2"))
    fake.always(lambda _: stream_answer([0.5], end="eof"))
    got = await ask(http, gateway, RESPONSES, {"model": "c-model", "stream": True, "input": "x"})
    events = [line[7:].decode() for line in got.data.split(b"\n") if line.startswith(b"event: ")]
    assert events.count("response.created") == 1
    assert events[-2:] == ["response.failed", "error"]


@pytest.mark.parametrize("after_content", [False, True])
async def test_comments_of_an_upstream_do_not_put_off_our_signs_of_life(
    after_content: bool, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.3"))
    said = words("c-model", ["a"])
    comments: list[Step] = [each for _ in range(12) for each in (b": still here\n\n", 0.1)]
    steps: list[Step] = [*said, *comments] if after_content else [*comments, *said]
    fake.answer(stream_answer([*begin("c-model"), *steps, *end("c-model")]))
    got = await ask(http, gateway, CHAT, sent("c-model"))
    assert (got.text, got.looks_whole) == ("a", True)
    assert got.data.count(b": ping\n\n") >= 2


async def test_hidden_reasoning_does_not_put_off_our_signs_of_life(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.3"))
    thought = chunk({"reasoning_content": "hm"})
    thinking: list[Step] = [each for _ in range(12) for each in (thought, 0.1)]
    steps = [*begin("c-model"), *thinking, *words("c-model", ["a"]), *end("c-model")]
    fake.answer(stream_answer(steps))
    hidden = {"thinking": {"type": "adaptive", "display": "omitted"}}
    got = await ask(http, gateway, MESSAGES, sent("c-model", **hidden))
    assert (got.text, got.looks_whole) == ("a", True)
    assert b"hm" not in got.data
    assert got.data.count(b"event: ping\n") >= 2


@pairs
async def test_failure_after_a_fed_silence_is_in_band(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.2"))
    fake.always(lambda _: stream_answer([*begin(model), 0.5], end="eof"))
    got = await ask(http, gateway, path, sent(model))
    assert got.status == 200
    assert got.error is not None
    assert not got.looks_whole


@pairs
async def test_upstream_without_any_content_is_given_up(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, extra=FAST))
    hold = fake.hold()
    fake.always(lambda _: stream_answer([*begin(model), hold]))
    got = await ask(http, gateway, path, sent(model))
    assert got.status == 504
    kind = json.loads(got.data)["error"]["type"]
    assert kind == ("timeout_error" if path == MESSAGES else "server_error")
    await fake.client_gone()


@pairs
async def test_upstream_that_falls_silent_after_content_is_given_up_in_band(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, extra=FAST))
    fake.answer(stream_answer([*begin(model), *words(model, ["ab"]), fake.hold()]))
    got = await ask(http, gateway, path, sent(model))
    assert (got.status, got.text) == (200, "ab")
    assert got.error is not None
    assert not got.looks_whole
    await fake.client_gone()


@pairs
async def test_whole_answer_that_never_comes_is_a_timeout(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, extra=FAST))
    hold = fake.hold()
    fake.always(lambda _: Answer((hold,)))
    got = await ask(http, gateway, path, sent(model, stream=False))
    assert got.status == 504
    assert gateway.gateway.state.admission.reserved == 0


@pairs
@pytest.mark.parametrize("moment", ["mid-stream", "before content", "whole"])
async def test_client_that_leaves_stops_the_upstream_and_is_charged(
    path: str, model: str, moment: str, gateway: Running, fake: FakeUpstream
) -> None:
    said = words(model, ["some words "] * 5) if moment == "mid-stream" else []
    steps: list[Step] = [fake.hold()] if moment == "whole" else [*begin(model), *said, fake.hold()]
    fake.answer(stream_answer(steps))
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with aiohttp.ClientSession() as http:
        call = asyncio.create_task(
            ask_until(http, gateway.base_url + path, headers, sent(model, stream=moment != "whole"))
        )
        await fake.received(1)
        if moment == "mid-stream":
            await soon(lambda: gateway.gateway.state.metrics.streams_in_flight == 1)
            await asyncio.sleep(0.1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await fake.client_gone(within_s=1)
    await soon(lambda: gateway.gateway.state.admission.running == 0)
    (row,) = await rows(gateway)
    assert row["outcome"] == "client_gone"
    assert row["estimated"] == 1
    assert row["charged"] > 0
    if moment == "mid-stream":
        assert row["completion"] >= 15
    assert gateway.gateway.state.admission.reserved == 0


async def ask_until(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str], body: dict[str, Any]
) -> None:
    async with http.post(url, json=body, headers=headers) as got:
        await got.read()


async def test_second_credential_answers_when_the_first_is_refused(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = toml(fake.base_url).replace(
        'api_keys = ["sk-upstream-credential-of-the-operator"]', 'api_keys = ["sk-a", "sk-b"]'
    )
    gateway = await start(text)

    def answer(seen: Any) -> Answer:
        if seen.header("authorization") == "Bearer sk-a":
            return failure(401, "no such key sk-a")
        return stream_answer([*begin("c-model"), *words("c-model", ["ab"]), *end("c-model")])

    fake.always(answer)
    got = await ask(http, gateway, CHAT, sent("c-model"))
    assert (got.status, got.text) == (200, "ab")
    assert len(fake.requests) == 2
    assert len(await rows(gateway)) == 1


async def test_stalled_reader_pauses_the_upstream(gateway: Running, fake: FakeUpstream) -> None:
    text = "y" * 8_000
    produced = 0

    def pieces() -> Iterable[bytes]:
        nonlocal produced
        for piece in words("c-model", [text] * 4_000):
            produced += len(piece)
            yield piece

    fake.answer(Answer(steps=tuple(pieces()), content_type="text/event-stream"))
    host, port = gateway.gateway.addresses[0]
    body = json.dumps(sent("c-model")).encode()
    reader, writer = await asyncio.open_connection(host, port, limit=1_024)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
        % (CHAT.encode(), gateway.key.encode(), len(body))
        + body
    )
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.5)
    # 32 MB wait at the vendor; what has left it stands in socket buffers, not with us.
    assert fake.last.outcome is None
    transport = next(iter(gateway.gateway.connections())).transport
    assert transport is not None
    assert transport.get_write_buffer_size() < 1_000_000
    writer.transport.abort()
    await fake.client_gone()

"""Errors as both SDKs raise them: class, status, type and code, words, and what to do next."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import PLANTED_KEY, Running, Starter, toml
from tests.fakes.answers import (
    SECRET,
    Answer,
    bytes_answer,
    failure,
    json_answer,
    refusing_url,
    stream_answer,
)
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import MODEL, Turn, begin, chat_frames, event, messages_frames, vendor
from tests.server.scripts import chunk as chat_chunk
from tests.server.sdks import HI, Sdks, connected

# Canonical kind -> (OpenAI's class, type, code), (Anthropic's class, type).
KINDS: dict[str, tuple[tuple[Any, str, str | None], tuple[Any, str]]] = {
    "bad_request": (
        (openai.BadRequestError, "invalid_request_error", None),
        (anthropic.BadRequestError, "invalid_request_error"),
    ),
    "context_too_long": (
        (openai.BadRequestError, "invalid_request_error", "context_length_exceeded"),
        (anthropic.BadRequestError, "invalid_request_error"),
    ),
    "unauthenticated": (
        (openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
        (anthropic.AuthenticationError, "authentication_error"),
    ),
    "plan_forbidden": (
        (openai.PermissionDeniedError, "permission_error", "model_not_allowed"),
        (anthropic.PermissionDeniedError, "permission_error"),
    ),
    "model_not_found": (
        (openai.NotFoundError, "invalid_request_error", "model_not_found"),
        (anthropic.NotFoundError, "not_found_error"),
    ),
    "too_large": (
        (openai.APIStatusError, "invalid_request_error", "request_too_large"),
        (anthropic.RequestTooLargeError, "request_too_large"),
    ),
    "rate_limited": (
        (openai.RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
        (anthropic.RateLimitError, "rate_limit_error"),
    ),
    "quota_exceeded": (
        (openai.RateLimitError, "insufficient_quota", "insufficient_quota"),
        (anthropic.RateLimitError, "rate_limit_error"),
    ),
    "upstream_error": (
        (openai.InternalServerError, "server_error", "upstream_error"),
        (anthropic.InternalServerError, "api_error"),
    ),
    "upstream_timeout": (
        (openai.InternalServerError, "server_error", "upstream_timeout"),
        (anthropic.DeadlineExceededError, "timeout_error"),
    ),
}
FOUR = [(client, model) for client in ("chat", "messages") for model in ("c-model", "m-model")]
four = pytest.mark.parametrize(
    ("client", "model"), FOUR, ids=[f"{client}-{model[0]}" for client, model in FOUR]
)
PROTOCOLS = {"c-model": "openai-chat", "m-model": "anthropic"}


@dataclass(frozen=True, slots=True)
class Refused:
    """An error as a caller meets it."""

    error: Any
    message: str
    headers: Any


async def refused(
    sdks: Sdks, client: str, model: str, kind: str, status: int, **more: Any
) -> Refused:
    """Ask, and return the error, checked to be of this kind in the caller's vocabulary."""
    with pytest.raises((openai.APIError, anthropic.APIError)) as caught:
        await sdks.ask(client, model, **more)
    error: Any = caught.value
    for_chat, for_messages = KINDS[kind]
    headers = error.response.headers
    assert error.status_code == status
    assert headers["content-type"] == "application/json"
    if client == "chat":
        assert type(error) is for_chat[0]
        assert (error.type, error.code) == for_chat[1:]
        assert set(error.body) == {"message", "type", "param", "code"}
        assert error.request_id == headers["x-request-id"]
        message = error.body["message"]
    else:
        assert type(error) is for_messages[0]
        assert error.type == for_messages[1]
        assert set(error.body) == {"type", "error", "request_id"}
        assert set(error.body["error"]) == {"type", "message"}
        assert error.body["request_id"] == error.request_id == headers["request-id"]
        assert headers["request-id"] == headers["x-request-id"]
        message = error.api_message
    told = json.dumps(error.body) + str(headers)
    for secret in (SECRET, PLANTED_KEY, MODEL):
        assert secret not in told
    return Refused(error, message, headers)


def advice(headers: Any) -> tuple[str | None, str | None]:
    """Return what tells a client whether, and when, to ask again."""
    return headers.get("x-should-retry"), headers.get("retry-after")


NEVER = ("false", None)

# --- our own ------------------------------------------------------------------------------------

LIMITS = """
[[plans]]
name = "narrow"
models = ["other-*"]

[[plans]]
name = "slow"
models = ["*"]
requests_per_minute = 1

[[plans]]
name = "small"
models = ["*"]
daily_tokens = 10
"""


@four
async def test_wrong_key(
    client: str, model: str, gateway: Running, connect: Connect, fake: FakeUpstream
) -> None:
    for key in ("sk-kurol-nobody", "sk-proj-of-another-vendor"):
        sdks = connect(gateway, key)
        got = await refused(sdks, client, model, "unauthenticated", 401)
        assert advice(got.headers) == NEVER
        assert "API key" in got.message
        assert key not in got.message
    assert fake.requests == []


@four
async def test_model_outside_the_plan(
    client: str, model: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    running = await start(toml(fake.base_url, extra=LIMITS))
    sdks = connect(running, await running.new_key("narrow"))
    got = await refused(sdks, client, model, "plan_forbidden", 403)
    assert advice(got.headers) == NEVER
    assert model in got.message
    assert got.message.endswith("ops@example.org")
    if client == "chat":
        assert got.error.param == "model"
    assert fake.requests == []


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_unknown_model(client: str, sdks: Sdks, fake: FakeUpstream) -> None:
    for name in ("no-such-model", "c-model-2", "C-MODEL", "models/c-model"):
        got = await refused(sdks, client, name, "model_not_found", 404)
        assert advice(got.headers) == NEVER
        assert name in got.message
        if client == "chat":
            assert got.error.param == "model"
    assert fake.requests == []


async def test_route_of_another_kind_of_model(sdks: Sdks) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await sdks.chat.embeddings.create(model="c-model", input="x")
    assert (caught.value.type, caught.value.code) == ("invalid_request_error", "unknown_url")
    assert "chat models" in str(caught.value)
    assert advice(caught.value.response.headers) == NEVER


@four
async def test_too_many_requests_a_minute(
    client: str, model: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    running = await start(toml(fake.base_url, extra=LIMITS))
    sdks = connect(running, await running.new_key("slow"))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask(client, model)
    got = await refused(sdks, client, model, "rate_limited", 429)
    retry, after = advice(got.headers)
    assert retry is None
    assert after is not None
    assert 1 <= int(after) <= 60
    assert "per minute" in got.message
    limit = {
        "chat": "x-ratelimit-remaining-requests",
        "messages": "anthropic-ratelimit-requests-remaining",
    }
    assert got.headers[limit[client]] == "0"
    assert len(fake.requests) == 1


@four
async def test_used_up_day(
    client: str, model: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    running = await start(toml(fake.base_url, extra=LIMITS))
    sdks = connect(running, await running.new_key("small"))
    got = await refused(sdks, client, model, "quota_exceeded", 429)
    assert advice(got.headers) == NEVER
    assert "00:00 UTC" in got.message
    assert got.message.endswith("ops@example.org")
    assert fake.requests == []


# --- the upstream's -----------------------------------------------------------------------------

WORDS = (
    f"Trouble with {MODEL}: key sk-abcdef0123456789 and {PLANTED_KEY} at https://10.1.2.3/v1 failed"
)
MAY_RETRY = (None, "1")
STATUSES: list[tuple[int, str | None, str, int, tuple[str | None, str | None]]] = [
    (400, None, "bad_request", 400, NEVER),
    (413, None, "too_large", 413, NEVER),
    (422, None, "bad_request", 400, NEVER),
    (401, None, "upstream_error", 502, NEVER),
    (401, "7", "upstream_error", 502, NEVER),
    (402, None, "upstream_error", 502, NEVER),
    (403, None, "upstream_error", 502, NEVER),
    (404, None, "upstream_error", 502, NEVER),
    (408, None, "upstream_error", 502, MAY_RETRY),
    (409, None, "upstream_error", 502, MAY_RETRY),
    (425, None, "upstream_error", 502, MAY_RETRY),
    (429, None, "upstream_error", 502, MAY_RETRY),
    (429, "7", "upstream_error", 502, (None, "7")),
    (429, "0.2", "upstream_error", 502, (None, "1")),
    (429, "60", "upstream_error", 502, (None, "60")),
    (429, "61", "upstream_error", 502, NEVER),
    (500, None, "upstream_error", 502, MAY_RETRY),
    (503, "9", "upstream_error", 502, (None, "9")),
    (529, None, "upstream_error", 502, MAY_RETRY),
    (302, None, "upstream_error", 502, MAY_RETRY),
    (204, None, "upstream_error", 502, MAY_RETRY),
]


@four
@pytest.mark.parametrize(
    ("status", "after", "kind", "ours", "next_step"),
    STATUSES,
    ids=[f"{row[0]}" + (f" after {row[1]}" if row[1] else "") for row in STATUSES],
)
async def test_upstreams_status_becomes_ours(
    status: int,
    after: str | None,
    kind: str,
    ours: int,
    next_step: tuple[str | None, str | None],
    client: str,
    model: str,
    sdks: Sdks,
    fake: FakeUpstream,
) -> None:
    if status == 204:
        fake.always(bytes_answer(b"", status=status))
    else:
        fake.always(failure(status, WORDS, protocol=PROTOCOLS[model], retry_after=after))
    # Every other one streamed: the head is still ours to write.
    stream = (status + len(client) + len(model)) % 2 == 0
    got = await refused(sdks, client, model, kind, ours, stream=stream)
    assert advice(got.headers) == next_step
    assert "10.1.2.3" not in got.message
    assert "sk-abcdef" not in got.message
    if ours != 502:
        assert got.message.startswith(f"Trouble with {model}: key *** and *** at [url]")
    if status in (401, 402, 403):
        assert "Trouble" not in got.message
    if status == 404:
        assert model in got.message
    log = sdks.head["x-request-id"]
    assert log.startswith("req_")


TOO_LONG = {
    "c-model": {
        "error": {
            "message": "This model's maximum context length is 8192 tokens. Shorten it.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    },
    "m-model": {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "message": "prompt is too long: 210000 tokens > 200000 maximum",
        },
    },
}


@four
async def test_prompt_that_does_not_fit(
    client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(json_answer(TOO_LONG[model], status=400))
    got = await refused(sdks, client, model, "context_too_long", 400)
    assert advice(got.headers) == NEVER
    words = TOO_LONG[model]["error"]["message"]  # type: ignore[index]
    assert words in got.message
    if client == "messages":
        assert got.message.startswith("prompt is too long")


@four
@pytest.mark.parametrize("stream", [False, True])
async def test_sdk_does_not_repeat_what_cannot_be_cured(
    stream: bool, client: str, model: str, gateway: Running, fake: FakeUpstream
) -> None:
    sdks = connected(gateway.base_url, gateway.key, max_retries=2)
    fake.always(failure(401, protocol=PROTOCOLS[model]))
    await refused(sdks, client, model, "upstream_error", 502, stream=stream)
    assert len(fake.requests) == 1
    await sdks.close()


@pytest.mark.parametrize(("client", "model"), [("chat", "m-model"), ("messages", "c-model")])
async def test_sdk_repeats_what_may_be_cured(
    client: str, model: str, gateway: Running, fake: FakeUpstream
) -> None:
    sdks = connected(gateway.base_url, gateway.key, max_retries=1)
    fake.answer(failure(500, protocol=PROTOCOLS[model]))
    fake.always(vendor(Turn(words=("Better.",))))
    assert (await sdks.ask(client, model)).text == "Better."
    assert [head.get("retry-after") for head in sdks.wire.heads] == ["1", None]
    await sdks.close()


BROKEN: list[tuple[str, Answer]] = [
    ("nothing", bytes_answer(b"")),
    ("a page", bytes_answer(b"<html>hello</html>", "text/html")),
    ("no JSON", bytes_answer(b'{"id": ')),
    ("an array", json_answer([])),
    ("no answer in it", json_answer({"id": "x"})),
    ("an error", json_answer({"error": {"message": WORDS, "type": "server_error"}})),
    ("101 levels", bytes_answer(b'{"x":' + b"[" * 101 + b"]" * 101 + b"}")),
]


@four
@pytest.mark.parametrize("answer", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_whole_answer_that_is_none(
    answer: Answer, client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(answer)
    got = await refused(sdks, client, model, "upstream_error", 502)
    assert advice(got.headers) == MAY_RETRY


@four
@pytest.mark.parametrize("stream", [False, True])
async def test_upstream_that_nobody_serves(
    stream: bool, client: str, model: str, start: Starter, connect: Connect
) -> None:
    url = refusing_url()
    sdks = connect(await start(toml(url)))
    got = await refused(sdks, client, model, "upstream_error", 502, stream=stream)
    assert advice(got.headers) == MAY_RETRY
    assert url.rpartition(":")[2] not in got.message
    assert "127.0.0.1" not in got.message


@four
@pytest.mark.parametrize("stream", [False, True])
async def test_upstream_that_says_nothing(
    stream: bool, client: str, model: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    limits = "first_content_timeout_s = 0.2\nanswer_timeout_s = 0.2"
    sdks = connect(await start(toml(fake.base_url, model=limits)))
    kind = "text/event-stream" if stream else "application/json"
    fake.always(Answer((fake.hold(),), content_type=kind))
    got = await refused(sdks, client, model, "upstream_timeout", 504, stream=stream)
    assert advice(got.headers) == MAY_RETRY


# --- inside a stream ----------------------------------------------------------------------------

SAID = {
    "c-model": [
        chat_chunk({"role": "assistant", "content": ""}),
        chat_chunk({"content": "Half an "}),
        chat_chunk({"content": "answer"}),
    ],
    "m-model": list(messages_frames(Turn(words=("Half an ", "answer"))))[:4],
}
OPENING = {"c-model": SAID["c-model"][:1], "m-model": [begin()]}
LATE = {
    "c-model": chat_chunk(None, error={"message": WORDS, "type": "server_error", "code": 500}),
    "m-model": event("error", error={"type": "overloaded_error", "message": WORDS}),
}
STREAMS: list[tuple[str, Any]] = [
    ("an error", lambda model: stream_answer([*SAID[model], LATE[model]])),
    ("the end", lambda model: stream_answer(SAID[model])),
    ("a close", lambda model: stream_answer(SAID[model], end="close")),
    ("a reset", lambda model: stream_answer(SAID[model], end="reset")),
    ("half an event", lambda model: stream_answer([*SAID[model], SAID[model][-1][:-9]])),
]


async def read(sdks: Sdks, client: str, model: str) -> tuple[str, Any]:
    """Read a stream; return what came before the error, and the error."""
    words = ""
    try:
        if client == "chat":
            chunks = await sdks.chat.chat.completions.create(model=model, messages=HI, stream=True)
            async for each in chunks:
                assert each.choices[0].finish_reason is None
                words += each.choices[0].delta.content or ""
        else:
            events = await sdks.messages.messages.create(
                model=model, messages=HI, max_tokens=9, stream=True
            )
            async for one in events:
                assert one.type not in ("message_delta", "message_stop")
                if one.type == "content_block_delta" and one.delta.type == "text_delta":
                    words += one.delta.text
    except (openai.APIError, anthropic.APIError) as error:
        return words, error
    raise AssertionError("the stream ended without an error")


@four
@pytest.mark.parametrize("script", [row[1] for row in STREAMS], ids=[row[0] for row in STREAMS])
async def test_stream_that_breaks_off_says_so_and_never_looks_whole(
    script: Any, client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(script(model))
    words, error = await read(sdks, client, model)
    assert words == "Half an answer"
    if client == "chat":
        assert type(error) is openai.APIError
        assert (error.type, error.code) == ("server_error", "upstream_error")
        assert set(error.body) == {"message", "type", "param", "code"}
        message = error.message
    else:
        assert type(error) is anthropic.APIStatusError
        assert (error.status_code, error.type) == (200, "api_error")
        assert error.body["request_id"] == sdks.head["request-id"]
        message = error.api_message
    assert message
    for secret in (PLANTED_KEY, "sk-abcdef", "10.1.2.3", MODEL):
        assert secret not in str(error.body)
    if "Trouble" in str(error.body):
        assert f"Trouble with {model}: key *** and *** at [url]" in message


@four
async def test_error_before_any_content_has_a_status(
    client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(stream_answer([*OPENING[model], LATE[model]]))
    got = await refused(sdks, client, model, "upstream_error", 502, stream=True)
    assert f"Trouble with {model}" in got.message
    assert advice(got.headers) == MAY_RETRY


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_accumulators_of_both_sdks_refuse_half_an_answer(
    model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(stream_answer(SAID[model], end="close"))
    with pytest.raises(openai.APIError):
        await sdks.ask("chat", model, stream=True)
    with pytest.raises(anthropic.APIError):
        await sdks.ask("messages", model, stream=True)


async def test_whole_stream_without_its_last_mark_is_whole(sdks: Sdks, fake: FakeUpstream) -> None:
    # A finish reason ends a Chat answer; the mark that clients look for is ours to send.
    frames = list(chat_frames(Turn(words=("All of it",))))[:-1]
    fake.always(stream_answer(frames))
    for client in ("chat", "messages"):
        heard = await sdks.ask(client, "c-model", stream=True)
        assert heard.text == "All of it"
        assert heard.finish in ("stop", "end_turn")

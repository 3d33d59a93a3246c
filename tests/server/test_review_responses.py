"""Faults that a review of the Responses protocol met in the running gateway."""

from __future__ import annotations

import io
import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import PLANTED_KEY, Running, Starter
from tests.fakes.answers import frame, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_stream_life import rows

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
GEMINI = "/v1beta/models/model:streamGenerateContent?alt=sse"
USER = [{"role": "user", "content": "hi"}]
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"model": "model", "stream": True, "messages": USER},
    MESSAGES: {"model": "model", "stream": True, "messages": USER, "max_tokens": 99},
    RESPONSES: {"model": "model", "stream": True, "input": "hi"},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
every_client = pytest.mark.parametrize("path", ASKED)


def configuration(base_url: str) -> str:
    """Return a configuration with one model behind the Responses protocol."""
    return f"""
[server]
listen = "127.0.0.1:0"
state_dir = "state"
[metrics]
listen = "127.0.0.1:0"
[[upstreams]]
name = "responses"
base_url = "{base_url}"
protocols = ["openai-responses"]
api_keys = ["{PLANTED_KEY}"]
[[models]]
id = "model"
targets = [{{ upstream = "responses", model = "plain", reasoning_family = "gpt" }}]
[[plans]]
name = "default"
models = ["*"]
"""


@pytest.fixture
async def running(start: Starter, fake: FakeUpstream) -> Running:
    """Return a gateway in front of a Responses vendor."""
    return await start(configuration(fake.base_url))


class Got:
    """What a client got."""

    def __init__(self, status: int, headers: dict[str, str], text: str) -> None:
        self.status = status
        self.headers = headers
        self.text = text

    @property
    def message(self) -> str:
        """The words of an error with a status."""
        message: str = json.loads(self.text)["error"]["message"]
        return message


async def ask(http: aiohttp.ClientSession, running: Running, path: str, body: bytes = b"") -> Got:
    """Send a request, the usual one of a path when no other is given."""
    data = io.BytesIO(body or json.dumps(ASKED[path]).encode())
    headers = {"authorization": f"Bearer {running.key}", "content-type": "application/json"}
    async with http.post(running.base_url + path, data=data, headers=headers) as got:
        return Got(got.status, dict(got.headers), await got.text())


def event(kind: str, **fields: Any) -> bytes:
    """Write an event of a Responses stream."""
    return frame({"type": kind, **fields}, kind)


def response(status: str, **fields: Any) -> dict[str, Any]:
    """Return a response object of the vendor."""
    base = {"id": "resp_1", "object": "response", "created_at": 1, "model": "plain", "output": []}
    return {**base, "status": status, **fields}


# --- a prompt that is too long ------------------------------------------------------------

TOO_LONG = "Your input exceeds the context window of this model. Please adjust your input."
FAILED = response("failed", error={"code": "context_length_exceeded", "message": TOO_LONG})
CREATED = event("response.created", sequence_number=0, response=response("in_progress"))
WORDS = event(
    "response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta="Hello"
)


@every_client
async def test_prompt_that_is_too_long_inside_a_stream_is_a_400_that_says_so(
    path: str, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([CREATED, event("response.failed", response=FAILED)]))
    got = await ask(http, running, path)
    assert got.status == 400
    assert got.headers["x-should-retry"] == "false"
    said = f"prompt is too long: {TOO_LONG}" if path == MESSAGES else TOO_LONG
    assert got.message == said
    if path in (CHAT, RESPONSES):
        assert json.loads(got.text)["error"]["code"] == "context_length_exceeded"


async def test_prompt_that_is_too_long_in_a_whole_answer_is_a_400_that_says_so(
    running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(json_answer(FAILED))
    body = json.dumps({**ASKED[MESSAGES], "stream": False}).encode()
    got = await ask(http, running, MESSAGES, body)
    assert (got.status, got.message) == (400, f"prompt is too long: {TOO_LONG}")


@pytest.mark.parametrize("stream", [True, False])
async def test_same_words_behind_content_of_the_same_read_are_a_broken_answer(
    stream: bool, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([CREATED + WORDS + event("response.failed", response=FAILED)]))
    body = json.dumps({**ASKED[CHAT], "stream": stream}).encode()
    got = await ask(http, running, CHAT, body)
    assert (got.status, got.message) == (502, f"The upstream's answer failed: {TOO_LONG}")


@every_client
async def test_same_words_behind_content_are_a_broken_answer(
    path: str, running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.answer(stream_answer([CREATED, WORDS, event("response.failed", response=FAILED)]))
    got = await ask(http, running, path)
    assert got.status == 200
    assert f"The upstream's answer failed: {TOO_LONG}" in got.text
    assert "prompt is too long" not in got.text


async def test_answer_that_fails_behind_its_bare_beginning_costs_nothing(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = configuration(fake.base_url)
    running = await start(text.replace("[server]", "[server]\nkeepalive_interval_s = 0.05", 1))
    # The beginning goes out with the first sign of life: Codex wants it before.
    failed = event("response.failed", response=response("failed", error={"message": "boom"}))
    fake.answer(stream_answer([CREATED, 0.3, failed]))
    got = await ask(http, running, RESPONSES)
    assert got.status == 200
    assert got.text.index("response.created") < got.text.index("keepalive")
    assert "boom" in got.text
    (row,) = await rows(running)
    assert (row["outcome"], row["prompt"], row["charged"]) == ("upstream_error", 0, 0)
    assert len(fake.requests) == 1


# --- what passes ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 1_100_000], ids=["parsed", "scanned"])
@pytest.mark.parametrize(
    ("name", "twice"),
    [
        ("previous_response_id", '"previous_response_id":"resp_2","previous_response_id":null'),
        ("previous_response_id", '"previous_response_\\u0069d":"r","previous_response_id":null'),
        ("conversation", '"conversation":"conv_1","conversation":null'),
        ("background", '"background":true,"background":false'),
        ("input", '"input":[{"type":"item_reference","id":"msg_1"}],"input":"hi"'),
    ],
)
async def test_state_is_not_hidden_behind_a_second_member_of_the_same_name(
    name: str,
    twice: str,
    size: int,
    running: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    rest = "" if name == "input" else '"input":"hi",'
    body = f'{{"model":"model",{rest}{twice},"instructions":"{"x" * size}"}}'
    got = await ask(http, running, RESPONSES, body.encode())
    assert (got.status, got.message) == (400, f"The field {name} is given twice.")
    assert fake.requests == []

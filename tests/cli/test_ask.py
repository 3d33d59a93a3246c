"""``ask``: what it sends, what it prints, and every way that an answer can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import Result

from tests.cli.sites import COMMAND, LIMIT_S, Site, clean_environment, end
from tests.fakes.answers import refusing_url
from tests.fakes.raw import READ, RESET, RawStep, RawUpstream, http

KEY = "sk-kurol-" + "k" * 43
SSE = "text/event-stream; charset=utf-8"


def chat(*chunks: dict[str, Any], done: bool = True) -> bytes:
    frames = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*frames, "data: [DONE]\n\n" if done else ""]).encode()


def said(text: str, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def messages(*events: dict[str, Any]) -> bytes:
    return "".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n" for e in events).encode()


CHAT = chat(said("Hel"), said("lo", "stop"), {"choices": [], "usage": {"prompt_tokens": 3}})
MESSAGES = messages(
    {"type": "message_start", "message": {"usage": {"input_tokens": 3}}},
    {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "thinking_delta", "thinking": "x"},
    },
    {"type": "ping"},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


async def ask(
    site: Site, script: Sequence[RawStep], *args: str, suffix: str = "", **options: Any
) -> tuple[Result, bytes]:
    """Ask a scripted server; return the verb's result and what it sent."""
    async with RawUpstream(script) as server:
        env = {"KUROL_BASE_URL": server.base_url + suffix, "KUROL_API_KEY": KEY}
        result = await asyncio.wait_for(
            asyncio.to_thread(site.run, "ask", "demo-echo", *args, env=env, **options), LIMIT_S
        )
        return result, bytes(server.received[0])


def sent(received: bytes) -> tuple[str, dict[str, str], Any]:
    """Return request line, headers and body."""
    head, _, body = received.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return line, headers, json.loads(body)


async def test_chat_is_asked_and_heard(site: Site) -> None:
    result, received = await ask(site, [READ, http(CHAT, content_type=SSE)], "Hi!")
    assert (result.exit_code, result.stdout) == (0, "Hello\n")
    line, headers, body = sent(received)
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert headers["authorization"] == f"Bearer {KEY}".lower()
    assert (body["model"], body["stream"]) == ("demo-echo", True)
    assert body["messages"] == [{"role": "user", "content": "Hi!"}]


async def test_messages_are_asked_and_heard_without_the_thinking(site: Site) -> None:
    script = [READ, http(MESSAGES, content_type=SSE)]
    result, received = await ask(site, script, "Hi!", "--protocol", "anthropic")
    assert (result.exit_code, result.stdout) == (0, "Hello\n")
    line, headers, body = sent(received)
    assert line == "POST /v1/messages HTTP/1.1"
    assert headers["x-api-key"] == KEY.lower()
    assert headers["anthropic-version"] == "2023-06-01"
    assert body["max_tokens"] > 0


@pytest.mark.parametrize(
    ("args", "answer", "usage", "finish"),
    [
        ((), CHAT, {"prompt_tokens": 3}, "stop"),
        (
            ("--protocol", "anthropic"),
            MESSAGES,
            {"input_tokens": 3, "output_tokens": 2},
            "end_turn",
        ),
    ],
)
async def test_json_has_the_whole_answer(
    site: Site, args: tuple[str, ...], answer: bytes, usage: dict[str, int], finish: str
) -> None:
    reply = http(answer, content_type=SSE, headers=["x-request-id: req_1"])
    result, _ = await ask(site, [READ, reply], "Hi!", "--json", *args)
    value = json.loads(result.stdout)
    assert (value["text"], value["usage"], value["finish_reason"]) == ("Hello", usage, finish)
    assert value["request_id"] == "req_1"


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_base_url_of_either_sdk_will_do(site: Site, suffix: str) -> None:
    _, received = await ask(site, [READ, http(CHAT, content_type=SSE)], "Hi!", suffix=suffix)
    assert received.startswith(b"POST /v1/chat/completions ")


async def test_text_comes_from_standard_input(site: Site) -> None:
    script = [READ, http(CHAT, content_type=SSE)]
    _, received = await ask(site, script, "-", stdin="from a pipe")
    assert sent(received)[2]["messages"][0]["content"] == "from a pipe"


async def test_text_is_printed_as_it_arrives(site: Site) -> None:
    seen = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(chat(said("first "), done=False), content_type=SSE))
        await asyncio.wait_for(seen.wait(), LIMIT_S)
        writer.write(chat(said("second", "stop")))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "ask",
        "demo-echo",
        "Hi!",
        env=clean_environment(KUROL_BASE_URL=f"http://127.0.0.1:{port}", KUROL_API_KEY=KEY),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readexactly(6), LIMIT_S) == b"first "
    seen.set()
    assert await asyncio.wait_for(process.stdout.read(), LIMIT_S) == b"second\n"
    assert await asyncio.wait_for(process.wait(), LIMIT_S) == 0
    await end(process)
    server.close()
    await server.wait_closed()


# --- failures ---------------------------------------------------------------------------

REFUSAL = b'{"error": {"message": "There is no model of this name."}}'
ERROR = b'{"error": {"message": "The upstream broke off."}}'
FAILURES: list[tuple[str, list[RawStep], str]] = [
    ("refused", [READ, http(REFUSAL, status="404 Not Found")], "404: There is no model of"),
    ("refused in words of another", [READ, http(b"<p>", status="502 Bad Gateway")], "502: Bad"),
    (
        "error in the stream",
        [READ, http(chat(said("Hel"), json.loads(ERROR), done=False), content_type=SSE)],
        "The upstream broke off.",
    ),
    (
        "stream without its end",
        [READ, http(chat(said("Hel"), done=False), content_type=SSE)],
        "the answer broke off",
    ),
    ("reset", [READ, RESET], "gave no answer"),
    ("closed", [READ], "gave no answer"),
    ("no HTTP", [READ, b"SSH-2.0-OpenSSH\r\n"], "gave no answer"),
    ("another protocol", [READ, http(b"data: [1]\n\n", content_type=SSE)], "not of this protocol"),
    ("no stream", [READ, http(b"hello")], "the answer broke off"),
]


@pytest.mark.parametrize(
    ("script", "text"), [each[1:] for each in FAILURES], ids=[each[0] for each in FAILURES]
)
async def test_failure_is_one_line(site: Site, script: list[RawStep], text: str) -> None:
    result, _ = await ask(site, script, "Hi!")
    assert result.exit_code == 1
    assert text in result.stderr
    assert result.stderr.count("\n") == 1
    assert KEY not in result.output


@pytest.mark.parametrize(
    "answer",
    [
        http(REFUSAL, status="404 Not Found", headers=["x-request-id: req_1"]),
        http(chat(json.loads(ERROR), done=False), headers=["x-request-id: req_1"]),
        http(chat(done=False), headers=["x-request-id: req_1"]),
    ],
    ids=["refused", "error in the stream", "broken off"],
)
async def test_failure_names_the_request(site: Site, answer: bytes) -> None:
    result, _ = await ask(site, [READ, answer], "Hi!")
    assert result.stderr.endswith(" (request req_1)\n")


async def test_what_was_heard_before_a_failure_stays(site: Site) -> None:
    script = [READ, http(chat(said("Hel"), done=False), content_type=SSE)]
    result, _ = await ask(site, script, "Hi!")
    assert result.stdout == "Hel\n"


def test_nobody_there_exits_with_3(site: Site) -> None:
    url = refusing_url()
    result = site.run("ask", "m", "Hi!", "--key", KEY, "--base-url", url)
    told = f"cannot connect to {url.removeprefix('http://')}"
    assert (result.exit_code, told in result.stderr) == (3, True)


@pytest.mark.parametrize(
    "args",
    [
        ["--base-url", "http://127.0.0.1:1"],
        ["--key", KEY, "--base-url", "127.0.0.1:8080"],
        ["--key", KEY, "--base-url", "ftp://127.0.0.1"],
        ["--key", KEY, "--base-url", "http://127.0.0.1:port"],
        ["--key", KEY, "--base-url", "http://127.0.0.1:1", "--protocol", "morse"],
    ],
    ids=["no key", "no scheme", "another scheme", "no port", "another protocol"],
)
def test_wrong_usage_exits_with_2(site: Site, args: list[str]) -> None:
    assert site.run("ask", "m", "Hi!", *args).exit_code == 2


async def test_key_with_a_line_break_is_refused_and_not_shown(site: Site) -> None:
    async with RawUpstream([READ]) as server:
        args = ("ask", "m", "Hi!", "--key", "sk-kurol-se\ncret", "--base-url", server.base_url)
        result = await asyncio.to_thread(site.run, *args)
        await server.client_gone(LIMIT_S)
    assert result.exit_code == 2
    assert "cret" not in result.stderr

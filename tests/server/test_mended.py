"""What once went wrong, each fault as it was met."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy.app import Gateway
from kurolproxy.config.load import parse
from kurolproxy.server.log import RequestLog
from kurolproxy.storage.errors import Invalid
from tests.conftest import Running, Starter, new_key, soon, toml
from tests.fakes.answers import Answer, chat_answer, failure, frame, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.server.test_limits import message, post
from tests.server.test_stream_life import (
    CHAT,
    MESSAGES,
    ask,
    ask_until,
    begin,
    end,
    pairs,
    rows,
    sent,
    words,
)

TWO_KEYS = 'api_keys = ["sk-upstream-one", "sk-upstream-two"]'
ONE_KEY = 'api_keys = ["sk-upstream-credential-of-the-operator"]'


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_content_and_error_in_one_packet_fail_over_like_an_error_alone(
    path: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url).replace(ONE_KEY, TWO_KEYS))
    broken = frame({"error": {"message": "boom", "type": "server_error", "code": None}})
    bad = b"".join([*begin("c-model"), *words("c-model", ["lost"]), broken])

    def choose(seen: SeenRequest) -> Answer:
        if seen.header("authorization") == "Bearer sk-upstream-one":
            return stream_answer([bad])
        return stream_answer([*begin("c-model"), *words("c-model", ["ab"]), *end("c-model")])

    fake.always(choose)
    got = await ask(http, gateway, path, sent("c-model"))
    assert (got.status, got.text, got.looks_whole) == (200, "ab", True)
    (row,) = await rows(gateway)
    assert (row["prompt"], row["completion"], row["outcome"]) == (11, 4, "ok")


@pairs
async def test_silence_before_the_head_is_fed_too(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, server="keepalive_interval_s = 0.2"))
    gate = fake.hold()
    frames = [*begin(model), *words(model, ["ab"]), *end(model)]
    fake.answer(Answer(tuple(frames), content_type="text/event-stream", hold=gate))
    headers = {"authorization": f"Bearer {gateway.key}"}
    url = gateway.base_url + path
    async with http.post(url, json=sent(model), headers=headers) as got:
        # The head is here although the vendor's is not.
        assert await got.content.readline() == b": ping\n"
        gate.set()
        rest = await got.content.read()
    assert b"ab" in rest


@pairs
@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_leaves_before_the_head_pays_for_its_prompt(
    path: str, model: str, stream: bool, gateway: Running, fake: FakeUpstream
) -> None:
    fake.answer(Answer((), hold=fake.hold()))
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = sent(model, stream=stream)
    async with aiohttp.ClientSession() as http:
        call = asyncio.create_task(ask_until(http, gateway.base_url + path, headers, body))
        await fake.received(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await soon(lambda: gateway.gateway.state.admission.running == 0)
    (row,) = await rows(gateway)
    assert (row["outcome"], row["estimated"]) == ("client_gone", 1)
    assert row["charged"] >= 10


async def test_first_content_limit_counts_from_the_request_and_once(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    limit = "\n[timeouts]\nfirst_content_timeout_s = 1.0\n"
    gateway = await start(toml(fake.base_url, extra=limit))
    gate = fake.hold()
    asyncio.get_running_loop().call_later(0.7, gate.set)
    never = fake.hold()
    steps = (*begin("c-model"), never)
    fake.always(lambda _: Answer(steps, content_type="text/event-stream", hold=gate))
    begun = asyncio.get_running_loop().time()
    got = await ask(http, gateway, CHAT, sent("c-model"))
    assert got.status == 504
    assert asyncio.get_running_loop().time() - begun < 1.6


async def test_reader_that_stalls_at_the_end_is_dropped(start: Starter, fake: FakeUpstream) -> None:
    text = toml(fake.base_url) + "\n[limits]\nstalled_reader_timeout_s = 0.3\n"
    gateway = await start(text)
    big = json.loads(chat_answer().steps[0])  # type: ignore[arg-type]
    big["choices"][0]["message"]["content"] = "y" * 20_000_000
    fake.answer(Answer((json.dumps(big).encode(),), content_type="application/json"))
    host, port = gateway.gateway.addresses[0]
    body = json.dumps(sent("c-model", stream=False)).encode()
    _, writer = await asyncio.open_connection(host, port, limit=1_024)
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n"
        % (CHAT.encode(), gateway.key.encode(), len(body))
        + body
    )
    await fake.received(1)
    await soon(lambda: not gateway.gateway.connections(), within_s=10)
    writer.transport.abort()


async def test_four_letters_in_a_text_do_not_rewrite_the_body(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    raw = (
        b'{ "model": "c-model", "x": 123456789012345678901234567890, "y": 1.10,'
        b' "messages": [ {"role": "user", "content": "xa3gxy"},'
        b' {"role":"user","content":"a3gx"} ] }'
    )
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(
        gateway.base_url + CHAT, data=raw, headers={**headers, "content-type": "application/json"}
    ) as got:
        assert got.status == 200
    assert fake.last.body == raw.replace(b'"c-model"', b'"plain"')


async def test_what_is_reserved_is_what_the_upstream_is_told(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    plan = '\n[[plans]]\nname = "day"\nmodels = ["*"]\ndaily_tokens = 20_000\n'
    gateway = await start(toml(fake.base_url, extra=plan, model="max_output_tokens = 100"))
    fake.always(chat_answer())
    key = await gateway.new_key("day")
    status, _, headers = await post(http, gateway, key, max_tokens=5_000)
    assert (status, headers["x-kurol-output-cap"]) == (200, "100")
    assert fake.last.json["max_tokens"] == 100


async def test_words_of_an_upstream_stay_out_of_the_log(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(failure(400, "cannot parse: TOP SECRET PROMPT"))
    status, body, _ = await post(http, gateway, gateway.key)
    assert status == 400
    assert "TOP SECRET PROMPT" in body["error"]["message"]
    line = json.loads(gateway.lines())
    assert (line["outcome"], line["upstream_status"]) == ("bad_request", 400)
    assert "TOP SECRET" not in str(line)


async def test_headers_of_the_answer_are_those_of_the_attempt_that_answered(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    two = (
        'targets = [{ upstream = "messages", model = "plain", priority = 0 },'
        ' { upstream = "chat", model = "plain", priority = 1 }]'
    )
    old = 'targets = [{ upstream = "chat", model = "plain", reasoning_family = "gpt" }]'
    gateway = await start(toml(fake.base_url).replace(old, two))

    def choose(seen: SeenRequest) -> Answer:
        if seen.path.startswith(MESSAGES):
            return stream_answer(begin("m-model"))
        return stream_answer([*begin("c-model"), *words("c-model", ["ab"]), *end("c-model")])

    fake.always(choose)
    got = await ask(http, gateway, CHAT, sent("c-model", seed=7, logit_bias={"1": 2}))
    assert (got.status, got.text) == (200, "ab")
    assert "x-kurol-dropped" not in {name.lower() for name in got.headers}


async def test_plan_that_the_file_lost_is_told_at_the_start(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    text = toml(fake.base_url).replace('state_dir = "state"', f'state_dir = "{tmp_path / "s"}"')
    lost = text.replace('name = "default"', 'name = "other"')
    for each in (text, lost):
        with (tmp_path / "log").open("wb") as log:
            gateway = Gateway(parse(each, "t.toml", {}), log_fd=log.fileno())
            await gateway.start()
            if each is text:
                await new_key(gateway, "a@example.org", "default")
            await gateway.stop()
    line = json.loads((tmp_path / "log").read_text())
    assert (line["event"], line["plan"], line["accounts"]) == ("plan_missing", "default", 1)


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_stop_ends_a_running_stream_with_an_error_of_its_own_form(
    path: str,
    start: Starter,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kurolproxy.app._SHUTDOWN_S", 0.2)
    gateway = await start(toml(fake.base_url))
    fake.answer(stream_answer([*begin("c-model"), *words("c-model", ["ab"]), fake.hold()]))
    reading = asyncio.create_task(ask(http, gateway, path, sent("c-model")))
    await soon(lambda: gateway.gateway.state.metrics.streams_in_flight == 1)
    await asyncio.sleep(0.05)
    await gateway.gateway.stop()
    got = await reading
    assert got.text == "ab"
    assert got.error is not None
    assert not got.looks_whole


def test_line_of_text_has_no_field_that_a_client_wrote() -> None:
    read, write = os.pipe()
    log = RequestLog("all", "text", write)
    log.request(1.0, {"endpoint": '/x" status=200\x1b[31m\n', "status": 404})
    assert log.close()
    os.close(write)
    with os.fdopen(read, "rb") as lines:
        said = lines.read().decode()
    assert said.endswith(r' request endpoint="/x\" status=200\x1b[31m\n" status=404' + "\n")


def test_reader_of_the_log_that_stops_reading_stops_nobody() -> None:
    read, write = os.pipe()
    log = RequestLog("all", "json", write)
    fields: dict[str, Any] = {"text": "y" * 1_000}
    for _ in range(10_000):
        log.request(1.0, fields)
    log.flush()
    # Ten megabytes are told and the pipe is full: the loop went on all the same.
    assert not log.sync(timeout_s=0.05)
    os.close(read)
    assert log.close(timeout_s=10)
    os.close(write)


@pytest.mark.parametrize(("path", "model"), [(CHAT, "m-model"), (MESSAGES, "c-model")])
async def test_integer_over_64_bits_is_refused_where_it_would_be_rounded(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    schema = {"type": "object", "properties": {"a": {"maximum": 123456789012345678901234567890}}}
    tool: dict[str, Any] = {"name": "t", "input_schema": schema}
    if path == CHAT:
        tool = {"type": "function", "function": {"name": "t", "parameters": schema}}
    status, body, _ = await post(
        http, gateway, gateway.key, path, model=model, max_tokens=5, tools=[tool]
    )
    assert status == 400
    assert "64 bits" in body["error"]["message"]
    assert fake.requests == []


@pairs
async def test_limit_of_an_event_holds_whatever_happens_to_it(
    path: str, model: str, start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url) + "\n[limits]\nmax_event_bytes = 65_536\n")
    big = words(model, ["y" * 200_000])[0]
    pieces = [big[at : at + 8_000] for at in range(0, len(big), 8_000)]
    fake.answer(stream_answer([*begin(model), *words(model, ["ab"]), *pieces, *end(model)]))
    got = await ask(http, gateway, path, sent(model))
    assert got.text == "ab"
    assert got.error is not None
    assert not got.looks_whole


@pytest.mark.parametrize(("path", "model"), [(CHAT, "m-model"), (MESSAGES, "c-model")])
async def test_integer_over_64_bits_in_a_call_stays_what_it_was(
    path: str, model: str, gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    big = 123456789012345678901234567890
    if model == "c-model":
        value = json.loads(chat_answer().steps[0])  # type: ignore[arg-type]
        call = {"name": "t", "arguments": json.dumps({"a": big})}
        value["choices"][0]["message"]["tool_calls"] = [
            {"id": "call_1", "type": "function", "function": call}
        ]
    else:
        value = json.loads(message().steps[0])  # type: ignore[arg-type]
        value["content"] = [{"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": big}}]
    fake.answer(json_answer(value))
    headers = {"authorization": f"Bearer {gateway.key}"}
    body = sent(model, stream=False)
    async with http.post(gateway.base_url + path, json=body, headers=headers) as got:
        assert str(big) in await got.text()


async def test_stream_of_two_answers_that_is_cut_never_looks_whole(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    def piece(index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "plain"}
        return frame(
            {**head, "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}
        )

    frames = [piece(0, {"content": "a"}), piece(1, {"content": "b"}), piece(0, {}, "stop")]
    fake.answer(stream_answer(frames))
    got = await ask(http, gateway, CHAT, sent("c-model", n=2))
    assert not got.looks_whole
    assert got.error is not None


async def test_expiry_that_no_date_can_hold_is_refused(gateway: Running) -> None:
    for expires_at in (1e300, float("inf"), float("nan"), 253_402_300_800.0):
        with pytest.raises(Invalid, match="9999"):
            await gateway.gateway.accounts.create_key("someone@example.org", expires_at=expires_at)
    assert len(await gateway.gateway.accounts.list_keys()) == 1


async def test_every_attempt_is_counted_however_it_ended(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    broken = stream_answer([*begin("c-model"), *words("c-model", ["ab"]), 0.05])
    fake.answer(broken, failure(400, "no"))
    await ask(http, gateway, CHAT, sent("c-model"))
    await ask(http, gateway, CHAT, sent("c-model"))
    counted = gateway.gateway.state.metrics.upstream_requests.values
    assert counted == {("chat", "upstream_error"): 1, ("chat", "bad_request"): 1}

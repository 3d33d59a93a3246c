"""Same protocol on both sides: what arrives are the bytes that were sent, but for named edits."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import Running, Starter, toml
from tests.fakes.answers import PLANTED, bytes_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.fakes.upstream import FakeUpstream
from tests.server.scripts import (
    DONE,
    USAGE,
    Said,
    Turn,
    chat_frames,
    chat_usage,
    chunk,
    messages_frames,
    vendor,
)
from tests.server.sdks import HI, Sdks

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
USAGE_OPTION = b'"stream_options":{"include_usage":true}'
EVERYTHING: dict[str, dict[str, Any]] = {
    "chat": {
        "messages": [
            {"role": "system", "content": "Sé breve."},
            {"role": "user", "content": [{"type": "text", "text": "1 < 2 \u2028 \U0001f600"}]},
        ],
        "temperature": 1.7,
        "top_p": 0.25,
        "n": 3,
        "stop": ["a", "b", "c", "d", "e"],
        "seed": 12345678901234567890123456789,
        "logit_bias": {"50256": -100},
        "logprobs": True,
        "top_logprobs": 2,
        "reasoning_effort": "xhigh",
        "service_tier": "flex",
        "metadata": {"b": "2", "a": "1"},
        "tools": [
            {"type": "custom", "custom": {"name": "free"}},
            {"type": "vendor_tool", "x": {}},
        ],
        "tool_choice": {"type": "custom", "custom": {"name": "free"}},
        "extra_body": {"unheard_of": {"deep": [1e400, None, -0.0]}, "chat_template_kwargs": {}},
    },
    "messages": {
        "max_tokens": 77,
        "system": [{"type": "text", "text": "x-anthropic-billing-header: kept"}],
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": "Late."},
            {"role": "assistant", "content": [{"type": "text", "text": "Prefix "}]},
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        "tools": [
            {"type": "bash_20250124", "name": "bash"},
            {"name": "later", "input_schema": {"$schema": "s"}, "defer_loading": True},
        ],
        "metadata": {"user_id": "u-1"},
        "service_tier": "auto",
        "extra_body": {
            "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
            "unheard_of": 12345678901234567890123456789,
            "temperature": 0.5,
        },
    },
}
# JSON has no infinity.
EVERYTHING["chat"]["extra_body"]["unheard_of"]["deep"][0] = 1e300


@pytest.mark.parametrize("stream", [False, True])
async def test_request_of_openais_sdk_arrives_byte_for_byte(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    answer = await sdks.chat.chat.completions.create(
        model="c-model", stream=stream, **EVERYTHING["chat"]
    )
    if stream:
        _ = [each async for each in answer]
    sent = sdks.wire.sent[-1]
    assert sent.count(b'"model":"c-model"') == 1
    want = sent.replace(b'"model":"c-model"', b'"model":"plain"')
    if stream:
        assert b"stream_options" not in sent
        want = want[:-1] + b"," + USAGE_OPTION + b"}"
    assert fake.last.body == want
    assert b"12345678901234567890123456789" in fake.last.body
    assert sdks.dropped == []


@pytest.mark.parametrize("stream", [False, True])
async def test_request_of_anthropics_sdk_arrives_byte_for_byte(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    answer = await sdks.messages.messages.create(
        model="m-model", stream=stream, **EVERYTHING["messages"]
    )
    if stream:
        _ = [each async for each in answer]
    sent = sdks.wire.sent[-1]
    assert fake.last.body == sent.replace(b'"model":"m-model"', b'"model":"plain"')
    assert fake.last.body != sent
    assert sdks.dropped == []


async def test_beta_request_takes_its_headers_along(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    betas = ["context-management-2025-06-27", "a-new-one-2027-01-01"]
    for model in ("m-model", "c-model"):
        await sdks.messages.beta.messages.create(
            model=model, messages=HI, max_tokens=9, betas=betas
        )
        own = model == "m-model"
        assert fake.last.header("anthropic-beta") == (",".join(betas) if own else None)
        assert fake.last.path == (MESSAGES if own else CHAT)


MODEL_EDIT = (b'"c-model"', b'"plain"')
STORE_EDIT = (b'"store" : true', b'"store" : false')
OPTIONS_EDIT = (b'{"x": 1}', b'{"x": 1,"include_usage":true}')
ODD_BODIES: list[tuple[str, bytes, list[tuple[bytes, bytes]]]] = [
    (
        "numbers of thirty digits and odd white space",
        b' {\r\n"z" :\t123456789012345678901234567890 ,"f":1.0E+02,"g":-0.0,"model"\n:"c-model",'
        b'"messages":[{"role":"user","content":"\\u0041\\/\\ud83d\\ude00"}],"a":0.10}\n',
        [MODEL_EDIT],
    ),
    (
        "keys twice below the top",
        b'{"messages":[{"role":"user","role":"user","content":"x","model":"c"}],"model":"c-model"}',
        [MODEL_EDIT],
    ),
    (
        "store true",
        b'{"store" : true,"messages":[{"role":"user","content":"\\"store\\" : true?"}],'
        b'"model":"c-model"}',
        [MODEL_EDIT, STORE_EDIT],
    ),
    (
        "store null and false",
        b'{"store": null,"messages":[],"model":"c-model","x":{"store":true}}',
        [MODEL_EDIT],
    ),
    (
        "options of the stream",
        b'{"stream":true,"stream_options":{"x": 1},"model":"c-model","messages":[]}',
        [MODEL_EDIT, OPTIONS_EDIT],
    ),
    (
        "usage refused",
        b'{"stream":true,"stream_options":{"include_usage":false},"model":"c-model"}',
        [MODEL_EDIT, (b'{"include_usage":false}', b'{"include_usage":true}')],
    ),
    (
        "usage asked for",
        b'{"stream":true,"stream_options":{ "include_usage" : true },"model":"c-model"}',
        [MODEL_EDIT],
    ),
    (
        "no options",
        b'{"stream":true,"model":"c-model"}\n',
        [(b'"c-model"}', b'"plain",' + USAGE_OPTION + b"}")],
    ),
    (
        "options null",
        b'{"stream":true,"stream_options":null,"model":"c-model"}',
        [MODEL_EDIT, (b'"stream_options":null', USAGE_OPTION)],
    ),
    (
        "options without a stream",
        b'{"stream_options":{"include_usage":false},"model":"c-model"}',
        [MODEL_EDIT],
    ),
    (
        "escapes in the model's name",
        b'{"model":"\\u0063-model","x":1}',
        [(b'"\\u0063-model"', b'"plain"')],
    ),
    ("alias", b'{"x":1,"model":"claude-c"}', [(b'"claude-c"', b'"plain"')]),
]


async def post(
    http: aiohttp.ClientSession, gateway: Running, path: str, body: bytes
) -> tuple[int, bytes, Any]:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    async with http.post(gateway.base_url + path, data=body, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


@pytest.mark.parametrize(
    ("body", "edits"), [row[1:] for row in ODD_BODIES], ids=[row[0] for row in ODD_BODIES]
)
async def test_only_the_named_edits_are_made(
    body: bytes,
    edits: list[tuple[bytes, bytes]],
    gateway: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    status, _, _ = await post(http, gateway, CHAT, body)
    assert status == 200
    want = body
    for old, new in edits:
        assert want.count(old) == 1
        want = want.replace(old, new)
    assert fake.last.body == want


async def test_store_and_state_are_the_clients_where_the_operator_allows_it(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, model="allow_store = true"))
    fake.always(vendor(Turn(words=("x",))))
    await post(http, gateway, CHAT, b'{"store":true,"model":"c-model"}')
    assert fake.last.body == b'{"store":true,"model":"plain"}'


async def test_usage_is_not_asked_of_an_upstream_that_refuses_the_option(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, model="stream_options = false"))
    fake.always(vendor(Turn(words=("x",))))
    await post(http, gateway, CHAT, b'{"stream":true,"model":"c-model"}')
    assert fake.last.body == b'{"stream":true,"model":"plain"}'


SAME_NAME = """
[[models]]
id = "plain"
targets = [{ upstream = "chat" }]
"""


async def test_nothing_is_edited_where_the_names_are_the_same(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(toml(fake.base_url, extra=SAME_NAME))
    body = b'{ "model" : "plain", "messages" : [ ] }'
    answer = b'{"choices":[{"message":{"content":"x"}}],\n "model" : "plain"  }'
    fake.always(bytes_answer(answer))
    _, got, _ = await post(http, gateway, CHAT, body)
    assert fake.last.body == body
    assert got == answer


# --- answers ------------------------------------------------------------------------------------


async def test_whole_answer_changes_in_the_models_name_only(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    answers = {
        (CHAT, "c-model"): b'{"big":123456789012345678901234567890, "model" :"plain" ,"choices":'
        b'[{"message":{"content":"\\"model\\":\\"plain\\"","model":"plain"}}],"x":1.50}\n',
        (MESSAGES, "m-model"): b'{"content":[{"type":"text","text":"x","model":"plain"}],'
        b'"usage":{"input_tokens":3,"output_tokens":1},"model":"plain","type":"message"}',
    }
    for (path, model), body in answers.items():
        fake.always(bytes_answer(body))
        sent = json.dumps({"model": model, "max_tokens": 9, "messages": HI}).encode()
        status, got, headers = await post(http, gateway, path, sent)
        assert status == 200
        assert json.loads(got) == {**json.loads(body), "model": model}
        at = body.rindex(b'"plain"') if path == MESSAGES else body.index(b'"plain"')
        assert got == body[:at] + f'"{model}"'.encode() + body[at + len(b'"plain"') :]
        assert not set(PLANTED) - {"x-request-id", "request-id"} & {
            each.lower() for each in headers
        }


async def test_chat_stream_changes_in_name_and_hidden_usage_only(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    turn = Turn(
        words=("a", ' "model":"plain" '), thoughts=("hm",), calls=(Said("c", "f", ("{}",)),)
    )
    frames = [b": comment\n\n", *chat_frames(turn)]
    fake.always(stream_answer(frames))
    body = b'{"model":"c-model","stream":true}'
    _, got, _ = await post(http, gateway, CHAT, body)
    shown = [each for each in frames if b'"usage":{' not in each]
    assert len(shown) == len(frames) - 1
    renamed = (each.replace(b'"model":"plain"', b'"model":"c-model"') for each in shown)
    assert got == b"".join(renamed)
    asked = b'{"model":"c-model","stream":true,"stream_options":{"include_usage":true}}'
    _, got, _ = await post(http, gateway, CHAT, asked)
    renamed = (each.replace(b'"model":"plain"', b'"model":"c-model"') for each in frames)
    assert got == b"".join(renamed)


async def test_usage_beside_an_answer_is_left_alone(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession, sdks: Sdks
) -> None:
    usage = chat_usage(USAGE)
    frames = [
        chunk({"role": "assistant", "content": "x"}, usage=None),
        chunk({}, "stop", usage=usage),
        DONE,
    ]
    fake.always(stream_answer(frames))
    _, got, _ = await post(http, gateway, CHAT, b'{"model":"c-model","stream":true}')
    assert got == b"".join(frames).replace(b'"plain"', b'"c-model"')
    heard = await sdks.ask("chat", "c-model", stream=True)
    assert heard.usage == USAGE


async def test_messages_stream_changes_in_its_first_event_only(
    gateway: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    turn = Turn(words=("a", '"model":"plain"'), thoughts=("hm",), signature="s", redacted="r")
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    new = b'event: brand_new\ndata: {"type":"brand_new","x":1}\n\n'
    first, *rest = messages_frames(turn)
    frames = [first, ping, new, *rest]
    fake.always(stream_answer(frames))
    body = b'{"model":"m-model","max_tokens":9,"stream":true}'
    _, got, _ = await post(http, gateway, MESSAGES, body)
    changed = first.replace(b'"model":"plain"', b'"model":"m-model"')
    assert changed != first
    assert got == b"".join([changed, ping, new, *rest])


async def test_what_passed_through_is_booked(
    gateway: Running, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",), usage=Figures(50, 20, 10, 5, 7))))
    for client, model in (("chat", "c-model"), ("messages", "m-model")):
        for stream in (False, True):
            await sdks.ask(client, model, stream=stream)
    text = gateway.gateway.state.metrics.render().decode()
    booked = {"prompt": 100, "completion": 40, "cache_read": 20, "cache_write": 10, "reasoning": 14}
    for kind, tokens in booked.items():
        for model in ("c-model", "m-model"):
            assert f'kurol_tokens_total{{model="{model}",type="{kind}"}} {tokens}.0' in text

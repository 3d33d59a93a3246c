"""What becomes of a request's fields on the other protocol: the mapping, row by row.

Each row is one request of an SDK and the whole body that the upstream must get for it.
"""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import Turn, vendor
from tests.server.sdks import HI, Sdks

TO_MESSAGES: dict[str, Any] = {
    "model": "plain",
    "max_tokens": 8192,
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
}
TO_CHAT: dict[str, Any] = {"model": "plain", "messages": HI, "max_tokens": 1000}
ADAPTIVE = {"type": "adaptive"}
OPEN = {"type": "object", "properties": {}}
FUNCTION: Any = {"type": "function", "function": {"name": "f", "parameters": OPEN}}
TOOL: Any = {"name": "f", "input_schema": OPEN}

Row = tuple[str, str, dict[str, Any], dict[str, Any], list[str]]

# Name, flags of the model, the client's fields, what the upstream gets beside the base (None:
# a field of the base is missing), what is named as lost.
FROM_CHAT: list[Row] = [
    # §2, §4.2: caps
    ("no cap", "", {}, {}, []),
    ("no cap, model's own", "max_output_tokens = 5000", {}, {"max_tokens": 5000}, []),
    ("max_tokens", "", {"max_tokens": 7}, {"max_tokens": 7}, []),
    ("max_completion_tokens", "", {"max_completion_tokens": 7}, {"max_tokens": 7}, []),
    ("both caps", "", {"max_completion_tokens": 7, "max_tokens": 9}, {"max_tokens": 7}, []),
    (
        "cap over the model's",
        "max_output_tokens = 5000",
        {"max_tokens": 128_000},
        {"max_tokens": 5000},
        [],
    ),
    # §4.4: sampling
    ("temperature", "", {"temperature": 0.5}, {"temperature": 0.5}, []),
    ("temperature zero", "", {"temperature": 0}, {"temperature": 0}, []),
    ("temperature over one", "", {"temperature": 1.7}, {"temperature": 1}, []),
    ("top_p", "", {"top_p": 0.9}, {"top_p": 0.9}, []),
    (
        "temperature and top_p",
        "",
        {"temperature": 0.5, "top_p": 0.9},
        {"temperature": 0.5},
        ["top_p"],
    ),
    ("top_k", "", {"extra_body": {"top_k": 5}}, {"top_k": 5}, []),
    (
        "sampling no",
        'sampling = "no"',
        {"temperature": 0.5, "top_p": 0.9, "extra_body": {"top_k": 5}},
        {},
        ["temperature", "top_p", "top_k"],
    ),
    (
        "sampling with thinking",
        "",
        {"temperature": 0.5, "reasoning_effort": "high", "extra_body": {"top_k": 5}},
        {"thinking": ADAPTIVE, "output_config": {"effort": "high"}},
        ["temperature", "top_k"],
    ),
    (
        "sampling only without reasoning, and there is some",
        'sampling = "only_without_reasoning"',
        {"temperature": 0.5, "reasoning_effort": "low"},
        {"thinking": ADAPTIVE, "output_config": {"effort": "low"}},
        ["temperature"],
    ),
    (
        "sampling only without reasoning, and there is none",
        'sampling = "only_without_reasoning"',
        {"temperature": 0.5, "reasoning_effort": "none"},
        {"temperature": 0.5, "thinking": {"type": "disabled"}},
        [],
    ),
    # Field table of §2: what only Chat has
    ("seed", "", {"seed": 3}, {}, ["seed"]),
    (
        "penalties",
        "",
        {"presence_penalty": 0.5, "frequency_penalty": -1},
        {},
        ["presence_penalty", "frequency_penalty"],
    ),
    (
        "logprobs",
        "",
        {"logprobs": True, "top_logprobs": 3},
        {},
        ["logprobs", "top_logprobs"],
    ),
    ("logit_bias", "", {"logit_bias": {"50256": -100}}, {}, ["logit_bias"]),
    ("verbosity", "", {"verbosity": "low"}, {}, ["verbosity"]),
    ("metadata", "", {"metadata": {"a": "b"}}, {}, ["metadata"]),
    ("prediction", "", {"prediction": {"type": "content", "content": "x"}}, {}, ["prediction"]),
    ("cache key", "", {"prompt_cache_key": "k"}, {}, ["prompt_cache_key"]),
    ("user", "", {"user": "u-1"}, {}, ["user"]),
    ("safety identifier", "", {"safety_identifier": "u-1"}, {}, ["safety_identifier"]),
    ("n is one", "", {"n": 1}, {}, []),
    ("text output", "", {"response_format": {"type": "text"}, "modalities": ["text"]}, {}, []),
    # §4.12: tiers
    ("tier", "", {"service_tier": "priority"}, {}, ["service_tier"]),
    (
        "tier auto allowed",
        "allow_service_tier = true",
        {"service_tier": "auto"},
        {"service_tier": "auto"},
        [],
    ),
    (
        "tier default allowed",
        "allow_service_tier = true",
        {"service_tier": "default"},
        {"service_tier": "standard_only"},
        [],
    ),
    (
        "tier priority allowed",
        "allow_service_tier = true",
        {"service_tier": "priority"},
        {"service_tier": "auto"},
        [],
    ),
    (
        "tier flex allowed",
        "allow_service_tier = true",
        {"service_tier": "flex"},
        {},
        ["service_tier"],
    ),
    # §4.13: state
    ("store", "", {"store": True}, {}, []),
    # Fields of nobody, and of other vendors
    ("unknown fields", "", {"extra_body": {"min_p": 0.1, "x_y": 1}}, {}, ["unknown(2)"]),
    ("null says nothing", "", {"extra_body": {"seed": None, "min_p": None}}, {}, []),
    # §4.10: caching
    (
        "tools are worth a cache",
        "",
        {"tools": [FUNCTION]},
        {"tools": [TOOL], "cache_control": {"type": "ephemeral"}},
        [],
    ),
    ("no automatic cache", "auto_cache = false", {"tools": [FUNCTION]}, {"tools": [TOOL]}, []),
    (
        "cache mark",
        "",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": "Hi",
                            "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                        }
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "text",
                            "text": "Hi",
                            "cache_control": {"type": "ephemeral", "ttl": "1h"},
                        }
                    ],
                }
            ]
        },
        [],
    ),
]


def expected(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def rows(table: list[Row]) -> pytest.MarkDecorator:
    names = ("flags", "asked", "sent", "lost")
    return pytest.mark.parametrize(names, [row[1:] for row in table], ids=[row[0] for row in table])


@rows(FROM_CHAT)
async def test_chat_request_is_told_to_messages(
    flags: str,
    asked: Any,
    sent: Any,
    lost: list[str],
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flags)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", **asked)
    assert fake.last.json == expected(TO_MESSAGES, sent)
    assert sdks.dropped == lost


FROM_MESSAGES: list[Row] = [
    # §2, §4.2
    ("cap", "", {"max_tokens": 7}, {"max_tokens": 7}, []),
    (
        "name of the cap",
        'max_tokens_field = "max_completion_tokens"',
        {"max_tokens": 7},
        {"max_tokens": None, "max_completion_tokens": 7},
        [],
    ),
    (
        "cap over the model's",
        "max_output_tokens = 5000",
        {"max_tokens": 128_000},
        {"max_tokens": 5000},
        [],
    ),
    # §4.4
    (
        "sampling",
        "",
        {"extra_body": {"temperature": 0.5, "top_p": 0.9}},
        {"temperature": 0.5, "top_p": 0.9},
        [],
    ),
    ("top_k", "", {"extra_body": {"top_k": 5}}, {}, ["top_k"]),
    ("top_k where it is known", "top_k = true", {"extra_body": {"top_k": 5}}, {"top_k": 5}, []),
    (
        "sampling no",
        'sampling = "no"',
        {"extra_body": {"temperature": 0.5, "top_p": 0.9}},
        {},
        ["temperature", "top_p"],
    ),
    (
        "sampling only without reasoning, and there is some",
        'sampling = "only_without_reasoning"',
        {"extra_body": {"temperature": 0.5}},
        {},
        ["temperature"],
    ),
    (
        "sampling only without reasoning, and there is none",
        'sampling = "only_without_reasoning"',
        {"extra_body": {"temperature": 0.5}, "thinking": {"type": "disabled"}},
        {"temperature": 0.5, "reasoning_effort": "none"},
        [],
    ),
    # §4.6
    ("stops", "", {"stop_sequences": ["a", "b"]}, {"stop": ["a", "b"]}, []),
    # §4.12
    ("tier", "", {"service_tier": "auto"}, {}, ["service_tier"]),
    (
        "tier auto allowed",
        "allow_service_tier = true",
        {"service_tier": "auto"},
        {"service_tier": "auto"},
        [],
    ),
    (
        "tier standard allowed",
        "allow_service_tier = true",
        {"service_tier": "standard_only"},
        {"service_tier": "default"},
        [],
    ),
    # What only Messages has
    ("user", "", {"metadata": {"user_id": "u-1"}}, {}, ["metadata.user_id"]),
    ("speed", "", {"extra_body": {"speed": "fast"}}, {}, ["speed"]),
    (
        "context management",
        "",
        {"extra_body": {"context_management": {"edits": []}}},
        {},
        ["context_management"],
    ),
    ("geography", "", {"extra_body": {"inference_geo": "us"}}, {}, ["inference_geo"]),
    ("new thread", "", {"extra_body": {"thread": {"type": "create"}}}, {}, ["thread"]),
    ("unknown fields", "", {"extra_body": {"zz": 1, "yy": {}}}, {}, ["unknown(2)"]),
    ("empty list of servers", "", {"extra_body": {"mcp_servers": []}}, {}, []),
    # §4.10
    ("cache of everything", "", {"cache_control": {"type": "ephemeral"}}, {}, ["cache_control"]),
    (
        "cache mark",
        "",
        {"system": [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}]},
        {"messages": [{"role": "system", "content": "S"}, *HI]},
        ["system.text.cache"],
    ),
    (
        "cache mark where it is known",
        'cache = "explicit"',
        {
            "system": [
                {
                    "type": "text",
                    "text": "S",
                    "cache_control": {"type": "ephemeral", "ttl": "1h"},
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "system",
                    "content": [
                        {
                            "type": "text",
                            "text": "S",
                            "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                        }
                    ],
                },
                *HI,
            ]
        },
        [],
    ),
    # §4.1
    (
        "system as text",
        "",
        {"system": "Be brief."},
        {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
        [],
    ),
    (
        "developer",
        "developer_role = true",
        {"system": "Be brief."},
        {"messages": [{"role": "developer", "content": "Be brief."}, *HI]},
        [],
    ),
    (
        "attribution",
        "",
        {
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.330.abc"},
                {"type": "text", "text": "Be brief."},
            ]
        },
        {"messages": [{"role": "system", "content": "Be brief."}, *HI]},
        [],
    ),
]


@rows(FROM_MESSAGES)
async def test_messages_request_is_told_to_chat(
    flags: str,
    asked: Any,
    sent: Any,
    lost: list[str],
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flags)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", **asked)
    assert fake.last.json == expected(TO_CHAT, sent)
    assert sdks.dropped == lost


def marked(kind: str, count: int) -> list[dict[str, Any]]:
    mark: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
    if kind == "chat":
        mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    return [{"type": "text", "text": f"t{at}", **mark} for at in range(count)]


@pytest.mark.parametrize(("client", "mark"), [("chat", "cache_control"), ("messages", "prompt_")])
async def test_of_many_cache_marks_the_last_four_win(
    client: str, mark: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='cache = "explicit"')))
    fake.always(vendor(Turn(words=("x",))))
    model = {"chat": "m-model", "messages": "c-model"}[client]
    messages: Any = [{"role": "user", "content": marked(client, 6)}]
    await sdks.ask(client, model, messages=messages)
    content = fake.last.json["messages"][0]["content"]
    found = [any(name.startswith(mark) for name in each) for each in content]
    assert found == [False, False, True, True, True, True]
    assert sdks.dropped == ["messages.text.cache"]


async def test_long_talk_of_a_chat_client_is_worth_a_cache(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    talk: Any = [*HI, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Go."}]
    for messages, cached in ((HI, None), (talk[:2], None), (talk, {"type": "ephemeral"})):
        await sdks.ask("chat", "m-model", messages=messages)
        assert fake.last.json.get("cache_control") == cached


async def test_losses_are_named_at_the_head_of_a_stream(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    heard = await sdks.ask("chat", "m-model", stream=True, seed=3)
    assert heard.text == "x"
    assert sdks.dropped == ["seed"]


# --- what cannot be translated ------------------------------------------------------------------

REFUSED: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("several answers", "chat", {"n": 2}, "n"),
    ("sound", "chat", {"modalities": ["text", "audio"]}, "modalities"),
    ("cap of zero from Chat", "chat", {"max_tokens": 0}, "max_tokens"),
    ("no messages", "chat", {"messages": []}, "messages"),
    ("cap of zero from Messages", "messages", {"max_tokens": 0}, None),
    ("container", "messages", {"extra_body": {"container": "c-1"}}, None),
    ("servers", "messages", {"extra_body": {"mcp_servers": [{"name": "m"}]}}, None),
    ("a kept thread", "messages", {"extra_body": {"thread": {"type": "continue"}}}, None),
    ("no messages from Messages", "messages", {"messages": []}, None),
]


@pytest.mark.parametrize(
    ("client", "asked", "param"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
async def test_loss_that_changes_the_answer_is_refused(
    client: str, asked: Any, param: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    model = {"chat": "m-model", "messages": "c-model"}[client]
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
        await sdks.ask(client, model, **asked)
    assert caught.value.status_code == 400
    if isinstance(caught.value, openai.BadRequestError):
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"
    assert sdks.head["x-should-retry"] == "false"
    assert fake.requests == []


async def test_kept_thread_is_refused_on_the_same_protocol_too(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url)))
    fake.always(vendor(Turn(words=("x",))))
    thread: Any = {"extra_body": {"thread": {"type": "continue"}}}
    with pytest.raises(anthropic.BadRequestError, match="thread"):
        await sdks.ask("messages", "m-model", **thread)
    assert fake.requests == []
    sdks = connect(await start(toml(fake.base_url, model="allow_store = true")))
    await sdks.ask("messages", "m-model", **thread)
    assert fake.last.json["thread"] == {"type": "continue"}


@pytest.mark.parametrize("cap", [None, -1, "many", 1.5])
@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_messages_request_without_a_cap_is_refused_whatever_the_upstream(
    model: str, cap: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required") as caught:
        await sdks.ask("messages", model, max_tokens=9, extra_body={"max_tokens": cap})
    assert caught.value.type == "invalid_request_error"
    assert fake.requests == []

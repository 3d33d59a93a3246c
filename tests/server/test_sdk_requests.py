"""What becomes of a request's fields on the other protocol: the mapping, row by row.

Each row is one request of an SDK and the whole body that the upstream must get for it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

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


# --- strict -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "asked", "name"),
    [
        ("chat", {"seed": 3}, "seed"),
        ("messages", {"metadata": {"user_id": "u"}}, "metadata.user_id"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web"),
    ],
)
async def test_strict_caller_gets_an_error_instead_of_a_loss(
    client: str, asked: Any, name: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    model = {"chat": "m-model", "messages": "c-model"}[client]
    strict = {"x-kurol-strict": "1"}
    fake.always(vendor(Turn(words=("x",))))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
        await sdks.ask(client, model, extra_headers=strict, **asked)
    assert "x-kurol-strict" in str(caught.value)
    assert name in str(caught.value)
    assert fake.requests == []
    await sdks.ask(client, model, extra_headers={"x-kurol-strict": "0"}, **asked)
    assert sdks.dropped != []
    assert fake.last.header("x-kurol-strict") is None
    # Nothing is lost: strict callers are served, too.
    await sdks.ask(client, model, extra_headers=strict)
    assert len(fake.requests) == 2


async def test_long_list_of_losses_is_cut(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    tools: Any = [
        {"type": "function", "function": {"name": "f"}},
        *({"type": f"vendor_tool_{at:040}"} for at in range(20)),
    ]
    await sdks.ask("chat", "m-model", tools=tools, seed=1)
    named = sdks.head["x-kurol-dropped"]
    assert len(named) <= 512
    assert named.startswith("seed,tools.vendor_tool_0")
    kept = named.split(",")
    assert kept[-1] == f"+{21 - len(kept) + 1}"


async def test_losses_never_repeat_what_the_caller_wrote(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    odd: Any = {"type": "evil\r\nx-injected: 1"}
    await sdks.ask("chat", "m-model", tools=[odd], extra_body={"sk-secret-name": 1})
    assert sdks.dropped == ["?", "unknown(1)"]
    assert "x-injected" not in sdks.head


# --- who asks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "asked"),
    [
        ("chat", {"safety_identifier": "u-1"}),
        ("chat", {"user": "u-1"}),
        ("messages", {"metadata": {"user_id": "u-1"}}),
    ],
)
async def test_user_is_told_as_a_keyed_hash_where_the_operator_wants_it(
    client: str, asked: Any, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    running = await start(toml(fake.base_url, model="forward_user = true"))
    sdks = connect(running)
    fake.always(vendor(Turn(words=("x",))))
    model = {"chat": "m-model", "messages": "c-model"}[client]
    await sdks.ask(client, model, **asked)
    secret = running.gateway.state.settings.hash_secret
    hashed = hmac.new(secret, b"u-1", hashlib.sha256).hexdigest()
    assert len(secret) >= 16
    body = fake.last.json
    if client == "chat":
        assert body["metadata"] == {"user_id": hashed}
    else:
        assert body["safety_identifier"] == hashed
    assert "u-1" not in json.dumps(body)
    assert sdks.dropped == []


# --- system text in odd places ------------------------------------------------------------------

ODD: Any = [
    {"role": "system", "content": "S1"},
    {"role": "developer", "content": [{"type": "text", "text": "S2"}]},
    {"role": "user", "content": "U1"},
    {"role": "developer", "content": "Late."},
    {"role": "assistant", "content": "A1"},
    {"role": "system", "content": "Later."},
    {"role": "user", "content": "U2"},
]


def text(*words: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": each} for each in words]


def reminder(words: str) -> str:
    return f"<system-reminder>\n{words}\n</system-reminder>"


async def test_system_messages_of_chat_stay_at_their_places_as_reminders(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", messages=ODD)
    assert fake.last.json["system"] == text("S1", "S2")
    assert fake.last.json["messages"] == [
        {"role": "user", "content": text("U1", reminder("Late."))},
        {"role": "assistant", "content": text("A1")},
        {"role": "user", "content": text(reminder("Later."), "U2")},
    ]
    assert sdks.dropped == []


async def test_system_messages_of_chat_stay_what_they_are_where_that_is_known(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="mid_system = true")))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", messages=ODD)
    assert fake.last.json["system"] == text("S1", "S2")
    assert [(each["role"], each["content"]) for each in fake.last.json["messages"]] == [
        ("user", text("U1")),
        ("system", text("Late.")),
        ("assistant", text("A1")),
        ("system", text("Later.")),
        ("user", text("U2")),
    ]


ODD_MESSAGES: Any = [
    {"role": "user", "content": "U1"},
    {"role": "system", "content": [{"type": "text", "text": "Late."}]},
    {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
    },
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]},
    {"role": "system", "content": "Later."},
]


@pytest.mark.parametrize(
    ("flags", "late"),
    [
        ("", ("user", None)),
        ('system_position = "any"', ("system", "Late.")),
        ('system_position = "any"\ndeveloper_role = true', ("developer", "Late.")),
    ],
    ids=["first", "any", "developer"],
)
async def test_system_messages_of_messages_stay_at_their_places(
    flags: str,
    late: tuple[str, str | None],
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flags)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", messages=ODD_MESSAGES, tools=[TOOL], system="S")
    sent = [(each["role"], each["content"]) for each in fake.last.json["messages"]]
    role, words = late
    first = "developer" if role == "developer" else "system"
    if words is None:
        assert sent == [
            ("system", "S"),
            ("user", text("U1", reminder("Late."))),
            ("assistant", None),
            ("tool", "r"),
            ("user", reminder("Later.")),
        ]
    else:
        assert sent == [
            (first, "S"),
            ("user", "U1"),
            (role, words),
            ("assistant", None),
            ("tool", "r"),
            (role, "Later."),
        ]
    assert sdks.dropped == []


# --- order of turns -----------------------------------------------------------------------------

TURNS: list[tuple[str, str, Any, Any]] = [
    (
        "neighbours are one turn",
        "",
        [
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {"role": "assistant", "content": "c"},
            {"role": "assistant", "content": "d"},
            {"role": "user", "content": "e"},
        ],
        [("user", ["a", "b"]), ("assistant", ["c", "d"]), ("user", ["e"])],
    ),
    (
        "assistant first",
        "",
        [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
        [("user", ["(conversation continues)"]), ("assistant", ["a"]), ("user", ["b"])],
    ),
    (
        "assistant last",
        "",
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        [("user", ["a"]), ("assistant", ["b"]), ("user", ["Continue."])],
    ),
    (
        "prefill",
        "prefill = true",
        [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b \n"}],
        [("user", ["a"]), ("assistant", ["b"])],
    ),
    (
        "empty turns go",
        "",
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "b"},
        ],
        [("user", ["a", "b"])],
    ),
    ("nothing at all", "", [{"role": "user", "content": ""}], [("user", ["(empty)"])]),
    (
        "old refusal",
        "",
        [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "refusal": "No."},
            {"role": "user", "content": "b"},
        ],
        [("user", ["a"]), ("assistant", ["No."]), ("user", ["b"])],
    ),
]


@pytest.mark.parametrize(
    ("flags", "asked", "sent"), [row[1:] for row in TURNS], ids=[row[0] for row in TURNS]
)
async def test_turns_alternate_for_messages(
    flags: str,
    asked: Any,
    sent: Any,
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flags)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", messages=asked)
    got = [(m["role"], [b["text"] for b in m["content"]]) for m in fake.last.json["messages"]]
    assert got == sent
    assert sdks.dropped == []


@pytest.mark.parametrize(("flags", "more"), [("", 1), ("prefill = true", 0)])
async def test_assistant_has_the_last_word_on_chat_only_where_that_is_known(
    flags: str, more: int, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flags)))
    fake.always(vendor(Turn(words=("x",))))
    history: Any = [*HI, {"role": "assistant", "content": "Well,"}]
    await sdks.ask("messages", "c-model", messages=history)
    want = [*HI, {"role": "assistant", "content": "Well,"}]
    assert fake.last.json["messages"] == want + [{"role": "user", "content": "Continue."}] * more


# --- structured output --------------------------------------------------------------------------


class City(BaseModel):
    """What the model is to answer."""

    name: str
    people: int


ANSWER = Turn(words=('{"name": "Oslo", ', '"people": 717710}'))
OSLO = City(name="Oslo", people=717710)


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_openais_parse_gets_its_object(model: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(ANSWER))
    answer = await sdks.chat.chat.completions.parse(model=model, messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == OSLO
    check_schema(fake.last.json, model)
    async with sdks.chat.chat.completions.stream(
        model=model, messages=HI, response_format=City
    ) as events:
        answer = await events.get_final_completion()
    assert answer.choices[0].message.parsed == OSLO
    check_schema(fake.last.json, model)
    assert sdks.dropped == []


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_anthropics_parse_gets_its_object(model: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(ANSWER))
    answer = await sdks.messages.messages.parse(
        model=model, messages=HI, max_tokens=1000, output_format=City
    )
    assert answer.parsed_output == OSLO
    check_schema(fake.last.json, model)
    async with sdks.messages.messages.stream(
        model=model, messages=HI, max_tokens=1000, output_format=City
    ) as events:
        answer = await events.get_final_message()
    assert answer.parsed_output == OSLO
    check_schema(fake.last.json, model)
    assert sdks.dropped == []


def check_schema(body: dict[str, Any], model: str) -> None:
    if model == "c-model":
        form = body["response_format"]
        assert form["type"] == "json_schema"
        assert form["json_schema"]["strict"] is True
        assert form["json_schema"]["name"] in ("City", "response")
        schema = form["json_schema"]["schema"]
    else:
        form = body["output_config"]["format"]
        assert form["type"] == "json_schema"
        schema = form["schema"]
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"name", "people"}
    assert {name: each["type"] for name, each in schema["properties"].items()} == {
        "name": "string",
        "people": "integer",
    }


async def test_keywords_that_messages_refuses_are_told_in_the_description(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("{}",))))
    schema = {
        "$schema": "x",
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3, "description": "How many."},
            "s": {"type": "string", "pattern": "^a", "format": "uuid"},
        },
        "required": ["n", "s"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    await sdks.ask("chat", "m-model", response_format=form)
    sent = fake.last.json["output_config"]["format"]["schema"]
    assert sent.keys() == {"type", "properties", "required", "additionalProperties"}
    number, word = sent["properties"]["n"], sent["properties"]["s"]
    assert number.keys() == {"type", "description"}
    assert "How many." in number["description"]
    assert "minimum: 3" in number["description"]
    assert word.keys() == {"type", "format", "description"}
    assert "^a" in word["description"]
    assert sdks.dropped == []


async def test_any_json_object_is_asked_for_in_words_on_messages(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("{}",))))
    await sdks.ask("chat", "m-model", response_format={"type": "json_object"})
    assert fake.last.json["system"] == text("Respond with a single JSON object and nothing else.")
    assert "output_config" not in fake.last.json
    assert sdks.dropped == []


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_schema_is_told_in_words_where_the_upstream_has_no_field(
    client: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="structured_output = false")))
    fake.always(vendor(ANSWER))
    if client == "chat":
        answer = await sdks.chat.chat.completions.parse(
            model="m-model", messages=HI, response_format=City
        )
        assert answer.choices[0].message.parsed == OSLO
        line = fake.last.json["system"][-1]["text"]
        assert "output_config" not in fake.last.json
    else:
        found = await sdks.messages.messages.parse(
            model="c-model", messages=HI, max_tokens=99, output_format=City
        )
        assert found.parsed_output == OSLO
        line = fake.last.json["messages"][0]["content"]
        assert fake.last.json["messages"][0]["role"] == "system"
        assert "response_format" not in fake.last.json
    assert '"people"' in line
    assert "JSON" in line
    assert sdks.dropped == []


@pytest.mark.parametrize("beta", [False, True])
async def test_beta_route_and_old_spelling_are_the_same(
    beta: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(ANSWER))
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    place = sdks.messages.beta.messages if beta else sdks.messages.messages
    form = {"type": "json_schema", "schema": schema}
    await place.create(
        model="c-model", messages=HI, max_tokens=9, extra_body={"output_format": form}
    )
    assert fake.last.path == "/v1/chat/completions"
    assert fake.last.json["response_format"]["json_schema"] == {
        "name": "response",
        "schema": schema,
        "strict": True,
    }
    assert fake.last.header("anthropic-beta") is None
    assert sdks.dropped == []

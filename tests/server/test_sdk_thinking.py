"""Thoughts through both SDKs: shown, sealed, brought back, and never given to a stranger."""

from __future__ import annotations

import base64
import json
from typing import Any

import anthropic
import pytest

from tests.conftest import Starter, toml
from tests.fakes.answers import failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import (
    Said,
    Turn,
    begin,
    block,
    finish,
    messages_whole,
    vendor,
)
from tests.server.sdks import HI, Sdks

# No base64, and characters that a careless re-encoding would change.
SIGNATURE = 'EqQBCkYIBxgCKkD/+sig==\u00e9 "quoted" \\u0041'
THOUGHTS = ("Let me ", "think \u2026\n")
TEXT = "".join(THOUGHTS)
ASKING = Turn(
    thoughts=THOUGHTS,
    signature=SIGNATURE,
    words=("Looking.",),
    calls=(Said("toolu_1", "look", ('{"at":1}',)),),
)
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
TOOLS: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
ADAPTIVE: Any = {"type": "adaptive"}


def token(**changes: Any) -> str:
    """Return a seal as the protocol notes describe it."""
    body = {"p": "a", "f": "claude", "s": SIGNATURE, "t": TEXT, **changes}
    whole = b"kx1" + json.dumps({k: v for k, v in body.items() if v is not None}).encode()
    return base64.b64encode(whole).decode()


def opened(seal: str) -> dict[str, Any]:
    """Return what a seal holds."""
    raw = base64.b64decode(seal, validate=True)
    assert raw.startswith(b"kx1")
    value: dict[str, Any] = json.loads(raw[3:])
    return value


def signature_of(call: Any) -> str:
    """Return the token that a call of a Chat answer carries."""
    plain = call.to_dict()
    found: str = plain["extra_content"]["google"]["thought_signature"]
    return found


async def chat_turn(
    sdks: Sdks, said: dict[str, Any], model: str = "m-model", *, stream: bool = False
) -> None:
    """Return a Chat answer with the results of its calls."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "seen"}
        for call in said["tool_calls"]
    ]
    history: Any = [*HI, said, *results]
    await sdks.ask(
        "chat", model, stream=stream, messages=history, tools=CHAT_TOOLS, reasoning_effort="high"
    )


def returned(heard: Any) -> dict[str, Any]:
    """Return a Chat answer as a client puts it into its history."""
    plain = heard.raw.choices[0].message.to_dict()
    kept = ("role", "content", "reasoning_content", "tool_calls")
    said = {name: plain[name] for name in kept if plain.get(name) is not None}
    for call in said["tool_calls"]:
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return said


def sent_blocks(fake: FakeUpstream, at: int = 1) -> list[dict[str, Any]]:
    """Return the content of one message that the upstream got."""
    content: list[dict[str, Any]] = fake.last.json["messages"][at]["content"]
    return content


# --- the round trip of a Chat client ------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_chat_client_brings_the_signature_back_byte_for_byte(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    heard = await sdks.ask(
        "chat", "m-model", stream=stream, tools=CHAT_TOOLS, reasoning_effort="high"
    )
    assert fake.last.json["thinking"] == ADAPTIVE
    assert fake.last.json["output_config"] == {"effort": "high"}
    assert heard.thoughts == TEXT
    assert heard.text == "Looking."
    (call,) = heard.raw.choices[0].message.tool_calls
    seal = signature_of(call)
    assert seal.startswith("a3gx")
    assert opened(seal) == {"p": "a", "f": "claude", "s": SIGNATURE, "t": TEXT}
    await chat_turn(sdks, returned(heard), stream=stream)
    assert sent_blocks(fake) == [
        {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE},
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}},
    ]
    assert fake.last.json["thinking"] == ADAPTIVE
    assert sdks.dropped == []


@pytest.mark.parametrize("brought", [None, "", "Let me think"], ids=["gone", "empty", "changed"])
async def test_thoughts_are_exact_whatever_the_client_makes_of_them(
    brought: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    said = returned(await sdks.ask("chat", "m-model", tools=CHAT_TOOLS))
    said["reasoning_content"] = brought
    await chat_turn(sdks, said)
    thinking = {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE}
    assert sent_blocks(fake)[0] == thinking
    assert [each["type"] for each in sent_blocks(fake)] == ["thinking", "text", "tool_use"]


@pytest.mark.parametrize("stream", [False, True])
async def test_redacted_thoughts_make_the_round_trip(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    data = "EmwKAhgBEgy3va3pzix/LafPsn4="
    turn = Turn(redacted=data, calls=(Said("toolu_1", "look", ("{}",)),))
    fake.always(vendor(turn, Turn(words=("Done.",))))
    heard = await sdks.ask("chat", "m-model", stream=stream, tools=CHAT_TOOLS)
    assert heard.thoughts == ""
    seal = opened(signature_of(heard.raw.choices[0].message.tool_calls[0]))
    assert (seal["s"], seal["x"]) == (data, 1)
    await chat_turn(sdks, returned(heard))
    assert sent_blocks(fake)[0] == {"type": "redacted_thinking", "data": data}


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_between_calls_return_to_their_places(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "one", "signature": "sig-1"},
        {"type": "text", "text": "First."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"n": 1}},
        {"type": "thinking", "thinking": "two", "signature": "sig-2"},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {"n": 2}},
        {"type": "tool_use", "id": "t3", "name": "look", "input": {"n": 3}},
    ]
    whole = {**messages_whole(Turn()), "content": blocks, "stop_reason": "tool_use"}
    frames = [begin()]
    for at, each in enumerate(blocks):
        frames += block(at, *_streamed(each))
    frames += finish({"stop_reason": "tool_use"})
    fake.answer(stream_answer(frames) if stream else json_answer(whole))
    heard = await sdks.ask("chat", "m-model", stream=stream, tools=CHAT_TOOLS)
    calls = heard.raw.choices[0].message.tool_calls
    carried = [each.to_dict().get("extra_content") for each in calls]
    assert [each is not None for each in carried] == [True, True, False]
    fake.always(vendor(Turn(words=("Done.",))))
    await chat_turn(sdks, returned(heard))
    assert sent_blocks(fake) == blocks


def _streamed(whole: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match whole["type"]:
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": whole["thinking"]},
                {"type": "signature_delta", "signature": whole["signature"]},
            ]
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "text":
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": whole["text"]}]
    piece = {"type": "input_json_delta", "partial_json": json.dumps(whole["input"])}
    return {**whole, "input": {}}, [piece]


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_without_a_call_have_no_carrier_and_do_not_come_back(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(thoughts=THOUGHTS, signature=SIGNATURE, words=("Yes.",))))
    heard = await sdks.ask("chat", "m-model", stream=stream, reasoning_effort="low")
    assert (heard.thoughts, heard.text) == (TEXT, "Yes.")
    said = {"role": "assistant", "content": "Yes.", "reasoning_content": heard.thoughts}
    history: Any = [*HI, said, {"role": "user", "content": "Sure?"}]
    await sdks.ask("chat", "m-model", messages=history, reasoning_effort="low")
    assert sent_blocks(fake) == [{"type": "text", "text": "Yes."}]
    assert TEXT.strip() not in fake.last.body.decode()


FOREIGN = [
    ("another family", token(f="gpt")),
    ("another vendor", token(p="g")),
    ("no family", token(f="")),
    ("cut off", token()[:-9]),
    ("not base64", token() + "!"),
    ("no JSON", base64.b64encode(b"kx1{").decode()),
    ("no object", base64.b64encode(b"kx1[]").decode()),
    ("proof is a number", token(s=5)),
    ("proof is missing", token(s=None)),
    ("text is a number", token(t=5)),
    ("of the vendor itself", SIGNATURE),
    ("of another vendor", "CiQBjz1rX3nUxVBPsK=="),
    ("over the limit", token(t="x" * 1_500_000)),
    ("empty", ""),
]
PROOFS = pytest.mark.parametrize("proof", [row[1] for row in FOREIGN], ids=[r[0] for r in FOREIGN])


@PROOFS
async def test_foreign_or_damaged_proof_of_a_chat_client_is_never_sent(
    proof: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    said = {
        "role": "assistant",
        "content": "Looking.",
        "reasoning_content": TEXT,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "look", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": proof}},
            }
        ],
    }
    await chat_turn(sdks, said)
    assert sent_blocks(fake) == [
        {"type": "text", "text": "Looking."},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
    ]


# --- the round trip of a Messages client --------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_client_brings_everything_back_to_its_own_vendor(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    turn = Turn(**{**_fields(ASKING), "redacted": "EmwKAhg="})
    fake.always(vendor(turn, Turn(words=("Done.",))))
    heard = await sdks.ask(
        "messages", "m-model", stream=stream, tools=TOOLS, thinking=ADAPTIVE, max_tokens=5000
    )
    assert heard.thoughts == TEXT
    content = [each.to_dict() for each in heard.raw.content]
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}
    history: Any = [
        *HI,
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    await sdks.ask("messages", "m-model", stream=stream, messages=history, tools=TOOLS)
    assert fake.last.json["messages"] == history
    first, second = sent_blocks(fake)[:2]
    assert first == {"type": "redacted_thinking", "data": "EmwKAhg="}
    assert second == {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE}


def _fields(turn: Turn) -> dict[str, Any]:
    return {
        "thoughts": turn.thoughts,
        "signature": turn.signature,
        "words": turn.words,
        "calls": turn.calls,
    }


async def messages_turn(
    sdks: Sdks, content: list[Any], model: str, *, call: str = "toolu_1", **more: Any
) -> None:
    """Return a Messages answer with the result of its call."""
    result = {"type": "tool_result", "tool_use_id": call, "content": "seen"}
    history: Any = [
        *HI,
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    await sdks.ask("messages", model, messages=history, tools=TOOLS, **more)


USE = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}


@pytest.mark.parametrize("stream", [False, True])
async def test_messages_client_sees_the_reasoning_of_a_chat_upstream(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    heard = await sdks.ask(
        "messages", "c-model", stream=stream, tools=TOOLS, thinking=ADAPTIVE, max_tokens=5000
    )
    kinds = [each.type for each in heard.raw.content]
    assert kinds == ["thinking", "text", "tool_use"]
    assert heard.thoughts == TEXT
    seal = opened(heard.raw.content[0].signature)
    assert (seal["p"], seal["f"], seal["t"]) == ("c", "gpt", TEXT)
    await messages_turn(sdks, [each.to_dict() for each in heard.raw.content], "c-model")
    # This vendor did not ask for its reasoning back.
    said = fake.last.json["messages"][1]
    assert said["content"] == "Looking."
    assert "reasoning_content" not in said
    assert TEXT.strip() not in fake.last.body.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "asked", [{}, {"thinking": {"type": "adaptive", "display": "omitted"}}], ids=["no", "omitted"]
)
async def test_reasoning_that_is_not_to_be_shown_travels_in_the_seal(
    asked: Any, stream: bool, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="replay_reasoning_content = true")))
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    heard = await sdks.ask("messages", "c-model", stream=stream, tools=TOOLS, **asked)
    thinking = heard.raw.content[0]
    assert (thinking.type, thinking.thinking) == ("thinking", "")
    assert opened(thinking.signature)["t"] == TEXT
    assert heard.text == "Looking."
    await messages_turn(sdks, [each.to_dict() for each in heard.raw.content], "c-model")
    assert fake.last.json["messages"][1]["reasoning_content"] == TEXT


async def test_upstream_that_wants_its_reasoning_back_gets_the_key_even_when_it_is_unknown(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="replay_reasoning_content = true")))
    fake.always(vendor(Turn(words=("Done.",))))
    await messages_turn(sdks, [USE], "c-model")
    assert fake.last.json["messages"][1]["reasoning_content"] == ""


@pytest.mark.parametrize("stream", [False, True])
async def test_model_without_a_family_shows_its_reasoning_without_a_proof(
    stream: bool, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    text = toml(fake.base_url).replace(', reasoning_family = "gpt"', "")
    sdks = connect(await start(text))
    fake.always(vendor(ASKING))
    heard = await sdks.ask("messages", "c-model", stream=stream, tools=TOOLS, thinking=ADAPTIVE)
    assert (heard.raw.content[0].thinking, heard.raw.content[0].signature) == (TEXT, "")
    hidden = await sdks.ask("messages", "c-model", stream=stream, tools=TOOLS)
    assert [each.type for each in hidden.raw.content] == ["text", "tool_use"]


@PROOFS
async def test_foreign_or_damaged_proof_of_a_messages_client_is_never_translated(
    proof: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    text = {"type": "text", "text": "Looking."}
    for thought in thoughts_with(proof):
        await messages_turn(sdks, [thought, text, USE], "c-model")
        said = fake.last.json["messages"][1]
        assert said.keys() == {"role", "content", "tool_calls"}
        assert said["content"] == "Looking."
        body = fake.last.body.decode()
        assert "think" not in body
        assert not proof or proof not in body


def thoughts_with(proof: str) -> list[dict[str, Any]]:
    """Return a block of thoughts and a redacted one that carry a proof."""
    return [
        {"type": "thinking", "thinking": TEXT, "signature": proof},
        {"type": "redacted_thinking", "data": proof},
    ]


OURS = [row for row in FOREIGN if row[1].startswith("a3gx")]


@pytest.mark.parametrize("proof", [row[1] for row in OURS], ids=[row[0] for row in OURS])
async def test_seal_that_does_not_fit_is_taken_out_of_what_passes_through(
    proof: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    native = {"type": "thinking", "thinking": "mine", "signature": SIGNATURE}
    for thought in thoughts_with(proof):
        await messages_turn(sdks, [thought, native, USE], "m-model")
        assert sent_blocks(fake) == [native, USE]


async def test_seal_that_fits_is_opened_in_what_passes_through(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    shown = {"type": "thinking", "thinking": TEXT, "signature": token(t=None)}
    hidden = {"type": "thinking", "thinking": "", "signature": token()}
    redacted = {"type": "redacted_thinking", "data": token(t=None, s="EmwK", x=1)}
    # A redacted block reaches a client as a thinking block too: its carrier is the signature.
    carried = {"type": "thinking", "thinking": "", "signature": token(t=None, s="EmwL", x=1)}
    await messages_turn(sdks, [shown, hidden, redacted, carried, USE], "m-model")
    thinking = {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE}
    assert sent_blocks(fake) == [
        thinking,
        thinking,
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "redacted_thinking", "data": "EmwL"},
        USE,
    ]


@pytest.mark.parametrize(
    ("proof", "sent"),
    [
        (token(), None),
        (token(f="gpt"), None),
        (token()[:-9], None),
        (token(p="g", f="gpt", s="Google's own"), "Google's own"),
        ("Google's own", "Google's own"),
    ],
    ids=["Anthropic's", "of another protocol", "damaged", "fits", "native"],
)
async def test_proofs_in_what_a_chat_client_passes_through(
    proof: str, sent: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    carried = {**call, "extra_content": {"google": {"thought_signature": proof}, "other": 1}}
    said = {"role": "assistant", "content": None, "tool_calls": [carried]}
    await chat_turn(sdks, said, "c-model")
    want: dict[str, Any] = {"other": 1}
    if sent is not None:
        want["google"] = {"thought_signature": sent}
    assert fake.last.json["messages"][1]["tool_calls"] == [{**call, "extra_content": want}]


# --- how much to think --------------------------------------------------------------------------

EFFORTS: list[tuple[str, Any, Any]] = [
    ("none", {"type": "disabled"}, None),
    ("minimal", ADAPTIVE, "low"),
    ("low", ADAPTIVE, "low"),
    ("medium", ADAPTIVE, "medium"),
    ("high", ADAPTIVE, "high"),
    ("xhigh", ADAPTIVE, "xhigh"),
    ("max", ADAPTIVE, "max"),
]


@pytest.mark.parametrize(("effort", "thinking", "sent"), EFFORTS, ids=[row[0] for row in EFFORTS])
async def test_effort_of_chat_becomes_adaptive_thinking(
    effort: Any, thinking: Any, sent: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort=effort)
    assert fake.last.json["thinking"] == thinking
    assert fake.last.json.get("output_config", {}).get("effort") == sent
    assert sdks.dropped == []


BUDGETS = [
    ("none", None),
    ("minimal", 1024),
    ("low", 2048),
    ("medium", 8192),
    ("high", 16384),
    ("xhigh", 32768),
    ("max", 65536),
]


async def test_effort_of_chat_becomes_a_budget_for_older_models(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(Turn(words=("x",))))
    for effort, budget in BUDGETS:
        await sdks.ask("chat", "m-model", reasoning_effort=effort, max_tokens=100_000)
        body = fake.last.json
        want = None if budget is None else {"type": "enabled", "budget_tokens": budget}
        assert body.get("thinking") == want, effort
        assert "output_config" not in body
        assert body["max_tokens"] == 100_000
        assert sdks.dropped == []


@pytest.mark.parametrize(
    ("cap", "budget"), [(20_000, 16_384), (10_000, 8_976), (2_048, 1_024), (2_047, None)]
)
async def test_budget_leaves_room_for_an_answer(
    cap: int, budget: int | None, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort="high", max_tokens=cap)
    want = None if budget is None else {"type": "enabled", "budget_tokens": budget}
    assert fake.last.json.get("thinking") == want
    assert fake.last.json["max_tokens"] == cap
    assert sdks.dropped == ([] if budget else ["reasoning_effort"])


FLAGS: list[tuple[str, str, Any, Any]] = [
    ("thinking_can_disable = false", "none", ADAPTIVE, "low"),
    ('efforts = ["low", "high"]', "medium", ADAPTIVE, "low"),
    ('efforts = ["low", "high"]', "max", ADAPTIVE, "high"),
    ('efforts = ["medium", "high"]', "low", ADAPTIVE, "medium"),
    ('thinking = "none"', "high", None, None),
]


@pytest.mark.parametrize(("flag", "effort", "thinking", "sent"), FLAGS)
async def test_effort_is_fitted_to_the_model(
    flag: str,
    effort: Any,
    thinking: Any,
    sent: str | None,
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flag)))
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", reasoning_effort=effort)
    assert fake.last.json.get("thinking") == thinking
    assert fake.last.json.get("output_config", {}).get("effort") == sent


async def test_client_that_says_nothing_about_thinking_changes_nothing(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model")
    assert "thinking" not in fake.last.json
    await sdks.ask("messages", "c-model")
    assert "reasoning_effort" not in fake.last.json


TO_EFFORT: list[tuple[str, Any, Any, str | None]] = [
    ("disabled", {"type": "disabled"}, None, "none"),
    ("budget 1024", {"type": "enabled", "budget_tokens": 1024}, None, "minimal"),
    ("budget 1025", {"type": "enabled", "budget_tokens": 1025}, None, "low"),
    ("budget 4096", {"type": "enabled", "budget_tokens": 4096}, None, "low"),
    ("budget 12288", {"type": "enabled", "budget_tokens": 12288}, None, "medium"),
    ("budget 24576", {"type": "enabled", "budget_tokens": 24576}, None, "high"),
    ("budget 31999", {"type": "enabled", "budget_tokens": 31999}, None, "xhigh"),
    ("adaptive", ADAPTIVE, None, None),
    ("between tools", {"type": "between_tools"}, None, None),
    ("adaptive with an effort", ADAPTIVE, "medium", "medium"),
    ("effort alone", None, "max", "max"),
]


@pytest.mark.parametrize(
    ("thinking", "effort", "sent"), [row[1:] for row in TO_EFFORT], ids=[r[0] for r in TO_EFFORT]
)
async def test_thinking_of_messages_becomes_an_effort(
    thinking: Any, effort: Any, sent: str | None, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    more: Any = {} if thinking is None else {"thinking": thinking}
    if effort is not None:
        more["output_config"] = {"effort": effort}
    await sdks.ask("messages", "c-model", max_tokens=60_000, **more)
    assert fake.last.json.get("reasoning_effort") == sent
    assert "thinking" not in fake.last.json
    assert sdks.dropped == []


async def test_effort_of_the_last_turn_wins(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    history: Any = [
        *HI,
        {"role": "system", "content": "Hurry.", "output_config": {"effort": "low"}},
    ]
    await sdks.ask(
        "messages",
        "c-model",
        messages=history,
        thinking=ADAPTIVE,
        output_config={"effort": "high"},
    )
    assert fake.last.json["reasoning_effort"] == "low"


async def test_effort_is_left_out_with_tools_where_the_vendor_refuses_the_pair(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model="no_effort_with_tools = true")))
    fake.always(vendor(Turn(words=("x",))))
    more: Any = {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}
    await sdks.ask("messages", "c-model", tools=TOOLS, **more)
    assert "reasoning_effort" not in fake.last.json
    assert sdks.dropped == ["thinking"]
    await sdks.ask("messages", "c-model", **more)
    assert fake.last.json["reasoning_effort"] == "high"


# --- a turn of calls whose thoughts are lost ----------------------------------------------------


async def test_budget_thinking_is_off_when_the_last_turn_of_calls_has_lost_its_thoughts(
    fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url, model='thinking = "budget"')))
    fake.always(vendor(ASKING, Turn(words=("Done.",))))
    said = returned(
        await sdks.ask("chat", "m-model", tools=CHAT_TOOLS, reasoning_effort="low", max_tokens=9000)
    )
    await chat_turn(sdks, said)
    assert sent_blocks(fake)[0]["type"] == "thinking"
    assert fake.last.json["thinking"] == {"type": "enabled", "budget_tokens": 7168}
    for call in said["tool_calls"]:
        del call["extra_content"]
    await chat_turn(sdks, said)
    assert [each["type"] for each in sent_blocks(fake)] == ["text", "tool_use"]
    assert "thinking" not in fake.last.json


async def test_adaptive_thinking_stays_on_without_them(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("Done.",))))
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    await chat_turn(sdks, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert fake.last.json["thinking"] == ADAPTIVE


# --- a proof that the vendor refuses ------------------------------------------------------------

REFUSAL = "messages.1.content.0: Invalid `signature` in `thinking` block"
NATIVE = {"type": "thinking", "thinking": TEXT, "signature": SIGNATURE}


@pytest.mark.parametrize("stream", [False, True])
async def test_refused_proof_of_a_chat_client_is_left_out_in_a_second_try(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.answer(failure(400, REFUSAL, protocol="anthropic"))
    fake.always(vendor(Turn(words=("Done.",))))
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "look", "arguments": "{}"},
        "extra_content": {"google": {"thought_signature": token()}},
    }
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    await chat_turn(sdks, said, stream=stream)
    first, second = (each.json for each in fake.requests)
    assert first["messages"][1]["content"][0] == NATIVE
    use = {"type": "tool_use", "id": "c1", "name": "look", "input": {}}
    assert second["messages"][1]["content"] == [use]
    assert {**second, "messages": 0} == {**first, "messages": 0}
    assert sdks.dropped == ["messages.reasoning"]


BUDGET: Any = {"type": "enabled", "budget_tokens": 2000}
CLEARING = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}


@pytest.mark.parametrize("thinking", [ADAPTIVE, BUDGET], ids=["adaptive", "budget"])
async def test_refused_proof_that_passed_through_is_left_out_in_a_second_try(
    thinking: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.answer(failure(400, REFUSAL, protocol="anthropic"))
    fake.always(vendor(Turn(words=("Done.",))))
    old: Any = [
        *HI,
        {"role": "assistant", "content": [NATIVE]},
        {"role": "user", "content": "More."},
        {"role": "assistant", "content": [NATIVE, USE]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"}],
        },
    ]
    more: Any = {"thinking": thinking, "extra_body": {"context_management": CLEARING}}
    await sdks.ask("messages", "m-model", messages=old, tools=TOOLS, max_tokens=9000, **more)
    first, second = (each.json for each in fake.requests)
    assert first["messages"] == old
    assert second["messages"] == [old[0], old[2], {**old[3], "content": [USE]}, old[4]]
    if thinking == BUDGET:
        # With a budget the vendor would miss the thoughts of the call.
        assert second["thinking"] == {"type": "disabled"}
        assert second["context_management"] == {"edits": CLEARING["edits"][1:]}
    else:
        assert second["thinking"] == ADAPTIVE
        assert second["context_management"] == CLEARING
    assert sdks.dropped == ["messages.reasoning"]


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_refused_proof_on_chat_is_left_out_in_a_second_try(
    client: str, fake: FakeUpstream, start: Starter, connect: Connect
) -> None:
    sdks = connect(await start(toml(fake.base_url)))
    fake.answer(failure(400, "thought_signature is not valid"))
    fake.always(vendor(Turn(words=("Done.",))))
    if client == "chat":
        call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        carried = {**call, "extra_content": {"google": {"thought_signature": "Google's own"}}}
        said = {"role": "assistant", "content": None, "tool_calls": [carried]}
        await chat_turn(sdks, said, "c-model")
    else:
        thought = {"type": "thinking", "thinking": "", "signature": token(p="g", f="gpt", t=None)}
        await messages_turn(sdks, [thought, USE], "c-model")
    before, after = (each.json["messages"][1]["tool_calls"][0] for each in fake.requests)
    assert before["extra_content"]["google"]["thought_signature"]
    assert "thought_signature" not in str(after)
    assert sdks.dropped == ["messages.reasoning"]


@pytest.mark.parametrize(
    ("model", "content", "headers"),
    [
        ("m-model", [USE], {}),
        ("m-model", [NATIVE, USE], {"x-kurol-strict": "1"}),
        ("c-model", [NATIVE, USE], {}),
    ],
    ids=["no thoughts", "strict", "never sent"],
)
async def test_there_is_no_second_try_without_anything_to_leave_out(
    model: str, content: list[Any], headers: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(failure(400, REFUSAL))
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await messages_turn(sdks, content, model, extra_headers=headers)
    assert len(fake.requests) == 1


async def test_second_refusal_of_a_proof_is_the_answer(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(failure(400, REFUSAL, protocol="anthropic"))
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await messages_turn(sdks, [NATIVE, USE], "m-model")
    assert len(fake.requests) == 2

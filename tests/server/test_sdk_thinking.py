"""Thoughts through both SDKs: shown, sealed, brought back, and never given to a stranger."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.conftest import Starter, toml
from tests.fakes.answers import json_answer, stream_answer
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
from tests.server.thoughts import (
    ADAPTIVE,
    ASKING,
    CHAT_TOOLS,
    SIGNATURE,
    TEXT,
    THOUGHTS,
    TOOLS,
    USE,
    chat_turn,
    messages_turn,
    opened,
    returned,
    sent_blocks,
    signature_of,
    token,
)

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

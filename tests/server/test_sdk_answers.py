"""What both SDKs read of both kinds of upstream: words, ends, figures; whole and streamed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.conftest import PLANTED_KEY
from tests.fakes.answers import SECRET, json_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.server.scripts import (
    DONE,
    MODEL,
    USAGE,
    Turn,
    begin,
    block,
    chat_whole,
    chunk,
    finish,
    messages_whole,
    vendor,
)
from tests.server.sdks import HI, PAIRS, Sdks, every_pair

# End in Chat's words -> what each client reads.
ENDS = {
    "stop": {"chat": "stop", "messages": "end_turn"},
    "length": {"chat": "length", "messages": "max_tokens"},
    "content_filter": {"chat": "content_filter", "messages": "refusal"},
}


@every_pair
async def test_words_figures_and_ids_arrive(
    client: str, model: str, stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("Hé", "llo ", '\U0001f44b\n"x"'))))
    heard = await sdks.ask(client, model, stream=stream)
    assert heard.text == 'Héllo \U0001f44b\n"x"'
    assert heard.finish == ENDS["stop"][client]
    assert heard.usage == USAGE
    assert heard.model == model
    assert heard.calls == []
    assert heard.thoughts == ""
    head = sdks.head
    assert head["x-request-id"].startswith("req_")
    assert (head.get("request-id") == head["x-request-id"]) is (client == "messages")
    assert head["cache-control"] == "no-cache"
    assert head.get("x-accel-buffering") == ("no" if stream else None)
    assert "x-kurol-dropped" not in head
    assert SECRET not in str(head)
    own = (client, model) in {("chat", "c-model"), ("messages", "m-model")}
    prefix = {"chat": "chatcmpl-", "messages": "msg_"}[client]
    assert heard.raw.id.startswith(prefix)
    assert (heard.raw.id == f"{prefix}up") is own


@every_pair
async def test_upstream_is_asked_in_its_own_protocol(
    client: str, model: str, stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask(client, model, stream=stream)
    sent = fake.last
    assert sent.method == "POST"
    assert sent.json["model"] == MODEL
    assert sent.json.get("stream", False) is stream
    for name in ("cookie", "x-stainless-lang", "x-forwarded-for", "forwarded"):
        assert sent.header(name) is None
    assert sent.header("content-type") == "application/json"
    assert sent.header("accept-encoding") == "identity"
    if model == "c-model":
        assert sent.path == "/v1/chat/completions"
        assert sent.header("authorization") == f"Bearer {PLANTED_KEY}"
        assert sent.header("x-api-key") is None
        assert sent.header("anthropic-version") is None
        want = {"include_usage": True} if stream else None
        assert sent.json.get("stream_options") == want
    else:
        assert sent.path == "/v1/messages"
        assert sent.header("x-api-key") == PLANTED_KEY
        assert sent.header("authorization") is None
        # The SDK's own version goes on unchanged; a translation asks for the superset.
        version = "2026-10-21" if client == "messages" else "2023-06-01"
        assert sent.header("anthropic-version") == version
        assert "stream_options" not in sent.json
    assert fake.unscripted == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_answer_shows_the_alias_that_was_asked_for(
    client: str, stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    heard = await sdks.ask(client, "claude-c", stream=stream)
    assert heard.model == "claude-c"
    assert fake.last.json["model"] == MODEL


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_every_chunk_of_a_chat_stream_has_one_id_and_the_callers_model(
    model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("a", "b", "c"))))
    stream = await sdks.chat.chat.completions.create(model=model, messages=HI, stream=True)
    seen = [each async for each in stream]
    assert {(each.model, each.object) for each in seen} == {(model, "chat.completion.chunk")}
    assert len({each.id for each in seen}) == 1
    assert len({each.created for each in seen}) == 1
    assert seen[0].choices[0].delta.role == "assistant"
    assert [each.choices[0].finish_reason for each in seen] == [None] * 4 + ["stop"]


@pytest.mark.parametrize("model", ["c-model", "m-model"])
async def test_usage_chunk_is_only_for_those_who_ask(
    model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("a",))))
    shown = {}
    for asked in (None, False, True):
        options: Any = {} if asked is None else {"stream_options": {"include_usage": asked}}
        stream = await sdks.chat.chat.completions.create(
            model=model, messages=HI, stream=True, **options
        )
        chunks = [each async for each in stream]
        shown[asked] = [each.usage.total_tokens for each in chunks if each.usage is not None]
        assert all(each.choices for each in chunks) is (asked is not True)
        if model == "c-model":
            assert fake.last.json["stream_options"] == {"include_usage": True}
    assert shown == {None: [], False: [], True: [42]}


@pytest.mark.parametrize("end", ["length", "content_filter"])
async def test_ends_are_told_in_the_clients_words(end: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("half an ans",), end=end)))
    for client, model, stream in PAIRS:
        heard = await sdks.ask(client, model, stream=stream, max_tokens=3)
        assert heard.finish == ENDS[end][client], (client, model, stream)
        assert heard.text == "half an ans"
        assert fake.last.json["max_tokens"] == 3


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("end_turn", "stop"),
        ("pause_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("a_new_one", "stop"),
    ],
)
async def test_every_stop_reason_has_a_finish_reason(
    told: str, seen: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    whole = {**messages_whole(Turn(words=("x",))), "stop_reason": told}
    frames = [begin(), *block(0, {"type": "text", "text": ""}, []), *finish({"stop_reason": told})]
    fake.answer(json_answer(whole), stream_answer(frames))
    for stream in (False, True):
        assert (await sdks.ask("chat", "m-model", stream=stream)).finish == seen


@pytest.mark.parametrize(
    ("told", "seen"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("a_new_one", "end_turn"),
    ],
)
async def test_every_finish_reason_has_a_stop_reason(
    told: str, seen: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    whole = chat_whole(Turn(words=("x",), end=told))
    frames = [chunk({"role": "assistant", "content": "x"}), chunk({}, told), DONE]
    fake.answer(json_answer(whole), stream_answer(frames))
    for stream in (False, True):
        assert (await sdks.ask("messages", "c-model", stream=stream)).finish == seen


@pytest.mark.parametrize("model", ["c-model", "m-model"])
@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_long_answer_comes_delta_by_delta(
    client: str, model: str, sdks: Sdks, fake: FakeUpstream
) -> None:
    words = tuple(f"w{n} " for n in range(1500))
    fake.always(vendor(Turn(words=words)))
    if client == "chat":
        chunks = await sdks.chat.chat.completions.create(model=model, messages=HI, stream=True)
        texts = [each.choices[0].delta.content async for each in chunks]
    else:
        events = await sdks.messages.messages.create(
            model=model, messages=HI, max_tokens=9000, stream=True
        )
        texts = [each.delta.text async for each in events if each.type == "content_block_delta"]
    assert tuple(text for text in texts if text) == words


async def test_answers_of_many_at_once_are_not_mixed_up(sdks: Sdks, fake: FakeUpstream) -> None:
    def echo(seen: SeenRequest) -> Any:
        content = seen.json["messages"][-1]["content"]
        words = content if isinstance(content, str) else content[0]["text"]
        return vendor(Turn(words=tuple(words), thoughts=(words,)))(seen)

    fake.always(echo)
    rows = [(f"{at}-{'abc'[at % 3] * at}", *PAIRS[at % len(PAIRS)]) for at in range(48)]

    async def one(words: str, client: str, model: str, stream: bool) -> str:
        messages: Any = [{"role": "user", "content": words}]
        return (await sdks.ask(client, model, stream=stream, messages=messages)).text

    heard = await asyncio.gather(*(one(*row) for row in rows))
    assert heard == [row[0] for row in rows]


# --- usage ----------------------------------------------------------------------------------

FIGURES = [
    ("nothing special", Figures(10, 5)),
    ("cache read", Figures(10, 5, cache_read=10)),
    ("cache written", Figures(100, 5, cache_write=99)),
    ("read and written", Figures(1000, 5, cache_read=600, cache_write=300)),
    ("reasoning alone", Figures(10, 500, reasoning=500)),
    ("everything", Figures(1_000_000, 70_000, 500_000, 100_000, 60_000)),
    ("zero", Figures(0, 0)),
]


@pytest.mark.parametrize("figures", [row[1] for row in FIGURES], ids=[row[0] for row in FIGURES])
async def test_figures_are_the_same_on_both_sides(
    figures: Figures, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",), usage=figures)))
    for client, model, stream in PAIRS:
        heard = await sdks.ask(client, model, stream=stream)
        assert heard.usage == figures, (client, model, stream)


async def test_figures_that_the_vendor_does_not_tell_are_left_open(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",), usage=None)))
    for stream in (False, True):
        assert (await sdks.ask("chat", "c-model", stream=stream)).usage is None
        # Messages cannot leave them out.
        assert (await sdks.ask("messages", "c-model", stream=stream)).usage == Figures()


# --- stop texts, refusals, citations ----------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "sent"),
    [("END", ["END"]), (["a", "b", "c", "d"], ["a", "b", "c", "d"]), ([], None), (None, None)],
)
async def test_stop_of_chat_becomes_stop_sequences(
    stop: Any, sent: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    turn = Turn(words=("x",), stop_sequence="END")
    fake.always(vendor(turn))
    heard = await sdks.ask("chat", "m-model", stop=stop)
    assert heard.finish == "stop"
    assert fake.last.json.get("stop_sequences") == sent
    assert sdks.dropped == []


async def test_four_stop_sequences_go_to_chat_as_they_are(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", stop_sequences=["a", "b", "c", "d"])
    assert fake.last.json["stop"] == ["a", "b", "c", "d"]


FIVE = ["one", "two", "three", "four", "<STOP>"]


@pytest.mark.parametrize("words", [("Hello <STOP> gone",), ("Hello <", "ST", "OP", "> gone")])
async def test_fifth_stop_sequence_is_cut_here(
    words: tuple[str, ...], sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=words)))
    for stream in (False, True):
        heard = await sdks.ask("messages", "c-model", stream=stream, stop_sequences=FIVE)
        assert heard.text == "Hello "
        assert heard.finish == "stop_sequence"
        assert heard.raw.stop_sequence == "<STOP>"
        assert fake.last.json["stop"] == FIVE[:4]
        assert sdks.dropped == []


async def test_upstream_is_left_when_a_stop_text_was_met(sdks: Sdks, fake: FakeUpstream) -> None:
    said = chunk({"role": "assistant", "content": "Hello <STOP> and much more"})
    fake.answer(stream_answer([said, fake.hold()]))
    heard = await sdks.ask("messages", "c-model", stream=True, stop_sequences=FIVE)
    assert (heard.text, heard.finish) == ("Hello ", "stop_sequence")
    assert (await fake.client_gone()) is fake.last


async def test_text_that_only_begins_like_a_stop_text_is_kept(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("a <ST", "AR> b <STO"))))
    heard = await sdks.ask("messages", "c-model", stream=True, stop_sequences=FIVE)
    assert (heard.text, heard.finish) == ("a <STAR> b <STO", "end_turn")


@pytest.mark.parametrize("stream", [False, True])
async def test_refusal_of_messages_reaches_a_chat_client(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("I ",), refusal="Not this.")))
    heard = await sdks.ask("chat", "m-model", stream=stream)
    assert (heard.text, heard.refusal, heard.finish) == ("I ", "Not this.", "content_filter")


@pytest.mark.parametrize("stream", [False, True])
async def test_refusal_of_chat_reaches_a_messages_client_as_text(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(refusal="I cannot.")))
    heard = await sdks.ask("messages", "c-model", stream=stream)
    assert (heard.text, heard.finish) == ("I cannot.", "end_turn")


@pytest.mark.parametrize("stream", [False, True])
async def test_web_citations_become_annotations(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    cited = {
        "type": "web_search_result_location",
        "url": "https://example.org/a",
        "title": "A page",
        "cited_text": "sky",
        "encrypted_index": "xyz",
    }
    paged = {"type": "page_location", "cited_text": "p", "document_index": 0}
    texts = [{"type": "text_delta", "text": "Blue sky"}]
    notes = [{"type": "citations_delta", "citation": each} for each in (cited, paged)]
    whole = messages_whole(Turn())
    whole["content"] = [
        {"type": "text", "text": "So: "},
        {"type": "text", "text": "Blue sky", "citations": [cited, paged]},
    ]
    frames = [
        begin(),
        *block(0, {"type": "text", "text": ""}, [{"type": "text_delta", "text": "So: "}]),
        *block(1, {"type": "text", "text": "", "citations": []}, texts + notes),
        *finish({"stop_reason": "end_turn"}),
    ]
    fake.always(stream_answer(frames) if stream else json_answer(whole))
    heard = await sdks.ask("chat", "m-model", stream=stream)
    assert heard.text == "So: Blue sky"
    notes_seen = heard.raw.choices[0].message.annotations
    plain = [each if isinstance(each, dict) else each.to_dict() for each in notes_seen]
    assert plain == [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": 4,
                "end_index": 12,
                "title": "A page",
                "url": "https://example.org/a",
            },
        }
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_annotations_become_web_citations(
    stream: bool, sdks: Sdks, fake: FakeUpstream
) -> None:
    source = {"start_index": 0, "end_index": 4, "title": "A page", "url": "https://example.org/a"}
    note = {"type": "url_citation", "url_citation": source}
    whole = chat_whole(Turn(words=("Blue sky",)))
    whole["choices"][0]["message"]["annotations"] = [note]
    frames = [
        chunk({"role": "assistant", "content": "Blue sky"}),
        chunk({"annotations": [note]}),
        chunk({}, "stop"),
        DONE,
    ]
    fake.always(stream_answer(frames) if stream else json_answer(whole))
    heard = await sdks.ask("messages", "c-model", stream=stream)
    (text,) = heard.raw.content
    assert text.text == "Blue sky"
    assert [(each.type, each.url, each.title) for each in text.citations] == [
        ("web_search_result_location", "https://example.org/a", "A page")
    ]

"""Pictures, PDFs and texts through both SDKs: in what users say and in what tools answer."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import openai
import pytest

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import Turn, vendor
from tests.server.sdks import HI, Sdks

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
JPEG = "/9j/4AAQSkZJRgABAQEASABIAAD/2wBD"
PDF = base64.b64encode(b"%PDF-1.4 tiny").decode()
TEXT = base64.b64encode("Grüße\n".encode()).decode()
URL = "https://example.org/cat.png"


def chat_image(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def chat_file(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": data, **more}}


def messages_part(kind: str, source: str, value: str, mime: str | None = None) -> dict[str, Any]:
    place = "url" if source == "url" else "data"
    media = {} if mime is None else {"media_type": mime}
    return {"type": kind, "source": {"type": source, **media, place: value}}


def user(*parts: Any) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": "See:"}, *parts]}]


BASE64_PNG = messages_part("image", "base64", PNG, "image/png")
BASE64_PDF = messages_part("document", "base64", PDF, "application/pdf")
PLAIN = messages_part("document", "text", "Grüße\n", "text/plain")

TO_MESSAGES: list[tuple[str, Any, Any, list[str]]] = [
    ("picture", chat_image(f"data:image/png;base64,{PNG}"), BASE64_PNG, []),
    (
        "picture of another type than it says",
        chat_image(f"data:image/png;base64,{JPEG}"),
        messages_part("image", "base64", JPEG, "image/jpeg"),
        [],
    ),
    ("picture by URL", chat_image(URL), messages_part("image", "url", URL), []),
    ("detail auto", chat_image(URL, detail="auto"), messages_part("image", "url", URL), []),
    (
        "detail high",
        chat_image(URL, detail="high"),
        messages_part("image", "url", URL),
        ["messages.image.detail"],
    ),
    (
        "PDF with a name",
        chat_file(f"data:application/pdf;base64,{PDF}", filename="report.pdf"),
        {**BASE64_PDF, "title": "report.pdf"},
        [],
    ),
    ("PDF without a name", chat_file(f"data:application/pdf;base64,{PDF}"), BASE64_PDF, []),
    (
        "plain text",
        chat_file(f"data:text/plain;base64,{TEXT}", filename="a.txt"),
        {**PLAIN, "title": "a.txt"},
        [],
    ),
]


@pytest.mark.parametrize(
    ("part", "sent", "lost"), [row[1:] for row in TO_MESSAGES], ids=[row[0] for row in TO_MESSAGES]
)
async def test_media_of_chat_go_to_messages(
    part: Any, sent: Any, lost: list[str], sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("chat", "m-model", messages=user(part))
    content = fake.last.json["messages"][0]["content"]
    assert content == [{"type": "text", "text": "See:"}, sent]
    assert sdks.dropped == lost


TO_CHAT: list[tuple[str, Any, Any]] = [
    ("picture", BASE64_PNG, chat_image(f"data:image/png;base64,{PNG}")),
    ("picture by URL", messages_part("image", "url", URL), chat_image(URL)),
    (
        "PDF with a title",
        {**BASE64_PDF, "title": "report"},
        chat_file(f"data:application/pdf;base64,{PDF}", filename="report"),
    ),
    (
        "PDF without a title",
        BASE64_PDF,
        chat_file(f"data:application/pdf;base64,{PDF}", filename="document.pdf"),
    ),
    (
        "plain text with a title and a context",
        {**PLAIN, "title": "a.txt", "context": "from disk"},
        {"type": "text", "text": "[file: a.txt]\nfrom disk\nGrüße\n"},
    ),
    (
        "content of blocks",
        {
            "type": "document",
            "title": "mixed",
            "source": {"type": "content", "content": [{"type": "text", "text": "inside"}]},
        },
        {"type": "text", "text": "[file: mixed]\ninside"},
    ),
    (
        "search result",
        {
            "type": "search_result",
            "source": "https://example.org",
            "title": "Found",
            "content": [{"type": "text", "text": "words"}],
        },
        {"type": "text", "text": "[search result: Found, https://example.org]\nwords"},
    ),
]


@pytest.mark.parametrize(
    ("part", "sent"), [row[1:] for row in TO_CHAT], ids=[r[0] for r in TO_CHAT]
)
async def test_media_of_messages_go_to_chat(
    part: Any, sent: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    await sdks.ask("messages", "c-model", messages=user(part))
    content = fake.last.json["messages"][0]["content"]
    assert content == [{"type": "text", "text": "See:"}, sent]
    assert sdks.dropped == []


async def test_wish_for_citations_of_a_document_is_a_loss(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    part = {**PLAIN, "title": "a.txt", "citations": {"enabled": True}}
    await sdks.ask("messages", "c-model", messages=user(part))
    assert fake.last.json["messages"][0]["content"][1]["text"] == "[file: a.txt]\nGrüße\n"
    assert sdks.dropped == ["messages.document.citations"]


FILE_ID = {"type": "file", "file_id": "file-1"}
REFUSED: list[tuple[str, str, Any]] = [
    ("file id of Chat", "chat", {"type": "file", "file": {"file_id": "file-1"}}),
    ("sound", "chat", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    ("data URL that is not base64", "chat", chat_image("data:image/png,raw")),
    ("file id of an image", "messages", {"type": "image", "source": FILE_ID}),
    ("file id of a document", "messages", {"type": "document", "source": FILE_ID}),
    ("PDF by URL", "messages", messages_part("document", "url", "https://example.org/a.pdf")),
]


@pytest.mark.parametrize(
    ("client", "part"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
async def test_media_without_a_counterpart_are_refused(
    client: str, part: Any, sdks: Sdks, fake: FakeUpstream
) -> None:
    model = {"chat": "m-model", "messages": "c-model"}[client]
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
        await sdks.ask(client, model, messages=user(part))
    assert caught.value.status_code == 400
    assert sdks.head["x-should-retry"] == "false"
    assert fake.requests == []


@pytest.mark.parametrize(
    ("flag", "client", "part", "words"),
    [
        ("vision = false", "chat", chat_image(URL), "m-model does not accept images"),
        ("vision = false", "messages", BASE64_PNG, "c-model does not accept images"),
        (
            "pdf = false",
            "chat",
            chat_file(f"data:application/pdf;base64,{PDF}"),
            "m-model does not accept PDF",
        ),
        ("pdf = false", "messages", BASE64_PDF, "c-model does not accept PDF"),
    ],
)
async def test_model_that_cannot_see_says_so(
    flag: str,
    client: str,
    part: Any,
    words: str,
    fake: FakeUpstream,
    start: Starter,
    connect: Connect,
) -> None:
    sdks = connect(await start(toml(fake.base_url, model=flag)))
    model = {"chat": "m-model", "messages": "c-model"}[client]
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)) as caught:
        await sdks.ask(client, model, messages=user(part))
    assert words in str(caught.value)
    assert fake.requests == []


@pytest.mark.parametrize("client", ["chat", "messages"])
async def test_media_pass_through_untouched(client: str, sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    part: Any = BASE64_PNG if client == "messages" else chat_image(f"data:image/png;base64,{PNG}")
    odd: Any = {"type": "new_kind_of_part", "x": 1}
    model = {"chat": "c-model", "messages": "m-model"}[client]
    await sdks.ask(client, model, messages=user(part, odd))
    assert fake.last.json["messages"] == user(part, odd)


# --- in the results of tools --------------------------------------------------------------------

USE = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TOOL: Any = [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]


async def test_picture_in_a_result_follows_as_the_users_on_chat(
    sdks: Sdks, fake: FakeUpstream
) -> None:
    fake.always(vendor(Turn(words=("x",))))
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "t1",
            "content": [{"type": "text", "text": "Here:"}, BASE64_PNG],
        },
        {"type": "tool_result", "tool_use_id": "t2", "content": [BASE64_PDF]},
    ]
    history: Any = [
        *HI,
        {"role": "assistant", "content": [USE, {**USE, "id": "t2"}]},
        {"role": "user", "content": [*results, {"type": "text", "text": "What is it?"}]},
    ]
    await sdks.ask("messages", "c-model", tools=TOOL, messages=history)
    first, second, more = fake.last.json["messages"][2:]
    assert first == {
        "role": "tool",
        "tool_call_id": "t1",
        "content": "Here:\n[image attached below]",
    }
    assert (second["role"], second["tool_call_id"]) == ("tool", "t2")
    assert isinstance(second["content"], str)
    assert more == {
        "role": "user",
        "content": [
            chat_image(f"data:image/png;base64,{PNG}"),
            chat_file(f"data:application/pdf;base64,{PDF}", filename="document.pdf"),
            {"type": "text", "text": "What is it?"},
        ],
    }
    assert sdks.dropped == []


async def test_picture_in_a_result_stays_in_it_on_messages(sdks: Sdks, fake: FakeUpstream) -> None:
    fake.always(vendor(Turn(words=("x",))))
    content = [{"type": "text", "text": "Here:"}, chat_image(f"data:image/png;base64,{PNG}")]
    history: Any = [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "t1", "content": content},
    ]
    await sdks.ask("chat", "m-model", messages=history)
    (result,) = fake.last.json["messages"][2]["content"]
    assert result == {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "text", "text": "Here:"}, BASE64_PNG],
    }
    assert sdks.dropped == []

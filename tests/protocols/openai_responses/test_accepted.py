"""What the official Python SDK accepts: the rules of its majors that our streams rest on.

Each row takes a whole stream of ours and changes one thing. ``create`` reads events as they
come; ``stream`` checks the grammar. When a row changes, so may what we have to write.

Source: the table "What clients accept" of the wire reference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from openai import APIError

from kurolproxy.ir import BlockEnd, BlockStart, Delta, Finish, Start, UsageSeen
from kurolproxy.tokens import Usage
from tests.protocols.openai_responses.answer_support import sdk_created, sdk_streamed, write

STREAM = write(
    [
        Start(),
        BlockStart(0, "text"),
        Delta(0, "Hello"),
        BlockEnd(0),
        UsageSeen(Usage(5, 7)),
        Finish("stop"),
    ]
)
Change = Callable[[list[bytes]], list[bytes]]


def without(name: str) -> Change:
    return lambda frames: [each for each in frames if f"event: {name}\n".encode() not in each]


def edited(name: str, edit: Callable[[dict[str, Any]], object]) -> Change:
    """Return a change of the data of the events with this name."""

    def change(frames: list[bytes]) -> list[bytes]:
        out = []
        for each in frames:
            line, data = each.removesuffix(b"\n\n").split(b"\n")
            if line == f"event: {name}".encode():
                event = json.loads(data.removeprefix(b"data: "))
                edit(event)
                each = line + b"\ndata: " + json.dumps(event).encode() + b"\n\n"
            out.append(each)
        return out

    return change


def replaced(pattern: bytes, new: bytes) -> Change:
    return lambda frames: [re.sub(pattern, new, each) for each in frames]


def with_frame(at: int, frame: bytes) -> Change:
    return lambda frames: [*frames[:at], frame, *frames[at:]]


OTHER = b'event: response.xyz\ndata: {"type":"response.xyz","sequence_number":9}\n\n'
KEEPALIVE = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
DONE = "response.completed"

# What is changed, and the words that are read; None: the reader raises.
ROWS: list[tuple[str, Change, str | None, str | None]] = [
    ("nothing", lambda frames: frames, "Hello", "Hello"),
    ("no event lines", replaced(rb"event: .*\n", b""), "Hello", "Hello"),
    ("no numbers", replaced(rb'"sequence_number":\d+,', b""), "Hello", "Hello"),
    ("comments", with_frame(2, b": ping\n\n"), "Hello", "Hello"),
    ("keepalive", with_frame(2, KEEPALIVE), "Hello", "Hello"),
    ("keepalive first", with_frame(0, KEEPALIVE), "Hello", None),
    ("an unknown event", with_frame(2, OTHER), "Hello", "Hello"),
    ("trailing [DONE]", with_frame(99, b"data: [DONE]\n\n"), "Hello", "Hello"),
    ("no created", without("response.created"), "Hello", None),
    ("no item added", without("response.output_item.added"), "Hello", None),
    ("no part added", without("response.content_part.added"), "Hello", None),
    ("no item done", without("response.output_item.done"), "Hello", "Hello"),
    ("no completed", without(DONE), "Hello", None),
    (
        "no output in completed",
        edited(DONE, lambda event: event["response"].pop("output")),
        "Hello",
        "Hello",
    ),
    (
        "no usage",
        edited(DONE, lambda event: event["response"].pop("usage")),
        "Hello",
        "Hello",
    ),
    (
        "another response id",
        edited(DONE, lambda event: event["response"].update(id="resp_other")),
        "Hello",
        None,
    ),
    (
        "another item id",
        edited("response.output_item.done", lambda event: event["item"].update(id="msg_other")),
        "Hello",
        None,
    ),
]


@pytest.mark.parametrize(
    ("change", "created", "streamed"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_sdk_accepts_what_the_table_says(
    change: Change, created: str | None, streamed: str | None
) -> None:
    frames = [each + b"\n\n" for each in STREAM.split(b"\n\n") if each]
    stream = b"".join(change(frames))
    assert _created(stream) == created
    assert _streamed(stream) == streamed


def _created(stream: bytes) -> str:
    deltas = [each for each in sdk_created(stream) if each.type == "response.output_text.delta"]
    return "".join(each.delta for each in deltas)


def _streamed(stream: bytes) -> str | None:
    try:
        response, words = sdk_streamed(stream)
    except (AssertionError, IndexError, RuntimeError):
        return None
    assert response.output_text == words
    return words


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": "c", "message": "Flat.", "param": None}, None),
        ({"error": {"code": "c", "message": "Nested."}}, "Nested."),
        ({"code": "c", "message": "Both.", "error": {"message": "Both."}}, "Both."),
    ],
)
def test_sdk_raises_for_an_error_inside_an_error_event_only(
    error: dict[str, Any], message: str | None
) -> None:
    data = json.dumps({"type": "error", "sequence_number": 3, **error}).encode()
    begun = STREAM[: STREAM.index(b"event: response.output_text.done")]
    stream = begun + b"event: error\ndata: " + data + b"\n\n"
    if message is None:
        assert sdk_created(stream)[-1].type == "error"
        return
    for read in (sdk_created, sdk_streamed):
        with pytest.raises(APIError) as caught:
            read(stream)
        assert caught.value.message == message

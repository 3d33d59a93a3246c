"""System text in odd places, and the order of turns on the other protocol."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Starter, toml
from tests.fakes.upstream import FakeUpstream
from tests.server.conftest import Connect
from tests.server.scripts import Turn, vendor
from tests.server.sdks import HI, Sdks

OPEN = {"type": "object", "properties": {}}
TOOL: Any = {"name": "f", "input_schema": OPEN}

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

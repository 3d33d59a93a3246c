"""Whatever a client's history looks like, every encoder gets it in one order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import (
    CacheHint,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Seal,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.normalise import alternate, normalise, remind

INTERRUPTED = "No result: the call was interrupted."


# --- short forms ------------------------------------------------------------------------


def user(*parts: Part | str) -> Message:
    return said("user", *parts)


def assistant(*parts: Part | str) -> Message:
    return said("assistant", *parts)


def system(*parts: Part | str) -> Message:
    return said("system", *parts)


def tool(*parts: Part | str) -> Message:
    return said("tool", *parts)


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(part) if isinstance(part, str) else part for part in parts))


def call(call_id: str, name: str = "f") -> ToolCall:
    return ToolCall(call_id, name, "{}")


def result(call_id: str, text: str = "", name: str | None = None) -> ToolResult:
    return ToolResult(call_id, (Text(text),) if text else (), name)


def lost(call_id: str) -> ToolResult:
    return ToolResult(call_id, (Text(INTERRUPTED),), is_error=True, made_up=True)


def normal(*messages: Message) -> tuple[Message, ...]:
    return normalise(Request("m", messages)).messages


# --- any history ------------------------------------------------------------------------

IDS = st.sampled_from(["", "a", "b", "call_0_0"])
NAMES = st.sampled_from(["f", "g"])
TEXTS = st.builds(Text, st.sampled_from(["", "x", "Tool loaded: t", " "]))
RESULTS = st.builds(
    ToolResult,
    call_id=IDS,
    parts=st.lists(TEXTS | st.just(Image(url="u")), max_size=2).map(tuple),
    name=st.none() | NAMES,
)
CALLS = st.builds(ToolCall, id=IDS, name=NAMES, args=st.just("{}"))
PARTS: dict[Role, st.SearchStrategy[Part]] = {
    "system": TEXTS | st.just(Image(url="u")),
    "user": TEXTS | RESULTS | st.just(Image(url="u")),
    "assistant": TEXTS | CALLS | st.builds(Reasoning, st.sampled_from(["", "hm"])) | RESULTS,
    "tool": RESULTS | TEXTS,
}
MESSAGES = st.sampled_from(list(PARTS)).flatmap(
    lambda role: st.builds(Message, st.just(role), st.lists(PARTS[role], max_size=4).map(tuple))
)
TOOLS = st.lists(
    st.builds(
        Tool,
        name=st.sampled_from(["f", "t", "u", "DeferredToolPlaceholder"]),
        kind=st.sampled_from(["function", "hosted"]),
        deferred=st.booleans(),
    ),
    max_size=4,
)
REQUESTS = st.builds(
    Request,
    model=st.just("m"),
    messages=st.lists(MESSAGES, max_size=8).map(tuple),
    system=st.lists(TEXTS, max_size=2).map(tuple),
    tools=TOOLS.map(tuple),
)


@given(REQUESTS)
def test_twice_is_once(request: Request) -> None:
    once = normalise(request)
    assert normalise(once) == once


@given(REQUESTS)
def test_neighbours_have_different_roles_and_every_message_has_parts(request: Request) -> None:
    messages = normalise(request).messages
    assert all(message.parts for message in messages)
    assert all(a.role != b.role for a, b in pairwise(messages))


@given(REQUESTS)
def test_every_call_has_its_one_result_directly_behind_and_nothing_else_has(
    request: Request,
) -> None:
    messages = normalise(request).messages
    for at, message in enumerate(messages):
        calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
        assert all(calls)
        if calls:
            behind = messages[at + 1]
            assert behind.role == "tool"
            assert [part.call_id for part in behind.parts if isinstance(part, ToolResult)] == calls
        if message.role == "tool":
            before = messages[at - 1]
            assert at
            assert any(isinstance(part, ToolCall) for part in before.parts)
        is_result = {isinstance(part, ToolResult) for part in message.parts}
        assert is_result == {message.role == "tool"}


@given(REQUESTS)
def test_no_part_is_empty(request: Request) -> None:
    once = normalise(request)
    for part in (*once.system, *flat(once)):
        if isinstance(part, Text | Refusal | Reasoning):
            assert part.text


@given(REQUESTS)
def test_no_words_are_lost(request: Request) -> None:
    def words(of: Request) -> int:
        texts = [part.text for part in (*of.system, *flat(of)) if isinstance(part, Text)]
        return sum(text.count("x") + text.count("loaded") for text in texts)

    assert words(normalise(request)) == words(request)


@given(REQUESTS)
def test_parts_stay_the_same_objects_unless_they_had_to_change(request: Request) -> None:
    before = {id(part) for part in flat(request)}
    calls = {part for part in flat(request) if isinstance(part, ToolCall)}
    for part in flat(normalise(request)):
        made = isinstance(part, Text) and part.text.startswith(("[result of ", "(empty)", "No res"))
        numbered = isinstance(part, ToolCall) and part not in calls
        assert id(part) in before or made or numbered or isinstance(part, ToolResult)


def flat(request: Request) -> Iterator[Part]:
    """Yield all parts, those inside results too."""
    for message in request.messages:
        for part in message.parts:
            yield part
            if isinstance(part, ToolResult):
                yield from part.parts


# --- system, merging, empties -----------------------------------------------------------


def test_leading_system_messages_become_the_system() -> None:
    first, second = Text("one"), Text("two", CacheHint())
    request = Request(
        "m",
        (Message("system", (first,)), Message("system", (second,)), user("hi"), system("late")),
        system=(Text("zero"),),
    )
    once = normalise(request)
    assert once.system == (Text("zero"), first, second)
    assert once.system[2] is second
    assert once.messages == (user("hi"), system("late"))


CASES = [
    ("neighbours are merged", [user("a"), user("b")], [user("a", "b")]),
    (
        "assistant items are merged",
        [user("q"), assistant("a"), assistant(call("1")), tool(result("1", "r"))],
        [user("q"), assistant("a", call("1")), tool(result("1", "r"))],
    ),
    ("empty texts go", [user("", "a", "")], [user("a")]),
    ("empty messages go", [user("a"), assistant(""), user("b")], [user("a", "b")]),
    (
        "empty refusal and reasoning go",
        [user("a"), assistant(Refusal(""), Reasoning(""))],
        [user("a")],
    ),
    ("the only user says nothing", [user("")], [user("(empty)")]),
    ("no part at all", [user()], [user("(empty)")]),
    (
        "all users say nothing",
        [user(""), assistant("hi"), user("")],
        [assistant("hi"), user("(empty)")],
    ),
    (
        "one of the users says nothing",
        [user("a"), assistant("b"), user("")],
        [user("a"), assistant("b")],
    ),
    ("nothing before the system", [assistant(""), system("s"), user("a")], [user("a")]),
    (
        "system with an image stays",
        [system(Image(url="u")), user("a")],
        [system(Image(url="u")), user("a")],
    ),
    ("no message", [], []),
]


@pytest.mark.parametrize(("name", "messages", "expected"), CASES)
def test_history_is_brought_into_order(
    name: str, messages: list[Message], expected: list[Message]
) -> None:
    assert list(normal(*messages)) == expected


def test_reasoning_that_holds_only_a_proof_stays() -> None:
    proofs = (
        Reasoning("", Seal("a", "claude", "sig")),
        Reasoning("", native="sig"),
        Reasoning("", redacted=True),
    )
    assert normal(user("a"), assistant(*proofs))[1].parts == proofs


# --- calls and results ------------------------------------------------------------------

PAIRED = [
    (
        "results come in call order",
        [assistant(call("1"), call("2")), tool(result("2", "b")), tool(result("1", "a"))],
        [assistant(call("1"), call("2")), tool(result("1", "a"), result("2", "b"))],
    ),
    (
        "results among the words of a user",
        [assistant(call("1")), user("before", result("1", "a"), "behind")],
        [assistant(call("1")), tool(result("1", "a")), user("before", "behind")],
    ),
    (
        "a result behind other messages",
        [assistant(call("1")), system("s"), user("u"), tool(result("1", "a"))],
        [assistant(call("1")), tool(result("1", "a")), system("s"), user("u")],
    ),
    (
        "a call nobody answered",
        [assistant(call("1"), call("2")), tool(result("2", "b")), user("go on")],
        [assistant(call("1"), call("2")), tool(lost("1"), result("2", "b")), user("go on")],
    ),
    (
        "the last message calls",
        [user("q"), assistant(call("1"))],
        [user("q"), assistant(call("1")), tool(lost("1"))],
    ),
    (
        "a result nobody asked for",
        [user("q"), tool(result("9", "nine")), assistant("a")],
        [user("q", "[result of 9]\nnine"), assistant("a")],
    ),
    (
        "a stray result is called by its name",
        [user("q"), tool(result("9", "nine", "get"))],
        [user("q", "[result of get]\nnine")],
    ),
    ("a stray result without anything", [tool(result(""))], [user("[result of a tool]")]),
    (
        "a result of an earlier turn",
        [assistant(call("1")), tool(result("1", "a")), assistant("b"), tool(result("1", "c"))],
        [assistant(call("1")), tool(result("1", "a")), assistant("b"), user("[result of 1]\nc")],
    ),
    (
        "a second result of one call",
        [assistant(call("1")), tool(result("1", "a")), user("u", result("1", "b"))],
        [assistant(call("1")), tool(ToolResult("1", (Text("a"), Text("b")))), user("u")],
    ),
    (
        "two calls of one id",
        [assistant(call("1"), call("1")), tool(result("1", "a"), result("1", "b"))],
        [assistant(call("1"), call("1")), tool(result("1", "a"), result("1", "b"))],
    ),
    (
        "ids used again in the next turn",
        [
            assistant(call("1")),
            tool(result("1", "a")),
            assistant(call("1")),
            tool(result("1", "b")),
        ],
        [
            assistant(call("1")),
            tool(result("1", "a")),
            assistant(call("1")),
            tool(result("1", "b")),
        ],
    ),
    (
        "empty text in a result",
        [assistant(call("1")), tool(ToolResult("1", (Text(""), Image(url="u"))))],
        [assistant(call("1")), tool(ToolResult("1", (Image(url="u"),)))],
    ),
    (
        "a stray result keeps its image",
        [tool(ToolResult("1", (Text("a"), Image(url="u"), Text("b"))))],
        [user("[result of 1]\na\nb", Image(url="u"))],
    ),
    (
        "a result that the assistant holds",
        [assistant(call("1"), result("1", "a"), "done")],
        [assistant(call("1")), tool(result("1", "a")), assistant("done")],
    ),
    (
        "missing ids are made from the place, results match by name in order",
        [
            user("q"),
            assistant("hm", call("", "f"), call("", "g"), call("", "f")),
            user(result("", "1", "f"), result("", "2", "f"), result("", "3", "g")),
        ],
        [
            user("q"),
            assistant("hm", call("call_1_1", "f"), call("call_1_2", "g"), call("call_1_3", "f")),
            tool(
                result("call_1_1", "1", "f"),
                result("call_1_2", "3", "g"),
                result("call_1_3", "2", "f"),
            ),
        ],
    ),
    (
        "a result without id and name answers the first call",
        [assistant(call("a"), call("b")), tool(result("", "1"))],
        [assistant(call("a"), call("b")), tool(result("a", "1"), lost("b"))],
    ),
    (
        "a result with an id of its own for a call that had none",
        [assistant(call("", "f")), tool(result("x", "1", "f"))],
        [assistant(call("call_0_0", "f")), tool(result("call_0_0", "1", "f"))],
    ),
    (
        "an id of another call is not taken for a name",
        [assistant(call("a", "f")), tool(result("x", "1", "f"))],
        [assistant(call("a", "f")), tool(lost("a")), user("[result of f]\n1")],
    ),
    (
        "a made id that somebody has already",
        [assistant(call(""), call("call_0_0"))],
        [assistant(call("call_0_0_"), call("call_0_0")), tool(lost("call_0_0_"), lost("call_0_0"))],
    ),
]


@pytest.mark.parametrize(("name", "messages", "expected"), PAIRED)
def test_results_stand_behind_their_calls(
    name: str, messages: list[Message], expected: list[Message]
) -> None:
    assert list(normal(*messages)) == expected


def test_ids_of_earlier_turns_stay_when_the_history_grows() -> None:
    turn = (user("q"), assistant(call("")), tool(result("", "r", "f")))
    short = normal(*turn)
    long = normal(*turn, assistant("a"), user("b"), assistant(call("")))
    assert long[: len(short)] == short


def test_result_that_fits_is_the_same_object() -> None:
    answer = result("1", "a")
    assert normal(assistant(call("1")), tool(answer))[1].parts[0] is answer


def test_thousands_of_results_are_paired_in_no_time_to_speak_of() -> None:
    # With a search through all calls for each result this would take minutes.
    calls = [call(str(number)) for number in range(20_000)]
    results = [result(each.id, "r") for each in reversed(calls)]
    messages = normal(assistant(*calls), tool(*results))
    assert [part.call_id for part in messages[1].parts] == [each.id for each in calls]  # type: ignore[union-attr]


# --- tools ------------------------------------------------------------------------------


def offered(tools: list[Tool], *messages: Message, choice: ToolChoice | None = None) -> list[Tool]:
    request = Request("m", messages or (user("hi"),), tools=tuple(tools), tool_choice=choice)
    return list(normalise(request).tools)


def test_deferred_tool_that_nobody_mentioned_is_not_offered() -> None:
    tools = [Tool("plain"), Tool("later", deferred=True), Tool("DeferredToolPlaceholder")]
    assert offered(tools) == [Tool("plain")]


MENTIONED = [
    ("called", [assistant(call("1", "later"))]),
    ("loaded", [assistant(call("1", "search")), tool(result("1", "Tool loaded: later"))]),
    ("loaded among lines", [user("x\nTool loaded: other\nTool loaded: later\ny")]),
]


@pytest.mark.parametrize(("name", "messages"), MENTIONED)
def test_deferred_tool_is_offered_once_the_history_names_it(
    name: str, messages: list[Message]
) -> None:
    later = Tool("later", deferred=True, description="d")
    assert offered([later], *messages) == [Tool("later", description="d")]


def test_deferred_tool_that_is_asked_for_by_name_is_offered() -> None:
    choice = ToolChoice("named", name="later")
    assert offered([Tool("later", deferred=True)], choice=choice) == [Tool("later")]


def test_deferred_tool_of_a_namespace_is_found_by_every_spelling() -> None:
    for spelling in ("list", "files__list", "files.list"):
        tools = [Tool("list", ns="files", deferred=True)]
        assert offered(tools, user(f"Tool loaded: {spelling}")) == [Tool("list", ns="files")]


def test_last_definition_of_a_name_wins_at_the_first_ones_place() -> None:
    tools = [Tool("a", deferred=True), Tool("b"), Tool("a", description="new"), Tool("a", ns="n")]
    assert offered(tools) == [Tool("a", description="new"), Tool("b"), Tool("a", ns="n")]


def test_hosted_tools_of_one_name_stay_apart() -> None:
    tools = [Tool("", kind="hosted", hosted=name) for name in ("web_search", "mcp")]
    assert offered(tools) == tools


def test_tool_that_is_not_deferred_is_the_same_object() -> None:
    tool_ = Tool("a")
    assert offered([tool_])[0] is tool_


# --- reminders and alternation ----------------------------------------------------------


def test_late_system_text_becomes_a_reminder_at_its_place() -> None:
    messages = (user("a"), system("s", "t"), user("b"), assistant("c"), system("u"))
    assert remind(messages) == (
        user(
            "a",
            "<system-reminder>\ns\n</system-reminder>",
            "<system-reminder>\nt\n</system-reminder>",
            "b",
        ),
        assistant("c"),
        user("<system-reminder>\nu\n</system-reminder>"),
    )


def test_reminder_behind_results_is_a_message_of_its_own() -> None:
    messages = (assistant(call("1")), tool(result("1", "r")), system("s"))
    assert [message.role for message in remind(messages)] == ["assistant", "tool", "user"]


def test_history_without_late_system_text_is_the_same_object() -> None:
    messages = (user("a"), assistant("b"))
    assert remind(messages) is messages


def test_reminder_is_no_loss_when_it_was_taken() -> None:
    late = Text("s", CacheHint(300))
    reader = Reader(Request("m", (user("a"), Message("system", (late,)))))
    for part in remind(reader.request.messages, reader)[0].parts:
        reader.take(part, "text")
    assert reader.losses() == ["messages.text.cache"]


def test_reminder_keeps_its_cache_hint_and_its_image() -> None:
    picture = Image(url="u")
    (message,) = remind((Message("system", (Text("s", CacheHint(300)), picture)),))
    assert message.parts[0].cache == CacheHint(300)  # type: ignore[union-attr]
    assert message.parts[1] is picture


TURNS = [
    (
        "results and words are one message, results first",
        [assistant(call("1")), tool(result("1", "r")), user("u")],
        [user("(conversation continues)"), assistant(call("1")), user(result("1", "r"), "u")],
    ),
    (
        "results behind words",
        [user("q"), user("u", result("1", "r"))],
        [user(result("1", "r"), "q", "u")],
    ),
    (
        "assistant first",
        [assistant("a"), user("b")],
        [user("(conversation continues)"), assistant("a"), user("b")],
    ),
    ("assistant last", [user("a"), assistant("b")], [user("a"), assistant("b"), user("Continue.")]),
    ("nobody spoke", [], [user("(empty)")]),
    ("only a result", [tool(result("1"))], [user(result("1"))]),
]


@pytest.mark.parametrize(("name", "messages", "expected"), TURNS)
def test_user_and_assistant_take_turns(
    name: str, messages: list[Message], expected: list[Message]
) -> None:
    assert list(alternate(tuple(messages), prefill=False)) == expected


def test_prefill_stays_last_for_upstreams_that_continue_it() -> None:
    messages = (user("a"), assistant("b"))
    assert alternate(messages, prefill=True) == messages


@given(REQUESTS, st.booleans())
def test_turns_alternate_whatever_was_said(request: Request, prefill: bool) -> None:
    messages = alternate(remind(normalise(request).messages), prefill=prefill)
    roles = [message.role for message in messages]
    assert set(roles) <= {"user", "assistant"}
    assert roles[0] == "user"
    assert all(a != b for a, b in pairwise(roles))
    assert prefill or roles[-1] == "user"
    for message in messages:
        results = [isinstance(part, ToolResult) for part in message.parts]
        assert results == sorted(results, reverse=True)


@given(REQUESTS)
def test_alternating_twice_is_alternating_once(request: Request) -> None:
    once = alternate(remind(normalise(request).messages), prefill=False)
    assert alternate(once, prefill=False) == once

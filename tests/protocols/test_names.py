"""Names travel to the upstream in its alphabet and come back as the client wrote them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.ir import Tool
from kurolproxy.protocols.names import Origin, ToolNames, sanitise

LIMITS = st.sampled_from([40, 64])


@given(st.text(max_size=100), LIMITS)
def test_any_name_becomes_one_that_is_allowed(name: str, limit: int) -> None:
    assert re.fullmatch(rf"[a-zA-Z0-9_-]{{1,{limit}}}", sanitise(name, limit))


@given(st.text(max_size=100), LIMITS)
def test_sanitising_twice_is_sanitising_once(name: str, limit: int) -> None:
    once = sanitise(name, limit)
    assert sanitise(once, limit) == once


@given(st.from_regex(r"[a-zA-Z0-9_-]{1,40}", fullmatch=True))
def test_allowed_name_stays(name: str) -> None:
    assert sanitise(name, 40) == name


@given(st.text("ab.:/", min_size=1, max_size=4), st.text("ab.:/", min_size=1, max_size=4))
def test_different_names_stay_different(one: str, other: str) -> None:
    assert (sanitise(one) == sanitise(other)) is (one == other)


CASES = [
    ("get_weather", 64, "get_weather"),
    # The digits are those of the name's SHA-1: the next turn must say the same.
    ("mcp.server/tool", 64, "mcp_server_tool_e1637f3c"),
    ("", 64, "_da39a3ee"),
    ("x" * 41, 40, "x" * 31 + "_9dc0da36"),
]


@pytest.mark.parametrize(("name", "limit", "encoded"), CASES)
def test_name_is_written_the_same_in_every_turn(name: str, limit: int, encoded: str) -> None:
    assert sanitise(name, limit) == encoded


TOOLS = st.lists(
    st.builds(
        Tool,
        name=st.text("aé_.1", min_size=1, max_size=4),
        ns=st.none() | st.text("a_1", min_size=1, max_size=2),
        kind=st.sampled_from(["function", "custom"]),
    ),
    max_size=8,
    unique_by=lambda tool: (tool.ns, tool.name),
)


@given(TOOLS, LIMITS, st.booleans())
def test_every_declared_tool_comes_back_as_itself(
    tools: list[Tool], limit: int, letter_first: bool
) -> None:
    names = ToolNames(limit, letter_first=letter_first)
    encoded = [names.declare(tool) for tool in tools]
    assert len(set(encoded)) == len(tools)
    for tool, name in zip(tools, encoded, strict=True):
        assert names.restore(name) == Origin(tool.name, tool.ns, tool.kind)
        # A call in the history goes by the name that the tool is declared under.
        assert names.encode(tool.name, tool.ns) == name
        assert not letter_first or name[0].isalpha() or name[0] == "_"


def test_namespace_is_written_before_the_name() -> None:
    assert ToolNames().declare(Tool("list", ns="files")) == "files__list"


def test_name_that_a_namespace_makes_is_not_taken_twice() -> None:
    names = ToolNames()
    joined = names.declare(Tool("b", ns="a"))
    plain = names.declare(Tool("a__b"))
    assert joined == "a__b"
    assert plain != joined
    assert names.restore(plain) == Origin("a__b")


def test_wrapped_custom_tool_is_remembered() -> None:
    names = ToolNames()
    name = names.declare(Tool("apply_patch", kind="custom"), wrapped=True)
    assert names.restore(name) == Origin("apply_patch", None, "custom", wrapped=True)


def test_tool_that_was_never_declared_keeps_its_name() -> None:
    assert ToolNames().restore("invented") == Origin("invented")


def test_gemini_wants_a_letter_first() -> None:
    names = ToolNames(letter_first=True)
    assert names.encode("1st") == "_1st"
    assert names.encode("-x") == "_-x"
    assert names.encode("_x") == "_x"

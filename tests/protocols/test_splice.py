"""A body is scanned as a parser reads it, and changed in nothing but what was asked."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import nesting
from kurolproxy.protocols.splice import Splice, elements, scan, scan_in_steps, splice

NAMES = st.sampled_from(["model", "stream", "store", "stream_options", "max_tokens", "n", "é"])
TEXTS = st.text(st.sampled_from('\\"[]{}:,model é\n'), max_size=12)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=15,
)
WHITE = st.text(st.sampled_from(" \t\r\n"), max_size=2)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """Write a value with any white space and any escapes."""
    if isinstance(value, str):
        return draw(quoted(value))
    if isinstance(value, list):
        items = [draw(WHITE) + draw(written(each)) + draw(WHITE) for each in value]
        return f"[{','.join(items) or draw(WHITE)}]"
    if isinstance(value, dict):
        return draw(members(list(value.items())))
    return json.dumps(value)


@st.composite
def quoted(draw: st.DrawFn, text: str) -> str:
    """Write a string, some of its characters as escapes that they did not need."""
    if draw(st.booleans()):
        return json.dumps(text, ensure_ascii=draw(st.booleans()))
    return '"' + "".join(f"\\u{ord(each):04x}" for each in text) + '"'


@st.composite
def members(draw: st.DrawFn, items: list[tuple[str, Any]]) -> str:
    texts = [
        f"{draw(WHITE)}{draw(quoted(name))}{draw(WHITE)}:"
        f"{draw(WHITE)}{draw(written(value))}{draw(WHITE)}"
        for name, value in items
    ]
    return "{" + (",".join(texts) or draw(WHITE)) + "}"


# Keys may be repeated, but for the two that must not be.
ITEMS = st.lists(st.tuples(NAMES | TEXTS, VALUES), max_size=6).map(
    lambda items: [
        item
        for at, item in enumerate(items)
        if item[0] not in ("model", "stream") or item[0] not in dict(items[:at])
    ]
)
BODIES = ITEMS.flatmap(members)


@given(BODIES, WHITE, WHITE)
def test_members_are_those_a_parser_finds(body: str, before: str, behind: str) -> None:
    data = (before + body + behind).encode()
    top = scan(data)
    assert {name: top.value(name) for name in top} == orjson.loads(data)
    assert all(name in top for name in orjson.loads(data))
    assert data[top.end : top.end + 1] == b"}"
    assert len(top) == len(orjson.loads(data))


@given(ITEMS, st.data())
def test_repeated_members_are_all_found(items: list[tuple[str, Any]], data: st.DataObject) -> None:
    body = data.draw(members(items)).encode()
    top = scan(body)
    found = [orjson.loads(body[a:b]) for name in top for a, b in top.members[name]]
    assert sorted(map(repr, found)) == sorted(repr(orjson.loads(orjson.dumps(v))) for _, v in items)


@given(BODIES, NAMES, VALUES)
def test_put_changes_one_member_and_no_other(body: str, name: str, value: Any) -> None:
    data = body.encode()
    edit = Splice(scan(data))
    edit.put(name, orjson.dumps(value))
    expected = orjson.loads(data) | {name: value}
    assert orjson.loads(edit.apply()) == orjson.loads(orjson.dumps(expected))


@given(BODIES, NAMES)
def test_replace_adds_nothing(body: str, name: str) -> None:
    data = body.encode()
    edit = Splice(scan(data))
    edit.replace(name, b'"new"')
    before = orjson.loads(data)
    assert orjson.loads(edit.apply()) == before | ({name: "new"} if name in before else {})


@given(BODIES)
def test_edit_to_what_stands_there_returns_the_same_object(body: str) -> None:
    data = body.encode()
    top = scan(data)
    edit = Splice(top)
    for name in top:
        if len(top.members[name]) == 1:
            edit.replace(name, top.raw(name) or b"")
    assert edit.apply() is data


def test_everything_but_the_edit_keeps_its_bytes() -> None:
    body = b'{ "model" : "a",\n\t"big": 123456789012345678901234567890.10, "model2": 1e400 }'
    edit = Splice(scan(body))
    edit.replace("model", b'"other/model"')
    edit.put("store", b"false")
    assert edit.apply() == (
        b'{ "model" : "other/model",\n\t"big": 123456789012345678901234567890.10, "model2": 1e400 '
        b',"store":false}'
    )


def test_several_new_members_follow_each_other() -> None:
    for body, expected in ((b"{}", b'{"a":1,"b":2}'), (b'{"z":0}', b'{"z":0,"a":1,"b":2}')):
        edit = Splice(scan(body))
        edit.put("a", b"1")
        edit.put("b", b"2")
        assert edit.apply() == expected


def test_repeated_member_is_replaced_at_every_place() -> None:
    edit = Splice(scan(b'{"store":true,"a":1,"store":true}'))
    edit.replace("store", b"false")
    assert edit.apply() == b'{"store":false,"a":1,"store":false}'


INSIDE = [
    ("missing", b'{"a":1}', b'{"a":1,"stream_options":{"include_usage":true}}'),
    ("null", b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
    ("empty", b'{"stream_options":{ }}', b'{"stream_options":{ "include_usage":true}}'),
    (
        "false",
        b'{"stream_options": {"x": [1], "include_usage": false}}',
        b'{"stream_options": {"x": [1], "include_usage": true}}',
    ),
    ("other", b'{"stream_options":{"x":{}}}', b'{"stream_options":{"x":{},"include_usage":true}}'),
    ("no object", b'{"stream_options":7}', b'{"stream_options":7}'),
]


@pytest.mark.parametrize(("name", "body", "expected"), INSIDE)
def test_member_of_a_member_is_put(name: str, body: bytes, expected: bytes) -> None:
    edit = Splice(scan(body))
    edit.put_inside("stream_options", "include_usage", b"true")
    assert edit.apply() == expected


def test_usage_that_was_asked_for_already_changes_nothing() -> None:
    body = b'{"stream_options":{"include_usage":true}}'
    edit = Splice(scan(body))
    edit.put_inside("stream_options", "include_usage", b"true")
    assert edit.apply() is body


REFUSED = [
    ("empty", b"", "must be a JSON object"),
    ("array", b"[]", "must be a JSON object"),
    ("text", b'"{}"', "must be a JSON object"),
    ("byte order mark", b"\xef\xbb\xbf{}", "must be a JSON object"),
    ("unclosed", b"{", "not valid JSON"),
    ("unclosed value", b'{"a":[1,{"b":', "not valid JSON"),
    ("unclosed text", b'{"a":"x', "not valid JSON"),
    ("text closed by an escaped quote", b'{"a":"x\\"}', "not valid JSON"),
    ("no colon", b'{"a" 1}', "not valid JSON"),
    ("no value", b'{"a":}', "not valid JSON"),
    ("no comma", b'{"a":[] "b":1}', "not valid JSON"),
    ("last comma", b'{"a":1,}', "not valid JSON"),
    ("two values", b'{"a":1 2}', "not valid JSON"),
    ("trailing", b'{"a":1}}', "not valid JSON"),
    ("trailing object", b"{} {}", "not valid JSON"),
    ("bad escape in a key", b'{"a\\x":1}', "not valid JSON"),
    ("wrong bracket", b'{"a":]}', "not valid JSON"),
    ("two models", b'{"model":"a","model":"b"}', "model is given twice"),
    ("two models, one escaped", b'{"model":"a","\\u006dodel":"b"}', "model is given twice"),
    ("two streams", b'{"stream":true,"x":{},"stream":true}', "stream is given twice"),
]


@pytest.mark.parametrize(("name", "body", "text"), REFUSED)
def test_bad_body_is_a_bad_request(name: str, body: bytes, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        scan(body)


def test_model_inside_a_value_is_no_second_model() -> None:
    body = (
        b'{"metadata":{"model":"x","stream":1},"model":"a","m":["model"],'
        b'"text":"\\"model\\":\\"b\\""}'
    )
    assert scan(body).value("model") == "a"


@pytest.mark.parametrize(("levels", "fine"), [(99, True), (100, False), (5_000, False)])
def test_object_may_nest_a_hundred_levels_itself_included(levels: int, fine: bool) -> None:
    body = b'{"a":1,"b":' + b"[" * levels + b"]" * levels + b"}"
    if fine:
        assert scan(body).value("a") == 1
        return
    with pytest.raises(BadRequest, match="nested deeper than 100 levels"):
        scan(body)


def test_limit_of_levels_is_the_callers() -> None:
    assert len(scan(b'{"a":[[]]}', 3)) == 1
    with pytest.raises(BadRequest, match="deeper than 2 levels"):
        scan(b'{"a":[[]]}', 2)
    with pytest.raises(BadRequest, match="deeper than 1 levels"):
        scan(b'{"a":{}}', 1)


def test_too_many_members_are_refused() -> None:
    body = b"{" + b",".join(b'"%d":0' % number for number in range(10_001)) + b"}"
    with pytest.raises(BadRequest, match="over 10000 fields"):
        scan(body)


@given(st.text(st.sampled_from('[]{}",:\\ 1u'), max_size=40))
def test_any_text_is_scanned_or_refused(text: str) -> None:
    try:
        scan(("{" + text).encode())
    except BadRequest as error:
        assert error.status == 400  # noqa: PT017 - what else is raised fails the test


def test_large_body_is_scanned_with_pauses_and_to_the_same_end() -> None:
    messages = [{"role": "user", "content": f"{number} \\" * 300} for number in range(600)]
    body = json.dumps({"messages": messages, "model": "m", "tools": [{"a": [[[]]]}] * 9}).encode()
    steps = scan_in_steps(body)
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            top = done.value
            break
        pauses += 1
    assert pauses >= 2
    assert {name: top.value(name) for name in top} == json.loads(body)
    assert scan(body) == top


@given(
    st.binary(max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4), st.binary(max_size=3)), max_size=4),
)
def test_spliced_body_is_the_pieces_between_the_edits(
    body: bytes, drawn: list[tuple[int, int, bytes]]
) -> None:
    edits, at = [], 0
    for gap, length, new in drawn:
        start = min(at + gap, len(body))
        at = min(start + length, len(body))
        edits.append((start, at, new))
    expected, behind = b"", 0
    for start, end, new in edits:
        expected += body[behind:start] + new
        behind = end
    assert splice(body, edits) == expected + body[behind:]


def test_splice_without_edits_is_the_body_itself() -> None:
    body = b'{"a": 1}'
    assert splice(body, []) is body


@pytest.mark.parametrize(
    "items",
    [[], [1], ["a]", {"b": [1, "]"]}, None, [[]]], [{"t": "x" * 400_000}, 2, "y" * 300_000]],
    ids=["none", "one", "some", "large"],
)
def test_elements_of_an_array_are_found(items: list[object]) -> None:
    body = json.dumps({"model": "m", "input": items}, indent=1).encode()
    found = nesting.finished(elements(scan(body), "input"))
    assert [json.loads(body[start:end]) for start, end in found] == items


@pytest.mark.parametrize("value", [b"{}", b'"[1]"', b"null", b"7"])
def test_what_is_no_array_has_no_elements(value: bytes) -> None:
    assert nesting.finished(elements(scan(b'{"a":%b}' % value), "a")) == []
    assert nesting.finished(elements(scan(b'{"b":%b}' % value), "a")) == []


def test_elements_of_a_broken_array_are_a_bad_request() -> None:
    for body in (b'{"a":[1 2]}', b'{"a":[1,]}', b'{"a":[{} {}]}'):
        with pytest.raises(BadRequest, match="not valid JSON"):
            nesting.finished(elements(scan(body), "a"))


def test_too_many_elements_are_refused() -> None:
    body = b'{"a":[' + b"0," * 100_000 + b"0]}"
    with pytest.raises(BadRequest, match="over 100000 items"):
        nesting.finished(elements(scan(body), "a"))

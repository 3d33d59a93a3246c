"""Reading and writing wire JSON: limits, mending, and errors of our own only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.errors import BadRequest
from kurolproxy.protocols import wire

ENDPOINTS_NEST_IN = ["[{}]", '{{"a":{}}}']


def nested(levels: int, form: str = "[{}]") -> bytes:
    """Return a document of so many levels."""
    text = "1"
    for _ in range(levels):
        text = form.format(text)
    return text.encode()


@pytest.mark.parametrize("form", ENDPOINTS_NEST_IN)
@pytest.mark.parametrize(
    ("levels", "fine"), [(1, True), (99, True), (100, True), (101, False), (900, False)]
)
def test_a_hundred_levels_are_the_limit(form: str, levels: int, fine: bool) -> None:
    document = nested(levels, form)
    assert wire.too_deep(document) is not fine
    if fine:
        assert wire.loads(document) == json.loads(document)
        return
    with pytest.raises(wire.WireError, match="nested deeper than 100 levels"):
        wire.loads(document)


@pytest.mark.parametrize("levels", [255, 1_025, 100_000])
def test_depth_is_found_in_documents_that_never_close(levels: int) -> None:
    with pytest.raises(wire.WireError, match="nested deeper"):
        wire.loads(b"[" * levels)


def test_wide_documents_are_not_deep() -> None:
    assert len(wire.loads(b"[" + b"[[]]," * 5_000 + b"1]")) == 5_001


@pytest.mark.parametrize(
    "noise", ['"[[[["', r'"\"[[[["', r'"\\", "[["', r'"\\\\\\\"[[["', r'"\\\\\\"']
)
def test_brackets_in_strings_do_not_nest(noise: str) -> None:
    document = f"[{noise}," * 90 + "1" + "]" * 90
    assert not wire.too_deep(document.encode(), 90)
    assert wire.too_deep(document.encode(), 89)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    """Return the levels of nesting of a value."""
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(JSON, st.booleans(), st.integers(0, 6))
def test_depth_is_counted_exactly(value: Any, ascii_only: bool, limit: int) -> None:
    document = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert wire.too_deep(document, limit) is (depth(value) > limit)


@given(JSON)
def test_what_is_written_is_read(value: Any) -> None:
    assert wire.loads(wire.dumps(value)) == value
    assert wire.loads(wire.compact(value)) == value


@pytest.mark.parametrize(
    ("read", "refusal"),
    [
        (wire.loads, wire.WireError),
        (wire.load_upstream, wire.WireError),
        (wire.load_object, BadRequest),
    ],
)
@given(data=st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(
    read: Callable[[bytes], object], refusal: type[Exception], data: bytes
) -> None:
    with contextlib.suppress(refusal):
        read(data)


BAD = [
    ("empty", b""),
    ("truncated", b'{"a":'),
    ("not a number", b'{"a":NaN}'),
    ("byte order mark", b"\xef\xbb\xbf{}"),
    ("bad utf-8", b'{"a":"\xff"}'),
    ("trailing bytes", b"{} {}"),
    ("lone surrogate", rb'{"a":"\ud800"}'),
    ("array", b"[]"),
    ("string", b'"text"'),
]


@pytest.mark.parametrize("body", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_body_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequest):
        wire.load_object(body)


def test_error_never_quotes_the_body() -> None:
    with pytest.raises(BadRequest) as caught:
        wire.load_object(b'{"secret": "sk-kurol-planted", oops}')
    assert "planted" not in caught.value.message


MENDED = [
    ("bad utf-8", b'"a\xffb"', "a\ufffdb"),
    ("encoded surrogate", b'"\xed\xa0\x80"', "\ufffd\ufffd\ufffd"),
    ("lone high half", rb'"a\ud800b"', "a\ufffdb"),
    ("lone low half", rb'"\uDC00"', "\ufffd"),
    ("halves in the wrong order", rb'"\udc00\ud83d"', "\ufffd\ufffd"),
    ("high half before a pair", rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600"),
    ("pair before a lone half", rb'"\ud83d\ude00\ud83d"', "\U0001f600\ufffd"),
    ("escaped backslash before a lone half", rb'"\\\ud800"', "\\\ufffd"),
    ("text of an escape, then a lone half", rb'"\\ud83d\ude00"', "\\ud83d\ufffd"),
    ("only the text of an escape", rb'"\\ud800\ud800"', "\\ud800\ufffd"),
    ("byte order mark", b'\xef\xbb\xbf"x"', "x"),
    ("white space", b' \r\n"x"\n', "x"),
]


@pytest.mark.parametrize(
    ("data", "value"), [case[1:] for case in MENDED], ids=[case[0] for case in MENDED]
)
def test_upstream_document_is_mended(data: bytes, value: str) -> None:
    assert wire.load_upstream(data) == value


@given(
    st.lists(
        st.sampled_from([r"\ud83d", r"\ude00", r"\\", r"\"", "ud83d", "x", r"\n"]), max_size=12
    )
)
def test_halves_are_mended_as_pythons_parser_reads_them(pieces: list[str]) -> None:
    document = '"' + "".join(pieces) + '"'
    # The standard library keeps lone halves; each of them must have become U+FFFD.
    kept = json.loads(document)
    expected = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in kept)
    assert wire.load_upstream(document.encode()) == expected


@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, 2**64, {1: 2}, object()])
def test_what_json_cannot_say_is_a_bad_request(value: object) -> None:
    with pytest.raises(BadRequest):
        wire.dumps(value)


def test_too_deep_to_write_is_a_bad_request() -> None:
    value: list[Any] = []
    for _ in range(300):
        value = [value]
    with pytest.raises(BadRequest):
        wire.dumps(value)


SURROGATES = st.characters(categories=["Cs"])


@given(st.text(st.characters(exclude_categories=["Cs"]) | SURROGATES, max_size=20))
def test_quote_writes_any_text(text: str) -> None:
    # Two halves that belong together are one character.
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert json.loads(wire.quote(text)) == whole


def test_quote_mends_a_lone_half() -> None:
    assert json.loads(wire.quote("a\ud800b")) == "a\ufffdb"


# --- integers of more than 64 bits ------------------------------------------------------------

NUMBERS = [
    ("largest", b"[18446744073709551615]", False),
    ("one more", b"[18446744073709551616]", True),
    ("smallest", b"[-9223372036854775808]", False),
    ("one less", b"[-9223372036854775809]", True),
    ("at the end of a member", b'{"a": {"b":100000000000000000000}}', True),
    ("alone", b"123456789012345678901234567890", True),
    ("fraction", b"[0.123456789012345678901234567890]", False),
    ("float with many digits", b"[123456789012345678901234567890.5]", False),
    ("exponent", b"[123456789012345678901234567890e1,1e30]", False),
    ("digits of an exponent", b"[1e-00000000000000000000000001]", False),
    ("string", b'{"123456789012345678901234567890":"123456789012345678901234567890"}', False),
    ("behind a string", rb'["\\",123456789012345678901234567890,"\""]', True),
    ("behind an escaped quote", rb'["\",123456789012345678901234567890,"]', False),
]


@pytest.mark.parametrize(
    ("data", "big"), [case[1:] for case in NUMBERS], ids=[case[0] for case in NUMBERS]
)
def test_integers_of_more_than_64_bits_are_found_outside_of_strings(data: bytes, big: bool) -> None:
    assert wire.has_big_integer(data) is big


@given(st.recursive(st.integers(-(2**70), 2**70) | st.text(max_size=3), st.lists, max_leaves=9))
def test_a_document_has_a_big_integer_exactly_when_it_changes_in_the_parser(value: Any) -> None:
    document = json.dumps([value]).encode()
    changed = json.dumps(wire.loads(document)) != json.dumps([value])
    assert wire.has_big_integer(document) is changed


def test_request_with_a_big_integer_is_refused() -> None:
    wire.refuse_big_integers(b'{"id":"123456789012345678901234567890","n":1}')
    with pytest.raises(BadRequest, match="integer of more than 64 bits"):
        wire.refuse_big_integers(b'{"id":123456789012345678901234567890}')


def test_a_document_is_read_exactly_and_written_as_it_was() -> None:
    document = '{"id":123456789012345678901234567890,"in":[-9223372036854775809,1.5,"é"]}'
    value = wire.load_exact(document.encode())
    assert value["id"] == 123456789012345678901234567890
    assert wire.compact(value) == document


def test_a_mended_document_is_read_exactly() -> None:
    data = b'\xef\xbb\xbf["\xff","\\ud800",100000000000000000000]'
    assert wire.load_exact(data) == ["\ufffd", "\ufffd", 10**20]


def test_an_integer_beyond_every_float_is_refused() -> None:
    # So none is ever longer than what Python turns into an integer.
    with pytest.raises(wire.WireError):
        wire.load_exact(b"[%b]" % (b"9" * 5_000))


def test_raw_text_is_written_as_it_is() -> None:
    assert wire.dumps({"a": wire.raw('{"b": 1}')}) == b'{"a":{"b": 1}}'

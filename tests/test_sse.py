"""Frames come out whole and unchanged, wherever the network cut the stream."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kurolproxy.sse import FrameSplitter, FrameTooLarge, frames, read_frame

NO_LIMIT = 1 << 30

# Many line ends, so that every kind of blank line and every overlap of two turns up.
PIECES = st.sampled_from(
    [b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"\n\r\n", b"\r", b"data: x", b": c", b"\r\r\n", b"a"]
)
STREAMS = st.lists(PIECES, max_size=30).map(b"".join)


def cut_at(data: bytes, places: list[int]) -> list[bytes]:
    """Cut ``data`` into pieces, none of them empty."""
    ends = sorted({place % len(data) for place in places} - {0}) if data else []
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True) if a < b]


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return the frames of a stream that came in these pieces, and what is left."""
    splitter = FrameSplitter(NO_LIMIT)
    out = [frame for piece in pieces for frame in splitter.split(piece)]
    return out, splitter.rest()


@given(STREAMS, st.lists(st.integers(min_value=0, max_value=1000), max_size=8))
def test_any_cut_gives_the_same_frames(stream: bytes, places: list[int]) -> None:
    assert fed(cut_at(stream, places)) == fed([stream])


@given(STREAMS)
def test_byte_by_byte_gives_the_same_frames(stream: bytes) -> None:
    assert fed([stream[at : at + 1] for at in range(len(stream))]) == fed([stream])


@given(STREAMS, st.lists(st.integers(min_value=0, max_value=1000), max_size=8))
def test_joined_frames_are_the_input(stream: bytes, places: list[int]) -> None:
    out, rest = fed(cut_at(stream, places))
    assert b"".join(out) + rest == stream


@given(STREAMS)
def test_every_frame_ends_with_its_only_blank_line(stream: bytes) -> None:
    out, rest = fed([stream])
    for frame in out:
        assert re.fullmatch(rb"(?s)(?:(?!\n\r?\n).)*\n\r?\n", frame)
    assert not re.search(rb"\n\r?\n", rest)


@given(STREAMS)
def test_frames_of_anything_joined_are_that_thing(data: bytes) -> None:
    assert b"".join(frames(data)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"data: a\n\n",
        b"data: a\r\n\r\n",
        b"data: a\n\r\n",
        b"data: a\r\n\n",
        b"data: a\n\ndata: b\n\n",
        b": comment\n\n",
        b"data: a\n\n\n\n",
    ],
)
def test_aligned_chunk_comes_back_as_the_same_object(data: bytes) -> None:
    splitter = FrameSplitter(NO_LIMIT)
    assert splitter.cut(data) is data
    assert not splitter.pending
    assert splitter.cut(data) is data


def test_third_line_feed_waits_for_its_pair() -> None:
    splitter = FrameSplitter(NO_LIMIT)
    assert splitter.split(b"data: a\n\n\n") == [b"data: a\n\n"]
    assert splitter.pending
    assert splitter.split(b"\ndata: b\n\n") == [b"\n\n", b"data: b\n\n"]


def test_lone_carriage_returns_end_nothing() -> None:
    splitter = FrameSplitter(NO_LIMIT)
    assert splitter.cut(b"data: a\r\rdata: b\r\r") == b""
    assert splitter.rest() == b"data: a\r\rdata: b\r\r"


def test_rest_is_given_out_once() -> None:
    splitter = FrameSplitter(NO_LIMIT)
    splitter.cut(b"data: a\n\ndata:")
    assert splitter.rest() == b"data:"
    assert splitter.rest() == b""
    assert not splitter.pending
    assert splitter.cut(b"data: b\n\n") == b"data: b\n\n"


def test_unfinished_frame_over_the_limit_is_refused() -> None:
    splitter = FrameSplitter(10)
    splitter.cut(b"data: a\n\n" + b"x" * 10)
    with pytest.raises(FrameTooLarge, match="larger than 10 bytes"):
        splitter.cut(b"y")


def test_limit_counts_anew_behind_each_frame() -> None:
    splitter = FrameSplitter(10)
    for _ in range(5):
        splitter.cut(b"12345")
        assert splitter.cut(b"\n\n") == b"12345\n\n"


@pytest.mark.parametrize(
    ("held", "read"),
    [(b"", b"123456789\n\n"), (b"", b"1\n\n123456789\n\n"), (b"123456789", b"\n\n")],
)
def test_whole_frame_over_the_limit_is_refused(held: bytes, read: bytes) -> None:
    splitter = FrameSplitter(10)
    splitter.cut(held)
    with pytest.raises(FrameTooLarge, match="larger than 10 bytes"):
        splitter.cut(read)


def test_several_frames_may_be_larger_than_one() -> None:
    data = b"12345678\n\n" * 3
    assert FrameSplitter(10).cut(data) is data


FRAMES = [
    ("plain", b"data: x\n\n", "", b"x"),
    ("no space", b"data:x\n\n", "", b"x"),
    ("two spaces", b"data:  x\n\n", "", b" x"),
    ("crlf", b"data: x\r\n\r\n", "", b"x"),
    ("mixed ends", b"data: x\n\r\n", "", b"x"),
    ("several lines", b"data: a\ndata: b\n\n", "", b"a\nb"),
    ("event", b"event: ping\ndata: {}\n\n", "ping", b"{}"),
    ("event behind data", b"data: {}\nevent: ping\n\n", "ping", b"{}"),
    ("comment", b": keep-alive\n\n", "", b""),
    ("comment before data", b": c\ndata: x\n\n", "", b"x"),
    ("unknown fields", b"id: 7\nretry: 1\ndata: x\n\n", "", b"x"),
    ("fields that only begin alike", b"database: no\neventual: no\ndata: x\n\n", "", b"x"),
    ("data without a colon", b"data\n\n", "", b""),
    ("empty data line between", b"data: a\ndata\ndata: b\n\n", "", b"a\n\nb"),
    ("colons in the value", b"data: a: b:c\n\n", "", b"a: b:c"),
    ("byte order mark", b"\xef\xbb\xbfdata: x\n\n", "", b"x"),
    ("blank lines before", b"\ndata: x\n\n", "", b"x"),
    ("no blank line", b"data: x", "", b"x"),
    ("bad bytes in the name", b"event: \xff\ndata: x\n\n", "\ufffd", b"x"),
    ("nothing", b"\n\n", "", b""),
]


@pytest.mark.parametrize(
    ("frame", "name", "data"), [f[1:] for f in FRAMES], ids=[f[0] for f in FRAMES]
)
def test_frame_is_read(frame: bytes, name: str, data: bytes) -> None:
    assert read_frame(frame) == (name, data)


@given(st.binary().filter(lambda data: not {10, 13} & set(data)))
def test_short_way_reads_what_the_long_way_reads(data: bytes) -> None:
    assert read_frame(b"data: " + data + b"\n\n") == read_frame(b": c\ndata: " + data + b"\n\n")

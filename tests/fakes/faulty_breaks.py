"""Scripts of ``FaultyUpstream`` whose head, framing, status or end is wrong, or far too large."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from functools import cache
from itertools import repeat

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import SECRET, failure
from tests.fakes.faulty import Script, Step
from tests.fakes.faulty_answers import (
    BREATH,
    EMPTY,
    EVER,
    LONG_TEXT,
    MEGABYTE,
    PINGS,
    TEXT,
    THOUGHT,
    TOKEN,
    TURN,
    WORDS,
    always,
    begun_frames,
    first_frames,
    good_frames,
    good_whole,
    head_of,
    opening_frames,
    plain,
    sized,
    stream_head,
    streamed,
    unescaped,
    well,
)
from tests.faults.vendor import END, Asked, Break, chunked
from tests.pairs.vendors import begun, late


def in_head(*steps: Step) -> Script:
    """Return a script that begins a good head, and then does this."""
    return always(b"HTTP/1.1 200 OK\r\ncontent-type: te", *steps)


def never_content(told: Callable[[ProtocolName], Iterable[bytes]]) -> Script:
    """Return a script that never comes to any content, or to the end of its JSON."""

    def script(asked: Asked) -> Iterator[Step]:
        if not asked.stream:
            # White space may come before a document, and some vendors feed a silence with it.
            yield head_of("content-type: application/json", "transfer-encoding: chunked")
            for _ in range(int(EVER / BREATH)):
                yield chunked(b" ")
                yield BREATH
        yield stream_head()
        for each in told(asked.protocol):
            yield chunked(each)
            yield BREATH
        yield EVER

    return script


def in_the_middle(*after: Step) -> Script:
    """Return a script that begins its answer well, and goes on like this."""

    def script(asked: Asked) -> list[Step]:
        if asked.stream:
            return [b"".join([stream_head(), *map(chunked, begun_frames(asked.protocol))]), *after]
        body = good_whole(asked.protocol)
        return [sized(body)[: -len(body) // 3], *after]

    return script


def no_end(asked: Asked) -> list[Step]:
    """End in good order, without what says that the answer is whole."""
    if asked.stream:
        return [streamed(begun_frames(asked.protocol))]
    return [sized(good_whole(asked.protocol)[:-20])]


def after_done(*after: Step) -> Script:
    """Return a script whose answer is whole, and does not end there."""

    def script(asked: Asked) -> list[Step]:
        if asked.stream:
            return [streamed(good_frames(asked.protocol)).removesuffix(END), *after]
        return [sized(good_whole(asked.protocol)), *after]

    return script


def more_after_done(asked: Asked) -> list[Step]:
    if asked.stream:
        more = [*good_frames(asked.protocol), *good_frames(asked.protocol)]
        return [streamed(more)]
    return [sized(good_whole(asked.protocol)) + sized(b'{"a":"second answer"}')]


def answering(kind: str, body: Callable[[Asked], bytes]) -> Script:
    """Return a script that answers one body, whatever was asked."""
    return lambda asked: [sized(body(asked), kind)]


def error_200(asked: Asked) -> bytes:
    answer = failure(500, f"the key {SECRET} or {TOKEN} is wrong", protocol=asked.protocol)
    return b"".join(each for each in answer.steps if isinstance(each, bytes))


def other_form(asked: Asked) -> list[Step]:
    """Answer a stream with JSON, and the reverse."""
    return well(Asked(asked.protocol, asked.model, not asked.stream, asked.number))


def bad_event(asked: Asked) -> list[Step]:
    """Put an event that is no JSON behind the first content."""
    return with_event(asked.protocol, b'data: {"no json": \n\n')


def with_event(protocol: ProtocolName, event: bytes) -> list[Step]:
    """Answer well, but for an event behind the first word."""
    told = list(map(chunked, good_frames(protocol)))
    at = len(first_frames(protocol))
    rest = b"".join([chunked(event), *told[at:], END])
    return [stream_head() + b"".join(told[:at]), BREATH, rest]


def long_line(asked: Asked) -> Iterator[Step]:
    """Say ten megabytes in one event, as an image is."""
    if not asked.stream:
        yield sized(good_whole(asked.protocol).replace(TEXT.encode(), LONG_TEXT.encode()))
        return
    more = WORDS[1].encode() + b"y" * (len(LONG_TEXT) - len(TEXT))
    # What repeats the whole text at the end says the same, or a reader would be right to wonder.
    told = [each.replace(WORDS[1].encode(), more) for each in good_frames(asked.protocol)]
    yield stream_head()
    for each in told:
        for at in range(0, len(each), 200_000):
            yield chunked(each[at : at + 200_000])
    yield END


def endless_line(asked: Asked) -> Iterator[Step]:
    """Say 64 MB without the end of a line."""
    yield stream_head() + chunked(b"data: ")
    yield from repeat(chunked(MEGABYTE), 64)
    yield END


def flooding(asked: Asked) -> Iterator[Step]:
    """Put 20,000 events of 2 kB behind the first word; a whole answer is 40 MB."""
    if not asked.stream:
        body = json.loads(good_whole(asked.protocol))
        yield sized(unescaped({**body, "more": "y" * 40_000_000}))
        return
    begin = first_frames(asked.protocol)
    rest = good_frames(asked.protocol)[len(begin) :]
    yield stream_head() + b"".join(map(chunked, begin))
    padded = b": " + b"y" * 1_800 + b"\n" + PINGS[asked.protocol]
    yield from repeat(chunked(padded) * 100, 200)
    yield b"".join(map(chunked, rest)) + END


def zipped(change: Callable[[bytes], bytes], coding: str = "gzip") -> Script:
    """Return a script whose body is compressed and then changed."""

    def script(asked: Asked) -> list[Step]:
        line = f"content-encoding: {coding}"
        if asked.stream:
            packer = zlib.compressobj(wbits=31)
            packed = [
                packer.compress(each) + packer.flush(zlib.Z_SYNC_FLUSH)
                for each in good_frames(asked.protocol)
            ]
            return [streamed([change(b"".join([*packed, packer.flush()]))], line)]
        return [sized(change(gzip.compress(good_whole(asked.protocol))), "application/json", line)]

    return script


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    out = [packer.compress(b'data: {"')]
    out += [packer.compress(MEGABYTE) for _ in range(200)]
    return b"".join([*out, packer.flush()])


def bombing(asked: Asked) -> list[Step]:
    kind = "text/event-stream" if asked.stream else "application/json"
    return [sized(_bomb(), kind, "content-encoding: gzip")]


def refusing(status: int, *lines: str) -> Script:
    """Return a script that fails with a status, in its protocol's words."""

    def script(asked: Asked) -> list[Step]:
        said = f"no: {SECRET} {TOKEN} Bearer {SECRET} http://vendor.invalid/v1?key={SECRET}"
        answer = failure(status, said, protocol=asked.protocol)
        body = b"".join(each for each in answer.steps if isinstance(each, bytes))
        told = json.dumps({**json.loads(body), "debug": SECRET}).encode()
        return [sized(told, "application/json", *lines, status=f"{status} {SECRET}")]

    return script


def date_ahead(seconds: float) -> Script:
    """Return a script that asks for a pause until a time of day, by a clock of its own."""
    now = 1_700_000_000
    until = formatdate(now + seconds, usegmt=True)
    date = formatdate(now, usegmt=True)
    return refusing(429, f"retry-after: {until}", f"date: {date}")


def redirect(status: int, thief: str) -> Script:
    lines = (f"location: {thief}/v1/chat/completions", "content-length: 0")
    return always(head_of(*lines, status=f"{status} Elsewhere"))


def late_error(asked: Asked) -> list[Step]:
    """Report an error behind some content."""
    if not asked.stream:
        return [sized(error_200(asked))]
    told = list(map(plain, late(asked.protocol, TURN, f"the key {SECRET} or {TOKEN} is wrong")))
    at = len(begun_frames(asked.protocol))
    begin, rest = map(chunked, told[:at]), map(chunked, told[at:])
    return [b"".join([stream_head(), *begin]), BREATH, b"".join([*rest, END])]


def early_error(asked: Asked) -> list[Step]:
    """Report an error in a stream that said nothing yet."""
    if not asked.stream:
        return [sized(error_200(asked))]
    told = late(asked.protocol, TURN, f"the key {SECRET} or {TOKEN} is wrong")
    return [streamed([*opening_frames(asked.protocol), *told[len(begun(asked.protocol, TURN)) :]])]


def nested(levels: int) -> Script:
    """Return a script whose answer holds so many arrays in each other."""

    def script(asked: Asked) -> list[Step]:
        deep = b"[" * levels + b"]" * levels
        if not asked.stream:
            return [sized(good_whole(asked.protocol)[:-1] + b',"more":' + deep + b"}")]
        usual = EMPTY if asked.protocol == "anthropic" else PINGS[asked.protocol]
        bad = usual.rstrip()[:-1] + b',"more":' + deep + b"}\n\n"
        return with_event(asked.protocol, bad)

    return script


def thinking(asked: Asked) -> list[Step]:
    """Think in silence before the first content."""
    if asked.stream:
        told = good_frames(asked.protocol)
        return [stream_head(), THOUGHT, b"".join(map(chunked, told)) + END]
    return [THOUGHT, *well(asked)]


def evil(*lines: str) -> Script:
    """Return a script whose answer is good, if its framing is read in one of two ways."""

    def script(asked: Asked) -> list[Step]:
        body = b"".join(good_frames(asked.protocol)) if asked.stream else good_whole(asked.protocol)
        kind = "text/event-stream" if asked.stream else "application/json"
        told = [each.format(size=len(body)) for each in lines]
        if any("chunked" in each for each in lines):
            body = chunked(body) + END
        return [head_of(f"content-type: {kind}", *told) + body, Break.CLOSE]

    return script


def unreadable(status: int) -> Script:
    """Return a script whose error has a body that nobody can read."""
    line = "content-encoding: br"
    return always(sized(b"\x01\x02", "application/json", line, status=f"{status} No"))

"""The ways in which ``FaultyUpstream`` fails, and what each must look like behind the gateway."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from tests.fakes.faulty import Script
from tests.fakes.faulty_answers import (
    _CRLF,
    BREATH,
    EVER,
    LONG_TEXT,
    PINGS,
    TEXT,
    always,
    good_whole,
    head_of,
    opening_frames,
    well,
)
from tests.fakes.faulty_breaks import (
    after_done,
    answering,
    bad_event,
    bombing,
    date_ahead,
    early_error,
    endless_line,
    error_200,
    evil,
    flooding,
    in_head,
    in_the_middle,
    late_error,
    long_line,
    more_after_done,
    nested,
    never_content,
    no_end,
    other_form,
    redirect,
    refusing,
    thinking,
    unreadable,
    zipped,
)
from tests.fakes.faulty_texts import (
    MISSING,
    by_the_byte,
    commented,
    fielded,
    in_text,
    nulls,
    one_packet,
    rewritten,
    text_with,
    tight,
    two_lines,
    using,
    using_twice,
    with_bom,
)
from tests.faults.vendor import Break

GOOD = "ok"
FAILED = "502"
LATE = "error"
SLOW = "504"
CUT = "timeout"
AS_IT_IS = "handed on"

_HURRIED = "first_content_timeout_s = 0.3\nanswer_timeout_s = 0.3\n"
_BREATHLESS = "first_content_timeout_s = 30\nidle_timeout_s = 0.3\nanswer_timeout_s = 0.3\n"
# It thinks for twice as long as it may be idle.
_PATIENT = "first_content_timeout_s = 30\nidle_timeout_s = 0.3\nanswer_timeout_s = 30\n"


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to fail, and what a caller must see of it.

    Attributes:
        row: its number in the list of faults.
        whole, stream: what is expected: see ``GOOD`` and the others.
        passed_stream, passed_whole: the same where bytes travel, when it differs.
        text: what the client must read of an answer that comes.
        limits: lines of the model's configuration.
        estimated: the row of the ledger is.
        figures: prompt and completion of that row, when something special is expected.
        large: its calls are made one after the other.
    """

    row: int
    script: Script
    whole: str = FAILED
    stream: str = FAILED
    passed_stream: str | None = None
    passed_whole: str | None = None
    text: str = TEXT
    limits: str = ""
    estimated: bool = False
    figures: tuple[int, int] | None = None
    large: bool = False

    def expected(self, *, stream: bool, passed: bool) -> str:
        """Return what one cell of the table must hold."""
        other = self.passed_stream if stream else self.passed_whole
        usual = self.stream if stream else self.whole
        return other if passed and other is not None else usual


def _good(row: int, script: Script, **more: Any) -> Mode:
    return Mode(row, script, GOOD, GOOD, **more)


NEVER = "502 never"
_STATUSES: Mapping[int, str] = {
    400: "400", 413: "413", 422: "400",
    401: NEVER, 402: NEVER, 403: NEVER, 404: NEVER,
    408: FAILED, 409: FAILED, 425: FAILED, 429: FAILED,
    500: FAILED, 502: FAILED, 503: FAILED, 504: FAILED, 529: FAILED,
}  # fmt: skip


def modes(thief: str) -> dict[str, Mode]:
    """Return every way to fail, by the name of its model.

    Args:
        thief: where redirects point to.
    """
    return {
        "well": _good(20, well),
        "close-first": Mode(20, always(Break.CLOSE)),
        "rst-first": Mode(20, always(Break.RESET)),
        **_slow_modes(),
        **_broken_modes(),
        **_spoilt_modes(),
        **_large_modes(),
        **{
            f"redirect-{status}": Mode(30, redirect(status, thief))
            for status in (301, 302, 303, 307, 308)
        },
        **_usage_modes(),
        **_status_modes(),
    }


def _slow_modes() -> dict[str, Mode]:
    slow = {
        "hang-first": always(EVER),
        "hang-headers": in_head(EVER),
        "comments-only": never_content(lambda _: repeat(b": wait\n\n")),
        "pings": never_content(lambda protocol: repeat(PINGS[protocol])),
        "created": never_content(opening_frames),
    }
    return {
        **{name: Mode(21, each, SLOW, SLOW, limits=_HURRIED) for name, each in slow.items()},
        "thinking": _good(21, thinking, limits=_PATIENT),
        "hang-mid": Mode(22, in_the_middle(EVER), SLOW, CUT, limits=_BREATHLESS),
    }


def _broken_modes() -> dict[str, Mode]:
    return {
        "rst-mid": Mode(23, in_the_middle(BREATH, Break.RESET), stream=LATE),
        "close-mid": Mode(23, in_the_middle(Break.CLOSE), stream=LATE),
        "eof-no-done": Mode(23, no_end, stream=LATE),
        "done-then-hang": _good(24, after_done(EVER)),
        "after-done": _good(24, more_after_done),
        "garbage": Mode(25, always(b"\x00\x01garbage\r\n\r\n" * 20, Break.CLOSE)),
        "garbage-status": Mode(25, always(b"HTTP/1.1 2x0 OK\r\n\r\n", Break.CLOSE)),
        "headers-1MB": Mode(25, always(head_of("x: " + "y" * 1_000_000), EVER)),
        "headers-10k": Mode(25, always(head_of(*("x:",) * 10_000, "content-length: 0"), EVER)),
        "te-evil": Mode(25, evil("transfer-encoding: evil")),
        "te-gzip": Mode(25, evil("transfer-encoding: gzip", "transfer-encoding: chunked")),
        "te-and-length": Mode(25, evil("transfer-encoding: chunked", "content-length: 5")),
        "two-lengths": Mode(25, evil("content-length: {size}", "content-length: 6")),
        "s101": Mode(25, always(head_of("upgrade: x", "connection: upgrade", status="101 No"))),
        "s204": Mode(25, always(head_of(status="204 No Content"))),
        "s304": Mode(25, always(head_of(status="304 Not Modified"))),
        "truncated-json": Mode(
            26, answering("application/json", lambda a: good_whole(a.protocol)[:-30])
        ),
        "html-200": Mode(26, answering("text/html", lambda _: b"<html>Sorry</html>")),
        "empty-200": Mode(26, answering("application/json", lambda _: b"")),
        "empty-object": Mode(26, answering("application/json", lambda _: b"{}")),
        "error-200": Mode(26, answering("application/json", error_200)),
        "bad-json-event": Mode(26, bad_event, stream=LATE, passed_stream=AS_IT_IS),
        "other-form": _good(26, other_form),
        "error-first": Mode(93, early_error),
        "error-mid": Mode(93, late_error, stream=LATE),
        "nested-101": Mode(46, nested(101), stream=LATE, passed_stream=GOOD),
        "nested-100k": Mode(46, nested(100_000), stream=LATE, passed_stream=AS_IT_IS),
    }


def _spoilt_modes() -> dict[str, Mode]:
    return {
        "invalid-utf8": _good(27, in_text(b"\xff\xfe"), text=text_with("\ufffd\ufffd")),
        "surrogate": _good(27, in_text(b"\\ud800"), text=text_with("\ufffd")),
        "nul": _good(27, in_text(b"\\u0000"), text=text_with("\0")),
        "null-content": _good(27, nulls),
        "bom": _good(27, with_bom),
        "crlf": _good(27, rewritten(lambda piece: piece.replace(b"\n", _CRLF))),
        "mixed-ends": _good(27, rewritten(lambda piece: piece.replace(b"\n\n", b"\n\r\n"))),
        "cr-only": Mode(27, rewritten(lambda piece: piece.replace(b"\n", b"\r"))),
        "comments": _good(27, rewritten(commented)),
        "nospace": _good(27, rewritten(tight)),
        "multi-data": _good(27, rewritten(two_lines)),
        "fields": _good(27, rewritten(fielded)),
        "split-1byte": _good(27, by_the_byte),
        "one-packet": _good(27, one_packet),
        "hints": _good(
            34,
            lambda asked: [
                head_of("link: </a>", status="103 Early Hints") + head_of(status="100 Continue"),
                *well(asked),
            ],
        ),
    }


def _large_modes() -> dict[str, Mode]:
    return {
        "sse-line-10MB": _good(28, long_line, text=LONG_TEXT, large=True),
        "sse-endless-line": Mode(28, endless_line, large=True),
        "gzip": _good(29, zipped(lambda body: body)),
        "gzip-cut": Mode(29, zipped(lambda body: body[: len(body) // 3])),
        "gzip-bad": Mode(29, zipped(lambda body: b"\x1f\x8bgarbage" + body)),
        "gzip-bomb": Mode(29, bombing, large=True),
        "enc-unknown": Mode(29, zipped(lambda body: body, "br")),
        "enc-twice": Mode(29, zipped(gzip.compress, "gzip, gzip")),
        "flood": _good(35, flooding, large=True),
    }


def _usage_modes() -> dict[str, Mode]:
    most = 10**9
    told: dict[str, tuple[Any, bool, tuple[int, int] | None]] = {
        "missing": (MISSING, True, None),
        "negative": (-5, True, None),
        "huge": (10**30, False, (most, most)),
        "string": ("30", True, None),
        "null": (None, True, None),
        "float": (7.5, False, (7, 7)),
        "list": ([30], True, None),
    }
    found = {
        f"usage-{name}": _good(31, using(value), estimated=estimated, figures=figures)
        for name, (value, estimated, figures) in told.items()
    }
    return {**found, "usage-twice": _good(31, using_twice, figures=(30, 12))}


def _status_modes() -> dict[str, Mode]:
    return {
        **{
            f"s{status}": Mode(32, refusing(status), told, told)
            for status, told in _STATUSES.items()
        },
        "s429-later": _later(refusing(429, "retry-after: 7"), "502 after 7"),
        "s429-date": _later(date_ahead(9), "502 after 9"),
        "s503-much-later": _later(refusing(503, "retry-after: 61"), NEVER),
        "s529-nonsense": _later(refusing(529, "retry-after: soon"), FAILED),
        "s400-unreadable": Mode(32, unreadable(400), "400", "400"),
        "s500-unreadable": Mode(32, unreadable(500)),
        "s401-unreadable": Mode(32, unreadable(401), NEVER, NEVER),
    }


def _later(script: Script, told: str) -> Mode:
    return Mode(32, script, told, told)

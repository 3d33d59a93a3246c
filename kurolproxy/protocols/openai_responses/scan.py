"""Responses answers on their way through: what must be seen, and little else.

Only the events that hold the whole response are looked into, ``created`` and
``in_progress`` at the beginning and one at the end, and errors: no other event holds a
model or a usage. The last one repeats the whole output and may be megabytes long: its usage
and its model are found without building it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from kurolproxy.errors import BadRequest, GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import nesting, wire
from kurolproxy.protocols.base import AnswerContext, PassedAnswer, PassFacts
from kurolproxy.protocols.fault_words import plain_words
from kurolproxy.protocols.openai_responses.error import read_failure
from kurolproxy.protocols.openai_responses.response import broken
from kurolproxy.protocols.openai_responses.stream_encode import ResponsesEncoder
from kurolproxy.protocols.openai_responses.usage import read_usage
from kurolproxy.protocols.openai_responses.vocabulary import texts
from kurolproxy.protocols.splice import TopLevel, scan, splice
from kurolproxy.sse import frames, read_frame
from kurolproxy.tokens import Usage, unweighed

_SILENT_ERROR = "the upstream reported an error"

# In the text of a string the quotes would be escaped.
_DELTA = re.compile(rb'"delta"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_TYPE = re.compile(
    rb'"type"\s*:\s*"(response\.(?:created|queued|in_progress|completed|incomplete|failed'
    rb'|cancelled|output_item\.(?:added|done))|error)"'
)
# A call says something by its beginning alone, a tool of the vendor's too.
_CALL = re.compile(rb'"type"\s*:\s*"[a-z_]+_call"')
_USAGE = re.compile(rb'"usage"\s*:\s*(' + nesting.nested(6) + rb")", re.DOTALL)
# Those seen have 200 to 400 bytes. The bounds keep a hostile answer from costing much.
_USAGE_BYTES = 4096
_MOST_USAGES = 1000
_NUMBER = re.compile(rb'"sequence_number"\s*:\s*([0-9]{1,15})')


class ResponsesScanner:
    """Look at one streamed answer that is passed through.

    Args:
        model: the id or alias that the client wrote: the answer must show it.
        facts: of no use here, this protocol always tells the usage.

    Attributes:
        usage: as the terminal event told it.
        content: whether text, thoughts, a call or the end came.
        finished: whether a terminal event came; nothing behind it is handed on.
        failure: the upstream's words in an error; nothing more is handed on.
        emitted_bytes: the bytes of all deltas, as JSON writes them.
    """

    def __init__(self, model: str, facts: PassFacts) -> None:
        del facts
        self.usage: Usage | None = None
        self.content = False
        self.finished = False
        self.failure: str | None = None
        self.emitted_bytes = 0
        self._model = model
        # What an error of ours needs to go on where the upstream stopped.
        self._id = ""
        self._last = b""

    def feed(self, piece: bytes) -> bytes:
        """Look at whole frames; return what the client gets of them."""
        if self.finished or self.failure is not None:
            return b""
        # Without these words a piece holds nothing but items and their deltas.
        if self.content and not (
            b'"response"' in piece or b'"error"' in piece or b"event: error" in piece
        ):
            self._count(piece)
            return piece
        return self._each(piece)

    def close(self) -> bytes:
        """Return nothing: only the upstream can say that its answer is whole."""
        return b""

    def error(self, error: GatewayError, request_id: str, answer: AnswerContext) -> bytes:
        """Return the in-band form of an error.

        Clients refuse events of another response: it has the id that the upstream's had,
        and the numbers go on.
        """
        numbers = _NUMBER.findall(self._last)
        sequence = int(numbers[-1]) + 1 if numbers else 0
        return ResponsesEncoder(answer, self._id, sequence).error(error, request_id)

    def _each(self, piece: bytes) -> bytes:
        out: list[bytes] = []
        same, seen = True, 0
        for frame in frames(piece):
            seen += len(frame)
            reader = _READERS.get(_kind(frame))
            new = frame if reader is None else reader(self, frame)
            self._count(new)
            same = same and new is frame
            out.append(new)
            if self.finished or self.failure is not None:
                break
        return piece if same and seen == len(piece) else b"".join(out)

    def _count(self, piece: bytes) -> None:
        said = _DELTA.findall(piece)
        if said or b'"sequence_number"' in piece:
            self._last = piece
        if said:
            size = sum(map(len, said))
            self.emitted_bytes += size
            self.content = self.content or size > 0

    # --- the events ---------------------------------------------------------------------

    def _begun(self, frame: bytes) -> bytes:
        place = _response_of(frame)
        if place is None:
            return frame
        start, response = place
        if not self._id:
            id_ = _value(response.raw("id") or b"null")
            self._id = id_ if isinstance(id_, str) else ""
        return _renamed(frame, start, response, self._model)

    def _item(self, frame: bytes) -> bytes:
        if not self.content:
            done = _kind(frame) == b"response.output_item.done"
            self.content = (done and _says(_loaded(frame).get("item"))) or bool(_CALL.search(frame))
        return frame

    def _end_seen(self, frame: bytes) -> bytes:
        self.usage = last_usage(frame)
        self.content = self.finished = True
        if unweighed(self.usage) and not self.emitted_bytes:
            # Nothing was streamed and nothing counted: only then is the whole read.
            response = _loaded(frame).get("response")
            self.emitted_bytes = _size(response) if isinstance(response, dict) else 0
        place = _response_of(frame)
        return frame if place is None else _renamed(frame, *place, self._model)

    def _failed(self, frame: bytes) -> bytes:
        self.usage = last_usage(frame) or self.usage
        event = _loaded(frame)
        response = event.get("response")
        words = read_failure(response if isinstance(response, dict) else event).message
        if not event:
            words = plain_words(read_frame(frame)[1])
        self.failure = words or _SILENT_ERROR
        return b""


# Of the class, not of each object: it would hold itself, and its texts, until collected.
_READERS: Mapping[bytes, Callable[[ResponsesScanner, bytes], bytes]] = {
    b"response.created": ResponsesScanner._begun,
    b"response.queued": ResponsesScanner._begun,
    b"response.in_progress": ResponsesScanner._begun,
    b"response.completed": ResponsesScanner._end_seen,
    b"response.incomplete": ResponsesScanner._end_seen,
    b"response.failed": ResponsesScanner._failed,
    b"response.cancelled": ResponsesScanner._failed,
    b"response.output_item.added": ResponsesScanner._item,
    b"response.output_item.done": ResponsesScanner._item,
    b"error": ResponsesScanner._failed,
}


def passed_answer(body: bytes, model: str) -> PassedAnswer:
    """Look at a whole answer that is passed through.

    Args:
        model: the id or alias that the client wrote: the answer must show it.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError as error:
        return PassedAnswer(body, failure=f"the upstream's answer is {error}")
    failure = broken(value) or _broke_off(value)
    usage = read_usage(value.get("usage")) if isinstance(value, dict) else None
    if failure is not None:
        return PassedAnswer(body, usage, failure.message or _SILENT_ERROR)
    named = value.get("model")
    if named is not None and named != model:
        body = _spliced(body, model)
    # Only an answer that nobody counted has to be weighed.
    return PassedAnswer(body, usage, emitted_bytes=_size(value) if unweighed(usage) else 0)


def _broke_off(value: dict[str, Any]) -> Failure | None:
    if value.get("status") in ("failed", "cancelled") or value.get("error"):
        return read_failure(value)
    return None


def last_usage(data: bytes) -> Usage | None:
    """Return the usage in a document without reading the rest.

    It stands near the end. Some write the request's tools behind it, whose schemas may name
    a field so: what is no usage, or counts nothing, is passed over.
    """
    end, empty = len(data), None
    for _ in range(_MOST_USAGES):
        at = data.rfind(b'"usage"', 0, end)
        if at < 0:
            break
        found = _USAGE.match(data, at, at + _USAGE_BYTES)
        usage = read_usage(_value(found[1])) if found else None
        if usage is not None and usage.total:
            return usage
        end, empty = at, empty or usage
    return empty


def _value(data: bytes) -> Any:
    try:
        return wire.load_upstream(data)
    except wire.WireError:
        return None


def _response_of(frame: bytes) -> tuple[int, TopLevel] | None:
    """Return where the response of an event begins in its frame, and its members."""
    at = frame.find(b"{")
    try:
        place = scan(frame[at:]).get("response")
        if place is None:
            return None
        start = at + place.start
        return start, scan(frame[start : at + place.end])
    except BadRequest:
        # A parser mends more than the bytes let us edit: leave them alone.
        return None


def _renamed(frame: bytes, start: int, response: TopLevel, model: str) -> bytes:
    """Return a frame with the client's model in it; the frame itself if it shows it.

    Args:
        start: where the response begins in the frame.
    """
    name = wire.quote(model)
    edits = [
        (start + begin, start + end, name)
        for begin, end in response.members.get("model", ())
        if response.body[begin:end] != name
    ]
    return splice(frame, edits)


def _spliced(body: bytes, model: str) -> bytes:
    at = body.find(b"{")
    try:
        return _renamed(body, at, scan(body[at:]), model)
    except BadRequest:
        return body


def _kind(frame: bytes) -> bytes:
    """Return what a frame is called: by its ``event`` line, else by the type in its data."""
    if frame.startswith(b"event:"):
        name = frame[6 : frame.find(b"\n")].strip()
        if name != b"message":
            return name
    found = _TYPE.search(frame)
    if found is not None:
        return found[1]
    return b"error" if frame.startswith((b'data: {"error"', b'data:{"error"')) else b""


def _loaded(frame: bytes) -> dict[str, Any]:
    """Return the event of a frame; nothing of one that is broken."""
    value = _value(read_frame(frame)[1])
    return value if isinstance(value, dict) else {}


def _says(item: Any) -> bool:
    return isinstance(item, dict) and bool(_words(item) or item.get("encrypted_content"))


def _words(item: dict[str, Any]) -> str:
    """Return all text of an item that the model wrote."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    found = [part.get("refusal") for part in parts if isinstance(part, dict)]
    found += [item.get(name) for name in ("name", "arguments", "input")]
    said = [each for each in found if isinstance(each, str)]
    return "".join([*texts(content), *texts(item.get("summary")), *said])


def _size(response: dict[str, Any]) -> int:
    output = response.get("output")
    items = [each for each in output if isinstance(each, dict)] if isinstance(output, list) else []
    return sum(len(_words(item).encode("utf-8", "replace")) for item in items)

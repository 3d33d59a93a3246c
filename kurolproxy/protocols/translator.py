"""One request's translation: a pass-through, or a pair of codecs with the IR between."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from kurolproxy.errors import BadRequest, GatewayError
from kurolproxy.ir import Failure, ReasoningWish, Request, Start, StreamEvent
from kurolproxy.protocols import nesting, wire
from kurolproxy.protocols.asked import Asked
from kurolproxy.protocols.base import (
    AnswerContext,
    Circumstances,
    Codec,
    LateScanner,
    Outgoing,
    PassFacts,
    Scanner,
    TargetView,
)
from kurolproxy.protocols.folding import fold
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames
from kurolproxy.protocols.normalise import normalise, without_reasoning
from kurolproxy.protocols.passthrough import pass_body
from kurolproxy.protocols.pipeline import Pipeline, build
from kurolproxy.sse import FrameSplitter, FrameTooLarge, read_frame
from kurolproxy.tokens import Usage

_LOST_REASONING = "messages.reasoning"


@dataclass(slots=True)  # not frozen: one is made for every call
class Whole:
    """A whole answer for the client, or why there is none."""

    body: bytes
    usage: Usage | None = None
    emitted_bytes: int = 0
    failure: Failure | None = None


class Rewriter(Protocol):
    """The streaming half of a translation: upstream bytes in, client bytes out."""

    @property
    def content(self) -> bool:
        """Whether text, reasoning, a tool call or the end was seen."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the terminal event was seen; what follows it is ignored."""
        ...

    @property
    def failure(self) -> Failure | None:
        """The upstream's error inside the stream."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The last usage seen."""
        ...

    @property
    def emitted_bytes(self) -> int:
        """Bytes of text, reasoning and arguments so far, for an estimate."""
        ...

    def opening(self) -> bytes:
        """Return the first event of an answer of which nothing came yet.

        It is not written again later. Where bytes travel, it is the upstream's: b"".
        """
        ...

    def feed(self, data: bytes) -> bytes:
        """Return what the client gets for ``data``; never raises on foreign bytes."""
        ...

    def close(self) -> bytes:
        """The upstream ended; a stream without a terminal event sets ``failure``."""
        ...

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error."""
        ...


@dataclass(slots=True)  # not frozen: one is made for every call
class Translation:
    """One request on its way to one target, and its answer on the way back.

    Attributes:
        body, headers: what goes to the upstream.
        dropped: the names of what the upstream's protocol cannot say.
        passed: whether the protocols are the same and bytes travel.
    """

    client: Codec
    upstream: Codec
    asked: Asked
    view: TargetView
    around: Circumstances
    body: bytes
    headers: Mapping[str, str]
    dropped: tuple[str, ...] = ()
    request: Request | None = None
    outgoing: Outgoing | None = None
    hide_usage: bool = False
    passed: bool = False

    def rewriter(self) -> Rewriter:
        """Return the rewriter of a streamed answer."""
        if self.passed:
            scanner = self.client.scanner(
                self.view.public_model, PassFacts(self.hide_usage, self.asked.n)
            )
            return PassRewriter(self, scanner)
        return TranslateRewriter(self)

    def whole(self, data: bytes) -> Whole:
        """Return the client's form of a whole JSON answer."""
        if self.passed:
            answer = self.client.passed_answer(data, self.view.public_model)
            if not answer.recode:
                failure = Failure(answer.failure) if answer.failure is not None else None
                return Whole(answer.body, answer.usage, answer.emitted_bytes, failure)
        return self._gathered(self._document_events(data))

    def gather(self, data: bytes) -> Whole:
        """Return a whole answer although the upstream streamed one."""
        decoder = self.upstream.decoder(self.answer())
        return self._gathered([*decoder.feed(data), *decoder.close()])

    def spread(self, data: bytes) -> TranslateRewriter:
        """Return a rewriter that streams a whole JSON answer: feed it nothing, close it."""
        return TranslateRewriter(self, self._document_events(data))

    def answer(self) -> AnswerContext:
        """Return what the codecs of the answer are handed."""
        request = self.request
        if request is None:
            # A passed body is never decoded: it may hold what only its vendor understands.
            # Reasoning is shown, usage told: the client spoke to this vendor's own protocol.
            request = Request(
                self.asked.model,
                (),
                stream=self.asked.stream,
                reasoning=ReasoningWish(mode="on"),
                include_usage=not self.hide_usage,
            )
        return AnswerContext(
            model=self.view.public_model,
            created=self.around.created,
            new_id=self.around.new_id,
            request=request,
            family=self.view.traits.reasoning_family or "",
            max_event_bytes=self.around.max_event_bytes,
        )

    def without_reasoning(self) -> Translation | None:
        """Return the same request without the thoughts of earlier turns and their proofs.

        Returns:
            None when it sends none, or when its caller wants no losses (``strict``).
        """
        if self.around.strict:
            return None
        bare = self._passed_bare() if self.passed else self._translated_bare()
        return None if bare is None or bare.body == self.body else bare

    def _passed_bare(self) -> Translation | None:
        forget = self.client.passing.forget
        body = wire.load_object(self.body, self.around.max_depth)
        if forget is None or not forget(body):
            return None
        return replace(self, body=wire.dumps(body), dropped=(_LOST_REASONING,))

    def _translated_bare(self) -> Translation | None:
        request = without_reasoning(self.request) if self.request is not None else None
        if request is None:
            return None
        reader = Reader(request)
        outgoing = self.upstream.encode_request(reader, self.view)
        return replace(
            self,
            body=wire.dumps(outgoing.body),
            dropped=(*reader.losses(), _LOST_REASONING),
            request=request,
            outgoing=outgoing,
        )

    def pipeline(self, answer: AnswerContext) -> Pipeline:
        """Return the filters between the two codecs of the answer."""
        return (
            Pipeline(ToolNames()) if self.outgoing is None else build(answer.request, self.outgoing)
        )

    def _document_events(self, data: bytes) -> list[StreamEvent]:
        try:
            document = wire.load_exact(data)
        except wire.WireError as error:
            return [Failure(f"the upstream's answer is {error}")]
        return self.upstream.decode_response(document, self.answer())

    def _gathered(self, events: list[StreamEvent]) -> Whole:
        answer = self.answer()
        pipeline = self.pipeline(answer)
        folded = fold(pipeline.feed(events))
        meter = pipeline.meter
        if isinstance(folded, Failure):
            return Whole(b"", meter.usage, meter.emitted_bytes, folded)
        return Whole(self.client.encode_response(folded, answer), folded.usage, meter.emitted_bytes)


def translate(
    client: Codec, upstream: Codec, asked: Asked, view: TargetView, around: Circumstances
) -> Translation:
    """Prepare one request for one target.

    Raises:
        BadRequest: the upstream's protocol cannot say it, or ``strict`` and a field is lost.
    """
    return nesting.finished(translate_in_steps(client, upstream, asked, view, around))


def translate_in_steps(
    client: Codec, upstream: Codec, asked: Asked, view: TargetView, around: Circumstances
) -> Generator[None, None, Translation]:
    """Do the same as ``translate``, pausing so that others get their turn.

    Bytes that travel are looked at in steps of 256 KiB; a body that is translated costs a
    few milliseconds per MiB between two pauses.
    """
    if client.name == upstream.name:
        return (yield from _pass(client, asked, view, around))
    wire.refuse_big_integers(asked.body)
    document = yield from asked.load()
    yield
    request = client.decode_request(document)
    yield
    if not client.passing.model_in_body:
        request = replace(request, model=asked.model, stream=asked.stream)
    if around.output_cap is not None:
        # Of two spellings of a cap the one that counts here may be the smaller one.
        lowered = min(request.max_tokens or around.output_cap, around.output_cap)
        request = replace(request, max_tokens=lowered)
    if request.n > 1:
        # One answer is all that the neutral form holds: the others would be paid and lost.
        name = request.names.get("n", "n")
        raise BadRequest(
            f"{name}: several answers at once need an upstream of the client's own protocol.",
            param=name,
        )
    request = normalise(request)
    reader = Reader(request)
    yield
    outgoing = upstream.encode_request(reader, view)
    dropped = tuple(reader.losses())
    if dropped and around.strict:
        raise BadRequest(
            f"x-kurol-strict: the model's upstream cannot be told {', '.join(dropped)}."
            " Leave that out, or the header.",
            param=dropped[0],
        )
    yield
    return Translation(
        client=client,
        upstream=upstream,
        asked=asked,
        view=view,
        around=around,
        body=wire.dumps(outgoing.body),
        headers=outgoing.headers,
        dropped=dropped,
        request=request,
        outgoing=outgoing,
    )


def _pass(
    codec: Codec, asked: Asked, view: TargetView, around: Circumstances
) -> Generator[None, None, Translation]:
    body, hide_usage = yield from pass_body(codec.passing, asked, view, around)
    return Translation(
        client=codec,
        upstream=codec,
        asked=asked,
        view=view,
        around=around,
        body=body,
        headers={},
        hide_usage=hide_usage,
        passed=True,
    )


class PassRewriter:
    """Same protocol: the bytes travel, a scanner looks at what it must see."""

    __slots__ = ("_scanner", "_splitter", "_translation", "failure")

    def __init__(self, translation: Translation, scanner: Scanner) -> None:
        self._translation = translation
        self._scanner = scanner
        self._splitter = FrameSplitter(translation.around.max_event_bytes)
        self.failure: Failure | None = None

    @property
    def content(self) -> bool:
        """Whether content was seen."""
        return self._scanner.content

    @property
    def finished(self) -> bool:
        """Whether the terminal event was seen."""
        return self._scanner.finished

    @property
    def usage(self) -> Usage | None:
        """The last usage seen."""
        return self._scanner.usage

    @property
    def emitted_bytes(self) -> int:
        """About how many bytes of text were produced."""
        return self._scanner.emitted_bytes

    def opening(self) -> bytes:
        """Return nothing: only the upstream knows the id of its answer."""
        return b""

    def feed(self, data: bytes) -> bytes:
        """Return whole frames for the client: ``data`` itself when nothing had to change."""
        try:
            piece = self._splitter.cut(data)
        except FrameTooLarge as error:
            self.failure = Failure(str(error))
            return b""
        if not piece:
            return b""
        scanner = self._scanner
        out = scanner.feed(piece)
        if scanner.failure is not None:
            self.failure = Failure(scanner.failure)
        return out

    def close(self) -> bytes:
        """Scan what is held and return the end mark that the client is owed."""
        rest = self._splitter.rest()
        out = b""
        # An end without a blank line still counts when its data is whole; half an event
        # would only break the client's parser before it can read our error.
        if rest and not self._scanner.finished and _whole(rest):
            out = self.feed(rest.rstrip(b"\r\n") + b"\n\n")
        if self.failure is None and not self._scanner.finished:
            out += self._scanner.close()
            if not self._scanner.finished:
                self.failure = Failure("the upstream ended its answer in the middle")
        return out

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error."""
        answer = self._translation.answer()
        if isinstance(self._scanner, LateScanner):
            return self._scanner.error(error, request_id, answer)
        return self._translation.client.encoder(answer).error(error, request_id)


def _whole(frame: bytes) -> bool:
    _, data = read_frame(frame)
    if data.strip() == b"[DONE]":
        return True
    try:
        wire.loads(data)
    except wire.WireError:
        return False
    return True


class TranslateRewriter:
    """Different protocols: decode, filter, encode; frames of one read go out in one write."""

    __slots__ = ("_decoder", "_encoder", "_meter", "_opened", "_pending", "_pipeline")

    def __init__(self, translation: Translation, pending: list[StreamEvent] | None = None) -> None:
        answer = translation.answer()
        self._decoder = translation.upstream.decoder(answer)
        self._encoder = translation.client.encoder(answer)
        self._pipeline = translation.pipeline(answer)
        self._meter = self._pipeline.meter
        self._opened = False
        self._pending = pending

    @property
    def content(self) -> bool:
        """Whether content was seen."""
        return self._meter.content

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""
        return self._meter.finish is not None

    @property
    def failure(self) -> Failure | None:
        """The upstream's error, if it ended in one."""
        return self._meter.failure

    @property
    def usage(self) -> Usage | None:
        """The last usage seen."""
        return self._meter.usage

    @property
    def emitted_bytes(self) -> int:
        """Bytes of text, reasoning and arguments so far."""
        return self._meter.emitted_bytes

    def opening(self) -> bytes:
        """Begin the answer before the upstream does."""
        self._opened = True
        return self._encoder.encode([Start()])

    def feed(self, data: bytes) -> bytes:
        """Return the client's frames for what ``data`` completes."""
        return self._write(self._decoder.feed(data))

    def close(self) -> bytes:
        """Return the client's frames for what is left."""
        if self._pending is not None:
            events, self._pending = self._pending, None
            return self._write(events)
        return self._write(self._decoder.close())

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error."""
        return self._encoder.error(error, request_id)

    def _write(self, events: list[StreamEvent]) -> bytes:
        if not events:
            return b""
        passed = self._pipeline.feed(events)
        if passed and isinstance(passed[-1], Failure):
            passed = passed[:-1]
        if self._opened and passed and isinstance(passed[0], Start):
            passed = passed[1:]
        return self._encoder.encode(passed) if passed else b""

"""What a codec is: the functions that speak one protocol, and what they are handed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from kurolproxy.errors import BadRequest, GatewayError
from kurolproxy.ir import ModelTraits, ProtocolName, Request, Response, StreamEvent
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames
from kurolproxy.tokens import Usage


@dataclass(slots=True)  # not frozen: one is made for every call
class TargetView:
    """What an encoder may know of the target.

    Attributes:
        model: the upstream's own name of the model.
        public_model: the id or alias that the client wrote, for error texts.
        traits: what the target accepts.
        max_output_tokens: the model's largest answer, None when nobody said.
        hash_user: turns a client's user id into what the vendor may see; None: send none.
    """

    model: str
    public_model: str
    traits: ModelTraits = field(default_factory=ModelTraits)
    max_output_tokens: int | None = None
    hash_user: Callable[[str], str] | None = None


@dataclass(slots=True)  # not frozen: one is made for every call
class Circumstances:
    """What a translation is handed beside the request.

    Attributes:
        created: Unix seconds.
        new_id: makes a fresh id behind a prefix.
        output_cap: the cap that the day's allowance leaves, when it is lower than asked.
        strict: refuse a request that would lose a field.
        max_event_bytes: the largest event of a stream.
        max_depth: levels of nesting of a body.
    """

    created: int
    new_id: Callable[[str], str]
    output_cap: int | None = None
    strict: bool = False
    max_event_bytes: int = 16_777_216
    max_depth: int = 100


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request in an upstream's wire form.

    Attributes:
        body: the JSON object.
        tools: the names the tools go by in ``body``, to be reversed in the answer.
        local_stop: stop texts that the upstream cannot take; we cut the answer ourselves.
        headers: extra request headers of the protocol, lower case.
    """

    body: dict[str, Any]
    tools: ToolNames
    local_stop: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AnswerContext:
    """What the two sides of an answer are handed: no codec reads a clock or makes an id.

    Attributes:
        model: the id or alias that the client wrote: every answer shows it.
        created: Unix seconds of the request.
        new_id: makes a fresh id behind a prefix (``new_id("chatcmpl-")``).
        request: what was asked; encoders look at ``include_usage``, ``legacy_functions``,
            ``reasoning``, ``tools``.
        family: the reasoning family of the target, stamped into seals.
        prompt_estimate: our estimate of the prompt, for protocols that name it first.
        max_event_bytes: the largest event of an upstream's stream.
    """

    model: str
    created: int
    new_id: Callable[[str], str]
    request: Request
    family: str = ""
    prompt_estimate: int = 0
    max_event_bytes: int = 16_777_216


class StreamDecoder(Protocol):
    """Upstream bytes in, neutral events out; keeps the guarantees of ``ir``."""

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that ``data`` completes; after the last event, none."""
        ...

    def close(self) -> list[StreamEvent]:
        """The upstream ended: return what is left, a ``Failure`` if no terminal event came."""
        ...


class StreamEncoder(Protocol):
    """Neutral events in, client bytes out."""

    def encode(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames for ``events``; an encoder never fails on what ``ir`` allows."""
        ...

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """Return the in-band form of an error; the stream ends behind it."""
        ...


class Scanner(Protocol):
    """What a pass-through has to see in frames of its own protocol, without decoding the rest.

    One object for each answer. ``scan`` is called with whole frames, one at a time, only
    for pieces that ``interesting`` said could hold something.
    """

    usage: Usage | None
    content: bool
    finished: bool
    failure: str | None
    emitted_bytes: int

    def feed(self, piece: bytes) -> bytes:
        """Look at a piece of whole frames.

        Returns:
            what the client gets: ``piece`` itself, the same object, when nothing had to
            change; fewer or other bytes when a model id or a usage chunk had to.
            After a failure frame: what stood before it (``failure`` is then set).
        """
        ...

    def close(self) -> bytes:
        """The upstream ended: return the mark of a whole answer when it is owed one.

        An answer without its terminal event leaves ``finished`` False.
        """
        ...


@runtime_checkable
class LateScanner(Protocol):
    """A scanner of a protocol whose errors go on in the stream: by its ids and numbers."""

    def error(self, error: GatewayError, request_id: str, answer: AnswerContext) -> bytes:
        """Return the in-band form of an error behind what was handed on."""
        ...


@dataclass(frozen=True, slots=True)
class UpstreamFault:
    """What an upstream's error body says.

    Attributes:
        message: its words, not yet scrubbed; "" when it has none.
        too_long: it says that the prompt does not fit the model.
        signature: it says that a proof of reasoning is wrong.
        credential: it says that the gateway's own key is wrong, whatever its status says.
    """

    message: str
    too_long: bool = False
    signature: bool = False
    credential: bool = False


Path = tuple[str, ...]
"""Where a value stands in a wire object: ``("thinking", "budget_tokens")``."""


@dataclass(frozen=True, slots=True)
class PassRules:
    """How a request of a protocol is read and edited without decoding it.

    Attributes:
        caps: where the output cap stands, the one that wins first.
        unseal: take our seals out of a decoded body, or put the native proof back where
            the family fits: (body, reasoning family of the target) -> body.
        forget: take every proof of reasoning out of a decoded body, with the thoughts that
            it proves; it is edited in place. Returns whether there was any.
        cap_required: a request without a whole, not negative cap is refused.
        count: where the number of answers stands.
        budget: where the thinking budget stands.
        store: set ``store`` to false ``when_present`` or ``always``; None: it has no such field.
        usage_option: ``stream_options.include_usage`` asks for the usage of a stream.
        stateful: refuses a body that refers to state at the vendor: it would be shared by
            all users of one upstream account.
        references: the member whose elements may do so, too, and what refuses such a one:
            (number, element).
        once: the members of a body that ``stateful`` looks at, if each may stand there once
            only: it sees the last of two, and nobody knows which one the vendor takes.
        session: where the client names the conversation.
        user: where it names its user, which some clients make new for each conversation.
        opening: the members with which a conversation starts, in their order.
        headers: request headers of the client that go on to the upstream.
        defaults: headers that the upstream gets when the client sent none.
        also: the other spelling that the protocol takes for a name; None: it takes one only.
        model_in_body: ``model`` and ``stream`` stand in the body; else the path says them,
            and ``decode_request`` leaves both as they are.
    """

    caps: tuple[Path, ...]
    unseal: Callable[[dict[str, Any], str | None], dict[str, Any]]
    cap_required: bool = False
    count: Path | None = None
    budget: Path | None = None
    store: Literal["when_present", "always"] | None = None
    usage_option: bool = False
    stateful: Callable[[Mapping[str, Any]], None] | None = None
    references: tuple[str, Callable[[int, Any], None]] | None = None
    once: tuple[str, ...] = ()
    session: Path | None = None
    user: Path | None = None
    opening: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    forget: Callable[[dict[str, Any]], bool] | None = None
    also: Callable[[str], str] | None = None
    model_in_body: bool = True


@dataclass(frozen=True, slots=True)
class Counting:
    """How a protocol counts the tokens of a prompt.

    Attributes:
        path: its usual path at a vendor; ``{model}`` stands for the model.
        generating: the client's body of a counting call -> the body of the generating call
            it is about, as ``decode_request`` takes it; raises ``BadRequest``.
        asking: a generating body, as ``encode_request`` makes it or as it is passed through,
            and the upstream's model name -> the body of the counting call.
        read: the parsed answer of an upstream -> tokens, None when it is none.
        answer: tokens -> the JSON body for the client.
    """

    path: str
    generating: Callable[[dict[str, Any]], dict[str, Any]]
    asking: Callable[[dict[str, Any], str], dict[str, Any]]
    read: Callable[[Any], int | None]
    answer: Callable[[int], bytes]


class LateError(Protocol):
    """The in-band form of an error where it depends on what went out before."""

    def __call__(self, error: GatewayError, request_id: str, *, begun: bool) -> bytes:
        """Return the error; ``begun``: some of the answer is out, not only signs of life."""
        ...


@dataclass(frozen=True, slots=True)
class Codec:
    """The functions that speak one protocol.

    Attributes:
        name: the protocol.
        path: its usual path at a vendor, behind the base URL; ``{model}`` stands for the model.
        auth: header and prefix of the vendor's credential.
        decode_request: wire object -> IR; raises ``BadRequest`` with ``param``.
        encode_request: IR, read through a ``Reader``, -> wire object; raises ``BadRequest``
            for what cannot be said at all.
        decode_response: a whole answer's JSON -> events; never raises: what is no answer
            becomes a ``Failure``.
        encode_response: a whole answer -> the JSON body.
        decoder, encoder: make the stream codecs of one answer.
        scanner: makes the pass-through scanner of one answer: the model id that the client
            wrote, and the request's facts.
        passed_answer: whole JSON answer of this protocol for a client of this protocol:
            (body, public model) -> (body to send, usage or None, failure or None).
        encode_error: an error's JSON body.
        decode_error: an upstream's error body (any bytes) -> what it says.
        passing: how a request is passed through.
        ping: the keep-alive of a stream; ``ping_early`` the one before any event went out.
        ping_opens: the keep-alive is an event that has to stand behind the first one of a
            stream: what is held of an answer goes out before it, and ends the failover.
        content_type: of a streamed answer.
        stream_path: the path of a streamed call where it is another one.
        counting: how prompts are counted; None: the protocol has no call for it.
        late_error: writes the error of a stream that is open; None: its encoder does, which
            need not know whether anything of it went out.
    """

    name: ProtocolName
    path: str
    auth: tuple[str, str]
    decode_request: Callable[[dict[str, Any]], Request]
    encode_request: Callable[[Reader, TargetView], Outgoing]
    decode_response: Callable[[Any, AnswerContext], list[StreamEvent]]
    encode_response: Callable[[Response, AnswerContext], bytes]
    decoder: Callable[[AnswerContext], StreamDecoder]
    encoder: Callable[[AnswerContext], StreamEncoder]
    scanner: Callable[[str, PassFacts], Scanner]
    passed_answer: Callable[[bytes, str], PassedAnswer]
    encode_error: Callable[[GatewayError, str], bytes]
    decode_error: Callable[[int, bytes], UpstreamFault]
    passing: PassRules
    ping: bytes
    ping_early: bytes
    ping_opens: bool = False
    content_type: str = "text/event-stream; charset=utf-8"
    stream_path: str | None = None
    counting: Counting | None = None
    late_error: LateError | None = None


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What a scanner must know of the request that it did not see.

    Attributes:
        hide_usage: the usage chunk was our wish, not the client's: take it out.
        n: how many answers were asked for.
    """

    hide_usage: bool = False
    n: int = 1


@dataclass(slots=True)  # not frozen: one is made for every call
class PassedAnswer:
    """A whole answer on its way through; ``failure`` is set when it is no answer.

    Attributes:
        emitted_bytes: of what was said; counted only when the usage does not tell.
        recode: no client reads this form of it: it is decoded and encoded once more.
    """

    body: bytes
    usage: Usage | None = None
    failure: str | None = None
    emitted_bytes: int = 0
    recode: bool = False


# --- reading wire objects ---------------------------------------------------------------


class Fields:
    """Read a wire object field by field, and know afterwards what was not read.

    A field that is missing or null reads as None. A field of the wrong type is a
    ``BadRequest`` that names it.

    Args:
        body: the wire object.
        where: the path of the object, for error texts (``messages[3]``).
    """

    __slots__ = ("_body", "_seen", "_where")

    def __init__(self, body: Mapping[str, Any], where: str = "") -> None:
        self._body = body
        self._where = where
        self._seen: set[str] = set()

    def path(self, name: str) -> str:
        """Return the full path of a field of this object."""
        return f"{self._where}.{name}" if self._where else name

    def raw(self, name: str) -> Any:
        """Take a field of any type."""
        self._seen.add(name)
        return self._body.get(name)

    def text(self, name: str) -> str | None:
        """Take a string."""
        value = self.raw(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def need_text(self, name: str) -> str:
        """Take a string that must be there."""
        value = self.text(name)
        if value is None:
            raise BadRequest(f"{self.path(name)}: Field required", param=self.path(name))
        return value

    def number(self, name: str) -> float | None:
        """Take a number."""
        value = self.raw(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number")
        return value

    def integer(self, name: str) -> int | None:
        """Take a whole number; 3.0 counts as 3."""
        value = self.number(name)
        if isinstance(value, float):
            if not value.is_integer():
                raise self.wrong(name, "an integer")
            value = int(value)
        if value is not None and not -(2**63) <= value < 2**63:
            raise self.wrong(name, "a 64-bit integer")
        return value

    def flag(self, name: str) -> bool | None:
        """Take true or false."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(name, "a boolean")
        return value

    def items(self, name: str) -> list[Any] | None:
        """Take an array."""
        value = self.raw(name)
        if value is not None and not isinstance(value, list):
            raise self.wrong(name, "an array")
        return value

    def object(self, name: str) -> dict[str, Any] | None:
        """Take an object."""
        value = self.raw(name)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def wrong(self, name: str, wanted: str) -> BadRequest:
        """Return the error of a field that has the wrong type."""
        path = self.path(name)
        return BadRequest(f"{path} must be {wanted}.", param=path)

    def left(self, known: frozenset[str]) -> tuple[tuple[str, ...], int]:
        """Return the fields that nobody read and that say something (not null).

        Returns:
            the names among ``known``, and how many others there are.
        """
        rest = [
            name
            for name, value in self._body.items()
            if name not in self._seen and value is not None
        ]
        named = tuple(name for name in rest if name in known)
        return named, len(rest) - len(named)


def inner_fields(item: Any, where: str) -> Fields:
    """Return the reader of an object that must be there.

    Raises:
        BadRequest: it is missing, or no object.
    """
    if item is None:
        raise BadRequest(f"{where}: Field required", param=where)
    if not isinstance(item, dict):
        raise BadRequest(f"{where} must be an object.", param=where)
    return Fields(item, where)

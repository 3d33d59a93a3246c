"""The neutral form of one exchange: request, parts, stream events, answer, usage.

Nothing here belongs to one protocol. A request is what its client meant, before any
upstream's limits; an answer is a list of stream events, whether it was streamed or
not. ``None`` means "not said", zero means zero.

Guarantees of an event list (every decoder keeps them, every encoder relies on them):
``Start`` first; one block open at a time; block indexes count from 0 without gaps;
``BlockEnd`` before the next ``BlockStart``; exactly one of ``Finish`` and ``Failure``,
and it is last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from kurolproxy.tokens import Usage

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
ProtocolName = Literal["openai-chat", "openai-responses", "anthropic", "gemini"]
FinishReason = Literal["stop", "stop_sequence", "tool_calls", "length", "content_filter", "other"]
BlockKind = Literal["text", "reasoning", "tool", "refusal"]
ToolKind = Literal["function", "custom", "hosted"]

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


# --- what a target can do -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """What one target of a model accepts; the names are keys of the configuration.

    The defaults are the careful choice for a model nobody described.

    Attributes:
        reasoning_family: proofs of reasoning are replayed inside one family only.
        tools_with_reasoning: the protocol that a Chat request with tools and an effort takes.
        allow_store: leave the client's ``store`` and its references to stored state alone.
        allow_service_tier: pass the client's service tier on.
        forward_user: send a keyed hash of the client's user id.
        auto_cache: ask an Anthropic upstream to cache the prompts of agents.
        sampling: whether temperature, top_p and top_k are accepted.
        efforts: the reasoning efforts it knows, lowest first; empty: all.
        thinking: which form of Anthropic thinking it takes.
        thinking_can_disable: whether thinking may be switched off.
        forced_tool_choice: whether ``required`` and a named tool are accepted.
        system_position: whether a system message may stand later than first (Chat).
        mid_system: whether a message of role system is accepted (Anthropic).
        max_output_tokens: the largest output cap it accepts.
        context_window: tokens of prompt and answer together.
        vision: whether images are accepted.
        pdf: whether PDF files are accepted.
        cache: ``explicit`` when cache breakpoints are accepted (OpenAI).
        replay_reasoning_content: an assistant message with calls must carry its reasoning (Chat).
        gemini_schema: which schema dialect tools are declared in.
        stream_options: whether ``stream_options`` is accepted (Chat).
        max_tokens_field: the name of the output cap (Chat).
        developer_role: whether the role ``developer`` is accepted (Chat).
        top_k: whether ``top_k`` is accepted (Chat).
        custom_tools: whether free-form tools are accepted (Chat).
        prefill: whether the last message may be the assistant's.
        tool_result_media: whether a tool result may hold media (Gemini).
        structured_output: whether a JSON schema for the answer is accepted.
        no_effort_with_tools: leave the effort out when tools are declared.
        hosted_tools: the vendor-run tools it offers, by our names (``web_search``).
    """

    reasoning_family: str | None = None
    tools_with_reasoning: ProtocolName | None = None
    allow_store: bool = False
    allow_service_tier: bool = False
    forward_user: bool = False
    auto_cache: bool = True
    sampling: Literal["yes", "no", "only_without_reasoning"] = "yes"
    efforts: tuple[Effort, ...] = ()
    thinking: Literal["adaptive", "budget", "none"] = "adaptive"
    thinking_can_disable: bool = True
    forced_tool_choice: bool = True
    system_position: Literal["first", "any"] = "first"
    mid_system: bool = False
    max_output_tokens: int | None = None
    context_window: int | None = None
    vision: bool = True
    pdf: bool = True
    cache: Literal["", "explicit"] = ""
    replay_reasoning_content: bool = False
    gemini_schema: Literal["json", "legacy"] = "json"
    stream_options: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    developer_role: bool = False
    top_k: bool = False
    custom_tools: bool = False
    prefill: bool = False
    tool_result_media: bool = False
    structured_output: bool = True
    no_effort_with_tools: bool = False
    hosted_tools: tuple[str, ...] = ()


# --- the request ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seal:
    """An upstream's proof of its own reasoning, to be given back unmodified.

    Attributes:
        protocol: which vendor form the proof has: a(nthropic), r(esponses), g(emini), c(hat).
        family: the reasoning family it came from; another family cannot check it.
        proof: the vendor's opaque text, byte for byte.
        text: the reasoning text, for carriers that do not return it.
        item_id: the vendor's id of the item, where it has one.
        redacted: the proof replaces the text altogether.
    """

    protocol: Literal["a", "r", "g", "c"]
    family: str
    proof: str
    text: str | None = None
    item_id: str | None = None
    redacted: bool = False


@dataclass(frozen=True, slots=True)
class CacheHint:
    """The prompt up to here is worth caching; ``ttl`` in seconds, None: the vendor's default."""

    ttl_s: int | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A source of the text block it stands in; offsets in characters of that block."""

    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Words."""

    text: str
    cache: CacheHint | None = None
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: base64 ``data`` with its ``mime``, or a ``url`` (passed on, never fetched)."""

    data: str | None = None
    url: str | None = None
    mime: str | None = None
    detail: Literal["auto", "low", "high"] | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True)
class File:
    """A document: exactly one of ``data`` (base64), ``url`` and ``text``."""

    data: str | None = None
    url: str | None = None
    text: str | None = None
    mime: str | None = None
    name: str | None = None
    title: str | None = None
    context: str | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound: base64 data in ``format`` (``wav``, ``mp3``)."""

    data: str
    format: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought; without a seal no upstream accepts it back.

    Attributes:
        native: a proof that came bare, in the form of the client's own protocol.
    """

    text: str
    seal: Seal | None = None
    redacted: bool = False
    native: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The model's words of refusal."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a client's tool.

    Attributes:
        id: as the client or the upstream wrote it; "" when it gave none.
        args: the raw JSON text, or the raw input of a custom tool; never reparsed on the way.
        ns: the namespace of the tool.
    """

    id: str
    name: str
    args: str
    kind: ToolKind = "function"
    ns: str | None = None
    seal: Seal | None = None
    cache: CacheHint | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered.

    Attributes:
        made_up: the call had no result; this one stands in its place.
    """

    call_id: str
    parts: tuple[Text | Image | File, ...] = ()
    name: str | None = None
    is_error: bool = False
    cache: CacheHint | None = None
    made_up: bool = False


Part = Text | Image | File | Audio | Reasoning | Refusal | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, or one piece of a turn: neighbours of one role are merged."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool the model may call.

    Attributes:
        schema: JSON Schema of a function's arguments; None: it takes none.
        grammar: a custom tool's ``{"syntax", "definition"}``; None: any text.
        hosted: for ``kind == "hosted"``: our name of the vendor-run tool, or its wire type.
        raw: the wire form of a hosted tool.
        deferred: offered only once the conversation has referred to it.
    """

    name: str
    kind: ToolKind = "function"
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    grammar: Mapping[str, str] | None = None
    hosted: str | None = None
    raw: Mapping[str, Any] | None = None
    strict: bool | None = None
    ns: str | None = None
    cache: CacheHint | None = None
    deferred: bool = False


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which tools may or must be called; ``allowed`` narrows ``auto`` and ``required``."""

    mode: Literal["auto", "none", "required", "named"]
    name: str | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Output:
    """The form of the answer's text."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class ReasoningWish:
    """How much the client wants the model to think, and whether it wants to read it.

    Attributes:
        effort: when the client said it in words.
        budget: tokens, when the client said it in numbers; 0 is off.
        mode: when the client only switched it.
        show: whether the text of the reasoning goes to the client.
    """

    effort: Effort | None = None
    budget: int | None = None
    mode: Literal["on", "off", "adaptive"] | None = None
    show: Literal["none", "summary", "raw"] = "summary"


@dataclass(frozen=True, slots=True)
class Request:
    """What one client asked, in no protocol's words.

    Attributes:
        names: IR field name -> the client's own name of it, where the two differ; used
            to name losses in the caller's words (``max_completion_tokens``); and
            ``parts.<kind>`` -> the client's word for such a part (``document``).
        leftover: known wire fields that have no place here, in the client's words.
        unknown: how many wire fields nobody knows.
        legacy_functions: the client speaks Chat's ``functions``, before tools.
        include_usage: the client wants the usage chunk of a Chat stream.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    system: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int = 1
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: tuple[str, ...] = ()
    output: Output | None = None
    verbosity: str | None = None
    reasoning: ReasoningWish | None = None
    service_tier: Literal["auto", "standard", "flex", "priority"] | None = None
    user_ref: str | None = None
    cache_key: str | None = None
    cache: CacheHint | None = None
    include_usage: bool = False
    legacy_functions: bool = False
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    leftover: tuple[str, ...] = ()
    unknown: int = 0


# --- the answer -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """The answer begins.

    Attributes:
        id: the upstream's id of the answer; "" when it gave none.
    """

    id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class ToolHead:
    """What is known of a call when its block starts."""

    id: str
    name: str
    kind: ToolKind = "function"
    ns: str | None = None


@dataclass(frozen=True, slots=True)
class BlockStart:
    """Block ``index`` opens; ``tool`` is set for ``kind == "tool"``."""

    index: int
    kind: BlockKind
    tool: ToolHead | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """More text of the open block: words, thoughts, raw arguments; never empty."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Sealed:
    """The open block's proof."""

    index: int
    seal: Seal


@dataclass(frozen=True, slots=True)
class Cited:
    """A source of the open text block."""

    index: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class BlockEnd:
    """Block ``index`` is complete."""

    index: int


@dataclass(frozen=True, slots=True)
class UsageSeen:
    """The usage so far, cumulative: the last one counts."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finish:
    """The answer is whole.

    Attributes:
        reason: why it ended.
        stop_sequence: the client's stop text that was hit.
        detail: the upstream's words about a refusal.
    """

    reason: FinishReason
    stop_sequence: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer broke off.

    Attributes:
        message: what the upstream said, not yet scrubbed; "" when it said nothing.
        kind: ``upstream_error``, ``overloaded``, ``rate_limited`` or ``bad_request``:
            what the upstream's error was, for failover; the caller sees ``upstream_error``,
            but for a prompt that its words call too long.
    """

    message: str
    kind: str = "upstream_error"


StreamEvent = Start | BlockStart | Delta | Sealed | Cited | BlockEnd | UsageSeen | Finish | Failure


@dataclass(frozen=True, slots=True)
class Block:
    """One finished block of an answer."""

    kind: BlockKind
    text: str = ""
    tool: ToolHead | None = None
    seal: Seal | None = None
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer: what its events add up to."""

    id: str
    model: str
    blocks: tuple[Block, ...]
    usage: Usage | None
    finish: Finish

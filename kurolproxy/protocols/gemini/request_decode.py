"""Gemini generateContent requests, wire -> neutral form.

Source: https://ai.google.dev/api/generate-content and the types of the ``google-genai``
SDK 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Literal

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Message, Output, Part, Request, Role, Text, ToolResult
from kurolproxy.protocols.gemini import schema_decode, thinking, tools
from kurolproxy.protocols.gemini.parts_decode import Notes, PartsDecoder
from kurolproxy.protocols.gemini.vocabulary import WireFields

# What only the vendor has -> what the caller is told.
_REFUSED: Mapping[str, str] = {
    "cachedContent": "content cached by the vendor only works with a gemini upstream that "
    "allows stored state; send the content itself.",
}
_REFUSED_CONFIG: Mapping[str, str] = {
    "speechConfig": "this model cannot answer with speech.",
    "continuationToken": "only a gemini upstream can resume its own answer.",
}

# What the vendor knows and no other protocol has: dropped, by name.
_KNOWN = frozenset({"labels", "modelArmorConfig", "safetySettings"})
_KNOWN_CONFIG = frozenset(
    {
        "audioTimestamp",
        "audioTranscriptionConfig",
        "automaticContinuation",
        "enableAffectiveDialog",
        "enableEnhancedCivicAnswers",
        "imageConfig",
        "mediaResolution",
        "modelSelectionConfig",
        "responseFormat",
        "routingConfig",
        "translationConfig",
    }
)
_NAMES = {
    "max_tokens": "generationConfig.maxOutputTokens",
    "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP",
    "top_k": "generationConfig.topK",
    "seed": "generationConfig.seed",
    "presence_penalty": "generationConfig.presencePenalty",
    "frequency_penalty": "generationConfig.frequencyPenalty",
    "n": "generationConfig.candidateCount",
    "logprobs": "generationConfig.responseLogprobs",
    "top_logprobs": "generationConfig.logprobs",
    "stop": "generationConfig.stopSequences",
    "reasoning": "generationConfig.thinkingConfig",
    "tool_choice": "toolConfig.functionCallingConfig",
    "service_tier": "serviceTier",
    "parts.image": "inlineData",
    "parts.file": "fileData",
    "parts.audio": "inlineData",
    "parts.reasoning": "thought",
    "parts.tool_call": "functionCall",
    "parts.tool_result": "functionResponse",
}
_TIERS: Mapping[str, Literal["standard", "flex", "priority"]] = {
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}
_ROLES: Mapping[str, Role] = {
    "user": "user",
    "model": "assistant",
    # What older clients call the turn that brings results.
    "function": "user",
    "tool": "user",
}
_JSON = "application/json"
_ENUM = "text/x.enum"


def decode_request(body: dict[str, Any]) -> Request:
    """Read a request that is going to be translated.

    Returns:
        the request without model and without stream: the path says both.

    Raises:
        BadRequest: a field is missing, has the wrong type, or stands for something that
            only the vendor has.
    """
    return _Decoder(body).request()


class _Decoder:
    """One request, read field by field."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._fields = WireFields(body)
        config = self._fields.object("generationConfig") or {}
        self._config = WireFields(config, "generationConfig")
        self._notes = Notes()
        self._names = dict(_NAMES)

    def request(self) -> Request:
        config, notes = self._config, self._notes
        self._refuse()
        output, line = self._output()
        system = self._system()
        values: dict[str, Any] = {
            "messages": tuple(self._messages()),
            "system": (*system, Text(line)) if line else system,
            "tools": tuple(tools.decode_tools(self._fields.listed("tools"), notes)),
            "tool_choice": tools.decode_choice(self._fields, notes),
            "output": output,
            "max_tokens": self._at_least_one("maxOutputTokens"),
            "temperature": config.number("temperature"),
            "top_p": config.number("topP"),
            "top_k": self._top_k(),
            "seed": config.integer("seed"),
            "presence_penalty": config.number("presencePenalty"),
            "frequency_penalty": config.number("frequencyPenalty"),
            "n": self._at_least_one("candidateCount") or 1,
            "logprobs": config.flag("responseLogprobs"),
            "top_logprobs": config.integer("logprobs"),
            "stop": self._stop(),
            "reasoning": thinking.decode(config, notes),
            "service_tier": self._tier(),
        }
        self._finish()
        return Request(
            "",
            names=self._names,
            leftover=tuple(notes.names),
            unknown=notes.unknown,
            **values,
        )

    def _finish(self) -> None:
        # Obeyed by the gateway itself, and named in counting calls: nothing is lost.
        for name in ("store", "model", "stream"):
            self._fields.raw(name)
        self._notes.rest(self._fields, _KNOWN, "")
        self._notes.rest(self._config, _KNOWN_CONFIG, "generationConfig.")

    def _refuse(self) -> None:
        for fields, refused in (
            (self._fields, _REFUSED),
            (self._config, _REFUSED_CONFIG),
        ):
            for name, told in refused.items():
                if fields.raw(name):
                    path = fields.path(name)
                    raise BadRequest(f"{path}: {told}", param=path)
        for each in self._config.items("responseModalities") or ():
            if str(each).upper() not in ("TEXT", "MODALITY_UNSPECIFIED"):
                path = self._config.path("responseModalities")
                raise BadRequest(f"{path}: this model answers with text only.", param=path)

    # --- contents -----------------------------------------------------------------------

    def _system(self) -> tuple[Text, ...]:
        said = self._fields.raw("systemInstruction")
        if said is None or isinstance(said, str):
            return (Text(said),) if said else ()
        if not isinstance(said, dict):
            raise self._fields.wrong("systemInstruction", "an object")
        fields = WireFields(said, "systemInstruction")
        fields.raw("role")
        found = PartsDecoder(self._notes, model=False).parts(
            fields.listed("parts"), "systemInstruction.parts"
        )
        texts = []
        for part in found:
            if not isinstance(part, Text):
                raise BadRequest(
                    "systemInstruction.parts may hold text only.", param="systemInstruction.parts"
                )
            texts.append(part)
        self._notes.rest(fields, frozenset(), "systemInstruction.")
        return tuple(texts)

    def _messages(self) -> Iterator[Message]:
        items = self._fields.listed("contents")
        if not items:
            raise BadRequest("contents: at least one content is required.", param="contents")
        contents = [self._content(item, f"contents[{at}]") for at, item in enumerate(items)]
        # A stream's history has a content for each of its pieces.
        for role, run in groupby(contents, key=lambda content: content[0]):
            decoder = PartsDecoder(self._notes, model=role == "assistant")
            parts: list[Part] = []
            for _, fields in run:
                parts += decoder.parts(fields.listed("parts"), fields.path("parts"))
            yield from _split(role, (*parts, *decoder.rest()))

    def _content(self, item: Any, where: str) -> tuple[Role, WireFields]:
        if not isinstance(item, dict):
            raise BadRequest(f"{where} must be an object.", param=where)
        fields = WireFields(item, where)
        role = _ROLES.get((fields.text("role") or "user").lower())
        if role is None:
            path = fields.path("role")
            raise BadRequest(f"{path} must be user or model.", param=path)
        fields.raw("parts")
        self._notes.rest(fields, frozenset(), "contents.")
        return role, fields

    # --- everything else ----------------------------------------------------------------

    def _at_least_one(self, name: str) -> int | None:
        value = self._config.integer(name)
        if value is not None and value < 1:
            path = self._config.path(name)
            raise BadRequest(f"{path} must be at least 1.", param=path)
        return value

    def _top_k(self) -> int | None:
        # A number on this wire, a whole one everywhere else.
        value = self._config.number("topK")
        if value is not None and not abs(value) < 2**31:
            raise self._config.wrong("topK", "a 32-bit number")
        return None if value is None else round(value)

    def _stop(self) -> tuple[str, ...]:
        stop = self._config.items("stopSequences") or []
        for at, each in enumerate(stop):
            if not isinstance(each, str):
                path = f"{self._config.path('stopSequences')}[{at}]"
                raise BadRequest(f"{path} must be a string.", param=path)
        return tuple(text for text in stop if text)

    def _tier(self) -> Literal["standard", "flex", "priority"] | None:
        said = (self._fields.text("serviceTier") or "").lower()
        tier = _TIERS.get(said.removeprefix("service_tier_"))
        if said and tier is None and not said.endswith("unspecified"):
            self._notes.lost("serviceTier")
        return tier

    def _output(self) -> tuple[Output | None, str | None]:
        """Return the form of the answer, and what has to be said in words about it."""
        mime = (self._config.text("responseMimeType") or "text/plain").strip().lower()
        name, schema = self._schema()
        self._names["output"] = self._config.path(name or "responseMimeType")
        if mime == _ENUM:
            return None, _choices(schema or {})
        if mime == _JSON:
            if schema is None:
                return Output("json_object"), None
            # This protocol promises that the answer fits the schema: elsewhere that is strict.
            return Output("json_schema", schema=schema, strict=True), None
        path = self._config.path("responseMimeType")
        if mime != "text/plain":
            raise BadRequest(f"{path} must be text/plain, {_JSON} or {_ENUM}.", param=path)
        if name is not None:
            raise BadRequest(f"{path} must be {_JSON} where a schema is given.", param=path)
        return None, None

    def _schema(self) -> tuple[str | None, dict[str, Any] | None]:
        standard = self._config.object("responseJsonSchema")
        own = self._config.object("responseSchema")
        if standard is not None:
            return "responseJsonSchema", standard
        if own is not None:
            return "responseSchema", schema_decode.to_json_schema(own)
        return None, None


def _split(role: Role, parts: tuple[Part, ...]) -> Iterator[Message]:
    """Yield a message; results of tools, which stand among a user's words, apart."""
    if not parts:
        yield Message(role, ())
    for is_result, run in groupby(parts, lambda part: isinstance(part, ToolResult)):
        yield Message("tool" if is_result else role, tuple(run))


def _choices(schema: Mapping[str, Any]) -> str:
    """Say in words what no other protocol has a field for: one of a few bare texts."""
    values = schema.get("enum")
    given = [each for each in values if isinstance(each, str)] if isinstance(values, list) else []
    if not given:
        path = "generationConfig.responseSchema"
        raise BadRequest(f"{path}: the mime type {_ENUM} needs an enum.", param=path)
    return (
        "Respond with exactly one of these values, without quotes, and nothing else:\n"
        + "\n".join(given)
    )

"""Gemini generateContent requests, neutral form -> wire; the path says model and method."""

from __future__ import annotations

from typing import Any

from kurolproxy.errors import BadRequest
from kurolproxy.ir import Output
from kurolproxy.protocols import schema as schemas
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import Outgoing, TargetView
from kurolproxy.protocols.efforts import wished
from kurolproxy.protocols.gemini import thinking
from kurolproxy.protocols.gemini.parts_encode import ContentWriter
from kurolproxy.protocols.gemini.schema_encode import to_legacy
from kurolproxy.protocols.gemini.tools import ToolWriter
from kurolproxy.protocols.losses import Reader
from kurolproxy.protocols.names import ToolNames
from kurolproxy.protocols.normalise import alternate, remind

_MAX_STOPS = 5
_MAX_TEMPERATURE = 2
_SEEDS = range(-(2**31), 2**31)  # 32 bits
_JSON = "application/json"
_JSON_OBJECT = "Respond with a single JSON object and nothing else."
_JSON_SCHEMA = "Respond with a single JSON object that fits this JSON Schema and nothing else:\n"
# Neutral field -> wire field, where nothing has to be looked at.
_COPIED = {
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}


def encode_request(reader: Reader, view: TargetView) -> Outgoing:
    """Write a normalised request.

    Args:
        reader: whatever is not read through it is a loss.

    Raises:
        BadRequest: it asks for what cannot be said here: media that the model does not
            take, a tool of another vendor as the only choice.
    """
    return _Encoder(reader, view).outgoing()


class _Encoder:
    """One request on its way out."""

    def __init__(self, reader: Reader, target: TargetView) -> None:
        self._reader = reader
        self._request = reader.request
        self._target = target
        self._traits = target.traits
        self._names = ToolNames(letter_first=True)
        self._writer = ContentWriter(reader, target, self._names)
        # What has no field of its own is said at the end of the system prompt.
        self._lines: list[str] = []

    def outgoing(self) -> Outgoing:
        # The tools come first: calls in the history go by the names declared here.
        tools: dict[str, Any] = {}
        ToolWriter(self._reader, self._target, self._names, self._lines).declare(tools)
        config = self._config()
        contents = self._contents()
        system = self._writer.texts(self._request.system)
        system += [{"text": line} for line in self._lines]
        body: dict[str, Any] = {}
        if system:
            body["systemInstruction"] = {"parts": system}
        body |= {"contents": contents, **tools}
        if config:
            body["generationConfig"] = config
        tier = self._tier()
        if tier is not None:
            body["serviceTier"] = tier
        stops: tuple[str, ...] = self._request.stop
        return Outgoing(body, self._names, stops if len(stops) > _MAX_STOPS else ())

    def _contents(self) -> list[dict[str, Any]]:
        turns = remind(self._request.messages, self._reader)
        return self._writer.contents(alternate(turns, prefill=self._traits.prefill))

    # --- the generation config ------------------------------------------------------------

    def _config(self) -> dict[str, Any]:
        cap = self._cap()
        thought = thinking.encode(self._reader, self._traits, cap)
        config: dict[str, Any] = {} if cap is None else {"maxOutputTokens": cap}
        self._sampling(config)
        take = self._reader.take
        for name, wired in _COPIED.items():
            if (value := take(self._request, name)) is not None:
                config[wired] = value
        if self._request.seed is not None and self._request.seed in _SEEDS:
            config["seed"] = take(self._request, "seed")
        if (count := take(self._request, "n")) != 1:
            config["candidateCount"] = count
        if stops := take(self._request, "stop"):
            config["stopSequences"] = list(stops[:_MAX_STOPS])
        # logprobs stay untaken: the neutral answer has no place for them.
        if thought is not None:
            config["thinkingConfig"] = thought
        return config | self._output()

    def _cap(self) -> int | None:
        wish: int | None = self._reader.take(self._request, "max_tokens")
        if wish is None:
            return None
        if wish < 1:
            name = self._request.names.get("max_tokens", "max_tokens")
            raise BadRequest(f"{name} must be at least 1.", param=name)
        limits = (wish, self._target.max_output_tokens, self._traits.max_output_tokens)
        return min(each for each in limits if each is not None)

    def _sampling(self, config: dict[str, Any]) -> None:
        wish = self._request.reasoning
        off = wish is not None and wished(wish) == "none"
        sampling = self._traits.sampling
        if sampling == "no" or (sampling == "only_without_reasoning" and not off):
            return
        take = self._reader.take
        temperature = take(self._request, "temperature")
        if temperature is not None:
            config["temperature"] = min(max(temperature, 0), _MAX_TEMPERATURE)
        for name, wired in (("top_p", "topP"), ("top_k", "topK")):
            if (value := take(self._request, name)) is not None:
                config[wired] = value

    def _output(self) -> dict[str, Any]:
        output = self._request.output
        if output is None:
            return {}
        self._reader.whole(output)
        if not self._traits.structured_output:
            self._lines.append(_in_words(output))
            return {}
        schema = _schema(output)
        if not schema:
            return {"responseMimeType": _JSON}
        if self._traits.gemini_schema == "json":
            return {"responseMimeType": _JSON, "responseJsonSchema": schema}
        legacy = to_legacy(schema, "the answer")
        return {"responseMimeType": _JSON, **({"responseSchema": legacy} if legacy else {})}

    # --- everything else ------------------------------------------------------------------

    def _tier(self) -> str | None:
        if not self._traits.allow_service_tier:
            return None
        tier: str | None = self._reader.take(self._request, "service_tier")
        return None if tier == "auto" else tier


def _schema(output: Output) -> dict[str, Any]:
    """Return the schema of an answer; this wire has no other place for its description."""
    if output.kind == "json_object":
        return {}
    cleaned = schemas.clean(output.schema or {})
    if cleaned and output.description and "description" not in cleaned:
        cleaned["description"] = output.description
    return cleaned


def _in_words(output: Output) -> str:
    schema = _schema(output)
    return _JSON_SCHEMA + wire.compact(schema) if schema else _JSON_OBJECT
